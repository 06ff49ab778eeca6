"""Man pages, completions and units, made from the grammar of the command line and the models of the configuration.

    .venv/bin/python packaging/texts.py DIRECTORY

writes manual pages, completions and units there. What the help says and what they say cannot differ. The units in
packaging/systemd are these, for who packages s32s otherwise.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import itertools
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pydantic

from s32s import __version__
from s32s.config import maps, settings
from s32s.core.role import Role
from s32s.frontends.cli import arguments, completion
from s32s.frontends.cli.completion import commands
from s32s.frontends.units import Schedule, Service, units


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The options and arguments of a command, without its actions."""
    return [action for action in parser._actions if not isinstance(action, argparse._SubParsersAction)]


# -- man pages ---------------------------------------------------------------------------------------------------------


def roff(text: str) -> str:
    """A text for troff: nothing in it is taken for a request."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace("%%", "%")
    plain = "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in plain)
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in plain.splitlines())


def man_of_command() -> str:
    """s32s(1)."""
    root = arguments.parser()
    lines = [
        f'.TH S32S 1 "" "s32s {__version__}" "User Commands"',
        ".SH NAME",
        "s32s \\- keep directories on servers equal to a directory on one computer, with S3 in the middle",
        ".SH SYNOPSIS",
        ".B s32s",
        "[\\fICOMMAND\\fR [\\fIOPTION\\fR]... [\\fINAME\\fR]...]",
        ".SH DESCRIPTION",
        roff(root.description or ""),
        ".PP",
        "Without a command, at a terminal, a menu opens.",
        ".SH COMMANDS",
    ]
    for name, parser in commands(root):
        epilog = (parser.epilog or "").removeprefix("example:\n").strip()
        lines += [f".SS {roff(name)}", ".nf", roff(parser.description or ""), ".fi"]
        for action in options(parser):
            if action.help == argparse.SUPPRESS or "-h" in action.option_strings:
                continue
            words = ", ".join(action.option_strings) or str(action.metavar or action.dest)
            value = f" {action.metavar}" if action.option_strings and action.metavar else ""
            lines += [".TP", f"\\fB{roff(words)}\\fR{roff(value)}", roff(action.help or "")]
        if epilog:
            lines += [".PP", "Example:", ".PP", ".nf", f"    {roff(epilog)}", ".fi"]
    lines += [".SH EXIT STATUS", ".nf", roff(arguments.EXIT.split("\n", 1)[1]), ".fi"]
    lines += [
        ".SH ENVIRONMENT",
        *_listed(_VARIABLES),
        ".PP",
        "Every key of s32s.toml(5) has a variable of its own, named there.",
        ".SH FILES",
        *_listed(_FILES),
        ".SH SEE ALSO",
        ".BR s32s.toml (5), s32s-map (5)",
        "",
    ]
    return "\n".join(lines)


_VARIABLES = {
    "S32S_CONFIG": "The configuration file, where no --config names one.",
    "S32S_DEBUG": "1 shows where in the program an error comes from, as --debug does.",
    "STATE_DIRECTORY, CACHE_DIRECTORY": "Where results, indexes and locks are kept, and maps and manifests; systemd "
    "sets them. Otherwise /var/lib/s32s and /var/cache/s32s for root, else XDG_STATE_HOME and XDG_CACHE_HOME.",
    "XDG_CONFIG_HOME": "Where the configuration of a user is; ~/.config otherwise.",
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, AWS_REGION …": "As boto3 takes them.",
    "AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL": "The S3 server, where the configuration names none.",
    "AWS_CA_BUNDLE, SSL_CERT_FILE": "Authorities that TLS trusts.",
    "http_proxy, https_proxy, all_proxy, no_proxy": "Proxies on the way to S3.",
    "NO_COLOR": "No colours.",
    "VISUAL, EDITOR": "What s32s maps edit opens a map in.",
}
_FILES = {
    "/etc/s32s/s32s.toml, ~/.config/s32s/s32s.toml, ./s32s.toml": "The configuration.",
    "/etc/s32s/environment": "Variables for the service.",
    "/var/lib/s32s, ~/.local/state/s32s": "State: results, indexes, locks, and report, what the last run without a "
    "terminal has done.",
    "/var/cache/s32s, ~/.cache/s32s": "Cache: maps and manifests. Deleting it is always safe.",
    ".s32s-lock-…, .s32s-new-…": "Beside a target while a run works on it.",
}


def _listed(texts: dict[str, str]) -> Iterator[str]:
    for name, text in texts.items():
        yield from (".TP", f"\\fB{roff(name)}\\fR", roff(text))


def man_of_maps() -> str:
    """s32s-map(5)."""
    lines = [
        f'.TH S32S-MAP 5 "" "s32s {__version__}" "File Formats"',
        ".SH NAME",
        "s32s\\-map \\- which directory belongs to which S3 path",
        ".SH DESCRIPTION",
        "A map file is JSON in UTF\\-8: a list of entries, each an object. Map files are on S3, below one prefix or as "
        "one object, and end in .json; a machine works from a copy until it updates its maps. An entry that has no "
        "place for the role of a machine is meant for other machines.",
        ".PP",
        "s32s maps new makes a map, s32s maps check and s32s maps upload check it, and s32s maps schema prints its "
        "JSON Schema for editors.",
        ".SH PROPERTIES",
        *_keys(maps.Entry),
        ".SH EXAMPLE",
        ".nf",
        roff(_EXAMPLE),
        ".fi",
        ".SH SEE ALSO",
        ".BR s32s (1), s32s.toml (5)",
        "",
    ]
    return "\n".join(lines)


_EXAMPLE = """[
  {
    "name": "WEBSITE",
    "s3": "my-bucket/sites/www",
    "master": "/home/me/www",
    "slave": "/srv/www/site",
    "ignore": [".git*", "*.tmp"]
  }
]"""


def man_of_configuration() -> str:
    """s32s.toml(5)."""
    lines = [
        f'.TH S32S.TOML 5 "" "s32s {__version__}" "File Formats"',
        ".SH NAME",
        "s32s.toml \\- configuration of s32s",
        ".SH DESCRIPTION",
        "TOML. It is looked for where \\-\\-config and $S32S_CONFIG say, then as ./s32s.toml, then as "
        "/etc/s32s/s32s.toml for root and ~/.config/s32s/s32s.toml for others.",
        ".PP",
        "Each key has a variable, which applies instead of the file: S32S_ and the key in capitals, with its table in "
        "front, such as S32S_MAX_DELETE and S32S_S3_REGION. Directories of a list are separated by colons. No file is "
        "needed where S32S_ROLE and S32S_MAPS are set; s32s env shows what applies.",
        ".SH KEYS",
        *_keys(settings.Settings),
    ]
    tables = {
        "s3": settings.S3Connection,
        "stores.NAME": settings.StoreSettings,
        "metrics": settings.MetricsSettings,
        "watch": settings.WatchSettings,
        "notify": settings.NotifySettings,
        "menu": settings.MenuSettings,
    }
    for name, model in tables.items():
        lines += [f".SH TABLE [{name.upper()}]", *_keys(model)]
    lines += [
        ".SH TABLE [COMMANDS]",
        "Commands of this machine, by name: run from the menu, and by \\(lqafter\\(rq of a map, by /bin/sh.",
        ".SH SEE ALSO",
        ".BR s32s (1), s32s-map (5)",
        "",
    ]
    return "\n".join(lines)


def _keys(model: type[pydantic.BaseModel]) -> Iterator[str]:
    texts = docstrings(model)
    for name, field in model.model_fields.items():
        if name in texts:
            yield from (".TP", f"\\fB{roff(field.alias or name)}\\fR", roff(" ".join(texts[name].split())))


def docstrings(model: type[pydantic.BaseModel]) -> dict[str, str]:
    """The texts below the fields of a model; read here, since reading them costs every start of s32s time."""
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    found: dict[str, str] = {}
    if isinstance(body, ast.ClassDef):
        for field, text in itertools.pairwise(body.body):
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                found[field.target.id] = str(text.value.value)
    return found


# -- units -------------------------------------------------------------------------------------------------------------


def packaged_units() -> dict[str, str]:
    """Service and timer as a package ships them, and templates for several configurations on one host."""
    texts: dict[str, str] = {}
    for instance, name in ((None, "s32s"), ("%i", "%i")):
        made = Service(
            ("/usr/bin/s32s",), Path(f"/etc/s32s/{name}.toml"), Role.SLAVE, Schedule.every("5min"), instance=instance
        )
        # %i is meant here: what stands behind the @ of a unit's name.
        texts |= {file.replace("@%i", "@"): text.replace("%%i", "%i") for file, text in units(made).items()}
    return texts


def main() -> None:
    """Write all of them."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in {
        "s32s.1": man_of_command(),
        "s32s.toml.5": man_of_configuration(),
        "s32s-map.5": man_of_maps(),
        "s32s.bash": completion.bash(),
        "_s32s": completion.zsh(),
        "s32s.fish": completion.fish(),
        **packaged_units(),
    }.items():
        (directory / name).write_text(text)


if __name__ == "__main__":
    main()
