"""A stream of KTAP, read as it comes, into a tree of cases. Pure.

What is not KTAP is the log of the case that follows, as both KUnit and kselftest write it. A stream
may break off at any byte, and hold anything: what is kept of it is bounded.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.testing import ktap_line
from umlctl.testing.ktap_line import (
    BAIL,
    OTHER,
    PLAN,
    RESULT,
    SKIP,
    SUBTEST,
    TIMEOUT,
    TODO,
    VERSION,
    XFAIL,
    Line,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSED: Final = "passed"
FAILED: Final = "failed"
SKIPPED: Final = "skipped"
CRASHED: Final = "crashed"
TIMED_OUT: Final = "timed out"

MAX_LINE_BYTES: Final = 1 << 14
"""What is read of one line, bytes."""
MAX_LOG_LETTERS: Final = 1 << 16
"""What is kept of the log of a case: its end."""
MAX_LOGS_LETTERS: Final = 1 << 24
"""What is kept of all logs together."""
MAX_CASES: Final = 100_000
MAX_DEPTH: Final = 32
_EXIT: Final = "exit="
_SIGNALLED: Final = 128


class Case:
    """A test, with those that it is made of.

    Fields:
        name: its own, without those above it
        status: PASSED, FAILED, SKIPPED, CRASHED (it has begun, and has no result) or TIMED_OUT
        reason: what it has said of that
        known: it is known to fail, by its own word
        seconds: how long it took, as far as that can be seen
        log: what was said before its result
        cases: what it is made of
    """

    __slots__ = ("cases", "known", "log", "name", "reason", "seconds", "status")

    def __init__(self, name: str, status: str, reason: str = "", *, known: bool = False) -> None:
        self.name = name
        self.status = status
        self.reason = reason
        self.known = known
        self.seconds = 0.0
        self.log = ""
        self.cases: list[Case] = []


class Leaf(NamedTuple):
    """A case that counts: one that is made of no others, or is bad though none of its others is.

    Fields:
        path: the names of what it is part of, and its own
        the others: see Case
    """

    path: tuple[str, ...]
    status: str
    reason: str
    known: bool
    seconds: float
    log: str

    @property
    def name(self) -> str:
        return ".".join(self.path)


class _Log:
    """The last of what was said."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._letters = 0
        self._left_out = 0

    def add(self, text: str) -> None:
        self._lines.append(text)
        self._letters += len(text) + 1
        while self._letters > MAX_LOG_LETTERS and len(self._lines) > 1:
            self._letters -= len(self._lines.popleft()) + 1
            self._left_out += 1

    def take(self) -> str:
        """All that it has, which it has no more."""
        lines = list(self._lines)
        if self._left_out:
            lines.insert(0, f"[{self._left_out} lines before are left out]")
        self._lines.clear()
        self._letters = self._left_out = 0
        return "\n".join(lines)


class _Level:
    """Cases that stand beside each other.

    Fields:
        column: where their lines begin
        name: what they are part of, if that was said before
        next_name: the same, of those that are part of the next case
        plan: how many there are to be; None: not said
        count: how many results there were since the plan's version line
        since: when the last of them ended
    """

    def __init__(self, line: Line, now: float, name: str = "") -> None:
        self.column = line.column
        self.quoted = line.quoted
        self.name = name
        self.next_name = ""
        self.plan: int | None = None
        self.skipped = ""
        self.bailed: str | None = None
        self.count = 0
        self.since = now
        self.cases: list[Case] = []
        self.log = _Log()

    @property
    def is_new(self) -> bool:
        return self.plan is None and not self.count and not self.cases

    def problem(self) -> str:
        """What is wrong with what has come; empty: nothing."""
        if self.bailed is not None:
            return f"Bail out! {self.bailed}".strip()
        if self.plan is None or self.plan == self.count:
            return ""
        return f"the plan was {self.plan} cases, and {self.count} have come"


class Reader:
    """A stream of KTAP.

    Fields:
        began: there was a version line, so it is KTAP
        cases: of the outermost level
        problems: what is wrong with that level: its plan was not met, or it was given up
        skipped: why nothing was to be run at all; empty: that was not said
    """

    def __init__(self) -> None:
        self.began = False
        self.cases: list[Case] = []
        self.problems: list[str] = []
        self.skipped = ""
        self._partial = bytearray()
        self._levels: list[_Level] = []
        self._quotes = 0
        self._has_stamps = False
        self._now = 0.0
        self._yaml: tuple[Case, int, _Log] | None = None
        self._last: tuple[Case, int] | None = None
        self._count = 0
        self._kept = 0
        self._ended: list[Leaf] = []

    def feed(self, data: bytes, now: float = 0.0) -> list[Leaf]:
        """Read some more; the cases that have ended by it, without their logs.

        now: seconds of any clock; the kernel's own in the stream is preferred
        """
        begin = 0
        while (end := data.find(b"\n", begin)) >= 0:
            self._take(data[begin:end])
            self._line(bytes(self._partial), now)
            self._partial.clear()
            begin = end + 1
        self._take(data[begin:])
        ended, self._ended = self._ended, []
        return ended

    def close(self, now: float = 0.0) -> list[Leaf]:
        """The stream has ended: what has begun and has no result has crashed."""
        if self._partial:
            self._line(bytes(self._partial), now)
            self._partial.clear()
        self._end_yaml()
        while len(self._levels) > 1:
            self._abandon(self._drop_level())
        if self._levels:
            self._end_document(self._drop_level())
        if self._count > MAX_CASES:
            self.problems.append(f"{self._count - MAX_CASES} cases more than can be kept have come")
        ended, self._ended = self._ended, []
        return ended

    def leaves(self) -> Iterator[Leaf]:
        """The cases that count, in their order. Names that come twice are told apart."""
        seen: dict[tuple[str, ...], int] = {}
        for leaf in _leaves(self.cases, ()):
            seen[leaf.path] = seen.get(leaf.path, 0) + 1
            times = seen[leaf.path]
            if times > 1:
                leaf = leaf._replace(path=(*leaf.path[:-1], f"{leaf.path[-1]} ({times})"))  # noqa: PLW2901
            yield leaf

    # Lines

    def _take(self, data: bytes) -> None:
        room = MAX_LINE_BYTES - len(self._partial)
        self._partial += data[: max(0, room)]

    def _line(self, data: bytes, now: float) -> None:
        text = data.decode("utf-8", "backslashreplace")
        line = ktap_line.read(text, quoted=bool(self._quotes))
        if not self.began:
            if line.kind != VERSION:
                return
            self.began = True
            self._has_stamps = line.stamp is not None
        if not self._has_stamps:
            self._now = now
        elif line.stamp is not None:
            self._now = line.stamp
        if self._is_yaml(line):
            return
        if line.kind == OTHER or not self._heed(line):
            self._other(line)

    def _heed(self, line: Line) -> bool:
        """Do what a line says; whether it says anything here."""
        if line.kind == RESULT:
            return self._result(line)
        if line.kind == BAIL and not self._has_level(line.column):
            return False
        self._close_deeper(line.column)
        if line.kind == VERSION:
            return self._version(line)
        if line.kind == SUBTEST:
            return self._subtest(line)
        level = self._level(line)
        if level is None:
            return False
        if line.kind == PLAN:
            if level.plan is None:
                level.plan = line.planned
                level.skipped = (line.reason or SKIP) if line.directive == SKIP else ""
        elif line.kind == BAIL:
            level.bailed = line.reason
        return True

    def _other(self, line: Line) -> None:
        level = self._levels[-1]
        name = ktap_line.selftest(line.text)
        if name:
            level.next_name = name
        level.log.add(line.text)

    def _is_yaml(self, line: Line) -> bool:
        """Whether a line is of a block that explains the result before it, as TAP has them."""
        text = line.text.strip()
        if self._yaml is None:
            if text == "---" and self._last is not None and line.column > self._last[1]:
                self._yaml = (*self._last, _Log())
            self._last = None
            return self._yaml is not None
        _case, column, log = self._yaml
        if text == "..." or (line.kind != OTHER and line.column <= column):
            self._end_yaml()
            return text == "..."
        log.add(line.text)
        return True

    def _end_yaml(self) -> None:
        if self._yaml is not None:
            case, _column, log = self._yaml
            self._yaml = None
            case.log = "\n".join(filter(None, (case.log, self._kept_log(log.take()))))

    # Levels

    def _has_level(self, column: int) -> bool:
        return any(level.column == column for level in self._levels)

    def _level(self, line: Line, name: str = "") -> _Level | None:
        """The level of a line, which none is deeper than; None: it would be too deep."""
        if self._levels and self._levels[-1].column == line.column:
            return self._levels[-1]
        if len(self._levels) >= MAX_DEPTH:
            return None
        above = self._levels[-1] if self._levels else None
        if above is not None and not name:
            name, above.next_name = above.next_name, ""
        level = _Level(line, self._now, name)
        if above is None:
            level.cases = self.cases
        self._levels.append(level)
        self._quotes += level.quoted
        return level

    def _drop_level(self) -> _Level:
        level = self._levels.pop()
        self._quotes -= level.quoted
        return level

    def _close_deeper(self, column: int) -> None:
        """Levels that are deeper have ended without a result."""
        while len(self._levels) > 1 and self._levels[-1].column > column:
            self._abandon(self._drop_level())
        if self._levels and self._levels[-1].column > column:
            self._levels[-1].column = column

    def _abandon(self, level: _Level) -> None:
        """What a level is part of has no result."""
        above = self._levels[-1]
        log = level.log.take()
        if level.is_new and not level.name:
            if log:
                above.log.add(log)
            return
        case = Case(level.name or "unnamed", CRASHED, level.problem() or "it has no result")
        self._add(above, case, level, log)

    def _version(self, line: Line) -> bool:
        top = self._levels[-1] if self._levels else None
        if top is None or top.column < line.column:
            return self._level(line) is not None
        if top.is_new:
            return True
        if len(self._levels) > 1 and (top.name or top.problem()):
            self._abandon(self._drop_level())
            return self._level(line) is not None
        if len(self._levels) == 1:
            self._end_document(top)
        top.plan, top.bailed, top.skipped, top.count = None, None, "", 0
        return True

    def _end_document(self, level: _Level) -> None:
        """Of the outermost level one has ended; another may follow."""
        problem = level.problem()
        if problem:
            self.problems.append(problem)
        if level.skipped and not level.count:
            self.skipped = level.skipped

    def _subtest(self, line: Line) -> bool:
        top = self._levels[-1] if self._levels else None
        if top is not None and top.column == line.column:
            if len(self._levels) > 1 and top.is_new:
                top.name = line.name
            else:
                top.next_name = line.name  # as TAP 14 has it: before what is indented
            return True
        return self._level(line, line.name) is not None

    # Results

    def _result(self, line: Line) -> bool:
        child = None
        while len(self._levels) > 1 and self._levels[-1].column > line.column:
            if child is not None:
                self._abandon(child)
            child = self._drop_level()
        self._close_deeper(line.column)
        level = self._level(line)
        if level is None:
            if child is not None:
                self._abandon(child)
            return False
        status = _status(line)
        known = line.directive == XFAIL or (line.directive == TODO and not line.passed)
        case = Case(line.name, status, line.reason, known=known)
        if child is not None and status == PASSED and child.problem():
            case.status, case.reason = CRASHED, child.problem()
        if child is not None:
            rest = child.log.take()
            if rest:
                level.log.add(rest)
        level.next_name = ""
        self._add(level, case, child, level.log.take())
        self._last = (case, line.column)
        return True

    def _add(self, level: _Level, case: Case, child: _Level | None, log: str) -> None:
        level.count += 1
        case.seconds = max(0.0, self._now - level.since)
        level.since = self._now
        self._count += 1
        if child is not None:
            case.cases = child.cases
        if self._count > MAX_CASES:
            return
        case.log = self._kept_log(log)
        level.cases.append(case)
        if not case.cases:
            path = (*(each.name or "unnamed" for each in self._levels[1:]), case.name)
            self._ended.append(Leaf(path, case.status, case.reason, case.known, case.seconds, ""))

    def _kept_log(self, log: str) -> str:
        """A log, while there is room for it."""
        if self._kept + len(log) > MAX_LOGS_LETTERS:
            return ""
        self._kept += len(log)
        return log


def _status(line: Line) -> str:
    if line.directive == SKIP:
        return SKIPPED
    if line.directive == XFAIL:
        return FAILED
    if line.passed:
        return PASSED
    if line.directive == TIMEOUT:
        return TIMED_OUT
    said = line.reason.partition(" ")[0]
    if said.startswith(_EXIT) and said[len(_EXIT) :].isdecimal():
        return CRASHED if int(said[len(_EXIT) :][:9]) > _SIGNALLED else FAILED
    return FAILED


def is_bad(status: str) -> bool:
    """Whether it is no success, nor was left out."""
    return status not in (PASSED, SKIPPED)


def _leaves(cases: list[Case], above: tuple[str, ...]) -> Iterator[Leaf]:
    for case in cases:
        path = (*above, case.name)
        found = list(_leaves(case.cases, path))
        yield from found
        if case.status in (CRASHED, TIMED_OUT):  # which the failure of a part of it is not
            explained = any(leaf.status == case.status for leaf in found)
        else:
            explained = any(is_bad(leaf.status) for leaf in found)
        if not found or (is_bad(case.status) and not explained):
            yield Leaf(path, case.status, case.reason, case.known, case.seconds, case.log)
