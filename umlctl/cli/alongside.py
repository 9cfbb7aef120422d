"""What `umlctl run` does beside its guest: it copies the console's log, and ties the guest to
itself."""

from __future__ import annotations

import errno
import os
import select
import stat
import subprocess
import time
from collections import deque
from typing import Final

from umlctl import streams
from umlctl.errors import HostError
from umlctl.host.files import is_still_at
from umlctl.state import console_log

LOOK_INTERVAL: Final = 0.2
"""The time between two looks for what has come into the log, and how long a look waits for the
reader, seconds."""
LAST_OUTPUT_TIMEOUT: Final = 5.0
"""How long the reader may take for the last of the log, once the guest has ended, seconds."""
READER_LOOK_INTERVAL: Final = 0.02
"""The time between two looks at whether a process reads a FIFO, seconds."""
COPY_BYTES: Final = 1 << 16
"""The most that is copied at once, bytes."""
MAX_WAITING_LOGS: Final = 64
"""The most logs that wait for their reader, one for each life of the guest; the oldest goes."""


class Copy:
    """A console's log, copied to a file as it grows. Where the file is no regular one, its reader
    may come late or be slow, and holds up nobody. The logs of later lives of the guest wait, open,
    so that they are there though yet another life has begun. A thread may copy meanwhile.

    Fields:
        problem: the first reason why the log is copied no more, or not whole; empty if it is whole
    """

    def __init__(self, path: str) -> None:
        """Begin the file anew.

        Raises: HostError
        """
        self.path = os.path.abspath(path)
        self.problem = ""
        self._log = ""
        self._logs: deque[int] = deque()
        self._file = -1
        self._offset = self._lost = 0
        try:
            self._open_file()
        except OSError as problem:
            raise HostError(f"cannot write the log to {path}: {problem.strerror}") from problem

    def begin(self, log: str) -> None:
        """Copy this log; it may be removed before all of it is copied."""
        self._log = log
        self.look()

    def look(self) -> None:
        """Hold the log of a life that has begun, before that of the next takes its place."""
        if self.problem or (self._logs and is_still_at(self._logs[-1], self._log)):
            return
        try:
            self._logs.append(os.open(self._log, os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            pass
        except OSError as problem:
            self._fail(str(problem.strerror))

    def step(self) -> None:
        """Copy what has come since, as far as the reader takes it now."""
        self._step(LOOK_INTERVAL)

    def finish(self) -> None:
        """Copy what is left. What the reader does not take soon counts as lost."""
        self.look()
        self._step(LAST_OUTPUT_TIMEOUT)
        left = self._lost + self._left()
        if left:
            self._fail(f"{left} bytes were not taken in time")

    def close(self) -> None:
        """Copy no more."""
        while self._logs:
            self._drop()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _step(self, seconds: float) -> None:
        """Copy all there is; wait for the reader no longer than this."""
        if self.problem:
            return
        end = time.monotonic() + seconds
        try:
            self._copy_all(end)
            while len(self._logs) > MAX_WAITING_LOGS:
                self._lost += _size(self._logs[0]) - self._offset
                self._drop()
        except BrokenPipeError:
            self._fail("nobody reads it")
        except OSError as problem:
            self._fail(str(problem.strerror))

    def _copy_all(self, end: float) -> None:
        """Copy the logs, one after the other, until one is not taken.

        Raises: OSError
        """
        while self._logs:
            # Asked before the copy, so that what comes meanwhile is copied too.
            is_over = len(self._logs) > 1
            if not self._copy(end) or not is_over:
                return
            self._drop()

    def _drop(self) -> None:
        os.close(self._logs.popleft())
        self._offset = 0

    def _left(self) -> int:
        """How much of the logs is not copied, bytes."""
        return sum(map(_size, self._logs)) - self._offset

    def _fail(self, why: str) -> None:
        self.problem = self.problem or f"the log is not whole in {self.path}: {why}"

    def _open_file(self) -> None:
        """Open the file; not yet, if it is a FIFO that no process reads.

        Raises: OSError
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            self._file = os.open(self.path, flags, 0o666)
        except OSError as problem:
            fifo = problem.errno == errno.ENXIO and stat.S_ISFIFO(os.stat(self.path).st_mode)
            if not fifo:
                raise

    def _copy(self, end: float) -> bool:
        """Copy the first of the logs; True if all of it was taken.

        end: when the wait for the reader ends

        Raises: OSError
        """
        log = self._logs[0]
        size = _size(log)
        while self._offset < size:
            data = os.pread(log, COPY_BYTES, self._offset)
            if not data:
                break
            cut = console_log.start(log) - self._offset  # the log may have been cut during the read
            if cut > 0:
                self._lost += cut
                self._offset += cut
                continue
            try:
                self._offset += os.write(self._taker(), data)
            except BlockingIOError:
                if not self._await_reader(end):
                    return False
        return True

    def _taker(self) -> int:
        """The descriptor of the file that the log is copied to.

        Raises: BlockingIOError: no process reads it yet; OSError
        """
        if self._file < 0:
            self._open_file()
        if self._file < 0:
            raise BlockingIOError
        return self._file

    def _await_reader(self, end: float) -> bool:
        """Wait until the reader may take something; False if that takes too long."""
        left = end - time.monotonic()
        if left <= 0:
            return False
        if self._file < 0:
            time.sleep(min(left, READER_LOOK_INTERVAL))
            return True
        poll = select.poll()
        poll.register(self._file, select.POLLOUT)
        return bool(poll.poll(left * 1000))


def _size(log: int) -> int:
    return os.fstat(log).st_size


class Tie:
    """Has the guest killed when this process ends without a word, as by SIGKILL."""

    def __init__(self, umid: str) -> None:
        reader, self._writer = os.pipe()
        kill = [*streams.PYTHON, "umlctl", "kill", umid]
        try:
            self._watcher = subprocess.Popen(
                ["sh", "-c", 'read -r over || exec "$@"', "sh", *kill],
                stdin=reader,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Else a signal that kills this process's group would kill it too.
                start_new_session=True,
            )
        except OSError as problem:
            os.close(self._writer)
            raise HostError(f"{umid}: cannot be tied to this process: {problem}") from problem
        finally:
            os.close(reader)

    def loosen(self) -> None:
        """Let go: the guest has ended, or is not to be killed with this process."""
        try:
            os.write(self._writer, b"\n")
        except BrokenPipeError:
            pass  # the watcher was killed
        os.close(self._writer)
        self._watcher.wait()
