"""The definition that is made of another system's guest: what can be had of it, and be had here.

A reader (`umlctl.guest.readers`) says what a foreign form asks for. Each thing is looked at here as
`umlctl define` looks at it, by itself and beside the others. What would be refused is left, with
the reason. Of this host, the kernel and the initial RAM disk are looked at, without which no guest
boots; a kernel that the form names is not run for that.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from umlctl.definitions import files, make
from umlctl.errors import UmlctlError, UsageError
from umlctl.guest import written
from umlctl.guest.options import BY_NAME
from umlctl.guest.readers.reading import Item, Left
from umlctl.host import naming
from umlctl.kernels import find, kernel_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from umlctl.guest.readers.reading import Reading

UNNAMED: Final = "imported"
"""What a guest without a name is called while it is looked at."""


class Imported(NamedTuple):
    """A guest of another system, as it can be had here.

    Fields:
        name: as it was called there; empty: it had none, or none that a guest can have
        values: of the definition, by key
        left: what is not carried over, or not as it was
        text: the definition
    """

    name: str
    values: dict[str, Any]
    left: tuple[Left, ...]
    text: str


def imported(reading: Reading, source: str) -> Imported:
    """Make a definition of what was read.

    source: what it was read from, for the comment on top
    """
    left = list(reading.left)
    name = reading.name
    try:
        naming.check_umid(name or UNNAMED)
    except naming.BadUmid as problem:
        left.append(Left(f"the name {name!r:.80}", "", str(problem), "--name gives another"))
        name = ""
    umid = name or UNNAMED
    items = _taken(reading.items, left, _flaw_here)
    items = _taken(items, left, _flaw_of_kernel(items))
    items = _taken(items, left, lambda item: _flaw_alone(item, umid))
    items = _together(items, left, umid)
    values = values_of(items)
    text = f"# {source}, by umlctl import\n" + written.write(values)
    make.check(files.of_text(umid, source, text, ""))  # as `define` will
    return Imported(name, values, tuple(sorted(left, key=_order)), text)


def _order(left: Left) -> int:
    """Where it stands: the number of its line, or of its argument."""
    number = re.search(r"([0-9]+)\Z", left.at)
    return int(number[1]) if number else 0


def values_of(items: Iterable[Item]) -> dict[str, Any]:
    """The values of a definition, by key."""
    found: dict[str, Any] = {}
    for item in items:
        if BY_NAME[item.key].many:
            found[item.key] = (*found.get(item.key, ()), item.value)
        else:
            found[item.key] = item.value
    return found


class _Flaw(NamedTuple):
    """Why something is left, and what to use instead."""

    why: str
    instead: str = ""


def _taken(
    items: Sequence[Item], left: list[Left], look: Callable[[Item], _Flaw | None]
) -> list[Item]:
    """What of it nothing is wrong with; the rest is left."""
    good = []
    for item in items:
        flaw = look(item)
        if flaw is None:
            good.append(item)
        else:
            left.append(Left(item.at, item.given, *flaw))
    return good


# What this host has


def _flaw_here(item: Item) -> _Flaw | None:
    """Whether a kernel or an initial RAM disk is one, and is here."""
    if item.key == "kernel":
        flaw = kernel_file.flaw(_kernel_of(str(item.value)))
        instead = "the one that `umlctl setup` finds is taken, and `kernel` names another"
        return _Flaw(f"it is not a UML kernel: {flaw}", instead) if flaw else None
    if item.key == "initrd" and not os.path.isfile(str(item.value)):
        return _Flaw("there is no such file here", 'initrd = "FILE" names one')
    return None


def _kernel_of(path: str) -> str:
    """A kernel, or the one in the directory where it was built."""
    return f"{path}/{find.IN_TREE}" if os.path.isdir(path) else path


def _flaw_of_kernel(items: Sequence[Item]) -> Callable[[Item], _Flaw | None]:
    """What the kernel that is taken cannot do. One that the form names says so when it is started:
    it is not run for a look."""
    asked = {item.key for item in items}
    kernel = None
    if "kernel" not in asked and asked & {"ncpus", "modules"}:
        try:
            kernel = find.probe(find.find())
        except UmlctlError:
            kernel = None  # `start` says that there is none

    def look(item: Item) -> _Flaw | None:
        if kernel is None:
            return None
        if item.key == "ncpus" and int(item.value) > kernel.most_cpus:
            return _Flaw(
                f"the kernel {kernel.path} can have {kernel.most_cpus}",
                "a kernel with SMP has more, see `umlctl kernel list`",
            )
        if item.key == "modules" and not kernel.locks_modules:
            return _Flaw(f"the kernel {kernel.path} does not lock its modules")
        return None

    return look


# What a definition can have


def _flaw_alone(item: Item, umid: str) -> _Flaw | None:
    """What `define` would refuse of a definition with this alone."""
    try:
        text = written.write(values_of([item]))
        make.check(files.of_text(umid, "", text, ""))
    except UmlctlError as problem:
        said = str(problem)
        for place in (":1: ", f"{item.key}: ", f"{item.value}: "):
            said = said.removeprefix(place)
        return _Flaw(said)
    return None


def _together(items: Sequence[Item], left: list[Left], umid: str) -> list[Item]:
    """As much of it as can be had together: what comes later gives way."""
    kept = list(items)
    while (flaw := _flaw_of_all(kept, umid)) is not None:
        good, bad = 0, len(kept)
        while bad - good > 1:
            middle = (good + bad) // 2
            found = _flaw_of_all(kept[:middle], umid)
            good, bad = (middle, bad) if found is None else (good, middle)
            flaw = found or flaw
        item = kept.pop(bad - 1)
        left.append(Left(item.at, item.given, flaw))
    return kept


def _flaw_of_all(items: Sequence[Item], umid: str) -> str | None:
    """What is wrong with all of it together."""
    text = written.write(values_of(items))
    try:
        found = files.of_text(umid, "", text, "")
    except UsageError as problem:
        return str(problem)
    wrong = make.problem_of(found, found.values)
    return None if wrong is None else str(wrong)
