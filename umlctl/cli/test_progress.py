"""How a test run is shown: a bar on a terminal, else lines, and a table in the end."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Final

import click

from umlctl.output import views
from umlctl.testing.ktap import FAILED, PASSED, is_bad
from umlctl.testing.result import FLAKY, STATUSES, tally

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from rich.progress import Progress

    from umlctl.testing.ktap import Leaf
    from umlctl.testing.result import Result
    from umlctl.testing.trial import Trial

MAX_SHOWN: Final = 50
"""How many cases are named in the end; the results have all."""
COLOURS: Final = {PASSED: "green", "skipped": "yellow", "flaky": "yellow", "known": "yellow"}


class Shown:
    """What is seen of a run while it lasts, on standard error."""

    def __init__(self, total: int, repeats: int, *, kernels: bool) -> None:
        """total: how many guests there will be
        repeats: how often each
        kernels: there are several, and it is said which
        """
        self._total = total
        self._repeats = repeats
        self._kernels = kernels
        self._done = 0
        self._counts: dict[str, int] = {}
        self._told: Counter[str] = Counter()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            self._bar = _bar(total)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _problem: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def ended(self, leaf: Leaf) -> None:
        """A case has ended, while its guest goes on."""
        if self._bar is None:
            if not is_bad(leaf.status):  # else it is told with its reason, once its guest is done
                self._told[leaf.name] += 1
                self._line(leaf.status, leaf.name, leaf.seconds)
            return
        self._bar.update(self._bar.task_ids[0], last=views.printable(leaf.name))

    def done(self, trial: Trial, results: Sequence[Result], *, again: bool) -> None:
        """A guest is done."""
        for result in results:
            if result.is_bad or self._is_news(trial, result):
                name, reason = self._named(result), result.reason + ("; again" if again else "")
                self._line(result.status, name, result.seconds, reason.lstrip("; "))
        if again:
            return
        self._done += 1
        for result in results:
            self._counts[result.status] = self._counts.get(result.status, 0) + 1
        if self._bar is not None:
            said = ", ".join(
                f"{self._counts[each]} {each}" for each in STATUSES if each in self._counts
            )
            self._bar.update(self._bar.task_ids[0], advance=1, counts=said)

    def _is_news(self, trial: Trial, result: Result) -> bool:
        """Whether a result that is not bad is worth a line, and has none yet."""
        if self._told[result.name]:
            self._told[result.name] -= 1
            return False
        return result.status == FLAKY or (self._bar is None and result.path == (trial.name,))

    def _named(self, result: Result) -> str:
        return named(result, self._repeats, kernels=self._kernels)

    def _line(self, status: str, name: str, seconds: float, reason: str = "") -> None:
        text = f"{name} ({views.duration(seconds)})" + (f": {reason}" if reason else "")
        shown = views.printable(text)
        if self._bar is None:
            click.echo(f"{status:<9} {shown}", err=True)
            return
        from rich.text import Text

        line = Text(f"{status:<9} ", COLOURS.get(status, "red"))
        self._bar.console.print(line.append(shown, "default"))


def _bar(total: int) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[counts]}", markup=False),
        TextColumn("{task.fields[last]}", markup=False),
        console=Console(stderr=True, highlight=False),
        transient=True,
    )
    bar.add_task("", total=total, counts="", last="")
    return bar


def named(result: Result, repeats: int, *, kernels: bool) -> str:
    """A case, with its kernel and which time it was run where there are several."""
    again = f" [{result.repetition}/{repeats}]" if repeats > 1 else ""
    return f"{result.name}{again}" + (f" on {result.kernel}" if kernels else "")


def show_end(results: Sequence[Result], unseen: Sequence[str], seconds: float) -> None:
    """What became of all, on standard output: the cases that are bad, and a table of counts.

    unseen: cases that are known to fail, and were not run
    """
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.name, result.kernel), []).append(result)
    several = len({result.kernel for result in results}) > 1
    lines = [
        _bad(group, several=several) for group in groups.values() if any(r.is_bad for r in group)
    ]
    for line in lines[:MAX_SHOWN]:
        click.echo(line)
    if len(lines) > MAX_SHOWN:
        click.echo(f"and {len(lines) - MAX_SHOWN} more")
    for name in unseen[:MAX_SHOWN]:
        click.echo(views.printable(f"not run, though it is known to fail: {name}"))
    if lines or unseen:
        click.echo()
    views.columns(_table(results, several=several))
    click.echo(f"{len(results)} results in {views.duration(seconds)}")


def _bad(group: list[Result], *, several: bool) -> str:
    """A case that is bad at least once, in a line, and where its log is."""
    counts = tally(group)
    bad = next(result for result in group if result.is_bad)
    said = [
        status if len(group) == 1 else f"{status} {counts[status]} of {len(group)}"
        for status in STATUSES
        if counts[status] and (status != PASSED or len(group) == 1)
    ]
    flaky = " (flaky)" if counts[PASSED] else ""
    where = f" on {bad.kernel}" if several else ""
    reason = f": {bad.reason}" if bad.reason else ""
    text = views.printable(f"{', '.join(said)}{flaky}  {bad.name}{where}{reason}")
    log = next((result.log_file for result in group if result.log_file), "")
    return f"{text}\n    log: {log}" if log else text


def _table(results: Sequence[Result], *, several: bool) -> list[tuple[str, ...]]:
    """Counts by status, a row a kernel where there are several."""
    counts = tally(results)
    shown = [status for status in STATUSES if counts[status] or status in (PASSED, FAILED)]
    kernels = list(dict.fromkeys(result.kernel for result in results)) if several else []
    rows = [(*(("KERNEL",) if several else ()), *(status.upper() for status in shown))]
    for kernel in kernels:
        own = tally(result for result in results if result.kernel == kernel)
        rows.append((kernel, *(str(own[status]) for status in shown)))
    total = [str(counts[status]) for status in shown]
    rows.append(("all", *total) if several else tuple(total))
    return rows
