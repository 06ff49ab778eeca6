"""`service install`, `service remove`, `service show`: systemd units of this machine."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from s32s.core.errors import UsageError
from s32s.frontends.cli.commands.common import print_json

if TYPE_CHECKING:
    import argparse

    from s32s.frontends.units import Service


def service_usage(options: argparse.Namespace, stop: threading.Event) -> int:
    raise UsageError("service needs an action: install, remove or show", hint="see s32s service --help")


def service_install(options: argparse.Namespace, stop: threading.Event) -> int:
    from pathlib import Path

    from s32s.frontends import systemd

    for line in systemd.install(_service(options), root=Path(options.root) if options.root else None):
        _tell(line, options)
    return 0


def service_show(options: argparse.Namespace, stop: threading.Event) -> int:
    from s32s.frontends import units

    made = _service(options)
    for name, text in units.units(made).items():
        if options.json:
            print_json({"event": "unit", "file": str(made.directory / name), "text": text})
        else:
            print(f"# {made.directory / name}\n{text}")
    return 0


def service_remove(options: argparse.Namespace, stop: threading.Event) -> int:
    from pathlib import Path

    from s32s.config import settings_file
    from s32s.frontends import systemd, units

    directory = settings_file.user_units(os.environ) if options.user else units.SYSTEM_UNITS
    root = Path(options.root) if options.root else None
    for line in systemd.remove(options.instance, is_user_unit=options.user, directory=directory, root=root):
        _tell(line, options)
    return 0


def _tell(line: str, options: argparse.Namespace) -> None:
    if options.json:
        print_json({"event": "step", "text": line})
    else:
        print(line)


def _service(options: argparse.Namespace) -> Service:
    from pathlib import Path

    from s32s.config import settings_file
    from s32s.frontends import units

    if options.set:
        raise UsageError("--set is not kept by a service", hint="write it into the configuration instead")
    config = settings_file.find(options.config, os.environ)
    on_calendar, every = units.Schedule.on_calendar, units.Schedule.every
    schedule = on_calendar(options.on_calendar) if options.on_calendar else every(options.every)
    return units.of_machine(
        settings_file.load(config),
        config,
        schedule,
        instance=options.instance,
        user=options.run_as,
        is_user_unit=options.user,
        update_maps=options.update_maps,
        credentials=Path(options.credentials) if options.credentials else None,
        directory=settings_file.user_units(os.environ) if options.user else units.SYSTEM_UNITS,
        watches=options.watch,
    )
