"""Blocks of pcapng, read by a reader of the draft's own words."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from umlctl.networks import pcapng


def read(data: bytes) -> list[tuple[int, bytes]]:
    """The kinds and bodies of blocks."""
    found = []
    while data:
        kind, size = struct.unpack_from("=II", data)
        assert size % 4 == 0
        assert struct.unpack_from("=I", data, size - 4)[0] == size
        found.append((kind, data[8 : size - 4]))
        data = data[size:]
    return found


def options(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while True:
        code, size = struct.unpack_from("=HH", data)
        if code == 0:
            assert data == b"\0\0\0\0"
            return found
        found[code] = data[4 : 4 + size]
        data = data[4 + size + -size % 4 :]


def packets(data: bytes) -> list[tuple[str, int, bytes, int]]:
    """The interface's name, the time, the frame and the direction of each packet of a file."""
    (kind, body), *blocks = read(data)
    assert (kind, body[:4]) == (0x0A0D0D0A, struct.pack("=I", 0x1A2B3C4D))
    names: list[str] = []
    found: list[tuple[str, int, bytes, int]] = []
    for kind, body in blocks:
        if kind == 1:
            assert struct.unpack_from("=H", body)[0] == 1
            said = options(body[8:])
            assert said[9] == b"\x09"
            names.append(said[2].decode())
        elif kind == 6:
            number, high, low, kept, size = struct.unpack_from("=IIIII", body)
            assert kept == size
            (direction,) = struct.unpack("=I", options(body[20 + size + -size % 4 :])[2])
            frame = body[20 : 20 + size]
            found.append((names[number], high << 32 | low, frame, direction))
        else:
            assert kind == 5
    return found


PACKETS: Any = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 2**63),
        st.binary(min_size=14, max_size=100),
        st.sampled_from([pcapng.INBOUND, pcapng.OUTBOUND]),
    ),
    max_size=10,
)


@given(st.lists(st.text(max_size=20), min_size=3, max_size=3), PACKETS)
def test_what_is_written_is_read(names: list[str], each: list[tuple[int, int, bytes, int]]) -> None:
    names = [name.encode("utf-8", "replace").decode() for name in names]
    data = pcapng.section("umlctl") + b"".join(map(pcapng.interface, names))
    data += b"".join(pcapng.packet(*one) for one in each)
    data += pcapng.statistics(0, 5, 7)
    assert packets(data) == [(names[number], *rest) for number, *rest in each]


def test_what_was_dropped_stands_at_the_end() -> None:
    ((kind, body),) = read(pcapng.statistics(2, 1 << 33, 9))
    assert (kind, struct.unpack_from("=III", body)) == (5, (2, 2, 0))
    assert options(body[12:]) == {5: struct.pack("=Q", 9)}
