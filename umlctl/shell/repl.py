"""`umlctl shell`: the prompt, and what reads commands where there is no terminal.

prompt_toolkit runs on asyncio and the rest of us on trio; trio-asyncio joins them. Interrupt and
end of input come as plain exceptions, since KeyboardInterrupt does not survive the crossing.
"""

from __future__ import annotations

import os
import signal
import sys
import termios
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

import trio

from socketproto.blocking import Connection, Unreachable
from umlctl import exitcodes
from umlctl.client.ask import absent, adopt
from umlctl.errors import NoGuest
from umlctl.host.paths import find_socket, umid_of
from umlctl.output import say
from umlctl.shell.completion import Facts
from umlctl.shell.live import Live
from umlctl.shell.session import Session
from umlctl.shell.typed import split

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from prompt_toolkit import PromptSession

DUMB: Final = ("", "dumb", "unknown")
"""Terminals that no cursor can be moved on, by TERM."""
COLOURS: Final = {"running": "ansigreen", "unmanaged": "ansigreen", "dead": "ansired"}
"""Of a guest's state in the prompt; any other is yellow."""
FIRST_LOOK: Final = 0.5
"""How long the first prompt waits for the guest's state, seconds."""


class Interrupted(Exception):
    """Ctrl-C at the prompt."""


class EndOfInput(Exception):
    """Ctrl-D at the prompt."""


def run(
    guest: str | None,
    *,
    commands: str | None = None,
    keep_going: bool = False,
    plain: bool = False,
    vi: bool = False,
) -> int:
    """Read commands and send them, until the input ends; the exit code.

    guest: None: the only one that runs, or none until one is switched to or started
    commands: what to do instead of reading input
    keep_going: a command that fails does not end a script
    plain: show answers as they are, at a terminal too

    Raises: NoGuest
    """
    interactive = commands is None and sys.stdin.isatty() and sys.stdout.isatty()
    plain = plain or os.environ.get("TERM", "") in DUMB
    if guest is None:
        guest = _choose(interactive=interactive)
    if not interactive:
        lines = sys.stdin if commands is None else iter([commands])
        session = Session(guest, fancy=False)
        return trio.run(_script, session, lines, keep_going)
    if guest:
        _greet(guest)
    with _sane_terminal():
        try:
            if plain:
                from umlctl.shell.plain import PlainShell

                trio.run(_interactive, PlainShell(guest, fancy=False))
            else:
                import trio_asyncio

                trio_asyncio.run(_interactive, Shell(guest, fancy=True, vi=vi))
        except BaseExceptionGroup as group:
            raise _first(group) from None
    return exitcodes.OK


def _first(problem: BaseException) -> BaseException:
    """What went wrong first in a nursery, which raises a group of all that did."""
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    return problem


async def _script(session: Session, lines: Iterable[str], keep_going: bool) -> int:
    """Without a terminal: a command a line, or more between `;`; the first failure ends it."""
    first = exitcodes.OK
    for line in lines:
        for command in split(line):
            code = await session.obey(command)
            if session.leaving:
                return first
            first = first or code
            if code and not keep_going:
                return code
    return first


def _choose(*, interactive: bool) -> str:
    """The guest to talk to: the only one that runs; else none, and a person is shown them all."""
    from umlctl.cli import listing

    found = listing.gather()
    alive = [status for status in found if status.state not in ("dead", "silent")]
    if len(alive) == 1:
        return alive[0].umid
    if interactive:
        if found:
            print("\n".join(listing.lines(found)))
        print(
            "`switch NAME` talks to one of them, `start NAME` boots another"
            if alive
            else "no guest runs; `start NAME` boots one, `help` lists the commands"
        )
    return ""


@contextmanager
def _sane_terminal() -> Iterator[None]:
    """The terminal is afterwards as it was, whatever happens."""
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _greet(guest: str) -> None:
    """See that somebody listens, who has the guest adopted if need be, and say what a bare kernel
    lacks.

    Raises: NoGuest
    """
    with Connection(find_socket(guest)) as connection:
        try:
            connection.link.open()
        except Unreachable as problem:
            if adopt(guest):
                return
            raise NoGuest(absent(guest, problem)) from None
        if not connection.link.served:
            print(
                f"nobody supervises {guest}: its kernel answers, and status, events and plug are "
                "not to be had"
            )


async def _interactive(shell: Shell) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.heed_signals)
        while not shell.session.leaving:
            await shell.talk()
        nursery.cancel_scope.cancel()


class Shell:
    """The prompt, of one guest at a time.

    Fields:
        running: the command that runs can be given up by it; None: none runs
        held: what is told before the next line is asked for
    """

    def __init__(self, guest: str, *, fancy: bool, vi: bool = False) -> None:
        self.session = Session(guest, fancy=fancy, confirm=self.confirm)
        self.running: trio.CancelScope | None = None
        self.held: list[str] = []
        self.live: Live
        self._offered = Facts()
        self._vi = vi
        self._prompt: PromptSession[str]

    async def talk(self) -> None:
        """Be the prompt of a guest until another is wanted, or none."""
        guest = self.session.guest
        async with self._living(guest):
            while self.session.guest == guest and not self.session.leaving:
                held, self.held = self.held, []
                for text in held:
                    self.tell(text)
                line = await self.ask_for_line()
                if line is None:
                    continue
                if self.interrupted_ahead():
                    say("given up", exitcodes.OK)
                    continue
                commands = split(line)
                if "\n" in line and len(commands) > 1 and not await self._is_meant(commands):
                    say("not sent", exitcodes.OK)
                    continue
                with trio.CancelScope() as self.running:
                    for command in commands:
                        await self.session.obey(command)
                self.running = None
                self.live.refresh()

    async def _is_meant(self, commands: list[str]) -> bool:
        """Who has pasted several commands wants all of them."""
        first = commands[0].strip()
        return await self.confirm(f"{len(commands)} commands, the first is `{first}`. Do them all?")

    @asynccontextmanager
    async def _living(self, guest: str) -> AsyncIterator[None]:
        """Keep up with a guest as long as this is entered."""
        self.live = Live(guest, self.redraw, self.tell, self.session.pids)
        self.begin(guest)
        with trio.move_on_after(FIRST_LOOK):
            await self.live.look()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.live.run)
            yield
            nursery.cancel_scope.cancel()

    async def ask_for_line(self) -> str | None:
        from trio_asyncio import aio_as_trio

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
        """Whether Ctrl-C was typed so soon behind a line that it was read with it, as a key."""
        from prompt_toolkit.input.typeahead import get_typeahead, store_typeahead
        from prompt_toolkit.keys import Keys

        terminal = self._prompt.app.input
        ahead = get_typeahead(terminal)
        keys = [pressed.key for pressed in ahead]
        kept = len(keys) - keys[::-1].index(Keys.ControlC) if Keys.ControlC in keys else 0
        store_typeahead(terminal, ahead[kept:])
        return kept > 0

    async def confirm(self, question: str) -> bool:
        from prompt_toolkit import PromptSession
        from trio_asyncio import aio_as_trio

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

    async def heed_signals(self) -> None:
        """SIGINT gives up the running command, and only it; the others end the shell as Ctrl-D
        does: dying of them would leave the terminal raw."""
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async for number in signals:
                if number == signal.SIGINT and self.session.handed_over:
                    continue  # it is for the program that has the terminal
                if self.running is not None:
                    say("given up", exitcodes.OK)
                    self.running.cancel()
                else:
                    self.interrupt()
                if number != signal.SIGINT:
                    self.session.leaving = True
                    self.leave()
                    return  # once is enough

    # What is seen

    def begin(self, guest: str) -> None:
        """Be ready to ask for lines for another guest."""
        self._prompt = self._make_prompt(guest)

    def interrupt(self) -> None:
        """SIGINT while a line is typed: Ctrl-C is a key there."""

    def leave(self) -> None:
        """Ask for no more of a line."""
        if self._prompt.app.is_running:
            self._prompt.app.exit(exception=EndOfInput)

    @property
    def prompt_text(self) -> str:
        """What stands before a line, as text."""
        if not self.session.guest:
            return "umlctl> "
        return f"{umid_of(self.session.guest)} {self.live.shown}> "

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
                # What fits was made of less than is known by now.
                app.current_buffer.start_completion()

    def tell(self, text: str) -> None:
        if self.running is not None or self._prompt.app.is_done:
            self.held.append(text)  # the screen may be a pager's
            return
        from prompt_toolkit.application import run_in_terminal
        from trio_asyncio import current_loop

        def show() -> None:
            if self._prompt.app.is_running:
                run_in_terminal(lambda: print(f"* {text}", flush=True))
            else:
                print(f"* {text}", flush=True)

        # Not prompt_toolkit's patch_stdout: it would come by another thread, in which nobody
        # knows the loop that the terminal has to be read in again afterwards.
        current_loop.get().call_soon(show)

    def _hold(self, text: str) -> None:
        self.held.append(text)

    def _make_prompt(self, guest: str) -> PromptSession[str]:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
        from prompt_toolkit.enums import EditingMode

        from umlctl.shell.editing import MenuCompleter, fit, keys, lexer
        from umlctl.shell.history import Kept

        prompt: PromptSession[str] = PromptSession(
            history=Kept(guest, self._hold),
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
