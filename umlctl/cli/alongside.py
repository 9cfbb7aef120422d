"""What `umlctl run` does beside its guest: it copies the console's log, and ties it to itself."""

from __future__ import annotations

import os
import subprocess
from typing import Final

from umlctl import streams
from umlctl.errors import HostError
from umlctl.host import consolelog
from umlctl.host.claim import stands_at

LOOK: Final = 0.2
"""Between two looks for what has come into the log, seconds."""


class Copy:
    """A console's log, copied to a file as it grows.

    Fields:
        problem: why it is copied no more; empty if it is
    """

    def __init__(self, path: str) -> None:
        """Begin the file anew.

        Raises: HostError
        """
        self.path = os.path.abspath(path)
        self.problem = ""
        self._log = ""
        self._source = -1
        self._offset = 0
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        except OSError as problem:
            raise HostError(f"cannot write the log to {path}: {problem.strerror}") from problem

    def begin(self, log: str) -> None:
        """This is the log; it may be removed before all of it is copied."""
        self._log = log
        self._open()

    def step(self) -> None:
        """Copy what has come since."""
        if self.problem:
            return
        try:
            self._copy()
            if self._source < 0 or not stands_at(self._source, self._log):
                self._open()  # the guest was started again
                self._copy()
        except (OSError, streams.ReaderGone) as problem:
            why = problem.strerror if isinstance(problem, OSError) else "nobody reads it"
            self.problem = f"the log is not whole in {self.path}: {why}"

    def _open(self) -> None:
        try:
            source = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        if self._source >= 0:
            os.close(self._source)
        self._source, self._offset = source, 0

    def _copy(self) -> None:
        if self._source < 0:
            return
        end = os.fstat(self._source).st_size
        for piece in consolelog.read(self._source, self._offset, end):
            streams.write_all(self._file, piece)
        self._offset = end


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
                start_new_session=True,  # else what kills our group would kill it too
            )
        except OSError as problem:
            os.close(self._writer)
            raise HostError(f"{umid}: cannot be tied to this process: {problem}") from problem
        finally:
            os.close(reader)

    def loosen(self) -> None:
        """The guest has ended, or is nobody's to be killed."""
        try:
            os.write(self._writer, b"\n")
        except BrokenPipeError:
            pass  # somebody has killed the watcher
        os.close(self._writer)
        self._watcher.wait()
