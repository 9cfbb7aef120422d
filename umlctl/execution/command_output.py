"""What a command in a guest writes: each of its streams is passed on by a thread."""

from __future__ import annotations

import _thread
import math
import os
import select
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from umlctl import streams
from umlctl.guest.command import PIPED, TERMINAL
from umlctl.protocol.control_line import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    Taker = Callable[[bytes], object]

READ_BYTES: Final = 1 << 18
"""The most that is taken of what the command writes at once, bytes."""
LAST_TIMEOUT: Final = 2.0
"""How long what a command has written may take to be read, once its guest was ended, seconds."""
_ENDED: Final = b"\0"
"""Says that a stream has ended, among the numbers of signals."""


class CommandOutput:
    """What a command writes.

    Fields:
        wake: it can be read once a stream has ended, or a signal has come
        woken: where signals are written, see signal.set_wakeup_fd
        open: how many streams are read
        problem: what could not be passed on
    """

    def __init__(
        self,
        outputs: tuple[int, int],
        token: str,
        shut: Callable[[int], None],
        takers: tuple[Taker, Taker] | None = None,
    ) -> None:
        """outputs: where its standard output and error come
        token: what each ends with
        shut: is told of the stream that nobody here takes any more
        takers: who takes each; None: this process's own standard streams
        """
        self.wake, self.woken = os.pipe()
        os.set_blocking(self.woken, False)
        self.open = 0
        self.problem = ""
        self._outputs = outputs
        self._token = token.encode()
        self._streams = (Stream(self._token), Stream(self._token))
        self._shut = shut
        self._takers = takers
        self._has_begun = self._is_closed = False
        self._silent = [math.inf, math.inf]

    def begin(self, kinds: str) -> None:
        """Read what is to be read, from the first call on.

        kinds: of the standard descriptors, see `umlctl.guest.command`
        """
        if self._has_begun:
            return
        self._has_begun = True
        for index, kind in enumerate(kinds[1:]):
            if kind == PIPED or (kind, index) == (TERMINAL, 0):
                self.open += 1
                _thread.start_new_thread(self._pass_on, (index,))

    def note(self) -> None:
        """Note what `wake` says."""
        self.open -= os.read(self.wake, 64).count(_ENDED)

    def silence(self) -> float:
        """How long a stream has been silent, seconds."""
        return time.monotonic() - min(self._silent)

    def finish(self) -> None:
        """Wait, not for ever, for what was written before the guest was ended."""
        end = time.monotonic() + LAST_TIMEOUT
        poll = select.poll()
        poll.register(self.wake, select.POLLIN)
        while self.open and time.monotonic() < end:
            if poll.poll(LAST_TIMEOUT * 1000):
                self.note()

    def close(self) -> None:
        """Nothing is passed on any more, unless somebody still takes what was written."""
        if self._takers is not None:
            self._release()
        self._is_closed = True
        if not self.open:
            os.close(self.wake)
            os.close(self.woken)

    def _release(self) -> None:
        """Have the streams end though the guest lets none end, as one that is paused: this process
        goes on, and what is opened later is not to be read for them."""
        for output in self._outputs if self.open else ():
            with suppress(OSError):
                path = f"/proc/self/fd/{output}"
                writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    os.write(writer, self._token)
                finally:
                    os.close(writer)
        self.finish()

    def _pass_on(self, index: int) -> None:
        """Pass on a stream, in a thread of its own."""
        stream, take = self._streams[index], self._taker(index)
        is_read = True
        while not (stream.ended or self._is_closed):
            self._silent[index] = time.monotonic()
            data = os.read(self._outputs[index], READ_BYTES)
            self._silent[index] = math.inf
            taken = stream.feed(data) if data else stream.rest()
            if is_read and taken:
                try:
                    take(taken)
                except (OSError, streams.ReaderGone) as problem:
                    is_read = False
                    if isinstance(problem, OSError):
                        self.problem = f"cannot write what the command writes: {problem.strerror}"
                    self._shut(index)
            if not data:
                break
        os.write(self.woken, _ENDED)

    def _taker(self, index: int) -> Taker:
        if self._takers is not None:
            return self._takers[index]
        return partial(streams.write_all, (streams.STDOUT, streams.STDERR)[index])
