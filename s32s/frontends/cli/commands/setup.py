"""`menu`, `configure`, `demo`: what somebody begins with."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

from s32s.core.errors import UsageError
from s32s.core.role import Role
from s32s.frontends.cli.commands.common import print_json

if TYPE_CHECKING:
    import argparse

    from s32s.config.settings import Settings


def menu(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.frontends.menu import start

    return start.menu(options.config, os.environ)


def configure(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.config import settings_file

    file = settings_file.find(options.config, os.environ)
    asked = {
        name: value
        for name, value in vars(options).items()
        if name not in ("command", "config", "no_check", "debug", "parser", "set", "json")
    }
    if not any(asked.values()):
        from s32s.frontends.menu import start

        return start.configure(file, os.environ)
    if (options.role is None or options.maps is None) and not file.exists():
        raise UsageError(
            "configure needs --role and --maps the first time",
            hint="s32s configure --role slave --maps BUCKET/PREFIX --allow DIRECTORY",
        )
    limit = options.max_delete
    settings_file.configure(
        file,
        {
            "role": options.role,
            "maps": options.maps,
            "allow": options.allow,
            "max_delete": int(limit) if limit and limit.isdigit() else limit,
            "s3": {
                "endpoint_url": options.endpoint_url,
                "profile": options.profile,
                "region": options.region,
            },
        },
        before=lambda settings: None if options.no_check else _try_out(settings, options),
    )
    if options.json:
        print_json({"event": "written", "file": str(file)})
    else:
        print(f"wrote {file}")
    return 0


def _try_out(settings: Settings, options: argparse.Namespace) -> None:
    """Look whether maps can be had as the configuration would say, and note what is still missing.

    Raises:
        S32sError: they cannot.
    """
    from s32s.agent import onboarding
    from s32s.agent.catalog import NoMaps
    from s32s.core.errors import S32sError
    from s32s.core.paths import some

    for directory in options.allow or ():
        if not os.path.isdir(directory):
            _note(f"{directory} does not exist yet; make it before the first sync: mkdir -p {directory}")
    if not (options.maps or options.endpoint_url or options.profile or options.region):
        return
    try:
        loaded = onboarding.look(settings.maps, settings.s3)
    except NoMaps as exc:
        _note(str(exc))
        return
    except S32sError as exc:
        exc.hint = f"{exc.hint}; " * bool(exc.hint) + "nothing was written; --no-check writes it all the same"
        raise
    if not loaded.of(settings.role):
        _note(f"no entry of the maps is for a {settings.role.value}")
    elif settings.role is Role.SLAVE and (outside := onboarding.outside(loaded, settings.allow)):
        _note(f"these entries are outside of allow, and will be refused: {some(outside)}")


def _note(text: str) -> None:
    print(f"s32s: note: {text}", file=sys.stderr)


def demo(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.frontends.demo import demo

    return demo(keep=options.keep)
