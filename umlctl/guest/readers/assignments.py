"""The text of an xl file: KEY = VALUE, as xl(1) reads it. Pure.

The files look like Python, and once were: xm(1) ran them. xl reads texts in quotes, numbers, lists
of these, and `+=`; the same is read here, and nothing is run. Python's True, False and None are
taken besides, since files for xm have them.
Source: xl.cfg(5); tools/libs/util/libxlu_cfg.c of Xen
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, TypeAlias

from umlctl.errors import UsageError
from umlctl.guest.readers.reading import shown

MAX_DEPTH: Final = 8
"""How deep lists may lie in lists."""
_TOKEN: Final = re.compile(
    r"""(?P<blank>[ \t\r\f\v]+|\\\r?\n|\#[^\n]*)
    |(?P<newline>\n|;)
    |(?P<text>'(?:[^'\\\n]|\\[^\n])*'|"(?:[^"\\\n]|\\[^\n])*")
    |(?P<number>0[xX][0-9A-Fa-f]+(?!\w)|-?[0-9]+(?![\w.]))
    |(?P<word>[^\W\d][\w-]*)
    |(?P<mark>\+=|[=\[\],])
    |(?P<other>.)""",
    re.VERBOSE,
)
_ESCAPE: Final = re.compile(r"\\(x[0-9A-Fa-f]{2}|[0-7]{1,3}|[^\n])")
_ESCAPED: Final = dict(zip("abfnrtv'\"\\", "\a\b\f\n\r\t\v'\"\\", strict=True))
_CONSTANTS: Final = {"True": "1", "False": "0", "None": ""}
_STATEMENTS: Final = frozenset(
    (
        *("import", "from", "def", "if", "else", "elif", "for", "while", "try", "with", "class"),
        *("del", "print", "exec", "raise", "return", "global", "assert", "pass", "lambda"),
    )
)
_NO_PYTHON: Final = "write KEY = VALUE, with a text in quotes, a number or a list"


class Scalar(NamedTuple):
    """A text or a number, and the line where it begins."""

    text: str
    line: int


Value: TypeAlias = "Scalar | list[Value]"


class Assignment(NamedTuple):
    """One KEY = VALUE.

    Fields:
        key: as it is written
        value: with what `+=` has added
        line: where it begins
        given: the text, fit to be shown
    """

    key: str
    value: Value
    line: int
    given: str


class _Token(NamedTuple):
    kind: str
    text: str
    line: int
    start: int


def read(text: str, path: str) -> list[Assignment]:
    """The assignments of a file, in their order.

    path: of the file, for messages

    Raises: UsageError: with file and line
    """
    return _Reader(text, path).assignments()


class _Reader:
    """Reads one token after the other.

    Fields:
        tokens: all of them, without blanks and comments
        index: of the one that is next
    """

    def __init__(self, text: str, path: str) -> None:
        self.text = text
        self.path = path
        self.tokens = list(self._tokens())
        self.index = 0

    def _tokens(self) -> list[_Token]:
        found = []
        line = 1
        for each in _TOKEN.finditer(self.text):
            kind = each.lastgroup or "other"
            if kind != "blank":
                found.append(_Token(kind, each[0], line, each.start()))
            line += each[0].count("\n")
        found.append(_Token("newline", "", line, len(self.text)))
        return found

    def assignments(self) -> list[Assignment]:
        found: list[Assignment] = []
        while self.index < len(self.tokens):
            if self.tokens[self.index].kind == "newline":
                self.index += 1
                continue
            found.append(self._assignment(found))
        return found

    def _assignment(self, before: list[Assignment]) -> Assignment:
        key = self._next()
        sign = self._next() if key.kind == "word" else key
        if key.kind != "word":
            raise self._wrong(key, "a line begins with a KEY", _NO_PYTHON)
        if sign.text not in ("=", "+="):
            raise self._wrong(key, "this is Python, and none of it is run", _NO_PYTHON)
        value = self._value(0)
        end = self._next()
        if end.kind != "newline":
            raise self._wrong(end, f"{end.text!r} stands behind a value", _NO_PYTHON)
        last = self.tokens[self.index - 2]
        given = " ".join(self.text[key.start : last.start + len(last.text)].split())
        if sign.text == "+=":
            earlier = next((each for each in reversed(before) if each.key == key.text), None)
            value = self._sum(key, earlier.value if earlier else None, value)
            if earlier is not None:
                before.remove(earlier)
        return Assignment(key.text, value, key.line, shown(given))

    def _sum(self, key: _Token, earlier: Value | None, added: Value) -> Value:
        if earlier is None:
            return added
        if isinstance(earlier, list) and isinstance(added, list):
            return earlier + added
        if isinstance(earlier, Scalar) and isinstance(added, Scalar):
            return Scalar(earlier.text + added.text, added.line)
        raise self._wrong(key, "a list and a text cannot be added", "add a list to a list")

    def _value(self, depth: int) -> Value:
        token = self._next()
        if token.kind == "text":
            return Scalar(self._unquoted(token), token.line)
        if token.kind == "number":
            return Scalar(token.text, token.line)
        if token.kind == "word" and token.text in _CONSTANTS:
            return Scalar(_CONSTANTS[token.text], token.line)
        if token.text == "[":
            return self._list(token, depth + 1)
        if token.text in "'\"" and token.kind == "other":
            raise self._wrong(
                token, "a text is not closed on its line", "end it with the same quote"
            )
        if token.kind == "newline":
            raise self._wrong(token, "a value is missing", _NO_PYTHON)
        raise self._wrong(token, f"{token.text!r} is no value, and nothing is run", _NO_PYTHON)

    def _list(self, begin: _Token, depth: int) -> list[Value]:
        if depth > MAX_DEPTH:
            raise self._wrong(begin, "lists lie too deep in lists", f"{MAX_DEPTH} are the most")
        found: list[Value] = []
        while True:
            self._skip_lines()
            if self._peek("]"):
                return found
            found.append(self._value(depth))
            self._skip_lines()
            if self._peek("]"):
                return found
            comma = self._next()
            if comma.text != ",":
                end = comma.kind == "newline"
                what = "a list is not closed" if end else f"{comma.text!r} stands in a list"
                raise self._wrong(begin if end else comma, what, 'a list is ["TEXT", "TEXT"]')

    def _skip_lines(self) -> None:
        """Go on behind ends of lines; the end of the text is none."""
        while self.index < len(self.tokens) - 1 and self.tokens[self.index].text == "\n":
            self.index += 1

    def _peek(self, mark: str) -> bool:
        found = self.index < len(self.tokens) and self.tokens[self.index].text == mark
        self.index += found
        return found

    def _next(self) -> _Token:
        token = self.tokens[min(self.index, len(self.tokens) - 1)]
        self.index += 1
        return token

    def _unquoted(self, token: _Token) -> str:
        def plain(found: re.Match[str]) -> str:
            code = found[1]
            if code[0] == "x" and len(code) == 3:
                return chr(int(code[1:], 16))
            if code[0] in "01234567":
                return chr(int(code, 8) & 0xFF)
            if code not in _ESCAPED:
                raise self._wrong(
                    token, f"\\{code} means nothing in a text", "a backslash itself is \\\\"
                )
            return _ESCAPED[code]

        return _ESCAPE.sub(plain, token.text[1:-1])

    def _wrong(self, token: _Token, what: str, remedy: str) -> UsageError:
        """The error that something is wrong there."""
        line = self.text.split("\n")[token.line - 1].strip()
        if token.kind == "word" and token.text in _STATEMENTS:
            what = "this is Python, and none of it is run"
        return UsageError(f"{shown(self.path)}:{token.line}: {shown(line)}: {what}; {remedy}")
