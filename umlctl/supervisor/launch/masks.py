"""What a confined kernel does not see though its user could: covered in its own mount namespace by
something empty, which leaves out what the guest was given.

Landlock knows only what is allowed, and bounds no connection to a socket: with masks all else stays
readable, and what is made later beside a secret too.
"""

from __future__ import annotations

import os
from errno import EACCES, ENOENT, ENOTDIR
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.backends.device_access import is_below
from umlctl.host import shared_socket

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from umlctl.host.call_list import CallList

_MOUNT: Final = 165
_BIND: Final = 0x1000
_WHOLE: Final = 0x4000
"""MS_BIND, and MS_REC: with what is mounted below."""
_GONE: Final = (ENOENT, ENOTDIR, EACCES)
"""What cannot be reached need not be covered."""


class Mask(NamedTuple):
    """Something that is covered.

    Fields:
        path: a directory or file
        given: what of it is left: its path from there, and what is to be seen at that place
    """

    path: str
    given: tuple[tuple[str, str], ...] = ()


def outermost(paths: Iterable[str]) -> list[str]:
    """Those paths that lead to nothing in another one; sorted."""
    found: list[str] = []
    for path in sorted(set(paths)):
        if not any(is_below(path, other) for other in found):
            found.append(path)
    return found


def plan(hidden: Iterable[str], given: Mapping[str, str]) -> list[Mask]:
    """What is to be covered, and with what left out; pure.

    hidden: what is not to be seen
    given: what is, and what is to be seen there: itself, as a rule; all without links
    """
    below: dict[str, list[str]] = {}
    for path in given:
        for above in _above(path):
            below.setdefault(above, []).append(path)
    found: dict[str, Mask] = {}
    for path in sorted(set(hidden)):
        if path in given or path in found or any(above in found for above in _above(path)):
            continue
        inside = outermost(below.get(path, ()))
        left = ((os.path.relpath(each, path), given[each]) for each in inside)
        found[path] = Mask(path, tuple(left))
    return list(found.values())


def _above(path: str) -> Iterator[str]:
    """The directories that lead to a path."""
    while path != "/":
        path = os.path.dirname(path)
        yield path


class Masks:
    """Masks of one guest, and what they are made of.

    Fields:
        directory: which has that
    """

    def __init__(self, directory: str, masks: Iterable[Mask], *, empty: str = "") -> None:
        """Make what covers.

        empty: the directory of masks made before, whose empty ones serve these too

        Raises: OSError
        """
        self.directory = directory
        self._empty = empty or directory
        _make_passable(directory)
        there = [mask for mask in masks if os.path.exists(mask.path)]
        # What covers the others is itself covered last.
        self._masks = sorted(there, key=lambda mask: is_below(directory, mask.path))
        if not empty:
            os.mkdir(f"{directory}/none", 0)
            os.close(os.open(f"{directory}/nothing", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0))
        for index, mask in enumerate(self._masks):
            if mask.given:
                _make_passable(f"{directory}/{index}")
            for name, source in mask.given:
                self._make_place(f"{directory}/{index}/{name}", source)

    def _make_place(self, place: str, source: str) -> None:
        """Make something that what is given can be mounted on."""
        if os.path.isdir(source):
            _make_passable(place)
        elif os.path.exists(source):
            _make_passable(os.path.dirname(place))
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT, 0o600))

    def cover(self, calls: CallList) -> None:
        """Have a process in a mount namespace of its own cover it all."""
        for index, mask in enumerate(self._masks):
            covering = self.covering(index)
            for name, source in mask.given:
                bind(calls, source, f"{covering}/{name}", must=False)
            bind(calls, covering, mask.path, must=False)

    def covering(self, index: int) -> str:
        """What covers one of them."""
        mask = self._masks[index]
        if mask.given:
            return f"{self.directory}/{index}"
        return f"{self._empty}/{'none' if os.path.isdir(mask.path) else 'nothing'}"


def _make_passable(directory: str) -> None:
    """Make a directory, and those above it, through which every user comes and sees nothing."""
    if not os.path.isdir(directory):
        _make_passable(os.path.dirname(directory))
        os.mkdir(directory)
        os.chmod(directory, shared_socket.MODE)  # whatever the umask is


def bind(calls: CallList, source: str, target: str, *, must: bool = True) -> None:
    """Have a process mount a file or directory at another place.

    must: else one of them may be gone, or out of its reach
    """
    words = f"cannot mount {source} on {target}"
    calls.call(words, _MOUNT, source, target, 0, _BIND | _WHOLE, 0, tolerated=() if must else _GONE)
