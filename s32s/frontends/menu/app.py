"""The menu on a real terminal: keys and clicks in, pictures out.

All that happens is in `controller.py`; here is only what needs prompt-toolkit. A path of maps is typed in outside the
picture, with completion, and then the picture comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prompt_toolkit import Application
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import FormattedTextControl, Layout, Window
from prompt_toolkit.mouse_events import MouseEvent, MouseEventType
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Style

from s32s.core.errors import Interrupted
from s32s.frontends.menu import views
from s32s.frontends.menu.actions import Actions
from s32s.frontends.menu.controller import NAMED, Controller
from s32s.frontends.menu.prompter import Left, Prompter
from s32s.frontends.menu.prompts import ended_by_sigterm

_LOOK_S = 0.2
_STYLE = Style.from_dict(
    {
        "header": "reverse bold",
        "chosen": "reverse",
        "cursor": "bold",
        "key": "bold",
        "dim": "ansibrightblack",
        "good": "ansigreen",
        "bad": "ansired",
        "warn": "ansiyellow",
        "strong": "bold",
        "question": "reverse bold",
    }
)


class Menu:
    """The interactive menu.

    Args:
        actions: what can be done.
        prompter: for what is typed in.
        environment: for NO_COLOR.
    """

    def __init__(self, actions: Actions, prompter: Prompter, environment: Mapping[str, str]) -> None:
        self._actions = actions
        self._prompter = prompter
        self._monochrome = bool(environment.get("NO_COLOR"))
        self._controller = Controller(actions, redraw=self._redraw, leave=self._leave)
        self._app: Application[str] | None = None

    def run(self) -> None:
        """Show the menu until the person leaves.

        Raises:
            Interrupted: SIGTERM.
        """
        self._controller.begin()
        while True:
            self._app = self._application()
            try:
                with ended_by_sigterm(self._app) as watch:
                    said = self._app.run(pre_run=watch)
            except Interrupted:
                self._controller.end()
                raise
            if said != "maps":
                self._controller.end()
                return
            try:
                path = self._prompter.ask(
                    "S3 path of the maps, for this session",
                    default=str(self._actions.source),
                    complete=self._actions.completions,
                )
            except Left:
                continue
            self._controller.look_at(path)

    def _application(self) -> Application[str]:
        control = FormattedTextControl(self._picture, focusable=True, show_cursor=False)
        app: Application[str] = Application(
            layout=Layout(Window(control, wrap_lines=False, always_hide_cursor=True)),
            key_bindings=self._bindings(),
            style=_STYLE,
            color_depth=ColorDepth.DEPTH_1_BIT if self._monochrome else None,
            full_screen=True,
            mouse_support=True,
            refresh_interval=_LOOK_S,
            before_render=lambda app: self._controller.look(),
        )
        app.ttimeoutlen = 0.05  # of Esc, which also begins the sequences of other keys
        return app

    def _leave(self, said: str) -> None:
        if self._app is not None and self._app.is_running and not self._app.is_done:
            self._app.exit(result=said)

    def _redraw(self) -> None:
        if self._app is not None:
            self._app.invalidate()

    def _bindings(self) -> KeyBindings:
        bindings = KeyBindings()

        def bind(key: str) -> None:
            @bindings.add(key, eager=True)
            def pressed(event: KeyPressEvent) -> None:
                self._controller.press(key)

        for key in NAMED:
            bind(key)

        @bindings.add(Keys.Any)
        def typed(event: KeyPressEvent) -> None:
            if event.data.isprintable() and event.data:
                self._controller.press(event.data)

        return bindings

    def _picture(self) -> StyleAndTextTuples:
        size = self._app.output.get_size() if self._app is not None else None
        lines = self._controller.lines(size.columns, size.rows) if size else []
        pieces: StyleAndTextTuples = []
        for at, line in enumerate(lines):
            for style, text, tag in line:
                pieces.append((style, text) if tag is None else (style, text, self._handler(tag)))
            if at < len(lines) - 1:
                pieces.append(("", "\n"))
        return pieces

    def _handler(self, tag: views.Tag) -> Callable[[MouseEvent], Any]:
        def clicked(event: MouseEvent) -> Any:
            if event.event_type is MouseEventType.MOUSE_UP:
                self._controller.click(tag)
            elif event.event_type is MouseEventType.SCROLL_UP:
                self._controller.press("up")
            elif event.event_type is MouseEventType.SCROLL_DOWN:
                self._controller.press("down")
            else:
                return NotImplemented
            return None

        return clicked
