"""The prompt: it asks for a line, does it, and asks for the next one, until the user leaves.

Each kind of terminal has a subclass that knows how lines are typed and events told there.
"""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from umlctl import exitcodes
from umlctl.host.paths import umid_of
from umlctl.output import say
from umlctl.shell.command_line import split
from umlctl.shell.monitor import GuestMonitor
from umlctl.shell.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FIRST_LOOK_TIMEOUT: Final = 0.5
"""How long the first prompt waits for the guest's state, seconds."""


class Shell(ABC):
    """The prompt, of one guest at a time.

    Fields:
        running: cancelled to give up the command that runs; None: none runs
        held: texts to be told before the next line is asked for
        live: the guest, as it was last seen
    """

    def __init__(self, guest: str, *, fancy: bool) -> None:
        self.session = Session(guest, fancy=fancy, confirm=self.confirm)
        self.running: trio.CancelScope | None = None
        self.held: list[str] = []
        self.live: GuestMonitor

    async def talk(self) -> None:
        """Be the prompt of a guest until the user wants another, or none."""
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
        """Whether a user who has pasted several commands wants all of them."""
        first = commands[0].strip()
        return await self.confirm(f"{len(commands)} commands, the first is `{first}`. Do them all?")

    @asynccontextmanager
    async def _living(self, guest: str) -> AsyncIterator[None]:
        """Keep up with a guest as long as this is entered."""
        self.live = GuestMonitor(guest, self.redraw, self.tell, self.session.pids)
        self.begin(guest)
        with trio.move_on_after(FIRST_LOOK_TIMEOUT):
            await self.live.look()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.live.run)
            yield
            nursery.cancel_scope.cancel()

    async def heed_signals(self) -> None:
        """Give up the running command on SIGINT, and only that. The other signals end the shell as
        Ctrl-D
        does: dying of them would leave the terminal raw."""
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async for number in signals:
                if number == signal.SIGINT and self.session.handed_over:
                    continue  # the signal is for the program that has the terminal
                if self.running is not None:
                    say("given up", exitcodes.OK)
                    self.running.cancel()
                else:
                    self.interrupt()
                if number != signal.SIGINT:
                    self.session.leaving = True
                    self.leave()
                    return  # once is enough

    @property
    def prompt_text(self) -> str:
        """The text before a line."""
        if not self.session.guest:
            return "umlctl> "
        return f"{umid_of(self.session.guest)} {self.live.shown}> "

    # Of a terminal

    @abstractmethod
    def begin(self, guest: str) -> None:
        """Get ready to ask for lines for another guest."""

    @abstractmethod
    async def ask_for_line(self) -> str | None:
        """Ask for a line; None if Ctrl-C came instead, or the end: the user leaves the session
        then."""

    @abstractmethod
    def interrupted_ahead(self) -> bool:
        """Whether Ctrl-C was typed so soon behind a line that it was read with the line, as a
        key."""

    @abstractmethod
    async def confirm(self, question: str) -> bool:
        """Ask a person; whether they say yes."""

    @abstractmethod
    def interrupt(self) -> None:
        """Give up the line that the user types: SIGINT has come."""

    @abstractmethod
    def leave(self) -> None:
        """Stop asking for a line."""

    @abstractmethod
    def redraw(self) -> None:
        """Show the guest as it is now."""

    @abstractmethod
    def tell(self, text: str) -> None:
        """Say what has happened, above the line that the user types; while a command runs,
        later."""
