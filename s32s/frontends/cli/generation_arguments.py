"""The grammar of the commands for generations; see `arguments.py`."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from s32s.frontends.cli.shared_arguments import add_json

_KEEPS = """
In the packed layout "keep" in the entry says how many generations stay. In the
plain one they reach as far back as the versions of the bucket, if it has them."""
_ROLLBACK = """
On a master it publishes what the generation held as the next one, for all machines.
On a slave it brings an earlier tree back that is kept beside the target ("keep" in
the configuration), without S3, and holds the entry there until s32s release."""
_RELEASE = """
Of a slave on which s32s rollback has gone back."""
_VERIFY = """
It reads every pack on S3 that a kept generation needs, and names what is damaged,
which generations and which paths that hits. --heal pushes what is damaged of the
current generation again, from files of the master's directory, or of a shared
folder, that still are what they were. --rebuild writes the head again where it is
lost, by what the packs say.
A folder that is shared without a map is named by its path, such as ./team."""
_PRUNE = """
A folder that is shared without a map is named by its path, such as ./team."""
_CONVERT = """
The directory must be what S3 holds: nothing is published or deleted by the way.
The other layout is complete before the head moves; then what belonged to the one
before is deleted, and from packs all earlier generations with it. Slaves follow
when their map says the same layout. One that was cut off is completed by running
it again, or undone by naming the other layout."""


def generation_parsers(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add them."""
    made = command("log", "show the generations of an entry", example="s32s log WEBSITE", more=_KEEPS)
    _add_name(made)
    made = command(
        "diff", "show what two generations do not have in common", example="s32s diff WEBSITE 41 42", more=_KEEPS
    )
    _add_name(made)
    made.add_argument("before", metavar="A", nargs="?", type=int, help="a generation (default: the one before)")
    made.add_argument("after", metavar="B", nargs="?", type=int, help="another one (default: the current one)")
    made = command("rollback", "go back to an earlier generation", example="s32s rollback WEBSITE 41", more=_ROLLBACK)
    _add_name(made)
    made.add_argument("generation", metavar="N", nargs="?", type=int, help="which one (default: the one before)")
    made.add_argument(
        "--force-delete", action="store_true", help="override max_delete, on a slave and in the plain layout"
    )
    made.add_argument(
        "--partial", action="store_true", help="on a slave: leave files as they are whose old bytes are gone"
    )
    made.add_argument(
        "--take-over", action="store_true", help="go on although a push of another master is unfinished, which has died"
    )
    made.add_argument("--message", metavar="TEXT", default="", help="what is said of it in s32s log")
    made = command(
        "release", "let an entry follow S3 again that was taken back", example="s32s release WEBSITE", more=_RELEASE
    )
    _add_name(made)
    made = command(
        "prune",
        "give up old generations and delete what none needs",
        example="s32s prune WEBSITE --keep 3",
        more=_PRUNE,
    )
    _add_name(made)
    made.add_argument("--keep", metavar="N", type=_count, help="how many stay (default: that of the entry)")
    made.add_argument(
        "--grace", metavar="TIME", default="1d", help="packs that nobody names stay for so long (default: 1d)"
    )
    made.add_argument("--yes", action="store_true", help="do not ask")
    made = command(
        "verify", "read everything on S3, and name what is damaged", example="s32s verify WEBSITE", more=_VERIFY
    )
    _add_name(made)
    how = made.add_mutually_exclusive_group()
    how.add_argument("--heal", action="store_true", help="push what is damaged again, from this machine's directory")
    how.add_argument("--rebuild", action="store_true", help="write the head again, by what the packs say")
    made = command(
        "restore",
        "bring files of a generation back",
        example="s32s restore WEBSITE css/site.css --generation 41",
        more=_KEEPS,
    )
    made.add_argument("name", metavar="NAME", help="the entry")
    made.add_argument("paths", metavar="PATH", nargs="+", help="a file, or a directory with all in it; . for all")
    made.add_argument("--generation", metavar="N", type=int, help="from which one (default: the current one)")
    made.add_argument("--to", metavar="DIR", help="into this directory (default: that of the master)")
    made.add_argument("--yes", action="store_true", help="replace what is there without a question")
    made.add_argument("-v", "--verbose", action="store_true", help="name every path, also of many")
    add_json(made)
    made = command(
        "convert",
        "bring the prefix of an entry into another layout",
        example="s32s convert WEBSITE --layout packed",
        more=_CONVERT,
    )
    _add_name(made)
    made.add_argument("--layout", choices=("plain", "packed"), required=True, help="which one")
    made.add_argument("--yes", action="store_true", help="also give up earlier generations without a question")


def _add_name(made: argparse.ArgumentParser) -> None:
    made.add_argument("name", metavar="NAME", help="the entry")
    add_json(made)


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1000:
        raise argparse.ArgumentTypeError("write a number from 1 to 1000")
    return number
