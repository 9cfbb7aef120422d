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
