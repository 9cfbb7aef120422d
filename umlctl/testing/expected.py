"""Failures that are known, and what is made of results then. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from umlctl.testing.ktap import PASSED
from umlctl.testing.result import KNOWN, NEVER_STARTED, UNEXPECTED

if TYPE_CHECKING:
    from umlctl.testing.result import Result

_PATTERN: Final = frozenset("*?")
"""What makes a name a pattern. Names have brackets themselves, as parameters of KUnit do."""
_COMMENT: Final = " #"


class Expected(NamedTuple):
    """Cases that are known to fail.

    Fields:
        names: of single cases, as they are shown
        patterns: of many, as a shell has them; some of these may pass
    """

    names: frozenset[str] = frozenset()
    patterns: tuple[str, ...] = ()

    def judge(self, result: Result) -> Result:
        """A result in the light of what is known."""
        if result.status == NEVER_STARTED:
            return result
        if result.is_bad:
            known = replace(result, status=KNOWN, reason=_why(result))
            return known if self._has(result) else result
        if result.status == PASSED and result.name in self.names:
            return replace(result, status=UNEXPECTED, reason="it is known to fail, and has passed")
        return result

    def unseen(self, results: list[Result]) -> list[str]:
        """Names of single cases that were not run."""
        return sorted(self.names - {result.name for result in results})

    def _has(self, result: Result) -> bool:
        name = result.name
        return name in self.names or any(fnmatchcase(name, each) for each in self.patterns)


def read(text: str) -> Expected:
    """Known failures as a file has them: a name or a pattern a line; what follows ` #`, and a line
    that begins with `#`, is a comment."""
    found = [f" {line}".partition(_COMMENT)[0].strip() for line in text.splitlines()]
    patterns = [name.replace("[", "[[]") for name in found if _PATTERN & set(name)]
    names = frozenset(name for name in found if name and not _PATTERN & set(name))
    return Expected(names, tuple(patterns))


def _why(result: Result) -> str:
    return f"{result.status}: {result.reason}" if result.reason else result.status
