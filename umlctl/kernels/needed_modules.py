"""The modules that are to be loaded for one that is wanted, by what depmod(8) has written down.

Source: modules.dep(5), modules.builtin in Documentation/kbuild/kbuild.rst
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from umlctl.errors import NeverStarted
from umlctl.kernels import modules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from umlctl.kernels.find import ProbedKernel

MODULE: Final = ".ko"
"""The end of a module's file; what follows says how it is compressed."""


def files(kernel: ProbedKernel, names: Iterable[str]) -> list[str]:
    """The files to be loaded, in this order, by their paths in `modules.of_release`. There is none
    for what is built in.

    names: as of modprobe(8)

    Raises: NeverStarted: one is not there; HostError
    """
    names = list(names)
    if not names:
        return []
    place = modules.of_release(kernel)
    if not place:
        searched = ", ".join(f"{path}/{kernel.version}" for path in modules.places(kernel.path))
        raise NeverStarted(
            f"there is no module {names[0]}: the kernel {kernel.path}, {kernel.version}, came with "
            f"no modules; they were looked for in {searched}"
        )
    needs = dict(_dependencies(place)) or {path: [] for path in _found(place)}
    by_name = {name_of(path): path for path in needs}
    built_in = {name_of(path) for path in _lines(f"{place}/modules.builtin")}
    found: list[str] = []
    for name in names:
        wanted = name_of(name)
        if wanted in by_name:
            path = by_name[wanted]
            found += [each for each in (*reversed(needs[path]), path) if each not in found]
        elif wanted not in built_in:
            raise NeverStarted(_missing(name, place, by_name))
    for path in found:
        if not path.endswith(MODULE):
            raise NeverStarted(
                f"{place}/{path} is compressed, and is not loaded by umlctl; unpack it, or load it "
                "in the guest by modprobe"
            )
    return found


def name_of(text: str) -> str:
    """A module's name, by that or by its file: `-` and `_` are the same."""
    return os.path.basename(text).partition(MODULE)[0].replace("-", "_")


def _dependencies(place: str) -> Iterator[tuple[str, list[str]]]:
    """Each module with all that it needs, what is needed last first."""
    for line in _lines(f"{place}/modules.dep"):
        path, colon, needs = line.partition(":")
        if colon:
            yield path, needs.split()


def _found(place: str) -> Iterator[str]:
    """The modules where depmod has not been."""
    for directory, _, names in os.walk(place, followlinks=False):
        for name in names:
            if MODULE in name:
                yield os.path.relpath(os.path.join(directory, name), place)


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _missing(name: str, place: str, known: Iterable[str]) -> str:
    import difflib  # only who is wrong takes the time

    near = difflib.get_close_matches(name_of(name), known, n=3)
    hint = f"; there is {', '.join(near)}" if near else ""
    return f"there is no module {name} in {place}, nor is it built in{hint}"
