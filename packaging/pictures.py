"""Draw the pictures of the README from what s32s really shows: the menu, and a push and a pull that move.

    sudo .venv/bin/python packaging/pictures.py

writes menu.svg and sync.svg beside itself. An S3 server runs on loopback for as long as it takes. Needs root and
unshare(1): in a mount namespace of its own a temporary directory stands at /srv and /home, so paths read as they would.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text
from support.machine import Machine
from support.servers import S3Server, make_bucket, put, start_moto
from support.terminal import Terminal, terminal
from support.trees import make_tree

HERE = Path(__file__).parent
_INSIDE = "S32S_PICTURES"
_BUCKET = "my-bucket"
_LINE_S = 0.5
_COLOURS = {"brown": "yellow", "brightbrown": "bright_yellow", "brightblack": "grey50", "default": None}


def main() -> None:
    """Draw both."""
    if os.environ.get(_INSIDE) != "yes":
        work = tempfile.mkdtemp(prefix="s32s-pictures-")
        mounts = f"mkdir {work}/srv {work}/home && mount --bind {work}/srv /srv && mount --bind {work}/home /home"
        again = shlex.join([sys.executable, *sys.argv])
        os.execvpe(  # noqa: S606
            "unshare",
            ["unshare", "--mount", "--uts", "sh", "-c", f"{mounts} && hostname studio && exec {again}"],
            {**os.environ, _INSIDE: "yes"},
        )
    with start_moto() as server:
        make_bucket(server, _BUCKET)
        master, slave = Machine(Path("/home/me"), server), Machine(Path("/srv/.web-03"), server)
        (HERE / "sync.svg").write_text(_moving(_transcript(master, slave)))
        _prepare(master, slave, server)
        environment = {"LANG": "C.UTF-8", **slave.environment()}
        with terminal(slave.command(), environment, slave.root, columns=116, rows=22) as screen:
            screen.wait_for("never run", "behind", "failed", "up to date")
            screen.press("down")
            screen.wait_for("generation 1 of 2")
            (HERE / "menu.svg").write_text(_picture(_painted(screen), "s32s"))
            screen.press("q")


def _transcript(master: Machine, slave: Machine) -> list[tuple[str, str]]:
    """What is typed and what is shown, from an empty bucket to a server that follows."""
    lines: list[tuple[str, str]] = []

    def run(who: str, machine: Machine, *words: str, quiet: bool = False) -> None:
        ended = machine.run(*words, cwd=machine.root)
        assert ended.status == 0, ended.err
        if not quiet:
            lines.append(("bold green", f"{who}$ {shlex.join(['s32s', *words])}"))
            lines.extend(("", line) for line in ended.out.splitlines())
            lines.append(("", ""))

    site = Path("/home/me/www")
    make_tree(site, {f"{name}.html": name.encode() * 900 for name in ("index", "about", "contact", "news")})
    make_tree(site, {f"photos/{number}.jpg": os.urandom(40_000) for number in range(1, 37)})
    address = ["--endpoint-url", master.server.endpoint_url]
    Path("/srv/www").mkdir()
    run("master", master, "configure", "--role", "master", "--maps", f"{_BUCKET}/maps", *address, quiet=True)
    run("master", master, "maps", "new", "--name", "WEBSITE", "--s3", f"{_BUCKET}/sites/www", "--master", str(site),
        "--slave", "/srv/www/site", "--upload")  # fmt: skip
    run("master", master, "sync")
    run(
        "web-03", slave, "configure", "--role", "slave", "--maps", f"{_BUCKET}/maps", "--allow", "/srv/www", *address,
        quiet=True,
    )  # fmt: skip
    run("web-03", slave, "sync")
    (site / "news.html").unlink()
    (site / "index.html").write_text("a new start" * 300)
    make_tree(site, {"photos/37.jpg": b"x" * 40_000})
    run("master", master, "sync")
    run("web-03", slave, "dryrun")
    run("web-03", slave, "sync")
    return lines


def _prepare(master: Machine, slave: Machine, server: S3Server) -> None:
    """Entries in every state."""
    names = ["BLOG", "DOWNLOADS", "INTRANET", "PHOTOS", "SHOP"]
    entries = [
        {
            "name": name,
            "s3": f"{_BUCKET}/{name.lower()}",
            "master": f"/home/me/{name.lower()}",
            "slave": f"/srv/{'www' if name != 'INTRANET' else 'other'}/{name.lower()}",
        }
        for name in names
    ]
    put(server, _BUCKET, "maps/more.json", json.dumps(entries).encode())
    for name in names:
        make_tree(Path(f"/home/me/{name.lower()}"), {f"{number}.html": os.urandom(9000) for number in range(1, 30)})
    assert master.run("sync", "--update-maps").status == 0
    assert slave.run("sync", "--update-maps", "BLOG", "DOWNLOADS", "INTRANET", "SHOP").status
    make_tree(Path("/home/me/downloads"), {"new.zip": os.urandom(90_000)})
    assert master.run("sync", "DOWNLOADS").status == 0


def _painted(screen: Terminal) -> list[Text]:
    """The screen as it is, cell by cell."""
    drawn: pyte.Screen = screen._screen
    lines = []
    for row in range(drawn.lines):
        line = Text()
        cells = [drawn.buffer[row][column] for column in range(drawn.columns)]
        for (colour, bold, reverse), run in itertools.groupby(
            cells, key=lambda cell: (cell.fg, cell.bold, cell.reverse)
        ):
            style = Style(color=_COLOURS.get(colour, colour), bold=bold, reverse=reverse)
            line.append("".join(cell.data for cell in run), style)
        lines.append(line)
    return lines


def _line(text: str, style: str) -> Text:
    """A line of a terminal; spaces at its beginning stay, and marks of changes have their colours."""
    bare = text.lstrip()
    colours = {"+ ": "green", "~ ": "yellow", "- ": "red"}
    shown = "\u00a0" * (len(text) - len(bare)) + bare
    return Text(shown or "\u00a0", style=style or colours.get(bare[:2], ""))


def _picture(lines: list[Text], title: str) -> str:
    console = Console(record=True, width=max(map(len, lines)) + 2, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(line, soft_wrap=True)
    picture = console.export_svg(title=title, font_aspect_ratio=0.6)
    # The reader's own monospace font will do; a README fetches nothing from elsewhere.
    picture = re.sub(r"@font-face \{.*?\}\s*|<!--.*?-->\s*", "", picture, flags=re.DOTALL)
    return picture.replace("Fira Code", "monospace")


def _moving(lines: list[tuple[str, str]]) -> str:
    """A picture in which one line comes after the other; where nothing moves, all are there."""
    picture = _picture([_line(text, style) for style, text in lines], "a master and a server")
    styles = "".join(f".l{at} {{ animation: come 0s {at * _LINE_S:.1f}s both }}\n" for at in range(len(lines)))
    motion = (
        "@keyframes come { from { visibility: hidden } to { visibility: visible } }\n"
        f"@media (prefers-reduced-motion: no-preference) {{\n{styles}}}\n"
    )
    picture = picture.replace("</style>", f"{motion}</style>", 1)
    return re.sub(
        r'<text class="([^"]*)"([^>]*)clip-path="url\(#([\w-]+)-line-(\d+)\)"',
        r'<text class="\1 l\4"\2clip-path="url(#\3-line-\4)"',
        picture,
    )


if __name__ == "__main__":
    main()
