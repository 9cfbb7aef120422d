from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from umlctl.networks.name_answers import ANY, MAX_ANSWERS, PTR, A, Names, answer

HOSTS = [("web", "10.0.0.2"), ("Db", "10.0.0.3"), ("web", "10.0.0.4"), ("a.b", "10.0.0.5")]
NAMES = Names(HOSTS)
AAAA = 28
REFUSED, NOT_IMPLEMENTED = 5, 4


def labels(name: str) -> bytes:
    return b"".join(bytes([len(each)]) + each.encode() for each in name.split(".")) + b"\0"


def question(name: str, kind: int = A, *, flags: int = 0x0100, of_class: int = 1) -> bytes:
    head = struct.pack("!6H", 0xBEEF, flags, 1, 0, 0, 0)
    return head + labels(name) + struct.pack("!HH", kind, of_class)


def read(said: bytes | None, asked: bytes) -> tuple[int, list[bytes]]:
    """The code of an answer, and its records' data."""
    assert said is not None
    number, flags, questions, answers, *others = struct.unpack_from("!6H", said)
    assert (number, flags & 0x8100, questions, others) == (0xBEEF, 0x8100, 1, [0, 0])
    assert said[12 : len(asked)] == asked[12:]
    at, found = len(asked), []
    for _ in range(answers):
        name, _, of_class, _, size = struct.unpack_from("!HHHIH", said, at)
        assert (name, of_class) == (0xC00C, 1)
        found.append(said[at + 12 : at + 12 + size])
        at += 12 + size
    assert at == len(said)
    return flags & 0xF, found


def ask(name: str, kind: int = A, **more: int) -> tuple[int, list[bytes]]:
    asked = question(name, kind, **more)
    return read(answer(asked, NAMES, bool), asked)


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("web", ["10.0.0.2", "10.0.0.4"]),
        ("WEB.uml.internal", ["10.0.0.2", "10.0.0.4"]),
        ("db", ["10.0.0.3"]),
        ("a.b", ["10.0.0.5"]),
        ("a.b.UML.internal", ["10.0.0.5"]),
    ],
)
@pytest.mark.parametrize("kind", [A, ANY])
def test_guest_is_found_by_its_name(name: str, addresses: list[str], kind: int) -> None:
    assert ask(name, kind) == (0, [socket.inet_aton(each) for each in addresses])


def test_guest_has_no_address_of_ipv6() -> None:
    """Which is no reason to ask another server."""
    assert ask("web", AAAA) == (0, [])


def test_who_has_an_address_is_told() -> None:
    assert ask("3.0.0.10.in-addr.arpa", PTR) == (0, [labels("Db.uml.internal")])
    assert ask("3.0.0.10.in-addr.arpa", A) == (0, [])


@pytest.mark.parametrize(
    "name", ["nobody", "nobody.uml.internal", "uml.internal", "debian.org", "web.debian.org"]
)
def test_other_names_are_for_other_servers(name: str) -> None:
    assert ask(name) == (REFUSED, [])
    assert ask("9.9.9.9.in-addr.arpa", PTR) == (REFUSED, [])
    assert ask("web", of_class=3) == (REFUSED, [])


def test_only_questions_are_answered() -> None:
    assert ask("web", flags=0x2900) == (NOT_IMPLEMENTED, [])
    assert answer(question("web", flags=0x8180), NAMES, bool) is None
    assert answer(question("x" * 63 + ".web" * 200), NAMES, bool) is None


def test_answer_fits_in_a_datagram() -> None:
    asked = question("many")
    said = answer(asked, Names(("many", f"10.0.0.{number}") for number in range(1, 200)), bool)
    assert len(read(said, asked)[1]) == MAX_ANSWERS
    assert said is not None
    assert len(said) <= 512


def test_only_of_those_that_match_is_it_asked_whether_they_are_there() -> None:
    asked: list[str] = []
    many = Names([*HOSTS, *((f"g{number}", "10.0.1.1") for number in range(1000))])
    for name, code in (("WEB", 0), ("nobody", REFUSED)):
        wanted = question(name)
        assert read(answer(wanted, many, lambda it: not asked.append(it)), wanted)[0] == code  # type: ignore[func-returns-value]
    assert asked == ["web"]
    for name, kind in (("web", A), ("2.0.0.10.in-addr.arpa", PTR)):
        wanted = question(name, kind)
        assert read(answer(wanted, NAMES, lambda _: False), wanted) == (REFUSED, [])


@given(st.binary(max_size=600))
@example(question("web")[:-1])
@example(question("web")[:12] + b"\xc0\x0c\0\1\0\1")
def test_anything_may_come(data: bytes) -> None:
    said = answer(data, NAMES, bool)
    assert said is None or said[:2] == data[:2]
