"""One guest of a test run: a process that runs a command in it, what both say, and their end.

`umlctl.testing.trial_server` starts it.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from socketproto.blocking import Connection
from umlctl import exitcodes
from umlctl.host import naming, paths
from umlctl.host.files import remove_tree
from umlctl.testing.trial import NOT_BEGUN, Ended, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.lowlevel import FdStream

    from socketproto.exchange import Outcome
    from umlctl.testing.trial import Trial
    from umlctl.testing.trial_server import Forked, TrialServer

ASKED: Final = "asked.json"
ENDED: Final = "ended.json"
KERNEL_LOG: Final = "kernel.log"
"""Files in a trial's directory: what is asked of its process, how it ended, its kernel's log."""
LOOK_INTERVAL: Final = 0.25
"""The time between two looks at the kernel's log, seconds."""
DRAIN_TIMEOUT: Final = 5.0
"""How long what was written may take to come once its process has ended, seconds."""
STOP_TIMEOUT: Final = 20.0
"""How long a process that is told to end may take, seconds: the host may be busy."""
STACKS_TIMEOUT: Final = 10.0
"""How long the kernel may take to show all stacks, seconds."""
READ_BYTES: Final = 1 << 16
MAX_STACKS: Final = 500
"""Of how many tasks stacks are shown."""


class GuestProcess:
    """A process that runs a trial, from its start to its end.

    Fields:
        directory: of the trial's files
        last: when something was said, by the clock of trio
        hung: it was ended since it said nothing any more
    """

    def __init__(self, forked: Forked, directory: str, user: str) -> None:
        """user: whom its kernel runs as; empty: this process's"""
        import trio

        self.directory = directory
        self.last = trio.current_time()
        self.hung = False
        self._forked = forked
        self._over = trio.Event()
        self._seen = 0
        umid = naming.of_process(forked.pid)
        self._socket = f"{paths.open_dir(umid)}/k/{umid}/mconsole" if user else ""
        self._socket = self._socket or paths.kernel_socket(umid)
        self._log = f"{paths.record_dir(umid)}/console.log"

    @staticmethod
    async def start(trial: Trial, directory: str, server: TrialServer) -> GuestProcess:
        """The process of a trial, which has begun.

        directory: for its files, to be made

        Raises: OSError, HostError
        """
        import trio

        os.mkdir(directory, 0o700)
        with open(f"{directory}/{ASKED}", "xb") as file:
            file.write(encode(trial))
        forked = await trio.to_thread.run_sync(server.fork, directory)
        return GuestProcess(forked, directory, trial.options["user"])

    async def run(
        self, heard: Callable[[bytes, bool], Awaitable[None]], silence: float | None, limit: float
    ) -> Ended:
        """Stay with it until it has ended; how it has.

        heard: is called with what its command has said, and whether that was standard output
        silence: how long it may say nothing, seconds; None: for ever
        limit: when it is killed, seconds from now
        """
        import trio

        output, error = map(trio.lowlevel.FdStream, self._forked.outputs)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hear, output, heard, True)
                nursery.start_soon(self._hear, error, heard, False)
                if silence is not None:
                    nursery.start_soon(self._watch, silence)
                with trio.move_on_after(limit) as patience:
                    await self._exited()
                if patience.cancelled_caught:
                    self.kill()
                    await self._exited()
                self._over.set()
                nursery.cancel_scope.deadline = trio.current_time() + DRAIN_TIMEOUT
        finally:
            self.kill()
        return self._how()

    def stop(self) -> None:
        """Have it end, in order."""
        self._send(signal.SIGALRM)

    def kill(self) -> None:
        """End it; what is left of its guest is removed by another process."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._forked.descriptor, number)

    def kernel_log(self) -> bytes:
        """What its kernel has said since this was called before."""
        # The process has copied all of it, by the time it ends.
        for path in (f"{self.directory}/{KERNEL_LOG}", self._log):
            with suppress(OSError), open(path, "rb") as file:
                file.seek(self._seen)
                data = file.read()
                self._seen += len(data)
                return data
        return b""

    def remove(self) -> None:
        """Remove its files, once it has ended."""
        os.close(self._forked.descriptor)
        remove_tree(self.directory)

    async def _exited(self) -> None:
        import trio

        await trio.lowlevel.wait_readable(self._forked.descriptor)

    async def _hear(
        self, stream: FdStream, heard: Callable[[bytes, bool], Awaitable[None]], is_output: bool
    ) -> None:
        import trio

        async with stream:
            while data := await stream.receive_some(READ_BYTES):
                self.last = trio.current_time()
                await heard(data, is_output)

    async def _watch(self, silence: float) -> None:
        """End it once it, and its kernel, have said nothing for too long."""
        import trio

        size = 0
        while not self._over.is_set():
            if self._log_size() != size:
                size, self.last = self._log_size(), trio.current_time()
            left = self.last + silence - trio.current_time()
            if left <= 0:
                break
            with trio.move_on_after(min(left, max(LOOK_INTERVAL, silence / 10))):
                await self._over.wait()
        if self._over.is_set():
            return
        self.hung = True
        await self._show_stacks()
        self.stop()
        with trio.move_on_after(STOP_TIMEOUT):
            await self._over.wait()
        if not self._over.is_set():
            with suppress(OSError):  # which its process would have done
                shutil.copyfile(self._log, f"{self.directory}/{KERNEL_LOG}")
            self.kill()

    def _log_size(self) -> int:
        with suppress(OSError):
            return os.stat(self._log).st_size
        return 0

    async def _show_stacks(self) -> None:
        """Have the kernel write into its log what its tasks are doing, if it still can."""
        import trio

        await trio.to_thread.run_sync(show_stacks, self._socket)
        size = -1
        with trio.move_on_after(STACKS_TIMEOUT):
            while self._log_size() != size:
                size = self._log_size()
                await trio.sleep(LOOK_INTERVAL)

    def _how(self) -> Ended:
        try:
            with open(f"{self.directory}/{ENDED}", "rb") as file:
                return msgspec.json.decode(file.read(), type=Ended)
        except (OSError, msgspec.DecodeError):
            return Ended(
                kind=NOT_BEGUN, code=exitcodes.FAILED, text="its process has ended without a word"
            )


def show_stacks(path: str) -> None:
    """Have a kernel write into its log what its tasks are doing, one after the other, the last
    first: `sysrq t` would panic it midway, up to Linux 6.12. A kernel that does not say which
    there are has little to lose, and is asked for that.

    path: of its socket
    """
    end = time.monotonic() + STACKS_TIMEOUT
    last = 0

    def ask(text: str) -> Outcome:
        with Connection(path, replies=os.path.dirname(path)) as kernel:
            return kernel.request(text, max(0.0, end - time.monotonic()))

    with suppress(OSError):
        ask("sysrq w")
        load = ask("proc loadavg").text.split()
        last = int(load[-1]) if load and load[-1].isdecimal() else 0
        for pid in range(last, max(0, last - MAX_STACKS), -1):
            if time.monotonic() >= end:
                break
            ask(f"stack {pid}")
    if not last:
        end = time.monotonic() + 1
        with suppress(OSError):
            ask("sysrq t")
