from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from typing import TYPE_CHECKING

import pytest

from umlctl import streams
from umlctl.execution.raw_terminal import RawTerminal

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The other side of what is standard input."""
    master, slave = pty.openpty()
    monkeypatch.setattr(streams, "STDIN", slave)
    yield master
    os.close(master)
    os.close(slave)


@pytest.fixture
def line() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def local_modes() -> int:
    modes: int = termios.tcgetattr(streams.STDIN)[3]
    return modes


def test_each_byte_is_passed_on_while_it_is_the_guests(
    terminal: int, line: tuple[int, int]
) -> None:
    before = local_modes()
    raw = RawTerminal(line[1])
    raw.set_up()
    assert not local_modes() & (termios.ICANON | termios.ECHO | termios.ISIG)
    os.write(terminal, b"\x03a")
    assert raw.read() == b"\x03a"
    assert os.read(line[0], 10) == b"\x03a"
    raw.restore()
    assert local_modes() == before
    raw.set_up()
    raw.set_up()
    raw.restore()
    assert local_modes() == before


def test_what_the_guest_does_not_take_waits(terminal: int, line: tuple[int, int]) -> None:
    raw = RawTerminal(line[1])
    raw.typed = b"x" * (1 << 20)
    raw.pass_on()
    left = len(raw.typed)
    assert 0 < left < 1 << 20
    os.read(line[0], 1 << 16)
    raw.pass_on()
    assert len(raw.typed) < left
    assert raw.is_open


def test_size_is_that_of_the_window(terminal: int, line: tuple[int, int]) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
    assert RawTerminal(line[1]).size() == (30, 90)


def test_guest_that_is_gone_takes_nothing_more(terminal: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    raw = RawTerminal(writer)
    raw.typed = b"x"
    raw.pass_on()
    assert not raw.is_open
    assert raw.typed == b""
    os.close(writer)
