"""Renew `deb-requirements.txt`: the libraries that go into the Debian package, by version and hash.

    .venv/bin/python packaging/pin.py

It asks the index for what `pyproject.toml` allows today, for every Python and architecture that packages are built for.
Look at the difference before it is committed: it is the list of what administrators will run as root.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from build_deb import HERE, PINNED, PYTHONS

#: What wheels of a machine may say of it (PEP 600); glibc 2.28 is that of the oldest Debian with Python 3.11 or later.
PLATFORMS = {
    machine: [f"manylinux_2_{minor}_{machine}" for minor in (28, 17)] + [f"manylinux2014_{machine}"]
    for machine in ("x86_64", "aarch64")
}
HEADER = """\
# The libraries of the Debian package. Made by packaging/pin.py; pip checks every hash when the package is built.
"""


def main() -> None:
    """Write the list."""
    versions: dict[str, str] = {}
    hashes: dict[str, set[str]] = defaultdict(set)
    for python in PYTHONS:
        for platforms in PLATFORMS.values():
            for name, version, sha256 in resolved(python, platforms):
                if versions.setdefault(name, version) != version:
                    sys.exit(f"{name} is {versions[name]} for one Python and {version} for another")
                hashes[name].add(sha256)
    lines = [
        " \\\n    ".join([f"{name}=={versions[name]}", *(f"--hash=sha256:{one}" for one in sorted(hashes[name]))])
        for name in sorted(versions)
    ]
    PINNED.write_text(HEADER + "\n".join(lines) + "\n")
    print(f"{PINNED}: {len(versions)} libraries, {sum(map(len, hashes.values()))} files")


def resolved(python: str, platforms: list[str]) -> list[tuple[str, str, str]]:
    """Name, version and SHA-256 of each library that s32s needs there."""
    with tempfile.TemporaryDirectory() as work:
        report = Path(work) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--target", work, "--report", str(report), "--only-binary=:all:", "--python-version", python]
        command += [word for platform in platforms for word in ("--platform", platform)]
        subprocess.run([*command, *requirements()], check=True)
        found: list[dict[str, Any]] = json.loads(report.read_text())["install"]
    return [
        (
            one["metadata"]["name"].lower().replace("_", "-"),
            one["metadata"]["version"],
            one["download_info"]["archive_info"]["hashes"]["sha256"],
        )
        for one in found
    ]


def requirements() -> list[str]:
    """What `pyproject.toml` asks for."""
    import tomllib

    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    return list(project["dependencies"])


if __name__ == "__main__":
    main()
