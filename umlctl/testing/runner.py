"""Many guests, some at a time: each runs what it is asked to, and its results are collected."""

from __future__ import annotations

import os
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from msgspec.structs import replace

from umlctl.errors import HostError
from umlctl.testing import trial as trials
from umlctl.testing.guest_process import KERNEL_LOG, LOOK_INTERVAL, GuestProcess
from umlctl.testing.kept_output import SHOWN_BYTES, KeptOutput
from umlctl.testing.ktap import Reader
from umlctl.testing.result import merged
from umlctl.testing.trial import EXITED
from umlctl.testing.trial_server import TrialServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from umlctl.testing.expected import Expected
    from umlctl.testing.kept_runs import Run
    from umlctl.testing.ktap import Leaf
    from umlctl.testing.result import Result
    from umlctl.testing.trial import Ended, Trial

LATE_TIMEOUT: Final = 60.0
"""How long a guest may take to end that is told to when its time is up, seconds."""
FOREVER_SECONDS: Final = 1e9
MAX_LOGS_LETTERS: Final = 1 << 26
"""What results have of logs, all together; files have the others."""


class Limits(NamedTuple):
    """How guests are run.

    Fields:
        jobs: how many at a time
        timeout: how long each may take, seconds; None: for ever
        silence: how long each may say nothing, seconds; None: for ever
        reruns: how often one is run again in which something was bad
    """

    jobs: int
    timeout: float | None = None
    silence: float | None = None
    reruns: int = 0


class Watcher(Protocol):
    """Who is told how it goes."""

    def ended(self, leaf: Leaf) -> None:
        """A case has, while its guest goes on."""

    def done(self, trial: Trial, results: Sequence[Result], *, again: bool) -> None:
        """A guest is done; it is run again if `again`, and its results do not count yet."""


class Runner:
    """A run of trials.

    Fields:
        stopped: by somebody; what had not ended by then has no results
    """

    def __init__(self, run: Run, limits: Limits, expected: Expected, watcher: Watcher) -> None:
        """run: where files of it are"""
        self.stopped = False
        self._run = run
        self._limits = limits
        self._expected = expected
        self._watcher = watcher
        self._todo: deque[tuple[int, Trial, list[Result]]] = deque()
        self._results: dict[int, list[Result]] = {}
        self._running: set[GuestProcess] = set()
        self._count = 0
        self._room = MAX_LOGS_LETTERS

    async def run(self, asked: Iterable[Trial]) -> list[Result]:
        """Run all; what became of the cases, in the order of their trials.

        Raises: OSError, HostError
        """
        import trio

        self._todo.extend((index, trial, []) for index, trial in enumerate(asked))
        with TrialServer() as server, one_problem():
            async with trio.open_nursery() as nursery:
                for _ in range(min(self._limits.jobs, len(self._todo))):
                    nursery.start_soon(self._work, server)
        return [result for _, results in sorted(self._results.items()) for result in results]

    def stop(self) -> None:
        """Begin nothing more, and end what runs; called again, at once."""
        for process in self._running:
            if self.stopped:
                process.kill()
            else:
                process.stop()
        self.stopped = True
        self._todo.clear()

    async def _work(self, server: TrialServer) -> None:
        while self._todo:
            index, trial, before = self._todo.popleft()
            found = await self._one(trial, server)
            if self.stopped:
                if before:
                    self._results[index] = before
                return
            if before:
                found = merged(before, found, trial.attempt)
            again = trial.attempt <= self._limits.reruns and any(each.is_bad for each in found)
            if again:
                self._todo.append((index, replace(trial, attempt=trial.attempt + 1), found))
            else:
                self._results[index] = [self._with_log(result) for result in found]
            self._watcher.done(trial, found, again=again)

    def _with_log(self, result: Result) -> Result:
        """A result, without its log where there is no room for it."""
        if len(result.log) > self._room:
            return replace(result, log="")
        self._room -= len(result.log)
        return result

    async def _one(self, trial: Trial, server: TrialServer) -> list[Result]:
        """Run a trial; its results, and its log where that is to be kept."""
        import trio

        self._count += 1
        directory = f"{self._run.scratch}/{self._count}"
        timeout = self._limits.timeout
        log = f"{directory}/{KERNEL_LOG}"
        asked = replace(trial, options={**trial.options, "timeout": timeout, "log": log})
        began = trio.current_time()
        process = await GuestProcess.start(asked, directory, server)
        self._running.add(process)
        if self.stopped:  # meanwhile
            process.stop()
        try:
            with KeptOutput(f"{directory}/output") as output:
                heard = _Heard(trial, output, self._watcher, began)
                ended = await self._stay(process, heard, trial)
                heard.finish(process if trial.from_log else None)
                seconds = trio.current_time() - began
                said = _shown(output, log, ended)
                found = trials.results(trial, ended, heard.reader, said, seconds, hung=process.hung)
                found = [self._expected.judge(result) for result in found]
                if any(result.is_bad for result in found) and not self.stopped:
                    file = self._run.keep(f"{trial.name}-{trial.repetition}", output, log)
                    found = [
                        replace(each, log_file=file) if each.is_bad else each for each in found
                    ]
        finally:
            self._running.discard(process)
            process.remove()
        return found

    async def _stay(self, process: GuestProcess, heard: _Heard, trial: Trial) -> Ended:
        import trio

        timeout = self._limits.timeout
        limit = FOREVER_SECONDS if timeout is None else timeout + LATE_TIMEOUT
        async with trio.open_nursery() as nursery:
            if trial.from_log:
                nursery.start_soon(heard.follow, process)
            ended = await process.run(heard.hear, self._limits.silence, limit)
            nursery.cancel_scope.cancel()
        return ended


@contextmanager
def one_problem() -> Iterator[None]:
    """Of several tasks that have failed, have the first error of this host be the one that is
    raised.

    Raises: OSError, HostError
    """
    try:
        yield
    except BaseExceptionGroup as group:
        found: BaseException | None = group.subgroup((OSError, HostError))
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        if found is None:
            raise
        raise found from group


class _Heard:
    """What a guest says, read as it comes."""

    def __init__(self, trial: Trial, output: KeptOutput, watcher: Watcher, began: float) -> None:
        self.reader = Reader()
        self._trial = trial
        self._output = output
        self._watcher = watcher
        self._began = began

    async def hear(self, data: bytes, is_output: bool) -> None:
        """Its command has said something."""
        self._output.add(data)
        if is_output and not self._trial.from_log:
            self._read(data)

    async def follow(self, process: GuestProcess) -> None:
        """Read what its kernel says, until this is cancelled."""
        import trio

        while True:
            self._read(process.kernel_log())
            await trio.sleep(LOOK_INTERVAL)

    def finish(self, process: GuestProcess | None) -> None:
        """Nothing more is said. process: has the rest of the kernel's log, if that counts"""
        if process is not None:
            self._read(process.kernel_log())
        self._tell(self.reader.close(self._now()))

    def _read(self, data: bytes) -> None:
        self._tell(self.reader.feed(data, self._now()))

    def _tell(self, leaves: Iterable[Leaf]) -> None:
        for leaf in leaves:
            self._watcher.ended(leaf)

    def _now(self) -> float:
        import trio

        return trio.current_time() - self._began


def _shown(output: KeptOutput, kernel_log: str, ended: Ended) -> str:
    """What a result has of what was said: the kernel's words where the command's are no reason."""
    said = output.last()
    if ended.kind == EXITED and not ended.panic:
        return said
    with suppress(OSError), open(kernel_log, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - SHOWN_BYTES))
        kernel = file.read().decode("utf-8", "backslashreplace")
        return f"{said}\n[what its kernel has said]\n{kernel}".lstrip("\n")
    return said


async def log_of(trial: Trial, run: Run, timeout: float | None) -> bytes:
    """What the kernel of one guest has said, whatever became of it.

    Raises: OSError
    """
    directory = f"{run.scratch}/0"
    told = {**trial.options, "timeout": timeout, "log": f"{directory}/{KERNEL_LOG}"}
    limit = FOREVER_SECONDS if timeout is None else timeout + LATE_TIMEOUT
    with TrialServer() as server, one_problem():
        process = await GuestProcess.start(replace(trial, options=told), directory, server)
        try:
            await process.run(_unheard, None, limit)
            return process.kernel_log()
        finally:
            process.remove()


async def _unheard(_data: bytes, _is_output: bool) -> None:
    """Nobody wants to know what is said."""
