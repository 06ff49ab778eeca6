"""Man pages, completions and units, made from the grammar of the command line and the models of the configuration.

    .venv/bin/python packaging/texts.py DIRECTORY

writes s32s.1, s32s.toml.5, s32s.bash, _s32s, s32s.fish and the units there. What the help says and what they say cannot
differ. The units in packaging/systemd are these, for who packages s32s otherwise.
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
from s32s.config import settings
from s32s.core.role import Role
from s32s.frontends.cli import arguments
from s32s.frontends.units import Schedule, Service, units


def commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command below a parser, by its words."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, inner in action.choices.items():
                full = f"{name} {word}".strip()
                yield full, inner
                yield from commands(inner, full)


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
    lines += [".SH FILES", "/etc/s32s/s32s.toml, ~/.config/s32s/s32s.toml", ".SH SEE ALSO", ".BR s32s.toml (5)", ""]
    return "\n".join(lines)


def man_of_configuration() -> str:
    """s32s.toml(5)."""
    lines = [
        f'.TH S32S.TOML 5 "" "s32s {__version__}" "File Formats"',
        ".SH NAME",
        "s32s.toml \\- configuration of s32s",
        ".SH DESCRIPTION",
        "TOML. It is looked for where \\-\\-config and $S32S_CONFIG say, then as ./s32s.toml, then as "
        "/etc/s32s/s32s.toml for root and ~/.config/s32s/s32s.toml for others.",
        ".SH KEYS",
        *_keys(settings.Settings),
    ]
    tables = {
        "s3": settings.S3Connection,
        "stores.NAME": settings.StoreSettings,
        "metrics": settings.MetricsSettings,
        "watch": settings.WatchSettings,
        "menu": settings.MenuSettings,
    }
    for name, model in tables.items():
        lines += [f".SH TABLE [{name.upper()}]", *_keys(model)]
    lines += [
        ".SH TABLE [COMMANDS]",
        "Commands of this machine, by name: run from the menu, and by \\(lqafter\\(rq of a map, by /bin/sh.",
        ".SH SEE ALSO",
        ".BR s32s (1)",
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


# -- completions -------------------------------------------------------------------------------------------------------


def words_of(parser: argparse.ArgumentParser) -> list[str]:
    """What may follow a command: its actions and its options."""
    found: list[str] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += action.choices
        found += [word for word in action.option_strings if word.startswith("--")]
    return found


def bash() -> str:
    """For bash-completion."""
    root = arguments.parser()
    cases = "\n".join(
        f'        "{name}") words="{" ".join(words_of(parser))}" ;;' for name, parser in [("", root), *commands(root)]
    )
    return f"""# bash completion for s32s
_s32s() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" path="" words="" word
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$word" in
            -*) ;;
            *) [ -z "$path" ] && path="$word" || case "$path" in maps|service|help) path="$path $word" ;; esac ;;
        esac
    done
    case "$path" in
{cases}
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}}
complete -o default -F _s32s s32s
"""


def zsh() -> str:
    """For zsh, by way of its bash compatibility."""
    return f"#compdef s32s\nautoload -U +X bashcompinit && bashcompinit\n{bash()}"


def fish() -> str:
    """For fish."""
    root = arguments.parser()
    lines = ["# fish completion for s32s"]
    for name, parser in [("", root), *commands(root)]:
        words = name.split()
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in words)
        condition = f"-n '{seen}'" if words else "-n __fish_use_subcommand"
        for action in parser._actions:
            about = f"-d {_quoted(action.help)}"
            long = [word[2:] for word in action.option_strings if word.startswith("--")]
            lines += [f"complete -c s32s {condition} -l {word} {about}" for word in long]
            if isinstance(action, argparse._SubParsersAction):
                lines += [
                    f"complete -c s32s -f {condition} -a {choice.dest} -d {_quoted(choice.help)}"
                    for choice in action._choices_actions
                ]
    return "\n".join(lines) + "\n"


def _quoted(text: str | None) -> str:
    plain = (text or "").replace("%%", "%").replace("\\", "\\\\").replace("'", "\\'")
    return f"'{plain}'"


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
        "s32s.bash": bash(),
        "_s32s": zsh(),
        "s32s.fish": fish(),
        **packaged_units(),
    }.items():
        (directory / name).write_text(text)


if __name__ == "__main__":
    main()
