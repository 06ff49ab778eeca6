"""Build the Debian package, by one command:

    .venv/bin/python packaging/build_deb.py [--output DIR]

The package brings its own libraries below /usr/lib/s32s, for every Python from 3.11 to 3.13: extension modules carry
their ABI in the name, so those of several versions are there side by side. Each is pinned by its hash, in
`deb-requirements.txt`; a file that is another one ends the build. They are compiled for the Python that is there
when the package is installed. Needs dpkg-deb and strip, and a network or a pip cache for the libraries.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from texts import man_of_command, man_of_configuration, man_of_maps, packaged_units

from s32s import __version__
from s32s.frontends.cli import completion

HERE = Path(__file__).parent
PYTHONS = ("3.11", "3.12", "3.13")
LIBRARY = Path("usr/lib/s32s")
#: What goes in beside s32s itself, by version and hash; `pin.py` makes it.
PINNED = HERE / "deb-requirements.txt"

#: What of botocore's 31 MB of service models the chain of credentials and S3 need.
SERVICES = {"s3", "sts", "sso", "sso-oidc", "signin"}

CONTROL = f"""\
Package: s32s
Version: {__version__}-1
Section: admin
Priority: optional
Architecture: {{architecture}}
Installed-Size: {{size}}
Depends: python3 (>= 3.11), python3 (<< 3.14), libc6 (>= 2.28), ca-certificates
Maintainer: The s32s maintainers <s32s@example.org>
Description: replicate directories to many servers, with S3 in the middle
 One machine pushes directories to S3, and servers rebuild them: exactly, all at
 once, or not at all. A new tree is built beside the old one, every byte is
 checked, and one system call exchanges the two.
"""

POSTINST = """\
#!/bin/sh
set -e
if [ "$1" = configure ]; then
    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers s32s.conf
    elif ! getent passwd s32s >/dev/null; then
        useradd --system --home-dir /var/lib/s32s --shell /usr/sbin/nologin s32s
    fi
    if command -v systemd-tmpfiles >/dev/null; then
        systemd-tmpfiles --create s32s.conf || true
    else
        install -d -m 0700 /var/lib/s32s /var/cache/s32s
    fi
    python3 -m compileall -q -j 0 /usr/lib/s32s >/dev/null 2>&1 || true
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload || true
    fi
fi
"""

PRERM = """\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now s32s.timer >/dev/null 2>&1 || true
fi
find /usr/lib/s32s -name __pycache__ -type d -prune -exec rm -rf {} +
"""

POSTRM = """\
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
fi
if [ "$1" = purge ]; then
    # Our own memory only: directories that s32s has filled belong to the administrator.
    rm -rf /var/lib/s32s /var/cache/s32s
    rmdir --ignore-fail-on-non-empty /etc/s32s 2>/dev/null || true
fi
"""

LAUNCHER = """\
#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "/usr/lib/s32s")

from s32s.frontends.cli.main import main  # noqa: E402

main()
"""

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: s32s

Files: *
Copyright: the s32s maintainers
License: Expat

"""


def main() -> None:
    """Build the package and say where it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=HERE.parent / "dist")
    output: Path = parser.parse_args().output
    check_tools()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="s32s-deb-") as name:
        root = Path(name) / "root"
        root.mkdir(mode=0o755)
        install_libraries(root / LIBRARY, Path(name))
        write_files(root)
        architecture = said("dpkg", "--print-architecture")
        write_control(root, architecture)
        package = output / f"s32s_{__version__}-1_{architecture}.deb"
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", "-Zxz", str(root), str(package)], check=True)
    print(package)


def check_tools() -> None:
    """Look for what the build needs, before it takes its minutes."""
    packages = {"strip": "binutils", "dpkg": "dpkg", "dpkg-deb": "dpkg"}
    missing = [name for name in packages if shutil.which(name) is None]
    if missing:
        wanted = " ".join(sorted({packages[name] for name in missing}))
        sys.exit(f"{', '.join(missing)}: not found; on Debian: apt-get install -y {wanted}")


def install_libraries(target: Path, work: Path) -> None:
    """Put s32s and what it needs below `target`, for every Python."""
    wheels = work / "wheels"
    pip("wheel", "--no-deps", "--wheel-dir", str(wheels), str(HERE.parent))
    (wheel,) = wheels.glob("s32s-*.whl")
    for version in PYTHONS:
        part = work / version
        into = ("install", "--target", str(part), "--python-version", version, "--only-binary=:all:", "--no-compile")
        pip(*into, "--require-hashes", "--no-deps", "--requirement", str(PINNED))
        pip(*into, "--no-deps", str(wheel))
        shutil.copytree(part, target, dirs_exist_ok=True)
    shutil.rmtree(target / "bin", ignore_errors=True)
    for service in (target / "botocore/data").iterdir():
        if service.is_dir() and service.name not in SERVICES:
            shutil.rmtree(service)
    for tests in [*target.rglob("tests"), *target.rglob("__pycache__")]:
        shutil.rmtree(tests)
    for extension in target.rglob("*.so"):
        extension.chmod(0o644)
        subprocess.run(["strip", "--strip-unneeded", str(extension)], check=True)
    for file in target.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)


def write_files(root: Path) -> None:
    """Everything else: launcher, units, manual, completion, example, users and directories."""
    write(root / "usr/bin/s32s", LAUNCHER, mode=0o755)
    for name, text in packaged_units().items():
        write(root / "usr/lib/systemd/system" / name, text)
    pages = {"s32s.1": man_of_command(), "s32s.toml.5": man_of_configuration(), "s32s-map.5": man_of_maps()}
    for name, text in pages.items():
        file = root / f"usr/share/man/man{name[-1]}/{name}.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
        file.chmod(0o644)
    write(root / "usr/share/bash-completion/completions/s32s", completion.bash())
    write(root / "usr/share/zsh/vendor-completions/_s32s", completion.zsh())
    write(root / "usr/share/fish/vendor_completions.d/s32s.fish", completion.fish())
    write(root / "usr/lib/sysusers.d/s32s.conf", 'u s32s - "s32s replication" /var/lib/s32s\n')
    write(
        root / "usr/lib/tmpfiles.d/s32s.conf",
        "d /etc/s32s 0755 root root -\nd /var/lib/s32s 0700 root root -\nd /var/cache/s32s 0700 root root -\n",
    )
    write(root / "etc/s32s/s32s.toml.example", (HERE / "s32s.toml.example").read_text())
    documents = root / "usr/share/doc/s32s"
    licence = "".join(
        f" {line}\n" if line.strip() else " .\n" for line in (HERE.parent / "LICENSE").read_text().splitlines()
    )
    write(documents / "copyright", COPYRIGHT + f"License: Expat\n{licence}")
    write(documents / "README.md", (HERE.parent / "README.md").read_text())
    changes = documents / "changelog.Debian.gz"
    text = f"s32s ({__version__}-1) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n"
    text += " -- The s32s maintainers <s32s@example.org>  Sat, 21 Nov 2026 00:00:00 +0000\n"
    changes.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    changes.chmod(0o644)


def write_control(root: Path, architecture: str) -> None:
    """What dpkg reads."""
    size = sum(file.stat().st_size for file in root.rglob("*") if file.is_file()) // 1024
    debian = root / "DEBIAN"
    write(debian / "control", CONTROL.format(architecture=architecture, size=size))
    write(debian / "conffiles", "/etc/s32s/s32s.toml.example\n")
    for name, text in {"postinst": POSTINST, "prerm": PRERM, "postrm": POSTRM}.items():
        write(debian / name, text, mode=0o755)


def write(file: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file with exactly these bits."""
    for directory in [*reversed(file.parents)]:
        if not directory.exists():
            directory.mkdir(mode=0o755)
            directory.chmod(0o755)
    file.write_text(text)
    file.chmod(mode)


def pip(*words: str) -> None:
    """Run pip of this Python; end the build with a sentence when it fails, below what pip says itself."""
    ended = subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *words], check=False)
    if ended.returncode:
        sys.exit(f"no package was built: pip {words[0]} failed; packaging/pin.py renews {PINNED.name}")


def said(*words: str) -> str:
    """What a command says."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
