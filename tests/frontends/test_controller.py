"""What the menu makes of keys, where no terminal is needed to see it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from s32s.config.settings import Directories
from s32s.core.errors import ConfigError
from s32s.frontends.menu.actions import Actions
from s32s.frontends.menu.controller import Controller


class TestJobs:
    def test_one_that_has_ended_unseen_does_not_swallow_the_next(self, tmp_path: Path) -> None:
        """A picture may come late; what was chosen meanwhile is done all the same."""
        file = tmp_path / "s32s.toml"
        file.write_text('role = "master"\nmaps = "bucket/maps"\n[s3]\nendpoint_url = "http://127.0.0.1:9"\n')
        opened, looked = threading.Event(), threading.Event()

        class Quick(Actions):
            def open(self) -> None:
                opened.set()

            def preview_of(self, path: str) -> None:  # type: ignore[override] # it never returns
                looked.set()
                raise ConfigError("enough")

        controller = Controller(
            Quick(file, Directories(tmp_path / "state", tmp_path / "cache")),
            redraw=lambda: None,
            leave=lambda word: None,
        )
        controller.begin()
        assert opened.wait(10)
        time.sleep(0.2)  # its thread ends, and nobody has looked

        controller.look_at("other/maps")

        assert looked.wait(10)
        controller.end()
