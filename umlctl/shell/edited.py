"""The prompt with a line editor: a menu, colours, history, and events above the line.

prompt_toolkit runs on asyncio and umlctl on trio; trio-asyncio joins them. Interrupt and end of
input come as plain exceptions, since KeyboardInterrupt does not survive the crossing.
"""

from __future__ import annotations

import os
from typing import Final

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.input.typeahead import get_typeahead, store_typeahead
from prompt_toolkit.keys import Keys
from trio_asyncio import aio_as_trio, current_loop

from umlctl.host.paths import umid_of
from umlctl.shell.completion import Facts
from umlctl.shell.editing import MenuCompleter, fit, keys, lexer
from umlctl.shell.history import LineHistory
from umlctl.shell.repl import Shell

COLOURS: Final = {"running": "ansigreen", "unmanaged": "ansigreen", "dead": "ansired"}
"""The colour of a guest's state in the prompt; any other state is yellow."""


class Interrupted(Exception):
    """Ctrl-C at the prompt."""


class EndOfInput(Exception):
    """Ctrl-D at the prompt."""


class EditedShell(Shell):
    """The prompt of a terminal whose cursor can be moved."""

    def __init__(self, guest: str, *, vi: bool = False) -> None:
        """vi: take the keys of vi, and not those of emacs"""
        super().__init__(guest, fancy=True)
        self._offered = Facts()
        self._vi = vi
        self._prompt: PromptSession[str]

    async def ask_for_line(self) -> str | None:
        try:
            # No SIGINT handler of its own: Ctrl-C is a key at the prompt.
            line: str = await aio_as_trio(self._prompt.prompt_async)(
                self._message, handle_sigint=False
            )
        except Interrupted:
            return None
        except EndOfInput:
            self.session.leaving = True
            return None
        return line

    def interrupted_ahead(self) -> bool:
        terminal = self._prompt.app.input
        ahead = get_typeahead(terminal)
        typed = [pressed.key for pressed in ahead]
        kept = len(typed) - typed[::-1].index(Keys.ControlC) if Keys.ControlC in typed else 0
        store_typeahead(terminal, ahead[kept:])
        return kept > 0

    async def confirm(self, question: str) -> bool:
        asked: PromptSession[str] = PromptSession(
            interrupt_exception=Interrupted, eof_exception=EndOfInput
        )
        try:
            said: str = await aio_as_trio(asked.prompt_async)(
                f"{question} [y/N] ", handle_sigint=False
            )
        except (Interrupted, EndOfInput):
            return False
        return said.strip().lower() in ("y", "yes")

    def begin(self, guest: str) -> None:
        self._prompt = self._make_prompt(guest)

    def interrupt(self) -> None:
        """Ctrl-C is a key here."""

    def leave(self) -> None:
        if self._prompt.app.is_running:
            self._prompt.app.exit(exception=EndOfInput)

    def _message(self) -> list[tuple[str, str]]:
        colour = COLOURS.get(self.live.state, "ansiyellow")
        if os.environ.get("NO_COLOR"):
            return [("", self.prompt_text)]
        name = umid_of(self.session.guest)
        if not name:
            return [("bold", "umlctl"), ("", "> ")]
        return [("bold", name), ("", " "), (colour, self.live.shown), ("", "> ")]

    def redraw(self) -> None:
        app = self._prompt.app
        if not app.is_running:
            return
        app.invalidate()
        if self.live.facts != self._offered:
            self._offered = self.live.facts
            menu = app.current_buffer.complete_state
            if app.current_buffer.text and (menu is None or menu.complete_index is None):
                # The menu was made of less than is known by now.
                app.current_buffer.start_completion()

    def tell(self, text: str) -> None:
        if self.running is not None or self._prompt.app.is_done:
            self.held.append(text)  # the screen may be a pager's
            return

        def show() -> None:
            if self._prompt.app.is_running:
                run_in_terminal(lambda: print(f"* {text}", flush=True))
            else:
                print(f"* {text}", flush=True)

        # The patch_stdout of prompt_toolkit would print from another thread, which does not know
        # the loop in which the terminal has to be read again afterwards.
        current_loop.get().call_soon(show)

    def _hold(self, text: str) -> None:
        self.held.append(text)

    def _make_prompt(self, guest: str) -> PromptSession[str]:
        prompt: PromptSession[str] = PromptSession(
            history=LineHistory(guest, self._hold),
            completer=MenuCompleter(self.live),
            lexer=lexer(),
            auto_suggest=AutoSuggestFromHistory(),
            complete_while_typing=True,
            complete_in_thread=True,
            enable_suspend=True,
            editing_mode=EditingMode.VI if self._vi else EditingMode.EMACS,
            key_bindings=keys(),
            interrupt_exception=Interrupted,
            eof_exception=EndOfInput,
        )
        fit(prompt, self.live)
        return prompt
