"""`umlctl test`: the same in many fresh guests, and what became of it."""

from __future__ import annotations

import os
import shlex
import signal
import time
from typing import TYPE_CHECKING, Any, Final

import click

from umlctl import exitcodes
from umlctl.checks import boot_warnings
from umlctl.cli import exec as execs
from umlctl.cli.durations import SECONDS
from umlctl.cli.exec_options import Executing, guest_options
from umlctl.definitions import make
from umlctl.errors import HostError, NeverStarted, UsageError
from umlctl.guest.overlay import IN_MEMORY
from umlctl.host import naming
from umlctl.host.starting import unfit
from umlctl.kernels import find
from umlctl.output import say
from umlctl.testing import expected, kselftest, kunit
from umlctl.testing.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from umlctl.testing.expected import Expected
    from umlctl.testing.result import Result
    from umlctl.testing.runner import Limits, Runner, Watcher

MAX_BOOT_SECONDS: Final = 1e9
"""How long a kernel may test itself before there is a command, unless --timeout says less."""
MAX_TITLE_LETTERS: Final = 100
KERNEL: Final = "kernel="
UNFIT: Final = "the tests cannot be run"
ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
OF_GUESTS: Final = (
    *("mem", "kept", "readonly", "rw", "shares", "cwd", "variables", "clean_env", "nics"),
    *("load", "append", "seccomp", "virtual_time", "user", "confine"),
)
"""Options that each guest has as it is given."""


def _axes(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """What --matrix can begin with."""
    return [KERNEL] if KERNEL.startswith(incomplete) else []


@click.command(
    "test",
    cls=Executing,
    epilog="""\b
Examples:
  umlctl test -- ./selftest                  one guest; KTAP that it writes is read
  umlctl test --repeat 1000 --jobs 8 -- ./race
  umlctl test --matrix kernel=./old,./new --timeout 60 -- make check
  umlctl test --silence 30 --rerun-failed 2 --junit report.xml -- ./run-all.sh
  umlctl test --kernel ./linux --kunit       the tests that are built into a kernel
  umlctl test --kernel ./linux --kunit 'list*' --isolate suite --jobs 8
  umlctl test --kselftest ~/kselftest_install -t timers --expect known-failures
  git bisect run sh -c 'make ARCH=um -j8 linux || exit 125; umlctl test --kernel ./linux -- ./t'
""",
)
@click.argument("words", nargs=-1, metavar="-- COMMAND [ARGUMENT]...", type=click.UNPROCESSED)
@click.option(
    "--kunit",
    "glob",
    metavar="GLOB",
    is_flag=False,
    flag_value=kunit.ALL,
    help="Run the tests that are built into the kernel; with GLOB, as of SUITE or SUITE.TEST, "
    "those that match.",
)
@click.option(
    "--kselftest",
    "selftests",
    metavar="DIR",
    type=click.Path(),
    help="Run the kselftests that are installed in DIR, each in a guest.",
)
@click.option(
    "-t",
    "collections",
    multiple=True,
    metavar="COLLECTION",
    help="Of kselftests, only these; COLLECTION:TEST is one. Repeat for more.",
)
@click.option(
    "--isolate",
    type=click.Choice((kunit.SUITE, kunit.TEST)),
    help="Run each suite of KUnit, or each test, in a guest of its own.",
)
@click.option(
    "--repeat", type=click.IntRange(min=1), default=1, metavar="N", help="Run all N times."
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="J",
    help="Run J guests at a time. [default: the number of processors]",
)
@click.option(
    "--matrix",
    multiple=True,
    metavar="kernel=K1,K2...",
    help="Run all on each of these kernels.",
    shell_complete=_axes,
)
@click.option(
    "--timeout",
    type=SECONDS,
    metavar="SECONDS",
    help="End a guest that takes longer.",
)
@click.option(
    "--silence",
    type=SECONDS,
    metavar="SECONDS",
    help="End a guest that has said nothing for so long; its tasks' stacks are in its log.",
)
@click.option(
    "--rerun-failed",
    "reruns",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Run a guest again, up to N times, in which something was bad. What passes then is flaky.",
)
@click.option(
    "--expect",
    metavar="FILE",
    type=click.Path(),
    help="A file of cases that are known to fail, a name or pattern a line: they are no failures, "
    "and it is one if they pass.",
)
@click.option("--junit", metavar="FILE", type=click.Path(), help="Write results as JUnit's XML.")
@click.option(
    "--results", "as_json", metavar="FILE", type=click.Path(), help="Write results as JSON."
)
@guest_options
def run_tests(words: tuple[str, ...], **options: Any) -> int:
    """Run a command in many fresh guests, as `umlctl exec` does, and count what became of it.

    The cases are those of the KTAP or TAP that it writes; of another command, its exit status is
    the one case. The exit code is 0 if nothing is bad, 1 if something failed, 2 if a plan was not
    met or something crashed, 125 if no guest came so far, and 255 if one panicked.
    """
    _check(words, options)
    began = time.monotonic()
    known = _known(options["expect"])
    title, trials = _trials(words, options)
    _warn(trials, _jobs(options))
    results, interrupted = _run(trials, options, known)
    seconds = time.monotonic() - began
    from umlctl.cli import test_progress
    from umlctl.testing import junit, report, result

    code = exitcodes.SIGNALLED + interrupted if interrupted else result.exit_code(results)
    test_progress.show_end(results, [] if interrupted else known.unseen(results), seconds)
    if options["junit"]:
        _write(options["junit"], junit.write(results, title, options["repeat"]))
    if options["as_json"]:
        document = report.write(results, title, code, seconds, interrupted=bool(interrupted))
        _write(options["as_json"], document)
    return code


def _check(words: tuple[str, ...], options: Mapping[str, Any]) -> None:
    """See that one thing is to be run, and that what is said of it fits.

    Raises: UsageError, HostError
    """
    asked = [bool(words), options["glob"] is not None, options["selftests"] is not None]
    if sum(asked) != 1:
        which = "one of these, not several" if any(asked) else "what to run"
        raise UsageError(f"test takes {which}: -- COMMAND, --kunit or --kselftest DIR")
    if words and not words[0]:
        raise UsageError("the command is empty: umlctl test [OPTIONS] -- COMMAND [ARGUMENT]...")
    if options["isolate"] and options["glob"] is None:
        raise UsageError("--isolate is for --kunit: each kselftest has a guest of its own anyway")
    if options["collections"] and options["selftests"] is None:
        raise UsageError("-t is for --kselftest DIR")
    if options["matrix"] and options["kernel"]:
        raise UsageError("--matrix names the kernels: leave --kernel out")
    if options["kept"] != IN_MEMORY and options["jobs"] != 1:
        raise UsageError("--overlay=DIR is for one guest at a time: give --jobs 1 too")
    for path in filter(None, (options["junit"], options["as_json"])):
        directory = os.path.dirname(os.path.abspath(path))
        if not os.access(directory, os.W_OK | os.X_OK):  # that is to be known before all is run
            raise HostError(f"cannot write results to {path}: {directory} cannot be written to")


def _known(path: str | None) -> Expected:
    """Raises: HostError"""
    if path is None:
        return expected.Expected()
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return expected.read(file.read())
    except OSError as problem:
        raise HostError(f"cannot read --expect {path}: {problem.strerror}") from problem


def _write(path: str, data: bytes) -> None:
    """Raises: HostError"""
    from umlctl.host.files import write_atomically

    try:
        write_atomically(os.path.abspath(path), data)
    except OSError as problem:
        raise HostError(f"cannot write results to {path}: {problem.strerror}") from problem


def _jobs(options: Mapping[str, Any]) -> int:
    """How many guests run at a time."""
    jobs: int | None = options["jobs"]
    return jobs or len(os.sched_getaffinity(0))


def _warn(trials: Sequence[Trial], jobs: int) -> None:
    """Say what not everybody expects of the guests, once for all.

    Raises: UmlctlError
    """
    if trials:  # all have the same memory
        told = {"kernel": trials[0].kernel, "mem": trials[0].options["mem"]}
        guest = make.make(naming.of_process(os.getpid()), execs.NOT_OFFERED | told, ())
        for text in boot_warnings.of_memory(guest, at_once=min(jobs, len(trials))):
            say(f"each guest: {text}", exitcodes.OK)


# What is to be run


def _trials(words: tuple[str, ...], options: Mapping[str, Any]) -> tuple[str, list[Trial]]:
    """What all is, in a few words, and the guests.

    Raises: UmlctlError
    """
    kernels = _kernels_of(options)
    found: list[Trial] = []
    with unfit(UNFIT):
        for kernel in kernels:
            shared = _shared(options, kernel)
            if options["glob"] is not None:
                title = f"kunit {options['glob']}"
                found += _of_kunit(options, shared, kernel)
            elif options["selftests"] is not None:
                title = f"kselftest {options['selftests']}"
                found += _of_kselftest(options, shared, kernel)
            else:
                title = shlex.join(words)[:MAX_TITLE_LETTERS]
                found.append(Trial(name=title, kernel=kernel, words=words, options=shared))
    from msgspec.structs import replace

    times = range(1, options["repeat"] + 1)
    return title, [replace(trial, repetition=number) for number in times for trial in found]


def _kernels_of(options: Mapping[str, Any]) -> list[str]:
    """Raises: UsageError, NoKernel"""
    if not options["matrix"]:
        return [find.find(options["kernel"])]
    names: list[str] = []
    for text in options["matrix"]:
        if not text.startswith(KERNEL):
            raise UsageError(f"--matrix takes kernel=K1,K2, and not {text!r}")
        names += text.removeprefix(KERNEL).split(",")
    if not all(names):
        raise UsageError("--matrix kernel=K1,K2: a name is empty")
    return list(dict.fromkeys(find.find(name) for name in names))


def _shared(options: Mapping[str, Any], kernel: str) -> dict[str, Any]:
    """What `umlctl exec` is to be told; that its files can be had is seen before any guest is.

    Raises: UmlctlError
    """
    found = {name: options[name] for name in OF_GUESTS} | {"kernel": kernel, "disks": ()}
    if options["glob"] is not None and options["kept"] == IN_MEMORY:
        found["readonly"] = True  # its command does nothing, so it needs no overlay file system
    execs.make_root(found, find.probe(kernel, options["user"]))
    return found


def _of_kselftest(options: Mapping[str, Any], shared: dict[str, Any], kernel: str) -> list[Trial]:
    directory = os.path.abspath(options["selftests"])
    told = {**shared, "cwd": shared["cwd"] or directory}
    return [
        Trial(name=test.name, kernel=kernel, words=test.words, options=told)
        for test in kselftest.installed(directory, options["collections"])
    ]


def _of_kunit(options: Mapping[str, Any], shared: dict[str, Any], kernel: str) -> list[Trial]:
    glob = kunit.check_glob(options["glob"])
    kunit.check_kernel(kernel, find.probe(kernel, options["user"]).config)

    def trial(name: str, glob: str, *, listing: bool = False) -> Trial:
        words = kunit.arguments(glob, listing=listing)
        boot = options["timeout"] or MAX_BOOT_SECONDS
        told = {**shared, "append": (*words, *shared["append"]), "boot_timeout": boot}
        return Trial(name=name, kernel=kernel, words=("true",), options=told, from_log=True)

    if not options["isolate"]:
        return [trial(glob, glob)]
    names = kunit.listed(_log_of(trial(glob, glob, listing=True), options), options["isolate"])
    if not names:
        raise NeverStarted(
            f"the kernel {kernel} has listed no test that matches {glob}: it takes Linux 5.18 to "
            "list them; without --isolate they run in one guest"
        )
    return [trial(name, pattern) for name, pattern in names]


def _log_of(trial: Trial, options: Mapping[str, Any]) -> bytes:
    """What the kernel of a guest says that only lists."""
    import trio

    from umlctl.testing import kept_runs, runner

    with kept_runs.a_run() as run:
        return trio.run(runner.log_of, trial, run, options["timeout"])


# How it is run


def _run(
    trials: Sequence[Trial], options: Mapping[str, Any], known: Expected
) -> tuple[list[Result], int]:
    """All results, and the signal that has ended the run before it was over; 0 if none has.

    Raises: HostError
    """
    import trio

    from umlctl.cli.test_progress import Shown
    from umlctl.testing import kept_runs
    from umlctl.testing.runner import Limits

    limits = Limits(_jobs(options), options["timeout"], options["silence"], options["reruns"])
    several = len({trial.kernel for trial in trials}) > 1
    shown = Shown(len(trials), options["repeat"], kernels=several)
    with unfit(UNFIT), kept_runs.a_run() as run, shown:
        return trio.run(_stay, trials, limits, (run, known, shown))


async def _stay(
    trials: Sequence[Trial], limits: Limits, rest: tuple[Any, Expected, Watcher]
) -> tuple[list[Result], int]:
    import trio

    from umlctl.testing.runner import Runner

    run, known, shown = rest
    runner = Runner(run, limits, known, shown)
    caught = [0]
    async with trio.open_nursery() as nursery:
        await nursery.start(_heed_signals, runner, caught)
        results = await runner.run(trials)
        nursery.cancel_scope.cancel()
    return results, caught[0]


async def _heed_signals(runner: Runner, caught: list[int], task_status: Any) -> None:
    """End the run when somebody wishes so."""
    import trio

    ignored = [each for each in ENDING_SIGNALS if signal.getsignal(each) == signal.SIG_IGN]
    with trio.open_signal_receiver(*(set(ENDING_SIGNALS) - set(ignored))) as received:
        task_status.started()
        async for number in received:
            caught[0] = caught[0] or number
            runner.stop()
