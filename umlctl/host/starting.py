"""Errors of this host under the start of a guest: what was asked, what happened, and that
`umlctl doctor` knows more.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from umlctl.errors import HostError, UnfitHost
from umlctl.host import limits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

_CALLED: Final = re.compile(r"(?:\w+\.)*(\w+)\(")
"""A call in the text of a program, as `os.memfd_create(`."""
_LIBRARY: Final = (f"{os.path.dirname(os.__file__)}/", "<frozen ")
"""Where Python's own modules are."""


def starting(umid: str) -> AbstractContextManager[None]:
    """Turn an error of this host into one that says that a guest cannot be started, see `unfit`."""
    return unfit(f"{umid} cannot be started")


@contextmanager
def unfit(what: str) -> Iterator[None]:
    """Turn an error of this host into one that says so, and names `umlctl doctor`.

    An error that is in our words already keeps them. It is one of these if this host lacks
    something; else it is of a file, or a device, that the user named.

    what: cannot be done

    Raises: UnfitHost
    """
    try:
        yield
    except UnfitHost:
        raise
    except (OSError, HostError, RuntimeError, ExceptionGroup) as raised:
        problem = _first(raised)
        if isinstance(problem, UnfitHost):
            raise problem from None
        if not (isinstance(problem, OSError) or limits.is_lacking(problem)):
            raise
        said = happened(problem) if isinstance(problem, OSError) else str(problem)
        if not isinstance(problem, HostError):
            said = f"{what}: {said}"
        raise UnfitHost("; ".join(filter(None, (said, limits.advice(problem))))) from problem


def _first(raised: Exception) -> Exception:
    """The first error of a group, as tasks raise it; what is no group is itself."""
    while isinstance(raised, ExceptionGroup):
        raised = raised.exceptions[0]
    return raised


def happened(problem: OSError) -> str:
    """What was tried, with which file, and what this host said to that."""
    said = getattr(problem, "problem", "")  # as a BadPlace has it
    if said or problem.strerror is None:
        return str(said or problem)
    names = [problem.filename, problem.filename2]
    tried = [
        _call(problem),
        *(os.fsdecode(name) for name in names if isinstance(name, (str, bytes))),
    ]
    return ": ".join(filter(None, (" ".join(filter(None, tried)), problem.strerror)))


def _call(problem: OSError) -> str:
    """The call that has failed, as `memfd_create`; empty if that is not known, as where there is no
    text of the program. The traceback has where in its line it stands."""
    import linecache
    import traceback

    frames = [
        frame
        for frame in traceback.extract_tb(problem.__traceback__)
        if not frame.filename.startswith(_LIBRARY) or "-packages/" in frame.filename
    ]
    if not frames:
        return ""
    last = frames[-1]
    line = linecache.getline(last.filename, last.lineno or 0)
    if line.lstrip().startswith("raise "):  # the function that does so has called a library
        return last.name.strip("_")
    found = _CALLED.match(line.encode()[last.colno or 0 :].decode("utf-8", "replace"))
    return found[1].strip("_") if found else ""
