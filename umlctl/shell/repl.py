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
from typing import TYPE_CHECKING, Any, Final

import trio

from socketproto.blocking import Connection, Unreachable
from umlctl import exitcodes
from umlctl.cli.complete import files
from umlctl.client.ask import absent
from umlctl.commands import BY_NAME
from umlctl.errors import NoGuest
from umlctl.host.paths import find_socket, umid_of
from umlctl.output import say
from umlctl.shell import completion
from umlctl.shell.completion import Facts
from umlctl.shell.explain import about, names, topic
from umlctl.shell.live import Live
from umlctl.shell.session import Session
from umlctl.shell.typed import split

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import CompleteEvent, Completion
    from prompt_toolkit.document import Document
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.key_binding import KeyPressEvent

DUMB: Final = ("", "dumb", "unknown")
"""Terminals that no cursor can be moved on, by TERM."""
COLOURS: Final = {"running": "ansigreen", "unmanaged": "ansigreen", "dead": "ansired"}
"""Of a guest's state in the prompt; any other is yellow."""
FIRST_LOOK: Final = 0.5
"""How long the first prompt waits for the guest's state, seconds."""
MENU: Final = 400
"""The most that is suggested at once: a directory can be long."""
MENU_ROWS: Final = 8
"""Rows that the line and the menu below it have, where the terminal has so many."""
TOOLBAR_FROM: Final = 3
"""Rows of a terminal that has one for the line below."""


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

    guest: None: it is chosen at the prompt
    commands: what to do instead of reading input
    keep_going: a command that fails does not end a script
    plain: show answers as they are, at a terminal too

    Raises: NoGuest
    """
    interactive = commands is None and sys.stdin.isatty() and sys.stdout.isatty()
    plain = plain or os.environ.get("TERM", "") in DUMB
    if guest is None:
        guest = _choose(interactive=interactive, plain=plain)
    if not interactive:
        lines = sys.stdin if commands is None else iter([commands])
        session = Session(guest, fancy=False)
        return trio.run(_script, session, lines, keep_going)
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


def _choose(*, interactive: bool, plain: bool) -> str:
    """The guest to talk to: the only one, or the one that a person says.

    Raises: NoGuest
    """
    from umlctl.cli import listing

    found = [status for status in listing.gather() if status.state not in ("dead", "silent")]
    if not found:
        raise NoGuest("no guest runs; `umlctl start NAME` boots one")
    if len(found) == 1:
        return found[0].umid
    known = [status.umid for status in found]
    if not interactive:
        raise NoGuest(f"which guest? There are {', '.join(known)}")
    print("\n".join(listing.lines(found)))
    chosen: str | None
    if plain:
        from umlctl.shell.plain import ask_which

        chosen = ask_which(known)
    else:
        import trio_asyncio

        chosen = trio_asyncio.run(_ask_which, known)
    if chosen is None:
        raise NoGuest("no guest was chosen")
    return chosen


async def _ask_which(known: list[str]) -> str | None:
    """Have a person say one of some guests; None if they would rather not."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from trio_asyncio import aio_as_trio

    session: PromptSession[str] = PromptSession(
        interrupt_exception=Interrupted, eof_exception=EndOfInput
    )
    fit(session)
    while True:
        try:
            said = await aio_as_trio(session.prompt_async)(
                "guest: ", completer=WordCompleter(known, sentence=True), handle_sigint=False
            )
        except (Interrupted, EndOfInput):
            return None
        if said.strip() in known:
            return str(said.strip())
        print(f"there is no guest {said.strip()!r}")


@contextmanager
def _sane_terminal() -> Iterator[None]:
    """The terminal is afterwards as it was, whatever happens."""
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _greet(guest: str) -> None:
    """See that somebody listens, and say what a bare kernel lacks.

    Raises: NoGuest
    """
    with Connection(find_socket(guest)) as connection:
        try:
            connection.link.open()
        except Unreachable as problem:
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
                with trio.CancelScope() as self.running:
                    for command in split(line):
                        await self.session.obey(command)
                self.running = None
                self.live.refresh()

    @asynccontextmanager
    async def _living(self, guest: str) -> AsyncIterator[None]:
        """Keep up with a guest as long as this is entered."""
        self.live = Live(guest, self.redraw, self.tell)
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

    def _message(self) -> list[tuple[str, str]]:
        colour = COLOURS.get(self.live.state, "ansiyellow")
        name = umid_of(self.session.guest)
        if os.environ.get("NO_COLOR"):
            return [("", f"{name} {self.live.shown}> ")]
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
        from prompt_toolkit.completion import Completer
        from prompt_toolkit.enums import EditingMode
        from prompt_toolkit.lexers import Lexer

        from umlctl.shell.history import Kept

        class ShellCompleter(_Completer, Completer):
            pass

        class ShellLexer(_Lexer, Lexer):
            pass

        prompt: PromptSession[str] = PromptSession(
            history=Kept(guest, self._hold),
            completer=ShellCompleter(self.live),
            lexer=None if os.environ.get("NO_COLOR") else ShellLexer(),
            auto_suggest=AutoSuggestFromHistory(),
            complete_while_typing=True,
            complete_in_thread=True,
            enable_suspend=True,
            editing_mode=EditingMode.VI if self._vi else EditingMode.EMACS,
            key_bindings=_keys(),
            interrupt_exception=Interrupted,
            eof_exception=EndOfInput,
        )

        fit(prompt, self.live)
        return prompt


def fit(prompt: PromptSession[str], live: Live | None = None) -> None:
    """Have a prompt and the line below it fit their terminal, and leave half of it to what was
    said; with a row too few for what it reserves it would show nothing at all."""

    def see(_app: object) -> None:
        rows, columns = prompt.app.output.get_size()
        prompt.reserve_space_for_menu = max(1, min(MENU_ROWS, rows // 2))
        shown = live is not None and rows >= TOOLBAR_FROM
        prompt.bottom_toolbar = live.line(columns) if live and shown else None

    prompt.app.before_render += see


class _Completer:
    """Completes with what `umlctl.shell.completion` says, of a guest as it was last seen."""

    def __init__(self, live: Live) -> None:
        self.live = live

    def get_completions(self, document: Document, _event: CompleteEvent) -> Iterable[Completion]:
        from prompt_toolkit.completion import Completion

        found = completion.wanted(document.text_before_cursor)
        offered = completion.offer(found, self.live.facts, files)
        for suggestion in offered[:MENU]:
            yield Completion(
                suggestion.text, -len(found.prefix), display_meta=suggestion.meaning or None
            )


class _Lexer:
    """Colours the command: known, dangerous, or unknown."""

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        def line(number: int) -> StyleAndTextTuples:
            text = document.lines[number]
            word = text.split(" ", 1)[0]
            known = word.removeprefix("!")
            if known not in names():
                begins = known != word or any(name.startswith(known) for name in names())
                return [("" if begins else "ansired", word), ("", text[len(word) :])]
            danger = known in BY_NAME and BY_NAME[known].danger
            return [("ansiyellow" if danger else "ansigreen", word), ("", text[len(word) :])]

        return line


def _keys() -> Any:
    from prompt_toolkit.application import run_in_terminal
    from prompt_toolkit.filters import vi_navigation_mode
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("?", filter=~vi_navigation_mode)
    def explain(event: KeyPressEvent) -> None:
        """Help with the command before the cursor, without sending anything."""
        asked = topic(event.current_buffer.document.text_before_cursor)
        if asked is None:
            event.current_buffer.insert_text("?")
            return
        lines = about(asked)
        run_in_terminal(lambda: print("\n".join(lines)))

    return keys
