"""What a line does, at the prompt and without one: it is read, done, and its answer shown."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from typing import TYPE_CHECKING, Final

import trio

from socketproto.exchange import REFUSED, Outcome
from umlctl import exitcodes
from umlctl.cli import prompt
from umlctl.client import guests
from umlctl.client.target import Target
from umlctl.errors import NoGuest, UmlctlError, UsageError
from umlctl.host.limits import explained, is_lacking
from umlctl.host.paths import guest_names
from umlctl.output import guest_table, say, show
from umlctl.protocol.commands import ALIASES, BY_NAME, GUEST, HOST, Command, dangerous
from umlctl.shell import programs
from umlctl.shell.asking import request, show_plainly
from umlctl.shell.command_line import Typed, addressed, read
from umlctl.shell.completion import BUILT_IN
from umlctl.shell.explain import about, of_the_host, question, unknown
from umlctl.shell.render import CLEAR_SEQUENCE, plain_text, rendered, table_of_devices
from umlctl.shell.repeated import interval, top, watch
from umlctl.streams import PYTHON

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LEAVE_WORDS: Final = ("quit", "exit")


class Session:
    """One guest, and how its answers are shown.

    Fields:
        guest: as the user named it; empty: none, until the user switches to one or starts one
        handed_over: a program of the host has the terminal
        fancy: answers are for a person at a terminal: tables, colours, a pager
        confirm: asks a person whether to go on; None: there is no person to ask
        leaving: the shell is to end
        code: how the last command ended
        pids: of this process, and of those that it has started
    """

    def __init__(
        self,
        guest: str,
        *,
        fancy: bool,
        confirm: Callable[[str], Awaitable[bool]] | None = None,
    ) -> None:
        self.guest = guest
        self.fancy = fancy
        self.confirm = confirm
        self.leaving = False
        self.handed_over = False
        self.code = exitcodes.OK
        self.pids = {os.getpid()}

    async def obey(self, line: str) -> int:
        """Do what one line says; return the exit code."""
        try:
            name, command = addressed(line)
            if name:
                self.code = await self._obey_of(name, command)
            else:
                self.code = await self._obey(command)
        except UmlctlError as problem:
            self.code = say(f"{self._heading}{problem}", problem.code)
        except (OSError, RuntimeError) as problem:
            if isinstance(problem, RuntimeError) and not is_lacking(problem):
                raise
            self.code = say(f"{self._heading}{explained(problem)}", exitcodes.FAILED)
        except ValueError as problem:  # a NUL in a name of the host
            self.code = say(f"{self._heading}{problem}", exitcodes.USAGE)
        return self.code

    @property
    def _heading(self) -> str:
        return f"{self.guest}: " if self.guest else ""

    async def _obey_of(self, guest: str, line: str) -> int:
        """Do what a line says, for another guest.

        Raises: UmlctlError
        """
        words = read(line).words
        if words and prompt.takes(words):
            is_asked = prompt.find(words).wants_guest
        else:
            is_asked = not words or words[0] == "watch" or words[0] not in BUILT_IN
        if not is_asked:
            raise UsageError(f"`{words[0]}` is not asked of one guest: leave `@{guest}` out")
        current, self.guest = self.guest, guest
        try:
            return await self._obey(line)
        finally:
            self.guest = current

    async def _obey(self, line: str) -> int:
        """Raises: UmlctlError"""
        program = of_the_host(line)
        if program:
            return await self._run(program)
        typed = read(line)
        words = typed.words
        if not words:
            return exitcodes.OK
        name = words[0].removeprefix("!")
        if name in ALIASES:
            words[0] = words[0].replace(name, ALIASES[name])
            name = ALIASES[name]
        asked = question(line, [name, *words[1:]])
        if asked is not None:
            return await self._explain(typed, asked)
        if name == "help":
            words = [word for word in words if word != prompt.KERNEL]
            typed = typed._replace(words=words)
        if prompt.takes([name, *words[1:]]):
            return await self._as_outside(typed)
        if name in BUILT_IN:
            return await self._built_in(name, typed)
        command = BY_NAME.get(name)
        if command is None or command.served == HOST:
            raise UsageError(unknown(name))
        self._need_guest(name)
        if not await self._is_meant(words):
            return say("not sent", exitcodes.OK)
        return await self._ask(command, typed)

    async def _explain(self, typed: Typed, words: list[str]) -> int:
        said = "\n".join(about(words)) + "\n"
        if typed.program or typed.file:
            return await self._hand_on(typed, said.encode())
        return await self._show_long(said)

    async def _is_meant(self, words: list[str]) -> bool:
        """Whether a person wants what a command may cost; yes, if there is no person to ask."""
        cost = dangerous(words)
        return not cost or self.confirm is None or await self.confirm(f"{cost}. Go on?")

    def _need_guest(self, name: str) -> None:
        """Raises: NoGuest: there is no current guest"""
        if not self.guest:
            known = guest_names()
            raise NoGuest(
                f"`{name}` needs a guest: which? There are {', '.join(known)}; `switch NAME` talks "
                f"to one, `@NAME {name}` asks one"
                if known
                else f"`{name}` needs a guest, and no guest runs; `start NAME` boots one"
            )

    async def _built_in(self, name: str, typed: Typed) -> int:
        if typed.program or typed.file:
            if name == "list":
                return await self._as_outside(typed)
            raise UsageError(f"`{name}` is for the screen: it takes no | or >")
        if name in LEAVE_WORDS:
            if typed.words[1:]:
                raise UsageError(unknown(name))
            self.leaving = True
            return exitcodes.OK
        if name == "switch":
            return self._switch(typed.words)
        if name == "watch":
            self._need_guest(name)
            return await watch(self.guest, *interval(typed.words[1:]), fancy=self.fancy)
        if name == "clear":
            sys.stdout.write(CLEAR_SEQUENCE if self.fancy else "")
            return exitcodes.OK
        return await (top(fancy=self.fancy) if name == "top" else self._list())

    async def _as_outside(self, typed: Typed) -> int:
        """Run a command of the command line, which has the terminal until it ends.

        Raises: UsageError, NoGuest
        """
        words = typed.words
        if words[0].startswith("!"):
            words = [words[0][1:], "--force", *words[1:]]
        verb = prompt.find(words)
        if verb.wants_guest:
            self._need_guest(verb.name)
        values = verb.read(self.guest)
        if words[0] in BY_NAME and not await self._is_meant([words[0], *values.get("words", ())]):
            return say("not sent", exitcodes.OK)
        line = shlex.join([*PYTHON, "umlctl", *verb.line(self.guest)])
        if typed.file:
            with open(_opened(typed), "wb") as file:
                return await self._run(f"exec {line}", stdout=file.fileno())
        if typed.program:
            return await self._run(f"{line} | {typed.program}")
        code = await self._run(f"exec {line}")
        if verb.name == "start" and code == exitcodes.OK and not self.guest:
            self.guest = values["umid"]
        return code

    # Asking

    async def _ask(self, command: Command, typed: Typed) -> int:
        if command.name == "events" and not (typed.program or typed.file):
            from umlctl.output.views import event_line

            rest = b""

            def each(data: bytes) -> None:
                nonlocal rest
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    print(event_line(line), flush=True)

            outcome = await request(self.guest, typed.words, each)
            if isinstance(outcome, int):
                return outcome
            if outcome.kind == REFUSED:
                outcome = Outcome(REFUSED, outcome.error, rest)
            return exitcodes.OK if outcome.ok else show(self.guest, "events", outcome)
        words = typed.words
        if words == ["events"]:
            words = ["events", "past"]  # events to come would keep `events` from ever ending
        outcome = await request(self.guest, words)
        if isinstance(outcome, int):
            return outcome
        if outcome.ok and (typed.program or typed.file):
            return await self._hand_on(typed, plain_text(command.name, outcome))
        if outcome.ok and self.fancy and not command.waits:
            await self._present(command, typed.words, outcome)
            return exitcodes.OK
        return show_plainly(self.guest, command, typed.words, outcome)

    # Showing

    async def _present(self, command: Command, words: list[str], outcome: Outcome) -> None:
        """Show an answer to a person; a long one through a pager."""
        if command.name in ("devices", "plug"):
            sys.stdout.write(table_of_devices(outcome))
            return
        if command.served == GUEST:
            from umlctl.output.views import show_outcome

            show_outcome(self.guest, command.name, outcome, json=False)
            return
        text = plain_text(command.name, outcome).decode("utf-8", "replace")
        await self._show_long(rendered(command.name, words, text))

    async def _show_long(self, shown: str) -> int:
        """Show a text, through a pager if a person's terminal is too small for it."""
        pager = os.environ.get("PAGER") or ("less -R" if shutil.which("less") else "")
        room = shutil.get_terminal_size().lines - 1
        if self.fancy and pager and shown.count("\n") >= room:
            return await self._run(f"exec {pager}", shown.encode())
        sys.stdout.write(shown)
        sys.stdout.flush()
        return exitcodes.OK

    async def _hand_on(self, typed: Typed, data: bytes) -> int:
        if typed.file:
            await trio.to_thread.run_sync(_write, typed, data, abandon_on_cancel=True)
            return exitcodes.OK
        return await self._run(typed.program, data)

    async def _run(self, program: str, data: bytes | None = None, stdout: int | None = None) -> int:
        """Run a program of the host, on an answer or on the terminal.

        Ctrl-C is for the program meanwhile.
        """
        self.handed_over = True
        try:
            return await programs.run(program, data, stdout, self.pids.add)
        except OSError as problem:
            return say(f"{program}: {explained(problem)}", exitcodes.FAILED)
        finally:
            self.handed_over = False

    # Commands of the shell itself

    def _switch(self, words: list[str]) -> int:
        if len(words) != 2:
            raise UsageError("`switch` needs a guest: switch GUEST")
        if not Target(words[1]).is_there():
            raise UsageError(f"no guest {words[1]!r}; `list` shows the guests")
        self.guest = words[1]
        return exitcodes.OK

    async def _list(self) -> int:
        found = await trio.to_thread.run_sync(guests.gather)
        return await self._show_long("\n".join(guest_table.lines(found, time.time())) + "\n")


def _opened(typed: Typed) -> int:
    """A descriptor of the file that an answer goes to."""
    mode = os.O_APPEND if typed.append else os.O_TRUNC
    path = os.path.expanduser(typed.file)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | mode, 0o666)


def _write(typed: Typed, data: bytes) -> None:
    with open(_opened(typed), "wb") as file:
        file.write(data)
