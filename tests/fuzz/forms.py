"""Guests of other systems: whatever they say, what comes out is a definition, or an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umlctl.definitions import files, imported, make
from umlctl.errors import UsageError
from umlctl.guest.readers import libvirt as reader_of_libvirt
from umlctl.guest.readers import linux as reader_of_linux
from umlctl.guest.readers import vkernel as reader_of_vkernel
from umlctl.guest.readers import xl as reader_of_xl

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.guest.readers.reading import Reading


def xl(data: bytes) -> None:
    """A file of xl, by its text."""
    _of_text(reader_of_xl.read, data)


def libvirt(data: bytes) -> None:
    """A domain of libvirt, by its text."""
    _of_text(reader_of_libvirt.read, data)


def vkernel(data: bytes) -> None:
    """A command line of vkernel, a word a line."""
    _of_words(reader_of_vkernel.read, data)


def linux(data: bytes) -> None:
    """A command line of a kernel, a word a line."""
    _of_words(reader_of_linux.read, data)


def _of_text(read: Callable[[str, str, str], Reading], data: bytes) -> None:
    try:
        found = read(files.decoded("f", data), "f", "/d")
    except UsageError as problem:
        assert str(problem).startswith("f:")
        return
    _is_sound(found)


def _of_words(read: Callable[[list[str], str], Reading], data: bytes) -> None:
    words = data.decode("utf-8", "surrogateescape").split("\n")
    try:
        found = read(words, "/d")
    except UsageError as problem:
        assert str(problem).startswith("argument ")
        return
    _is_sound(found)


def _is_sound(found: Reading) -> None:
    made = imported.imported(found, "x")
    make.check(files.of_text(made.name or "x", "f", made.text, ""))
    for left in made.left:
        assert str(left).isprintable()
