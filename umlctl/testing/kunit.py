"""KUnit, the tests that are built into a kernel: how it is told which to run, and to list them.

Sources: lib/kunit/executor.c, Documentation/dev-tools/kunit/running_tips.rst. Pure.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Final

from umlctl.errors import NeverStarted, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

SUITE: Final = "suite"
TEST: Final = "test"
ALL: Final = "*"
_STAMP: Final = re.compile(r"^(?:<\d+>)?(?:\[ *\d+\.\d+\](?:\[ *[CT]\d+\])? ?)?")
_TEST: Final = re.compile(r"(.+)\.([\w-]+)")
_PLAIN: Final = re.compile(r"[\w-]+")
_BEGIN: Final = re.compile(rb"TAP version \d+\s*$")
_END: Final = re.compile(rb"reboot: |Run /|Kernel panic")
"""What a kernel says once its list is over."""


def check_kernel(path: str, config: Mapping[str, str]) -> None:
    """See that a kernel has KUnit.

    config: see ProbedKernel

    Raises: NeverStarted
    """
    has = config.get("KUNIT", "")
    if has == "y":
        return
    why = (
        "has KUnit as a module, which runs nothing when it boots: set CONFIG_KUNIT=y, or load the "
        "test's module: `umlctl test -- sh -c 'modprobe kunit MODULE; dmesg'`"
        if has == "m"
        else "is built without KUnit (CONFIG_KUNIT=y, and that of each test); `umlctl kernel "
        "build --with kunit` builds one"
    )
    raise NeverStarted(f"the kernel {path} {why}")


def check_glob(glob: str) -> str:
    """A pattern that a kernel can be told.

    Raises: UsageError
    """
    if not glob.isprintable() or set(glob) & set(" \"'"):
        raise UsageError(
            f"--kunit takes SUITE or SUITE.TEST, where * stands for anything: {glob!r}"
        )
    return glob


def arguments(glob: str, *, listing: bool = False) -> tuple[str, ...]:
    """What a kernel is told, to run what matches or to list it, and to power off then."""
    words = ["kunit.enable=1", "kunit_shutdown=poweroff"]
    words += [] if glob == ALL else [f"kunit.filter_glob={glob}"]
    return (*words, *(("kunit.action=list",) if listing else ()))


def listed(log: bytes, isolate: str) -> list[tuple[str, str]]:
    """The suites, or the tests, that a kernel has listed in its log: each with the pattern by which
    that runs it alone.

    isolate: SUITE or TEST
    """
    found: dict[tuple[str, str], None] = {}
    suite = ""
    lines = _lines(log)
    for line, after in itertools.pairwise([*lines, ""]):
        if after.startswith(f"{line}."):  # since Linux 6.6 the name of a suite comes first
            suite = line
            continue
        match = _TEST.fullmatch(line)
        if match is None or (match[1] != suite and not _PLAIN.fullmatch(match[1])):
            continue
        glob = re.sub(r"[^\w-]", "?", match[1])
        is_suite = isolate == SUITE
        found[(match[1], glob) if is_suite else (line, f"{glob}.{match[2]}")] = None
    return list(found)


def _lines(log: bytes) -> list[str]:
    """What a kernel says between the beginning and the end of its list."""
    found: list[str] = []
    began = False
    for line in log.splitlines():
        if not began:
            began = bool(_BEGIN.search(line))
        elif _END.search(line):
            break
        else:
            found.append(_STAMP.sub("", line.decode("utf-8", "replace").rstrip(), count=1))
    return found
