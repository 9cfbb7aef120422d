from __future__ import annotations

import fcntl
import json
import os
import pty
import termios
import tty
from contextlib import contextmanager
from typing import TYPE_CHECKING

from umlctl.compat import terminals
from umlctl.compat.terminals import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """The ends of a pseudo-terminal: the master, and the other."""
    master, slave = pty.openpty()
    try:
        yield master, slave
    finally:
        os.close(master)
        os.close(slave)


def flags(number: int) -> int:
    return fcntl.fcntl(number, fcntl.F_GETFL)


def test_terminal_is_restored_as_it_was() -> None:
    with terminal() as (_, slave):
        before = termios.tcgetattr(slave)
        found = terminals.look([slave, slave])
        assert len(found) == 1
        told = Terminal(*json.loads(json.dumps(found))[0])
        tty.setraw(slave)
        assert termios.tcgetattr(slave) != before
        terminals.restore(told)
        assert termios.tcgetattr(slave) == before


def test_what_is_no_terminal_is_none(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with open(tmp_path / "file", "w") as file:
        assert terminals.look([reader, writer, file.fileno(), 1000]) == []
    os.close(reader)
    os.close(writer)


def test_terminal_that_is_gone_is_left_alone() -> None:
    with terminal() as (_, slave):
        found = terminals.look([slave])
    for each in found:
        terminals.restore(each)


def test_what_is_set_on_a_terminal_or_a_pipe_then_is_not_set_for_others() -> None:
    reader, writer = os.pipe()
    with terminal() as (_, slave):
        for number in (reader, writer, slave):
            mine = os.dup(number)
            terminals.separate(number)
            assert flags(number) & os.O_ACCMODE == flags(mine) & os.O_ACCMODE
            fcntl.fcntl(number, fcntl.F_SETFL, flags(number) | os.O_NONBLOCK)
            assert not flags(mine) & os.O_NONBLOCK
            assert os.get_inheritable(number)
            os.close(mine)
    os.write(writer, b"it is the same pipe")
    assert os.read(reader, 100) == b"it is the same pipe"
    os.close(reader)
    os.close(writer)


def test_file_and_master_stay_as_they_are(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb", buffering=0) as file, terminal() as (master, slave):
        mine = os.dup(file.fileno())
        terminals.separate(file.fileno())
        os.write(file.fileno(), b"one ")
        os.write(mine, b"two")  # behind it: the offset is everybody's
        os.close(mine)
        assert (tmp_path / "file").read_bytes() == b"one two"
        terminals.separate(master)
        os.write(master, b"x\n")
        assert os.read(slave, 10) == b"x\n"


def test_pipe_without_a_reader_is_waited_for_by_nobody() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    terminals.separate(writer)
    os.close(writer)
    terminals.separate(1000)
