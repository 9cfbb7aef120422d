"""A viewer of a guest's console: it connects standard input and output, a terminal or not, to it.

This module needs the standard library alone: it begins at once, and does little but move bytes.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from umlctl import exitcodes, streams
from umlctl.cli.console_answer import Answer
from umlctl.cli.keyboard import ESCAPE, Keyboard, escape_key
from umlctl.cli.screen import Screen
from umlctl.cli.transcript import Transcript
from umlctl.client.attach import Attachment
from umlctl.errors import NoGuest, UmlctlError
from umlctl.output import say
from umlctl.protocol.console_socket import MAX_PACKET_BYTES, NOTICE, OUTPUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEFAULT_ROWS: Final = 24
"""Rows of a terminal that does not say how many it has."""


class ConsoleViewer:
    """Sends what is typed here to a console, and shows what that prints.

    Fields:
        keyboard: what is typed here
        answer: what is expected once the input is over
        runner: the `umlctl run` that this guest belongs to: the viewer stays to its end; None: none
    """

    def __init__(
        self, attachment: Attachment, transcript: Transcript, escape: bytes, *, stty: bool = False
    ) -> None:
        """escape: the key that leaves; stty: a command is typed when the window's size changes"""
        self._screen = Screen()
        self.keyboard = Keyboard(escape, is_terminal=self._screen.is_terminal)
        self.answer = Answer()
        self.runner: Runner | None = None
        self._attachment = attachment
        self._transcript = transcript
        self._umid = attachment.umid
        self._stty = stty
        self._replay = 0
        self._resized = False
        self._code: int | None = None
        self._over = False

    def run(self, waits: Callable[[], bool] | None) -> int:
        """Stay attached until the escape key, or the guest's end; return the exit code.

        waits: whether a guest that is not there yet may still come

        Raises: NoGuest, HostError
        """
        try:
            while self._code is None:
                self._attachment.connect(waits)
                self._greet()
                self._stay()
        except NoGuest:
            if not self._show_unseen():
                raise
            if self.runner is not None:
                self._hear_runner()
        finally:
            self._transcript.close()
        return self._code or exitcodes.OK

    def _greet(self) -> None:
        self._transcript.take()
        lines = (self._screen.size()[0] or DEFAULT_ROWS) if self._screen.is_terminal else 0
        self._attachment.greet(lines, self._transcript.offset)

    def _stay(self) -> None:
        """Stay attached until this life of the guest is over or the user leaves."""
        if self._screen.is_terminal:
            what = f"{self._attachment.console} of {self._umid}"
            self._note(f"attached to {what}; {self.keyboard.leaving} leaves it")
        # A signal that came while the terminal is raw, and nobody heard, would leave it so.
        with self._hearing_signals() as wakes, self.keyboard.raw():
            try:
                self._loop(wakes)
                self._show_rest()
            finally:
                self._attachment.close()
                self._write(self._screen.restoring())

    # Events of the loop

    @contextmanager
    def _hearing_signals(self) -> Iterator[int]:
        """Note the signals that come, and have one descriptor tell of each."""
        wakes, wakened = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        before = signal.set_wakeup_fd(wakened, warn_on_full_buffer=False)
        handlers = {
            number: signal.signal(number, self._caught)
            for number in (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP)
        }
        try:
            yield wakes
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            os.close(wakes)
            os.close(wakened)

    def _loop(self, wakes: int) -> None:
        self._over = False
        while self._code is None and not self._over:
            ready = self._await(wakes)
            if self._resized:
                self._tell_size()
            if streams.STDIN in ready:
                self._take_input()
            if self._attachment.fileno() in ready:
                self._take_packet()
            elif not ready and self.keyboard.is_over and not self._attachment.is_sending:
                self._leave_silent()

    def _await(self, wakes: int) -> set[int]:
        """Wait until something can be done; return the descriptors that have something.

        Raises: ReaderGone
        """
        connection = self._attachment.fileno()
        poll = select.poll()
        poll.register(streams.STDOUT, 0)
        poll.register(wakes, select.POLLIN)
        sending = select.POLLOUT if self._attachment.is_sending else 0
        poll.register(connection, select.POLLIN | sending)
        if self._reads():
            poll.register(streams.STDIN, select.POLLIN)
        if self.runner is not None:
            poll.register(self.runner.descriptor, select.POLLIN)
        patience = self.answer.patience if self.keyboard.is_over and self.runner is None else None
        found = dict(poll.poll(None if patience is None else patience * 1000))
        if found.get(streams.STDOUT) and not self._screen.is_terminal:
            raise streams.ReaderGone
        if wakes in found:
            os.read(wakes, 64)
        if self.runner is not None and self.runner.descriptor in found:
            self._hear_runner()
        if found.get(connection, 0) & select.POLLOUT:
            self._attachment.flush()
        return {wakes if event == select.POLLOUT else each for each, event in found.items()}

    def _reads(self) -> bool:
        """Whether to read what is typed: a script's input only when it can be passed on."""
        if self.keyboard.is_over or self._attachment.is_behind:
            return False
        typing = self._attachment.typing
        return typing is True or (self._screen.is_terminal and typing is not None)

    def _caught(self, number: int, _frame: object) -> None:
        if number == signal.SIGWINCH:
            self._resized = True
        else:
            self._code = exitcodes.SIGNALLED + number

    def _hear_runner(self) -> None:
        """Note that the guest is over, or that its `umlctl run` was killed."""
        assert self.runner is not None
        if self.runner.is_over():
            self._over = True
        else:
            self._note(
                f"`umlctl run` was killed; {self._umid} may run on, and "
                f"`umlctl console {self._umid}` attaches to it"
            )
            self._code = exitcodes.GONE

    def _leave_silent(self) -> None:
        """Leave a console that has nothing more to print, or has been silent for long."""
        answer = self.answer
        self._code = exitcodes.OK
        if answer.complete:
            return
        silence = f"{self._umid} has printed nothing for {answer.patience:g}s"
        if answer.until:
            self._note(f"{silence}, and {os.fsdecode(answer.until)!r} was not in it before")
            self._code = exitcodes.TIMED_OUT
        else:
            self._note(
                f"{silence}, and may print on: `umlctl logs {self._umid} -f` shows it; "
                "--wait SECONDS stays longer, --until TEXT until that is printed"
            )

    # To the guest

    def _take_input(self) -> None:
        data = self.keyboard.read()
        if self.keyboard.left:
            self._code = exitcodes.OK
        if data and self._attachment.typing:
            self._attachment.type(data)
            self.answer.typed(data)
        elif data and self._attachment.wants and self._code is None:
            self._note("somebody else has the keyboard; --force takes it")

    def _tell_size(self) -> None:
        self._resized = False
        rows, columns = self._screen.size()
        if not (self._attachment.typing and rows and columns):
            return
        self._attachment.tell_size(rows, columns)
        if self._stty:
            self._attachment.type(f"stty rows {rows} columns {columns}\r".encode())

    # From the supervisor

    def _take_packet(self) -> None:
        packet = self._attachment.receive()
        if packet is None:
            return
        if packet[:1] == OUTPUT:
            self._show(packet[1:])
        elif packet[:1] == NOTICE:
            self._hear(json.loads(packet[1:]))
        elif self.runner is not None:
            self._over = True
        elif self._attachment.reconnect():
            self._greet()
        else:
            self._show_rest()
            if how := self._attachment.ending():
                self._end(how)
            else:
                self._note(f"the supervisor of {self._umid} has ended; the guest may run on")
                self._code = exitcodes.GONE

    def _hear(self, notice: dict[str, Any]) -> None:
        if "offset" in notice:
            self._transcript.offset, self._replay = notice["offset"], notice.get("replay", 0)
            self.answer.begin(self._transcript.before(notice["offset"], MAX_PACKET_BYTES))
        if notice.get("keyboard"):
            self._hear_keyboard(notice["keyboard"], notice.get("by", 0))
        rows, columns = self._screen.size()
        if notice.get("size") is False and not self._stty and rows and columns:
            self._note(
                f"nobody in the guest can be told the window's size; "
                f"type: stty rows {rows} columns {columns}"
            )
        if "lost" in notice:
            self._lose(notice["lost"])
        if notice.get("problem"):
            self._note(notice["problem"])
            self._code = exitcodes.FAILED
        if notice.get("ended"):
            self._end(notice["ended"])

    def _hear_keyboard(self, keyboard: str, by: int) -> None:
        """Note which viewer has the keyboard, by a supervisor's notice."""
        self._attachment.hear_keyboard(keyboard)
        who = f"pid {by} has the keyboard"
        if self._attachment.typing:
            if self._screen.is_terminal:
                self._tell_size()
        elif self._screen.is_terminal or self.runner is not None:
            self._note(f"{who}{'; --force takes it' if keyboard == 'waiting' else ' now'}")
        else:
            say(f"{who}; --force takes it, --read-only only looks", exitcodes.OK)
            self._code = exitcodes.REFUSED  # what the script types would wait for ever

    def _end(self, how: str) -> None:
        """Note that the guest has ended, or one life of it."""
        if self.runner is not None:
            self._over = True  # `umlctl run` says how
            return
        self._note(f"{self._umid} has ended: {how}")
        self._code = exitcodes.OK
        if self.answer.until and not self.answer.found:
            self._note(f"it has not printed {os.fsdecode(self.answer.until)!r} before")
            self._code = exitcodes.GONE

    # To the screen

    def _show(self, data: bytes) -> None:
        self._transcript.skip(len(data))
        self.answer.printed(data)
        past, self._replay = self._replay > 0, self._replay - len(data)
        self._write(self._screen.shown(data, past=past))
        if self.keyboard.is_over and self.answer.found and self._code is None:
            self._code = exitcodes.OK

    def _show_unseen(self) -> bool:
        """Show output of a guest that was over before the viewer was attached; True if it was ever
        there."""
        if self._transcript.is_unseen:
            self._transcript.take()
            self._show_rest()
            return True
        return self._transcript.is_open

    def _show_rest(self) -> None:
        """Show what is in the log, and did not come by the socket."""
        if self.keyboard.left or self._code:
            return
        try:
            self._lose(self._transcript.cut_off())
            for data in self._transcript.rest():
                self._show(data)
        except OSError as problem:
            self._note(f"the log of {self._umid} cannot be read: {problem}")

    def _lose(self, count: int) -> None:
        """Say that some of the log was cut off before it was shown."""
        if count > 0:
            self._transcript.skip(count)
            self._note(f"{count} bytes were cut off before they were shown")

    def _note(self, text: str) -> None:
        self._screen.note(text)

    def _write(self, data: bytes) -> None:
        try:
            streams.write_all(streams.STDOUT, data)
        except OSError as problem:
            if self._code is None and not self._screen.is_terminal:
                say(f"the console of {self._umid}: {problem}", exitcodes.FAILED)
            self._code = self._code or exitcodes.FAILED


class Runner:
    """The `umlctl run` that this terminal belongs to, by a pipe.

    A byte comes when the guest is over; the pipe ends without one when that process was killed.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._over = False

    def is_over(self) -> bool:
        """Whether the guest is over; called when there is something to read."""
        self._over = self._over or bool(os.read(self.descriptor, 1))
        return self._over

    def has_news(self) -> bool:
        return self._over or bool(select.select([self.descriptor], [], [], 0)[0])


def main(umid: str, alive: int, device: int, inode: int) -> int:
    """Be the terminal of `umlctl run --console`, which is the parent; return the exit code.

    alive: see Runner
    device, inode: of the log that was there before, see `transcript.identity`; 0 if there was none
    """
    transcript = Transcript(umid, "con0", 0, old=(device, inode) if inode else None)
    viewer = ConsoleViewer(Attachment(umid, "con0"), transcript, escape_key(ESCAPE))
    viewer.runner = runner = Runner(alive)
    try:
        return viewer.run(lambda: not runner.has_news())
    except UmlctlError:
        return exitcodes.NO_GUEST  # no guest came to be; the parent says why
    except streams.ReaderGone:
        return exitcodes.SIGNALLED + signal.SIGPIPE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:5])))
