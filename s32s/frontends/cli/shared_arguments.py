"""The grammar of the commands for shared folders; see `arguments.py`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple


class Parts(NamedTuple):
    """What all commands have in common, to be added to a parser."""

    output: Callable[[argparse.ArgumentParser], None]
    limits: Callable[[argparse.ArgumentParser], None]
    action: Callable[[Any, str, str, str], argparse.ArgumentParser]


_PEER = """
What has changed here goes up, what others have changed comes down, and what both
have changed is asked about: nothing is ever overwritten in silence. A terminal
asks for each list. Without a map:

  s32s peer ./team s3://bucket/team --dryrun   show who has changed what
  s32s peer ./team s3://bucket/team            unison, rclone bisync

With maps, the role peer does the same for its entries: s32s sync."""


def add_json(made: argparse.ArgumentParser) -> None:
    """The output for programs, of a command that has anything to say."""
    made.add_argument("--json", action="store_true", help="JSON lines on standard output")


def add_shared(made: argparse.ArgumentParser) -> None:
    """The options of a verb for the role peer."""
    shared = made.add_argument_group("of a shared folder (role peer)")
    shared.add_argument("--upload-only", action="store_true", help="only send what has changed here")
    shared.add_argument("--download-only", action="store_true", help="only fetch what others have changed")
    if made.get_default("verb") != "dryrun":
        shared.add_argument(
            "--keep",
            choices=("mine", "theirs", "both"),
            help="settle every conflict this way; both keeps ours under a name that says so",
        )


def shared_parsers(command: Callable[..., argparse.ArgumentParser], parts: Parts) -> None:
    made = command(
        "peer",
        "share a folder with others through S3, both ways",
        example="s32s peer ./team s3://bucket/team",
        more=_PEER,
    )
    made.set_defaults(verb="sync", role="peer", timeout=None, update_maps=False)
    made.add_argument("folder", metavar="DIR", help="the folder")
    made.add_argument("place", metavar="PLACE", help="s3://bucket/prefix, or NAME:prefix in a store")
    how = made.add_mutually_exclusive_group()
    for verb, text in (
        ("dryrun", "show what would be done, change nothing"),
        ("copy", "delete nothing on either side"),
    ):
        how.add_argument(f"--{verb}", dest="verb", action="store_const", const=verb, help=text)
    parts.output(made)
    made.add_argument("--verify", action="store_true", help="read every file; trust no index and no time stamp")
    made.add_argument("--report", metavar="DIR", help="write uploaded.txt, downloaded.txt, conflicts.txt … there")
    made.add_argument("--all", action="store_true", help="cut no list of paths, however long")
    parts.limits(made)
    made.add_argument("--ignore", metavar="RULE", action="append", help="neither sent nor fetched; may be repeated")
    made.add_argument(
        "--layout", choices=("plain", "packed"), default="plain", help="one object a file (default), or packs of many"
    )
    made.add_argument("--message", metavar="TEXT", default="", help="what s32s log shows of it, in the packed layout")
    made.add_argument("--yes", action="store_true", help="ask nothing: take everything but conflicts")
    add_shared(made)
    made.add_argument("--endpoint-url", metavar="URL", help="of an S3 server other than AWS")
    made.add_argument("--profile", metavar="NAME", help="AWS profile")
    made.add_argument("--region", metavar="NAME", help="AWS region")

    made = command("trash", "show, restore or empty what a shared folder has deleted", example="s32s trash list TEAM")
    actions = made.add_subparsers(metavar="ACTION", title="actions", dest="action")
    for name, text, example in (
        ("list", "list what was replaced or deleted here, and deleted on S3", "s32s trash list TEAM"),
        ("restore", "bring files back to where they were", "s32s trash restore TEAM plans/house.dwg"),
        ("empty", "remove for good what is in the trash", "s32s trash empty TEAM --older 30d"),
    ):
        action = parts.action(actions, name, text, example)
        action.set_defaults(command=f"trash {name}")
        action.add_argument("name", metavar="NAME", help="the entry, or a folder such as ./team")
        if name == "restore":
            action.add_argument("paths", nargs="+", metavar="PATH", help="a file, or a directory with all in it")
            action.add_argument("--id", metavar="ID", help="of which deletion; by default the latest")
        if name == "empty":
            action.add_argument("--older", metavar="TIME", default="0s", help="only what is older: 30d")
            action.add_argument("--everywhere", action="store_true", help="the deleted folder on S3 too, for everybody")
            action.add_argument("--yes", action="store_true", help="do not ask")
        add_json(action)

    made = command(
        "forget", "forget what a shared folder had in common with S3; no file is touched", example="s32s forget TEAM"
    )
    made.add_argument("names", nargs="+", metavar="NAME", help="the entry, or a folder and its place: DIR PLACE")
    made.add_argument("--everywhere", action="store_true", help="for everybody: the list of files on S3 too")
    made.add_argument("--yes", action="store_true", help="do not ask")
    add_json(made)
