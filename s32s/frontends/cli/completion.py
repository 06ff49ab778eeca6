"""What shells complete: commands, actions, options, and the names of entries.

Made from the grammar of the command line, for `s32s completion` and for packages. Names come from the cached maps, when
somebody presses Tab.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from s32s.frontends.cli import arguments

#: Commands that take names of entries; and those whose second word is an action.
_NAMING = (
    "dryrun",
    "copy",
    "sync",
    "watch",
    "status",
    "forget",
    "log",
    "diff",
    "rollback",
    "release",
    "prune",
    "verify",
    "restore",
    "convert",
    "maps edit",
    "trash list",
    "trash restore",
    "trash empty",
)
_WITH_ACTIONS = ("maps", "service", "trash", "help", "completion")


def commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command below a parser, by its words."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, inner in action.choices.items():
                full = f"{name} {word}".strip()
                yield full, inner
                yield from commands(inner, full)


def bash() -> str:
    """For bash."""
    root = arguments.parser()
    cases = "\n".join(
        f'        "{name}") words="{" ".join(_words(parser))}" ;;' for name, parser in [("", root), *commands(root)]
    )
    actions = "|".join(_WITH_ACTIONS)
    naming = "|".join(f'"{name}"' for name in _NAMING)
    return f"""# bash completion for s32s
_s32s() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" path="" words="" word name
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$word" in
            -*) ;;
            *) [ -z "$path" ] && path="$word" || case "$path" in {actions}) path="$path $word" ;; esac ;;
        esac
    done
    case "$path" in
{cases}
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    case "$path" in
        {naming})
            while IFS= read -r name; do
                [[ "$name" == "${{current//\\\\/}}"* ]] && COMPREPLY+=("$(printf %q "$name")")
            done < <("${{COMP_WORDS[0]}}" completion names 2>/dev/null) ;;
    esac
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
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in name.split())
        condition = f"-n '{seen}'" if name else "-n __fish_use_subcommand"
        for action in parser._actions:
            about = f"-d {_quoted(action.help)}"
            long = [word[2:] for word in action.option_strings if word.startswith("--")]
            lines += [f"complete -c s32s {condition} -l {word} {about}" for word in long]
            if isinstance(action, argparse._SubParsersAction):
                lines += [
                    f"complete -c s32s -f {condition} -a {choice.dest} -d {_quoted(choice.help)}"
                    for choice in action._choices_actions
                ]
        if name in _NAMING:
            lines.append(f"complete -c s32s {condition} -a '(s32s completion names 2>/dev/null)'")
    return "\n".join(lines) + "\n"


def _words(parser: argparse.ArgumentParser) -> list[str]:
    """What may follow a command: its actions and its options."""
    found: list[str] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += action.choices
        found += [word for word in action.option_strings if word.startswith("--")]
    return found


def _quoted(text: str | None) -> str:
    plain = (text or "").replace("%%", "%").replace("\\", "\\\\").replace("'", "\\'")
    return f"'{plain}'"
