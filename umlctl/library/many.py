"""Many fresh guests, some at a time, for a program: what `umlctl test` does."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any, Final, TypedDict

from umlctl.errors import HostError, UsageError
from umlctl.kernels import find
from umlctl.testing import kept_runs
from umlctl.testing.expected import Expected
from umlctl.testing.runner import Limits
from umlctl.testing.runner import Runner as TestRunner
from umlctl.testing.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal, Unpack

    from umlctl.library.described import Path
    from umlctl.testing.ktap import Leaf
    from umlctl.testing.result import Result

MAX_TITLE_LETTERS: Final = 100
IN_MEMORY: Final = "memory"


class Options(TypedDict, total=False):
    """What the guest of each command has: the options of umlctl-exec(1), each with `_` for `-`.

    `env` has variables by their names.
    """

    kernel: Path
    mem: str
    overlay: Path
    ro: bool
    rw: Sequence[Path]
    share: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    clean_env: bool
    nic: Sequence[str]
    disk: Sequence[Path]
    module: Sequence[str]
    append: Sequence[str]
    seccomp: bool
    virtual_time: Literal["basic", "inf-cpu"]
    user: str
    confine: Literal["writes", "strict", "off"]


ASKED_AS: Final = {
    "overlay": "kept",
    "ro": "readonly",
    "share": "shares",
    "env": "variables",
    "nic": "nics",
    "disk": "disks",
    "module": "load",
}
"""Names that a trial has for them."""
DEFAULTS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("rw", "shares", "variables", "nics", "disks", "load", "append"), ()),
    **dict.fromkeys(("cwd", "virtual_time", "confine")),
    "kernel": None,
    "mem": "256M",
    "kept": IN_MEMORY,
    "readonly": False,
    "clean_env": False,
    "seccomp": False,
    "user": "",
}


class Runner:
    """Runs commands, each in a fresh guest that is gone afterwards, some at a time."""

    def __init__(
        self,
        *,
        jobs: int | None = None,
        timeout: float | None = None,
        silence: float | None = None,
        reruns: int = 0,
        **options: Unpack[Options],
    ) -> None:
        """jobs: how many at a time; None: as many as there are processors
        timeout: how long each may take, seconds; None: for ever
        silence: how long each may say nothing, seconds; None: for ever
        reruns: how often one is run again in which something was bad

        Raises: UsageError, NoKernel
        """
        self._limits = Limits(jobs or len(os.sched_getaffinity(0)), timeout, silence, reruns)
        self._options = told(options)

    def run(
        self, words: Sequence[str], *, repeat: int = 1, name: str | None = None
    ) -> list[Result]:
        """Run a command so many times; what became of the cases, in order.

        The cases are those of the KTAP or TAP that it writes; of another command, its exit status
        is the one case. name: of that

        Raises: UsageError, HostError
        """
        return self.run_all(named(words, name), repeat=repeat)

    def run_all(self, commands: Mapping[str, Sequence[str]], *, repeat: int = 1) -> list[Result]:
        """Run several, by their names; what became of the cases, in order.

        Raises: UsageError, HostError
        """
        import trio

        trials = self.trials(commands, repeat)
        try:
            with kept_runs.a_run() as run:
                return trio.run(TestRunner(run, self._limits, Expected(), Unwatched()).run, trials)
        except OSError as problem:
            raise HostError(str(problem)) from problem

    def trials(self, commands: Mapping[str, Sequence[str]], repeat: int) -> list[Trial]:
        """What is run, one after the other.

        Raises: UsageError
        """
        for name, words in commands.items():
            if isinstance(words, str) or not words or not words[0]:
                raise UsageError(f'{name}: a command is a list of words, as ["./test", "-v"]')
        kernel = self._options["kernel"]
        return [
            Trial(
                name=name,
                kernel=kernel,
                words=tuple(words),
                options=self._options,
                repetition=number,
            )
            for number in range(1, repeat + 1)
            for name, words in commands.items()
        ]


class Unwatched:
    """Nobody is told how it goes."""

    def ended(self, leaf: Leaf) -> None:
        """A case has, while its guest goes on."""

    def done(self, trial: Trial, results: Sequence[Result], *, again: bool) -> None:
        """A guest is done."""


def named(words: Sequence[str], name: str | None) -> dict[str, Sequence[str]]:
    """A command by its name, or by itself."""
    return {name or shlex.join(words)[:MAX_TITLE_LETTERS]: words}


def told(options: Options) -> dict[str, Any]:
    """What each trial is told, of what a program asks for.

    Raises: UsageError, NoKernel
    """
    found = dict(DEFAULTS)
    for name, value in options.items():
        if name not in Options.__annotations__:
            raise UsageError(f"{name}: a runner's guests have no such option")
        found[ASKED_AS.get(name, name)] = _plain(value)
    return {**found, "kernel": find.find(found["kernel"])}


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, dict):
        return tuple(f"{name}={each}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return tuple(_plain(each) for each in value)
    return value
