"""kselftest, as `make -C tools/testing/selftests install` leaves it in a directory."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from umlctl.errors import HostError, UsageError

LIST: Final = "kselftest-list.txt"
SCRIPT: Final = "run_kselftest.sh"


class Selftest(NamedTuple):
    """One test.

    Fields:
        collection: which it is of, such as net/forwarding
        program: its file there
    """

    collection: str
    program: str

    @property
    def words(self) -> tuple[str, ...]:
        """The command that runs it, in the directory of all."""
        return (f"./{SCRIPT}", "-t", f"{self.collection}:{self.program}")

    @property
    def name(self) -> str:
        return f"{self.collection}.{self.program}"


def installed(directory: str, wanted: tuple[str, ...] = ()) -> list[Selftest]:
    """The tests that are installed in a directory, in their order.

    wanted: collections, or single tests as COLLECTION:TEST; all, if there are none

    Raises: UsageError, HostError
    """
    for name in (LIST, SCRIPT):
        if not os.path.isfile(f"{directory}/{name}"):
            raise UsageError(
                f"{directory} has no {name}: it is no installed kselftest; "
                "`make -C tools/testing/selftests install` makes one"
            )
    try:
        with open(f"{directory}/{LIST}", encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError as problem:
        raise HostError(f"cannot read {directory}/{LIST}: {problem.strerror}") from problem
    found = read_list(text)
    unknown = [each for each in wanted if not any(_is_of(test, each) for test in found)]
    if unknown:
        known = ", ".join(sorted({test.collection for test in found})) or "nothing"
        raise UsageError(f"{directory} has no {', '.join(unknown)}; there is {known}")
    if not found:
        raise UsageError(f"{directory}/{LIST} lists no test")
    return [test for test in found if not wanted or any(_is_of(test, each) for each in wanted)]


def read_list(text: str) -> list[Selftest]:
    """What kselftest-list.txt lists: COLLECTION:TEST a line."""
    rows = [line.strip().partition(":") for line in text.splitlines()]
    return [Selftest(collection, program) for collection, _, program in rows if program]


def _is_of(test: Selftest, wanted: str) -> bool:
    return wanted in (test.collection, f"{test.collection}:{test.program}")
