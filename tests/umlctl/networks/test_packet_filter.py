"""Filters of tcpdump's, on sockets."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.switches import frame, mac
from umlctl.errors import HostError, UnfitHost, UsageError
from umlctl.networks import packet_filter

if TYPE_CHECKING:
    from pathlib import Path


def test_only_what_a_filter_passes_is_there_to_be_read() -> None:
    program = packet_filter.compile_filter(["ether", "src", "02:00:00:00:00:01"])
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, its:
        packet_filter.attach(ours, program)
        for number in (1, 2, 1):
            its.send(frame(mac(9), mac(number), b"x" * 40))
        its.close()
        assert [ours.recv(100)[6:12] for _ in range(3)] == [mac(1), mac(1), b""]


@pytest.mark.parametrize(
    "words",
    [
        "less 60",
        "greater 60",
        "len = 60 or (ip and len > 70)",
        "not (len < 61 and ether[14] = 1) and not arp",
        "len > ether[14] and len < ether[15]",
        "ip",
    ],
)
def test_program_for_longer_packets_passes_the_same_frames(words: str) -> None:
    program = packet_filter.compile_filter(words.split())
    longer = packet_filter.with_more_behind(program, 17)
    frames = [
        mac(9) + mac(1) + kind + bytes([first, 80]) + bytes(size - 16)
        for kind in (b"\x08\0", b"\x08\6")
        for first in (1, 59)
        for size in (58, 59, 60, 61, 62, 70, 71, 79, 80, 90)
    ]
    assert passed(program, frames, b"") == passed(longer, frames, bytes(17))


def passed(
    program: list[packet_filter.Instruction], frames: list[bytes], more: bytes
) -> list[bytes]:
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, its:
        packet_filter.attach(ours, program)
        for each in frames:
            its.send(each + more)
        its.close()
        found = list(iter(lambda: ours.recv(1000), b""))
        return [each.removesuffix(more) for each in found]


def test_filter_that_would_jump_too_far_is_refused() -> None:
    length, jump, end = (0x80, 0, 0, 0), (0x15, 255, 0, 0), (6, 0, 0, 0)
    fits = [jump, *[end] * 256]
    assert packet_filter.with_more_behind(fits, 17) == fits
    with pytest.raises(UsageError, match="the filter is too long"):
        packet_filter.with_more_behind([jump, length, *[end] * 255], 17)
    always = [(5, 0, 0, 1), length, end]
    assert packet_filter.with_more_behind(always, 17)[0] == (5, 0, 0, 2)


def test_what_is_no_filter_is_said() -> None:
    with pytest.raises(UsageError, match=r"no filter of pcap-filter\(7\): 'port nowhere'"):
        packet_filter.compile_filter(["port", "nowhere"])


def test_word_like_an_option_is_none() -> None:
    with pytest.raises(UsageError, match=r"no filter of pcap-filter"):
        packet_filter.compile_filter(["-w/nowhere"])


def test_host_without_tcpdump_says_what_can_be_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packet_filter, "PROGRAM", "no-such-program")
    with pytest.raises(UnfitHost, match="capture all with -w FILE"):
        packet_filter.compile_filter(["arp"])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"0\n",
        b"2\n6 0 0 1\n",
        b"1\n6 0 0\n",
        b"1\n6 0 0 0 0\n",
        b"1\n70000 0 0 1\n",
        b"1\nx 0 0 1\n",
        b"4097\n" + 4097 * b"6 0 0 1\n",
    ],
)
def test_what_is_no_program_is_refused(text: bytes) -> None:
    with pytest.raises(HostError, match="has printed"):
        packet_filter.parse(text)


@given(st.binary(max_size=60))
def test_whatever_is_printed_is_read_or_refused(text: bytes) -> None:
    try:
        assert packet_filter.parse(text)
    except HostError:
        pass
