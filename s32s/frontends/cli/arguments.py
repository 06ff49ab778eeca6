"""The grammar of the command line: commands, options, their texts and examples.

Help, man page and completion are all made from it, so they say the same. It names commands and knows none: what a
command does is in `frontends/cli/commands/`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from s32s import __version__
from s32s.frontends.cli.generation_arguments import generation_parsers
from s32s.frontends.cli.parsing import Parser, jobs, rate
from s32s.frontends.cli.shared_arguments import Parts, add_json, add_shared, shared_parsers

#: What each status means, for help and manual.
EXIT = """exit status:
  0    done, or nothing to do
  1    an entry failed; the others were done
  2    the command line, the configuration or a map is wrong
  3    refused by a guard, nothing touched
  4    dryrun --exit-code found differences
  75   try again later: another run holds the lock, a push is unfinished, S3 could not be reached,
       or --timeout has passed
  130  interrupted (143: terminated); the target is as it was"""

_DIRECTIONS = """
The role of this machine is the direction:

  master   its directory  >  the S3 path
  slave    the S3 path    >  its directory
  mirror   the S3 path    >  another S3 path
  peer     its folder     <> the S3 path, shared with others"""

_SERVICE = """The service runs s32s sync, or with --watch s32s watch, and nothing else may be
written by it than what the configuration allows. A run that is due is never
started beside one that is still at work."""

_MORE = {
    "dryrun": """
It shows what is new, modified, deleted and rejected, with the reasons. On a
terminal long lists are cut to a screen; --all shows everything.
"""
    + _DIRECTIONS,
    "copy": """
Files that only the destination has stay there. Two places do without a map:
s32s copy ./site s3://bucket/site.
"""
    + _DIRECTIONS,
    "sync": """
What the source does not have is deleted at the destination, within max_delete.
s32s dryrun shows it first. Two places do without a map:

  s32s sync ./site s3://bucket/site     aws s3 sync --delete, rclone sync
  s32s sync s3://bucket/site /srv/site  the same, the other way
  s32s sync /home/me/ /mnt/backup/me    rsync -a --delete
"""
    + _DIRECTIONS,
    "watch": """
A directory is listened to, and what changes in it is brought over as soon as it
has come to rest. S3 is asked again and again whether there is anything new.
Failures are tried again until they pass. Two places do without a map:

  s32s watch ./site s3://bucket/site    lsyncd with aws s3 sync
  s32s watch s3://bucket/site /srv/site aws s3 sync --delete, every few seconds
"""
    + _DIRECTIONS,
}


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; `command` of what it returns names the command."""
    root = Parser(
        prog="s32s",
        description="Keep directories on many servers equal to a directory on one computer, with S3 in the middle.",
        epilog=f"example:\n  s32s dryrun WEBSITE\n\n{EXIT}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # `--force` must not mean whatever begins with it
    )
    root.add_argument("-V", "--version", action="version", version=f"s32s {__version__}")
    root.add_argument(
        "--config",
        metavar="FILE",
        help="configuration file (default: $S32S_CONFIG, ./s32s.toml, /etc/s32s/s32s.toml for root, "
        "~/.config/s32s/s32s.toml for others)",
    )
    root.add_argument("--debug", action="store_true", help="show where in the program an error comes from")
    root.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a setting instead of what the configuration says, such as max_delete=10; may be repeated",
    )
    root.set_defaults(command="menu", parser=root)
    commands = root.add_subparsers(metavar="COMMAND", title="commands")

    def command(name: str, text: str, *, example: str, more: str = "") -> argparse.ArgumentParser:
        made = commands.add_parser(
            name,
            help=text,
            allow_abbrev=False,
            description=f"{text[0].upper()}{text[1:]}.{more}",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(command=name, parser=made)
        _add_general(made)
        return made

    made = command(
        "configure",
        "write this machine's configuration",
        example="s32s configure --role slave --maps bucket/maps --allow /srv --allow /var/www",
    )
    made.add_argument("--role", metavar="ROLE", help="master, slave, mirror or peer")
    made.add_argument("--maps", metavar="PATH", help="S3 path of the maps: bucket/prefix, or one .json object")
    made.add_argument(
        "--allow",
        metavar="DIR",
        action="append",
        help="a slave writes only below this; given again for each one, and all replace the list that is there",
    )
    made.add_argument(
        "--max-delete", metavar="N", help='most deletions in one sync: a count, or a percentage as "50%%"'
    )
    made.add_argument("--endpoint-url", metavar="URL", help="of an S3 server other than AWS")
    made.add_argument("--profile", metavar="NAME", help="AWS profile")
    made.add_argument("--region", metavar="NAME", help="AWS region")
    made.add_argument("--no-check", action="store_true", help="write it without a look at S3")
    add_json(made)

    _maps_parser(command)
    for name, text, example in (
        ("dryrun", "show what sync would do, change nothing", "s32s dryrun WEBSITE --exit-code"),
        ("copy", "bring new and modified files over, delete nothing", "s32s copy WEBSITE --report /tmp/report"),
        ("sync", "make the destination exactly equal to the source", "s32s sync WEBSITE --update-maps"),
    ):
        _verb_parser(command(name, text, example=example, more=_MORE[name]), name)

    generation_parsers(command)
    shared_parsers(command, Parts(_add_output, _add_limits, _action))
    _watch_parser(
        command(
            "watch",
            "keep the destination equal to the source until it is stopped",
            example="s32s watch WEBSITE",
            more=_MORE["watch"],
        )
    )

    made = command("status", "show the entries, their last runs and what has drifted", example="s32s status")
    made.add_argument("names", nargs="*", metavar="NAME", help="only these; * matches any characters")
    add_json(made)
    made.add_argument("--offline", action="store_true", help="do not ask S3")
    made.add_argument("--check", metavar="TIME", help="exit with 1 when an entry has not succeeded for so long: 30min")

    _service_parser(command)

    made = command(
        "env", "show every setting, where it comes from, and the directories in use", example="s32s env --json"
    )
    add_json(made)

    made = command("completion", "print what a shell needs to complete s32s", example="s32s completion bash > FILE")
    made.set_defaults(command="completion")
    actions = made.add_subparsers(metavar="SHELL", title="shells", dest="action")
    for name, example in (
        ("bash", "s32s completion bash > ~/.local/share/bash-completion/completions/s32s"),
        ("zsh", "s32s completion zsh > ~/.zfunc/_s32s"),
        ("fish", "s32s completion fish > ~/.config/fish/completions/s32s.fish"),
    ):
        _action(actions, name, f"for {name}", example).set_defaults(command=f"completion {name}")
    names = actions.add_parser("names", description="Print the names of the cached entries.", allow_abbrev=False)
    names.set_defaults(command="completion names", parser=names)
    _add_general(names)

    made = command("demo", "show the whole loop on this machine, with an S3 server of its own", example="s32s demo")
    made.add_argument("--keep", action="store_true", help="leave the directory of the demo for a look around")

    made = command("help", "show the help of a command", example="s32s help sync")
    made.add_argument("topic", nargs="*", metavar="COMMAND", help="which command, such as sync or maps update")
    return root


def _maps_parser(command: Callable[..., argparse.ArgumentParser]) -> None:
    made = command("maps", "make, upload, fetch, list and check map files", example="s32s maps update")
    actions = made.add_subparsers(metavar="ACTION", title="actions", dest="action")
    for name, text, example in (
        ("new", "make a map file of one entry; asks for what no option says", "s32s maps new"),
        ("edit", "open the map file of an entry in $EDITOR, check and upload it", "s32s maps edit WEBSITE"),
        ("upload", "check map files, show what they change, and write them to S3", "s32s maps upload website.json"),
        ("update", "fetch the maps from S3 into this machine's cache", "s32s maps update"),
        ("list", "list the entries of the cached maps", "s32s maps list --json"),
        ("check", "check local map files before they are uploaded", "s32s maps check website.json"),
        ("schema", "print the JSON Schema of a map file", "s32s maps schema > map.schema.json"),
    ):
        action = _action(actions, name, text, example)
        action.set_defaults(command=f"maps {name}")
        if name in ("check", "upload"):
            action.add_argument("files", nargs="+", metavar="FILE", help="a map file")
        if name == "edit":
            action.add_argument("name", metavar="NAME", help="of an entry, or of a map file such as website.json")
        if name == "new":
            _add_entry(action)
        if name in ("new", "edit", "upload"):
            action.add_argument("--yes", action="store_true", help="also change or remove entries without a question")
        if name in ("new", "update", "list", "check", "upload"):
            add_json(action)


def _add_entry(made: argparse.ArgumentParser) -> None:
    made.add_argument("--name", metavar="NAME", help="of the entry; unique over all map files")
    made.add_argument("--s3", metavar="PATH", help="where the data is: bucket/prefix")
    made.add_argument("--master", metavar="DIR", help="directory with the originals, on the master")
    made.add_argument("--slave", metavar="DIR", help="directory on the servers")
    made.add_argument("--mirror", metavar="PATH", help="another bucket/prefix, for the role mirror")
    made.add_argument("--peer", metavar="DIR", help="folder that people share, for the role peer")
    made.add_argument("--layout", choices=("plain", "packed"), help="how --s3 is laid out (default: plain)")
    made.add_argument("--description", metavar="TEXT", help="for people")
    made.add_argument("--file", metavar="FILE", help="the file to write (default: the name of the entry, .json)")
    made.add_argument("--upload", action="store_true", help="upload it without a question")


def _service_parser(command: Callable[..., argparse.ArgumentParser]) -> None:
    made = command(
        "service", "run s32s by a systemd timer", example="s32s service install --every 5min", more=f"\n\n{_SERVICE}"
    )
    actions = made.add_subparsers(metavar="ACTION", title="actions", dest="action")
    for name, text, example in (
        (
            "install",
            "write the units of this machine, check them, start the timer",
            "s32s service install --every 5min",
        ),
        ("remove", "stop the timer and remove the units; configuration and data stay", "s32s service remove"),
        ("show", "print the units that install would write", "s32s service show --on-calendar 'Mon..Fri 06:00'"),
    ):
        action = _action(actions, name, text, example)
        action.set_defaults(command=f"service {name}")
        add_json(action)
        action.add_argument("--instance", metavar="NAME", help="one of several services, each with its own --config")
        action.add_argument("--user", action="store_true", help="a service of this user, without root and sandbox")
        if name != "show":
            action.add_argument("--root", metavar="DIR", help="work below this directory, without a running systemd")
        if name == "remove":
            continue
        action.add_argument(
            "--watch", action="store_true", help="a service that watches all the time, instead of a timer"
        )
        pace = action.add_mutually_exclusive_group()
        pace.add_argument("--every", metavar="TIME", default="5min", help="pace of the timer (default: 5min)")
        pace.add_argument("--on-calendar", metavar="WHEN", help="a calendar expression of systemd.time(7) instead")
        action.add_argument("--run-as", metavar="USER", help="whom the service runs as (default: root)")
        action.add_argument("--update-maps", action="store_true", help="fetch the maps at each run")
        action.add_argument("--credentials", metavar="FILE", help="AWS credentials that systemd hands to the service")


def _action(actions: Any, name: str, text: str, example: str) -> argparse.ArgumentParser:
    """One action of a command that has several."""
    made: argparse.ArgumentParser = actions.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.set_defaults(parser=made)
    _add_general(made)
    return made


def _add_general(made: argparse.ArgumentParser) -> None:
    """What stands before or behind a command."""
    made.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help="configuration file")
    made.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    made.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=argparse.SUPPRESS, help="a setting for this run"
    )


def _watch_parser(made: argparse.ArgumentParser) -> None:
    _add_common(made)
    made.add_argument("--update-maps", action="store_true", help="fetch the maps first, and once a minute")
    made.add_argument("--poll", metavar="TIME", help="how often S3 is asked (default: 5s, or [watch] poll)")
    made.add_argument(
        "--settle", metavar="TIME", help="how long a directory must be quiet (default: 0.5s, or [watch] settle)"
    )
    _add_limits(made)
    made.add_argument(
        "--take-over", action="store_true", help="override another master's unfinished push, or a lost head"
    )
    _add_places(made)


def _add_common(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="entries to do, * matches any characters (default: all of this machine's role); or two places: "
        "SOURCE TARGET",
    )
    made.add_argument("--role", metavar="ROLE", help="instead of the configuration's")
    _add_output(made)


def _add_output(made: argparse.ArgumentParser) -> None:
    add_json(made)
    how = made.add_mutually_exclusive_group()
    how.add_argument("-q", "--quiet", action="store_true", help="errors only")
    how.add_argument("-v", "--verbose", action="store_true", help="name every path that was changed")
    made.add_argument(
        "--log-format", choices=("text", "json"), help="write a log to standard error, for unattended runs"
    )


def _add_limits(made: argparse.ArgumentParser) -> None:
    made.add_argument("--jobs", metavar="N", type=jobs, help="files moved at once at most (default: 256)")
    made.add_argument("--bandwidth", metavar="RATE", type=rate, help="bytes a second each way, such as 500K or 10M")
    made.add_argument(
        "--force-delete", action="store_true", help="override max_delete and the guard against an empty source"
    )
    made.add_argument(
        "--accept-older", action="store_true", help="follow an older generation than the one followed last"
    )


def _verb_parser(made: argparse.ArgumentParser, name: str) -> None:
    made.set_defaults(verb=name)
    _add_common(made)
    made.add_argument("--verify", action="store_true", help="read every file; trust no index and no time stamp")
    made.add_argument("--below", metavar="DIR", help="only this directory of the tree; the rest stays as it is")
    made.add_argument("--report", metavar="DIR", help="write new.txt, modified.txt … there, a directory per entry")
    made.add_argument("--strict", action="store_true", help="exit with 1 when files were rejected")
    made.add_argument("--update-maps", action="store_true", help="fetch the maps first")
    made.add_argument("--timeout", metavar="TIME", help="stop after so long, as if interrupted, with status 75: 30min")
    _add_limits(made)
    if name == "dryrun":
        made.add_argument("--all", action="store_true", help="cut no list of paths, however long")
        made.add_argument("--exit-code", action="store_true", help="exit with 4 when there is something to do")
    else:
        made.add_argument("-n", "--dry-run", action="store_true", help="show what it would do, change nothing")
        made.add_argument(
            "--take-over", action="store_true", help="override another master's unfinished push, or a lost head"
        )
        made.add_argument("--message", metavar="TEXT", default="", help="what s32s log says of this push")
    add_shared(made)
    _add_places(made)


def _add_places(made: argparse.ArgumentParser) -> None:
    places = made.add_argument_group("between two places (a path such as ./site, or s3://bucket/prefix), without a map")
    places.add_argument("--endpoint-url", metavar="URL", help="of an S3 server other than AWS")
    places.add_argument("--profile", metavar="NAME", help="AWS profile")
    places.add_argument("--region", metavar="NAME", help="AWS region")
    places.add_argument(
        "--ignore", metavar="RULE", action="append", help="wildcards on the relative path; may be repeated"
    )
    places.add_argument("--accept", metavar="PATTERN", action="append", help="only files that fit; may be repeated")
    places.add_argument(
        "--links",
        choices=("refuse", "skip", "follow", "keep"),
        help="what happens to links that point out of the tree",
    )
    places.add_argument(
        "--files-from", metavar="FILE", help="only the paths that the lines of this file name; - is standard input"
    )
    places.add_argument(
        "--layout", choices=("plain", "packed"), help="of prefixes: one object a file (default), or packs of many"
    )
    places.add_argument("--no-manifest", action="store_true", help="write and follow no manifest: plain objects")
    places.add_argument(
        "--in-place", action="store_true", help="change a directory file by file, such as a mount point"
    )
    places.add_argument(
        "--yes",
        action="store_true",
        help="take over a directory that s32s has never written; of a shared folder, take everything but conflicts",
    )
