"""Packets of captured frames."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from umlctl.networks.captured import KNOWN_BYTES, RECEIVED, SENT, Captured, decode, encode


@given(
    st.binary(min_size=14, max_size=2000),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.sampled_from([SENT, RECEIVED]),
)
def test_what_is_known_of_a_frame_comes_back(
    frame: bytes, time: int, port: int, lost: int, direction: int
) -> None:
    packet = encode(memoryview(frame), time, port, lost, direction)
    assert packet.startswith(frame)
    assert len(packet) == len(frame) + KNOWN_BYTES
    assert decode(packet) == Captured(frame, time, port, lost, direction)


@given(st.binary(max_size=60))
def test_anything_else_is_no_frame(packet: bytes) -> None:
    found = decode(packet)
    assert found is None or found.frame == packet[:-KNOWN_BYTES]


def test_short_packet_is_no_frame() -> None:
    assert decode(encode(memoryview(bytes(13)), 0, 0, 0, SENT)) is None
    assert decode(encode(memoryview(bytes(14)), 0, 0, 0, 3)) is None
