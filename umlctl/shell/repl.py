"""The prompt of `umlctl shell`.

prompt_toolkit runs on asyncio and the rest of us on trio; trio-asyncio joins them. Interrupt and
end of input come as plain exceptions, since KeyboardInterrupt does not survive the crossing.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import trio

from socketproto.blocking import TIMEOUT, Unreachable
from socketproto.client import Client
from socketproto.wire import WireError
from umlctl import exitcodes
from umlctl.commands import BY_NAME, GUEST, HOST, Command
from umlctl.host.paths import find_socket, state_dir, umid_of
from umlctl.oneshot import ask, prepare, say, show, unreachable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import CompleteEvent, Completion
    from prompt_toolkit.document import Document

LEAVE: Final = ("quit", "exit")


class Interrupted(Exception):
    """Ctrl-C at the prompt."""


class EndOfInput(Exception):
    """Ctrl-D at the prompt."""


def run(guest: str) -> int:
    """Read commands and send them, until the input ends; the exit code."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return _script(guest)
    import trio_asyncio

    code: int = trio_asyncio.run(_interactive, guest)
    return code


def _script(guest: str) -> int:
    """Without a terminal: a command a line; the first failure ends it."""
    for raw in sys.stdin:
        words = _words(raw)
        if not words or words[0].startswith("#"):
            continue
        if words[0] in LEAVE:
            break
        command = BY_NAME.get(words[0])
        if command is None or command.served == HOST:
            return say(f"{guest}: {_unknown(words[0])}", exitcodes.USAGE)
        code = ask(command, guest, words[1:], json=False, timeout=TIMEOUT, force=False)
        if code:
            return code
    return exitcodes.OK


def _words(line: str) -> list[str]:
    """A line as words; one with an open quote is split at blanks, as the guest would have it."""
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _unknown(word: str) -> str:
    near = [name for name in _names() if name.startswith(word)]
    hint = f"; did you mean {' or '.join(near)}?" if near else "; `help` lists the commands"
    return f"there is no command {word!r}{hint}"


def _names() -> list[str]:
    return [name for name, command in BY_NAME.items() if command.served != HOST]


class _Names:
    """Completes the first word of a line."""

    def get_completions(self, document: Document, _event: CompleteEvent) -> Iterable[Completion]:
        from prompt_toolkit.completion import Completion

        before = document.text_before_cursor.lstrip()
        if " " in before:
            return
        for name in [*_names(), *LEAVE]:
            if name.startswith(before):
                meta = BY_NAME[name].help if name in BY_NAME else "leave the shell"
                yield Completion(name, -len(before), display_meta=meta)


async def _interactive(guest: str) -> int:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
    from prompt_toolkit.completion import Completer
    from prompt_toolkit.history import FileHistory
    from trio_asyncio import aio_as_trio

    class NameCompleter(_Names, Completer):
        pass

    session: PromptSession[str] = PromptSession(
        history=FileHistory(_history_file(guest)),
        completer=NameCompleter(),
        auto_suggest=AutoSuggestFromHistory(),
        complete_while_typing=True,
        interrupt_exception=Interrupted,
        eof_exception=EndOfInput,
    )
    with Client(find_socket(guest)) as client:
        try:
            client.link.open()
        except Unreachable as problem:
            return unreachable(guest, problem)
        async with trio.open_nursery() as nursery:
            running = _Running()
            nursery.start_soon(_heed_signals, session, running)
            while not running.leaving:
                try:
                    # No SIGINT handler of its own: Ctrl-C is a key at the prompt.
                    line = await aio_as_trio(session.prompt_async)(
                        f"{guest}> ", handle_sigint=False
                    )
                except Interrupted:
                    continue
                except EndOfInput:
                    break
                words = _words(line)
                if words and words[0] in LEAVE:
                    break
                if words:
                    with running.scope():
                        await _obey(client, guest, words)
            nursery.cancel_scope.cancel()
    return exitcodes.OK


class _Running:
    """The command that is running, for Ctrl-C to give up; and whether the shell is to end."""

    def __init__(self) -> None:
        self.leaving = False
        self._scope: trio.CancelScope | None = None

    @contextmanager
    def scope(self) -> Iterator[None]:
        with trio.CancelScope() as self._scope:
            yield
        self._scope = None

    def give_up(self) -> None:
        if self._scope is not None:
            say("given up", exitcodes.OK)
            self._scope.cancel()


async def _heed_signals(session: PromptSession[str], running: _Running) -> None:
    """SIGINT gives up the running command, and only it; the others end the shell as Ctrl-D does:
    dying of them would leave the terminal raw."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async for number in signals:
            running.give_up()
            if number != signal.SIGINT:
                running.leaving = True
                if session.app.is_running:
                    session.app.exit(exception=EndOfInput)


async def _obey(client: Client, guest: str, words: list[str]) -> None:
    command = BY_NAME.get(words[0])
    if command is None or command.served == HOST:
        say(f"{guest}: {_unknown(words[0])}", exitcodes.USAGE)
    else:
        await _ask(client, guest, command, " ".join(words))


async def _ask(client: Client, guest: str, command: Command, text: str) -> None:
    from umlctl.cli.views import event_line, show_outcome

    rest = b""

    def each(data: bytes) -> None:
        nonlocal rest
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            print(event_line(line))

    try:
        text = prepare(client.link, text, force=False)
        outcome = await client.request(
            text,
            renew=TIMEOUT if command.waits else 0.0,
            each=each if command.name == "events" else None,
        )
    except Unreachable as problem:
        unreachable(guest, problem)
    except (WireError, PermissionError) as problem:
        say(f"{guest}: {problem}", exitcodes.USAGE)
    else:
        if command.served == GUEST:
            show_outcome(guest, command.name, outcome, json=False)
        else:
            show(guest, command.name, outcome)


def _history_file(guest: str) -> str:
    """Where the lines typed for this guest are kept, private."""
    directory = f"{state_dir()}/history"
    os.makedirs(directory, 0o700, exist_ok=True)
    path = f"{directory}/{umid_of(guest)}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return path
