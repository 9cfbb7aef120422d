"""The elements of an XML text, each with its line. Pure.

The parser is Python's own expat, which loads nothing and asks no network. A text with a document
type is refused: entities are declared there and nowhere else, so that none is ever expanded, those
of external files among them. `defusedxml` does the same, with ElementTree, which has no lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.parsers import expat

from umlctl.errors import UsageError
from umlctl.guest.readers.reading import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_DEPTH: Final = 32
"""How deep elements may lie in elements."""
MAX_ELEMENTS: Final = 4096


class Element:
    """One element.

    Fields:
        name, attributes, children: of it
        line: where it begins
        text: what stands in it, without what stands in its children
    """

    __slots__ = ("attributes", "children", "line", "name", "text")

    def __init__(self, name: str, attributes: Mapping[str, str], line: int) -> None:
        self.name = name
        self.attributes = attributes
        self.line = line
        self.children: list[Element] = []
        self.text = ""

    def __str__(self) -> str:
        """The element as it can be shown, on one line."""
        given = "".join(f" {key}='{value}'" for key, value in self.attributes.items())
        text = " ".join(self.text.split())
        return shown(f"<{self.name}{given}>{text}")

    def get(self, name: str) -> str:
        """The attribute of this name; empty: there is none."""
        return self.attributes.get(name, "")

    def child(self, name: str) -> Element | None:
        """The first child of this name."""
        return next(self.all(name), None)

    def all(self, name: str) -> Iterator[Element]:
        """The children of this name."""
        return (each for each in self.children if each.name == name)

    def attribute(self, child: str, name: str) -> str:
        """An attribute of a child; empty: there is none."""
        found = self.child(child)
        return found.get(name) if found is not None else ""


def read(text: str, path: str) -> Element:
    """The element that a text is.

    path: of the file, for messages

    Raises: UsageError: with file and line
    """
    builder = _Builder(shown(path))
    parser = builder.parser
    try:
        parser.Parse(text.encode("utf-8", "surrogateescape"), True)
    except expat.ExpatError as problem:
        what = expat.ErrorString(problem.code)
        raise UsageError(
            f"{builder.path}:{problem.lineno}: this is no XML: {what}; "
            "`virsh dumpxml` wrote such files"
        ) from None
    assert builder.root is not None  # expat finds no element missing
    return builder.root


class _Builder:
    """Builds elements of what the parser has found."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.root: Element | None = None
        self.count = 0
        self._open: list[Element] = []
        self.parser = expat.ParserCreate("utf-8")
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters

    def _fail(self, what: str) -> None:
        raise UsageError(f"{self.path}:{self.parser.CurrentLineNumber}: {what}")

    def _doctype(self, name: str, *_others: object) -> None:
        self._fail(
            f"<!DOCTYPE {shown(name)}>: entities are not expanded, and files of libvirt have no "
            "document type; leave it out"
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.count += 1
        if self.count > MAX_ELEMENTS or len(self._open) == MAX_DEPTH:
            self._fail(
                f"<{shown(name)}>: more than {MAX_ELEMENTS} elements, or than {MAX_DEPTH} in each "
                "other: this is no domain"
            )
        found = Element(name, attributes, self.parser.CurrentLineNumber)
        if self._open:
            self._open[-1].children.append(found)
        else:
            self.root = found
        self._open.append(found)

    def _end(self, _name: str) -> None:
        self._open.pop()

    def _characters(self, text: str) -> None:
        self._open[-1].text += text
