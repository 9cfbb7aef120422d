"""One command in a guest: its streams, its signals and its terminal, from here to there and back.

The guest has four serial lines: on one both sides tell each other what happens, see
`umlctl.protocol.control_line`; two are what the command writes. What it reads is, on a terminal,
the third's other direction, and otherwise files of the host, since a serial line reads a byte at a
time.
"""

from __future__ import annotations

import fcntl
import math
import os
import select
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from socketproto.wire import PANIC, Notification, WireError
from umlctl import streams
from umlctl.execution.command_output import CommandOutput
from umlctl.execution.feed import Feed
from umlctl.execution.signals import ENDING, Unheard, heeded
from umlctl.guest.command import NOTHING, TERMINAL
from umlctl.protocol.control_line import Lines, Said, line

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from umlctl.execution.command_output import Taker
    from umlctl.execution.raw_terminal import RawTerminal

PIPE_BYTES: Final = 1 << 20
"""What the kernel of this host holds of what the command writes, bytes."""
LATE_TIMEOUT: Final = 0.5
"""What a command gets that is told to end when its time is up, seconds."""
DYING_TIMEOUT: Final = 3.0
"""How long a kernel that panics may take to end, seconds."""
MAX_WAIT_SECONDS: Final = 86400.0
"""The longest that is waited at once: poll(2) takes no more than 24 days."""
LOOK_INTERVAL: Final = 0.5
"""The time between two looks at whether this process may read its terminal, or a stream is silent,
seconds."""
FIRST_LOOK_INTERVAL: Final = 0.02
"""The same before the command has begun, seconds."""
SILENT_TIMEOUT: Final = 10.0
"""How long a stream may be silent behind its command before it is given up, seconds."""
_KEYS: Final = (b"\x03", b"\x1c")
"""What somebody types for that, at a terminal."""


class Wires(NamedTuple):
    """Descriptors whose other ends the kernel has.

    Fields:
        tell, hear: the control line
        terminal: what the command reads of a terminal
        outputs: what it writes as standard output and error
    """

    tell: int
    hear: int
    terminal: int
    outputs: tuple[int, int]


class Streams(NamedTuple):
    """What a command has in place of this process's standard streams.

    Fields:
        source: a descriptor that it reads from
        takers: who takes what it writes as standard output and error, each in a thread
    """

    source: int
    takers: tuple[Taker, Taker]


class Outcome(NamedTuple):
    """How it went.

    Fields:
        said: the guest's word on the command; None if it had none
        began: the command was being executed
        caught: a signal that has ended all before there was a command, or when the guest did not
            hear of one before; 0 if none has
        late: its time was up
        panic: what the kernel has said of its panic
    """

    said: Said | None
    began: bool
    caught: int = 0
    late: bool = False
    panic: str = ""


class Session:
    """A command that runs, and what is passed on between it and this process."""

    def __init__(
        self,
        wires: Wires,
        directory: str,
        kinds: str,
        token: str,
        lost: Callable[[], bool] | None = None,
        own: Streams | None = None,
        until_begun: bool = False,
    ) -> None:
        """directory: where the guest finds what it is told
        kinds: of the standard descriptors, see `umlctl.guest.command`
        lost: asked at times whether the guest has ended, where its lines do not end then
        own: what the command has as streams; None: those of this process, with its terminal
        until_begun: it is left to itself once it has begun
        """
        self._wires = wires
        self._is_lost = lost
        self._until_begun = until_begun
        self._kinds = kinds
        self._lines = Lines()
        self._source = streams.STDIN if own is None else own.source
        self._output = CommandOutput(
            wires.outputs,
            token,
            lambda index: self._tell("shut", index),
            None if own is None else own.takers,
        )
        os.set_blocking(wires.tell, False)
        os.set_blocking(wires.terminal, False)
        self._said: Said | None = None
        self._began = self._ready = self._gone = self._late = False
        self._caught = 0
        self._unheard = Unheard()
        self._panic = ""
        self._end: float | None = None
        self._feed = Feed(directory, self._source)
        self._terminal: RawTerminal | None = None
        if kinds[0] == TERMINAL:
            from umlctl.execution import raw_terminal  # which few need

            self._terminal = raw_terminal.RawTerminal(wires.terminal)
        self._problem = ""

    @property
    def problem(self) -> str:
        """What could not be passed on."""
        return self._problem or self._output.problem

    def run(
        self,
        notify: socket.socket | None,
        ready: Callable[[], None],
        boot: float,
        deadline: float | None,
    ) -> Outcome:
        """Stay with the command until it has ended, and all it has written is passed on.

        notify: where the kernel notifies; None: others are told
        ready: writes down what the guest is to do
        boot: when the command is to have begun, deadline: when it is to end, by the monotonic clock
        """
        if notify is not None:
            notify.setblocking(False)
        self._end = deadline
        try:
            while not self._is_over():
                now = time.monotonic()
                if self._is_late(now) or (now >= boot and not self._began):
                    break
                if self._is_lost is not None and self._is_lost():
                    break
                self._unheard.say(now, "\r\n" if self._terminal else "\n")
                for descriptor, _ in self._poll(notify).poll(self._patience(boot, now)):
                    self._look(descriptor, notify, ready)
            if self._said is not None or self._late:
                self._tell("bye")  # a command that does not heed SIGTERM ends with its guest
        finally:
            if self._terminal is not None:
                self._terminal.restore()
        return Outcome(self._said, self._began, self._caught, self._late, self._panic)

    def tell_end(self) -> None:
        """Have the guest's program end, whatever has become of the command."""
        self._tell("bye")

    def close(self) -> None:
        """Nothing is passed on any more, unless somebody still takes what was written."""
        self._output.close()

    def _is_late(self, now: float) -> bool:
        """Whether nobody waits any longer: the command was told to end a while ago, or the kernel
        has panicked."""
        if self._end is not None and now >= self._end:
            if self._late or self._panic:
                return True
            self._late, self._end = True, now + LATE_TIMEOUT
            self._tell("signal", signal.SIGTERM)
        return False

    def cancel(self) -> None:
        """Have the command end, as when its time is up. Another thread calls it while it runs."""
        self._end = time.monotonic()
        with suppress(BlockingIOError):  # then it is woken anyway
            os.write(self._output.woken, b"c")

    def finish(self) -> None:
        """Wait, not for ever, for what was written before the guest was ended."""
        self._output.finish()

    def _is_over(self) -> bool:
        nothing_comes = self._gone and not self._output.open
        if self._caught or nothing_comes or (self._until_begun and self._began):
            return True
        if self._said is None:
            return False
        if self._said.word not in ("status", "noexec", "nowhere") or not self._output.open:
            return True
        # A stream that a process of the guest's has hidden the end of.
        return self._output.silence() > SILENT_TIMEOUT

    def _patience(self, boot: float, now: float) -> float | None:
        """How long to wait, milliseconds."""
        ends = [] if self._began else [boot]
        ends += [] if self._end is None else [self._end]
        waits = [max(0.0, end - now) for end in ends]
        if (due := self._unheard.due(now)) < math.inf:
            waits.append(due)
        if self._feed.has_room() and not self._is_in_front():
            waits.append(LOOK_INTERVAL)
        if self._said is not None or self._is_lost is not None:
            waits.append(LOOK_INTERVAL if self._began else FIRST_LOOK_INTERVAL)
        return min(*waits, MAX_WAIT_SECONDS) * 1000 + 1 if waits else None

    def _poll(self, notify: socket.socket | None) -> select.poll:
        poll = select.poll()
        poll.register(self._output.wake, select.POLLIN)
        if notify is not None:
            poll.register(notify, select.POLLIN)
        if not self._gone:
            poll.register(self._wires.hear, select.POLLIN)
        if self._terminal is not None and self._terminal.typed:
            poll.register(self._wires.terminal, select.POLLOUT)
        elif self._wants_input():
            poll.register(self._source, select.POLLIN)
        return poll

    def _look(
        self, descriptor: int, notify: socket.socket | None, ready: Callable[[], None]
    ) -> None:
        """Something has come."""
        if descriptor == self._output.wake:
            self._output.note()
        elif notify is not None and descriptor == notify.fileno():
            self._hear_kernel(notify)
        elif descriptor == self._wires.hear:
            data = os.read(self._wires.hear, 1 << 14)
            self._gone = not data
            for said in self._lines.feed(data):
                self._heed(said, ready)
        elif descriptor == self._wires.terminal and self._terminal is not None:
            self._terminal.pass_on()
        else:
            self._read()

    def _hear_kernel(self, notify: socket.socket) -> None:
        with suppress(BlockingIOError, WireError):
            while True:
                notification = Notification.decode(notify.recv(1024))
                if notification.kind == PANIC:
                    self._panic = notification.data.decode("utf-8", "replace") or "panic"
                    self._end = min(self._end or math.inf, time.monotonic() + DYING_TIMEOUT)

    def _heed(self, said: Said, ready: Callable[[], None]) -> None:
        """The guest has said something."""
        if said.word == "up" and not self._ready:
            ready()
            self._ready = True
            self._tell("go")
        elif said.word == "began":
            self._began = True
            self._take_terminal()
            # Who sees what the command writes may send it a signal, or type for it.
            self._output.begin(self._kinds)
        elif said.word == "taken":
            self._feed.taken(said.numbers[0])
        elif said.word == "closed":
            self._feed.is_open = False
        elif said.word == "heard":
            self._unheard.heard()
        elif said.word == "stopped":
            self._stop()
        elif said.word in ("failed", "unprepared", "noexec", "nowhere", "status"):
            self._said = self._said or said
            self._output.begin(self._kinds)

    def _tell(self, word: str, *numbers: int) -> None:
        with suppress(OSError):  # it is gone, or does not listen
            os.write(self._wires.tell, line(word, *numbers))

    # What the command reads

    def _wants_input(self) -> bool:
        """Whether the command would take something to read, and this process may read it: in the
        background of a terminal it would be stopped by that."""
        if not self._began or self._said is not None or self._kinds[0] == NOTHING:
            return False
        if self._terminal is not None:
            return self._terminal.is_open
        return self._feed.has_room() and self._is_in_front()

    def _is_in_front(self) -> bool:
        with suppress(OSError):
            return os.tcgetpgrp(self._source) == os.getpgrp()
        return True  # it is no terminal

    def _read(self) -> None:
        """Take what is to be read, and hand it over."""
        if self._terminal is not None:
            typed = self._terminal.read()
            if any(key in typed for key in _KEYS):  # which the guest makes a signal of
                self._pass_on(signal.SIGINT, told=0)
            return
        try:
            self._tell("in", self._feed.read())
        except OSError as problem:
            self._problem = f"cannot hand over what the command reads: {problem}"
            self._caught = signal.SIGKILL

    # Signals, and the terminal

    def heeding(self) -> AbstractContextManager[None]:
        """Have signals to this process be the command's."""
        return heeded(self._on_signal, self._output.woken)

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGWINCH:
            if self._began:
                self._tell_size()
        elif number == signal.SIGTSTP:
            if self._began:
                self._tell("signal", signal.SIGSTOP)
            self._stop()
        elif not self._began:
            self._caught = number
        elif number == signal.SIGALRM:
            self._end = time.monotonic()
        else:
            self._pass_on(number, told=number)

    def _pass_on(self, number: int, told: int) -> None:
        """Have the guest hear of a signal, unless it has not heard of one before.

        told: the number that it is told; 0 asks whether it hears
        """
        if number in ENDING and self._unheard.told():
            self._caught = number
        self._tell("signal", told)

    def _take_terminal(self) -> None:
        """Have the terminal be the command's."""
        if self._terminal is not None:
            self._terminal.set_up()
            self._tell_size()

    def _tell_size(self) -> None:
        if self._terminal is not None:
            with suppress(OSError):
                self._tell("size", *self._terminal.size())

    def _stop(self) -> None:
        """Be stopped, as the command was, with what is run beside it; go on with it later."""
        if self._terminal is not None:
            self._terminal.restore()
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.killpg(os.getpgrp(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, before)
        if self._began:
            self._take_terminal()
            self._tell("signal", signal.SIGCONT)


class Pipes:
    """Pipes for the lines of a guest.

    Fields:
        ours: our ends
        its: the kernel's, by what they are for; none once they were handed over
    """

    def __init__(self) -> None:
        self.its: dict[str, int] = {}
        self._ours: dict[str, int] = {}
        try:
            for name in ("tell", "hear", "terminal", "output", "error"):
                reader, writer = os.pipe()
                is_written = name in ("tell", "terminal")
                self._ours[name], self.its[name] = (
                    (writer, reader) if is_written else (reader, writer)
                )
        except OSError:
            self.close()
            raise
        for name in ("output", "error"):
            with suppress(OSError):
                fcntl.fcntl(self._ours[name], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.ours = Wires(
            self._ours["tell"],
            self._ours["hear"],
            self._ours["terminal"],
            (self._ours["output"], self._ours["error"]),
        )

    def hand_over(self) -> None:
        """Close the kernel's, which has them."""
        while self.its:
            os.close(self.its.popitem()[1])

    def close(self) -> None:
        """Close all."""
        self.hand_over()
        while self._ours:
            os.close(self._ours.popitem()[1])
