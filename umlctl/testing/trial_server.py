"""A process that has loaded what trials take, and forks one for each: to load it is most of what a
guest costs the host.

Both ends are here. A request is one packet with the directory of a trial, and the descriptors that
are its standard output and error; the answer is its pid, with a pidfd. Each trial is in a process
group of its own, so that Ctrl-C on a terminal is for the run alone. It ends when the run's end of a
pipe is closed, which the server was started with.
"""

from __future__ import annotations

import _thread
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from umlctl import streams
from umlctl.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

MAX_REQUEST_BYTES: Final = 8192
END_TIMEOUT: Final = 10.0
"""How long a server may take to end that nobody asks any more, seconds."""


class Forked(NamedTuple):
    """A process of a trial.

    Fields:
        pid: of it
        descriptor: a pidfd
        outputs: what it writes to standard output and error, to be read
    """

    pid: int
    descriptor: int
    outputs: tuple[int, int]


class TrialServer:
    """The server of one run; entered, it runs."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()

    def __enter__(self) -> Self:
        """Raises: OSError"""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reader, self._lifeline = os.pipe()
        self._socket = ours
        passed = (theirs.fileno(), reader)
        try:
            self._process = subprocess.Popen(
                [*streams.PYTHON, "umlctl.cli.trial", *map(str, passed)],
                stdin=subprocess.DEVNULL,
                pass_fds=passed,
                process_group=0,
            )
        except OSError:
            ours.close()
            os.close(self._lifeline)
            raise
        finally:
            theirs.close()
            os.close(reader)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _problem: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._socket.close()
        os.close(self._lifeline)
        try:
            self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def fork(self, directory: str) -> Forked:
        """Have the trial run whose files are in a directory. It waits for the server.

        Raises: HostError, OSError
        """
        output, its_output = os.pipe()
        error, its_error = os.pipe()
        try:
            with self._one_at_a_time:
                words = [os.fsencode(directory)]
                socket.send_fds(self._socket, words, [its_output, its_error])
                answer, descriptors, _, _ = socket.recv_fds(self._socket, MAX_REQUEST_BYTES, 1)
            if not descriptors:
                raise HostError("the process that runs tests has ended")
        except BaseException:
            os.close(output)
            os.close(error)
            raise
        finally:
            os.close(its_output)
            os.close(its_error)
        os.set_inheritable(descriptors[0], False)
        return Forked(int(answer), descriptors[0], (output, error))


def serve(descriptor: int, lifeline: int, run: Callable[[str], None]) -> None:
    """Fork a process for each trial that is asked for, until nobody asks any more.

    descriptor: a socket; lifeline: a pipe to read, which ends with the run
    run: runs the trial of a directory
    """
    with socket.socket(fileno=descriptor) as asked:
        while True:
            directory, outputs, _, _ = socket.recv_fds(asked, MAX_REQUEST_BYTES, 2)
            if not directory:
                return
            pid = os.fork()
            if not pid:
                asked.close()
                _be(os.fsdecode(directory), outputs, lifeline, run)
            for each in outputs:
                os.close(each)
            told = os.pidfd_open(pid)
            with suppress(BrokenPipeError):
                socket.send_fds(asked, [b"%d" % pid], [told])
            os.close(told)
            _reap()


def _be(directory: str, outputs: list[int], lifeline: int, run: Callable[[str], None]) -> NoReturn:
    """Be the process of a trial."""
    code = 1
    try:
        os.setpgid(0, 0)
        for source, target in zip(outputs, (streams.STDOUT, streams.STDERR), strict=True):
            os.dup2(source, target)
            os.close(source)
        _thread.start_new_thread(_follow, (lifeline,))
        run(directory)
        code = 0
    except BaseException:  # noqa: BLE001 - nothing of the server's is to be done here
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _follow(lifeline: int) -> None:
    """End with who runs the tests: then its end of the pipe is closed. Another process sees to the
    guest."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def _reap() -> None:
    """Forget those that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
