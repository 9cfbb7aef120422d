"""One line of KTAP, and what it says. Pure.

Sources: Documentation/dev-tools/ktap.rst of Linux 6.1 to 7.3; TAP 13 and 14 of testanything.org;
lib/kunit/test.c and executor.c, tools/testing/selftests/kselftest.h and kselftest/runner.sh.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

VERSION: Final = "version"
PLAN: Final = "plan"
RESULT: Final = "result"
SUBTEST: Final = "subtest"
BAIL: Final = "bail"
OTHER: Final = "other"

SKIP: Final = "SKIP"
TODO: Final = "TODO"
XFAIL: Final = "XFAIL"
TIMEOUT: Final = "TIMEOUT"
ERROR: Final = "ERROR"

MAX_NAME_LETTERS: Final = 512
"""Of a name, and of a reason."""

_PREFIX: Final = re.compile(r"(?:<\d{1,3}>)?\[ *(\d{1,9}\.\d{1,9})\](?:\[ *[CT]\d{1,9}\])? ?")
"""What the kernel's log has before each line: CONFIG_PRINTK_TIME, CONFIG_PRINTK_CALLER."""
_VERSION: Final = re.compile(r"K?TAP version \d{1,4}$")
_PLAN: Final = re.compile(r"1\.\.(\d{1,9})(?: +#(.*))?$")
_RESULT: Final = re.compile(r"(not )?ok(?: +(\d{1,9}))?(?=$|[ ])(.*)$")
_SUBTEST: Final = re.compile(r"# Subtest: *(.*)$")
_BAIL: Final = re.compile(r"Bail out!(.*)$")
_HASH: Final = re.compile(r"(?:^|(?<=[ \t]))#")
_DIRECTIVE: Final = re.compile(r"(skip|todo|xfail|timeout|error)\w*:?(?:\s+|$)", re.IGNORECASE)
_SELFTEST: Final = re.compile(r"# selftests: (.*)$")
_NAME_OF_SELFTEST: Final = "selftests: "


class Line(NamedTuple):
    """What a line says.

    Fields:
        kind: VERSION, PLAN, RESULT, SUBTEST, BAIL or OTHER
        column: how far it is indented, its quotation marks included
        text: the line without what the kernel's log has before it
        stamp: the kernel's time, seconds; None: it has none
        quoted: it stands behind `# `, as kselftest puts what a test has said
        planned: how many a plan has
        passed: a result is `ok`
        number: of a result; -1: it has none
        name: of a result or a subtest
        directive: SKIP, TODO, XFAIL, TIMEOUT, ERROR or empty
        reason: what stands behind the directive, or behind `#`
    """

    kind: str
    column: int
    text: str
    stamp: float | None = None
    quoted: bool = False
    planned: int = 0
    passed: bool = False
    number: int = -1
    name: str = ""
    directive: str = ""
    reason: str = ""


def read(text: str, *, quoted: bool = False) -> Line:
    """What a line says.

    quoted: lines behind `# ` say something too; otherwise a version line alone does, which begins
        what is quoted
    """
    stamp = None
    prefix = _PREFIX.match(text)
    if prefix is not None:
        stamp = float(prefix[1])
        text = text[prefix.end() :]
    text = text.rstrip()
    body = text.lstrip(" ")
    column = len(text) - len(body)
    found = _read(body)
    inside = body
    while found is None and inside.startswith("# "):
        inside = inside[2:].lstrip(" ")
        found = _read(inside)
        if found is not None and not quoted and found.kind != VERSION:
            found = None
            break
    if found is None:
        return Line(OTHER, column, text, stamp)
    column = len(text) - len(inside)
    return found._replace(column=column, text=text, stamp=stamp, quoted=inside is not body)


def selftest(text: str) -> str:
    """The name of the test that kselftest says it begins; empty: the line says no such thing."""
    found = _SELFTEST.match(text.lstrip(" "))
    return _named(_NAME_OF_SELFTEST + found[1]) if found else ""


def _read(body: str) -> Line | None:
    first = body[:1]
    if first in "KT":
        return Line(VERSION, 0, body) if _VERSION.match(body) else None
    if first == "1":
        plan = _PLAN.match(body)
        if plan is None:
            return None
        directive, reason = _directive(plan[2] or "")
        return Line(PLAN, 0, body, planned=int(plan[1]), directive=directive, reason=reason)
    if first in "no":
        result = _RESULT.match(body)
        return _result(result) if result else None
    if first == "#":
        subtest = _SUBTEST.match(body)
        return Line(SUBTEST, 0, body, name=_named(subtest[1])) if subtest else None
    if first == "B":
        bail = _BAIL.match(body)
        return Line(BAIL, 0, body, reason=bail[1].strip()[:MAX_NAME_LETTERS]) if bail else None
    return None


def _result(found: re.Match[str]) -> Line | None:
    rest = found[3].strip()
    # A sentence that begins with "ok" is no result: there is a number, a dash, or nothing.
    if found[2] is None and rest and not rest.startswith(("- ", "#")) and rest != "-":
        return None
    rest = rest.removeprefix("- ") if rest != "-" else ""
    name, directive, reason = rest, "", ""
    mark = _HASH.search(rest)
    if mark is not None:
        name = rest[: mark.start()]
        directive, reason = _directive(rest[mark.end() :])
        if not name.strip() and directive in (SKIP, XFAIL):
            name = reason  # where kselftest.h has it
    return Line(
        RESULT,
        0,
        "",
        passed=found[1] is None,
        number=-1 if found[2] is None else int(found[2]),
        name=_named(name) or (f"test {int(found[2])}" if found[2] else "test"),
        directive=directive,
        reason=reason,
    )


def _directive(text: str) -> tuple[str, str]:
    text = text.strip()
    found = _DIRECTIVE.match(text)
    if found is None:
        return "", text[:MAX_NAME_LETTERS]
    return found[1].upper(), text[found.end() :].strip()[:MAX_NAME_LETTERS]


def _named(text: str) -> str:
    """A name as it is meant: TAP 14 escapes, and kselftest has two in one."""
    name = text.strip().replace("\\#", "#").replace("\\\\", "\\")
    if name.startswith(_NAME_OF_SELFTEST):
        name = ".".join(part.strip() for part in name[len(_NAME_OF_SELFTEST) :].split(": "))
    return name[:MAX_NAME_LETTERS]
