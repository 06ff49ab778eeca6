"""`menu`, `configure`, `demo`: what somebody begins with."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from s32s.core.errors import UsageError

if TYPE_CHECKING:
    import argparse


def menu(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.frontends.menu import start

    return start.menu(options.config, os.environ)


def configure(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.config import settings_file

    file = settings_file.find(options.config, os.environ)
    asked = {name: value for name, value in vars(options).items() if name not in ("command", "config")}
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
    )
    print(f"wrote {file}")
    return 0


def demo(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.frontends.demo import demo

    return demo(keep=options.keep)
