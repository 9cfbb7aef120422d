"""Answers to questions for names of guests, as DNS has them: a datagram in, a datagram out.

Only what a network knows itself is answered: the addresses of its guests, and who has an address.
All else is refused, on which a resolver asks the next server that it was told of: a guest may be on
several networks.

Source: RFC 1035
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Final

from umlctl.networks.address_plan import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TTL_SECONDS: Final = 5
MAX_QUERY_BYTES: Final = 512
MAX_ANSWERS: Final = 16
"""How many addresses of one name are told: they have to fit in a datagram."""
_HEADER: Final = struct.Struct("!6H")
_IS_ANSWER: Final = 0x8000
_OPCODE: Final = 0x7800
_AUTHORITATIVE: Final = 0x0400
_WANTS_RECURSION: Final = 0x0100
_NOT_IMPLEMENTED: Final = 4
_REFUSED: Final = 5
_INTERNET: Final = 1
A: Final = 1
PTR: Final = 12
ANY: Final = 255
_MAX_LABEL_BYTES: Final = 63
_REVERSE: Final = ".in-addr.arpa"
_QUESTION_AT: Final = 0xC00C
"""A name that is the question's."""


class Names:
    """Guests by their names and addresses, so that a question takes no longer for many."""

    def __init__(self, hosts: Iterable[tuple[str, str]]) -> None:
        """hosts: names of guests, each with an address; those that count most come first"""
        self._by_name: dict[str, list[tuple[str, str]]] = {}
        self._by_address: dict[str, str] = {}
        for guest, address in hosts:
            self._by_name.setdefault(guest.lower(), []).append((guest, address))
            self._by_address.setdefault(address, guest)

    def named(self, *names: str) -> list[tuple[str, str]]:
        """The guests of some names in lower case, each with an address."""
        return [host for name in dict.fromkeys(names) for host in self._by_name.get(name, ())]

    def owner(self, address: str) -> str | None:
        return self._by_address.get(address)


def answer(query: bytes, names: Names, is_there: Callable[[str], bool]) -> bytes | None:
    """The answer to a datagram; None if it is no question.

    is_there: whether there is a guest; it is asked of few
    """
    if not _HEADER.size < len(query) <= MAX_QUERY_BYTES:
        return None
    number, flags, questions, *_ = _HEADER.unpack_from(query)
    read = _question(query)
    if flags & _IS_ANSWER or questions != 1 or read is None:
        return None
    name, kind, of_class, end = read
    if flags & _OPCODE:
        found: list[bytes] | int = _NOT_IMPLEMENTED
    else:
        asked = of_class in (_INTERNET, ANY)
        found = _look_up(name, kind, names, is_there) if asked else _REFUSED
    code, records = (found, []) if isinstance(found, int) else (0, found)
    said = _IS_ANSWER | flags & (_OPCODE | _WANTS_RECURSION) | code
    said |= 0 if code else _AUTHORITATIVE
    head = _HEADER.pack(number, said, 1, len(records), 0, 0)
    return b"".join([head, query[_HEADER.size : end], *records])


def _question(query: bytes) -> tuple[str, int, int, int] | None:
    """The name in lower case, the type and the class of a question, and where it ends; None if it
    is none."""
    labels = []
    at = _HEADER.size
    while at < len(query) and query[at]:
        size = query[at]
        if size > _MAX_LABEL_BYTES:
            return None
        labels.append(query[at + 1 : at + 1 + size].decode("latin-1"))
        at += 1 + size
    end = at + 5
    if end > len(query):
        return None
    kind, of_class = struct.unpack_from("!HH", query, at + 1)
    return ".".join(labels).lower(), kind, of_class, end


def _look_up(
    name: str, kind: int, names: Names, is_there: Callable[[str], bool]
) -> list[bytes] | int:
    """The records that answer, or a code for why there are none."""
    short = name.removesuffix(f".{DOMAIN}")
    if name.endswith(_REVERSE):
        address = ".".join(reversed(name.removesuffix(_REVERSE).split(".")))
        owner = names.owner(address)
        if owner is None or not is_there(owner):
            return _REFUSED
        return [_record(PTR, _as_labels(f"{owner}.{DOMAIN}"))] if kind in (PTR, ANY) else []
    named = names.named(name, short)
    there = {guest for guest in {guest for guest, _ in named} if is_there(guest)}
    if not there:
        return _REFUSED
    found = [socket.inet_aton(address) for guest, address in named if guest in there]
    return [_record(A, each) for each in found[:MAX_ANSWERS]] if kind in (A, ANY) else []


def _record(kind: int, data: bytes) -> bytes:
    head = struct.pack("!HHHIH", _QUESTION_AT, kind, _INTERNET, TTL_SECONDS, len(data))
    return head + data


def _as_labels(name: str) -> bytes:
    labels = [label.encode()[:_MAX_LABEL_BYTES] for label in name.split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels if label) + b"\0"
