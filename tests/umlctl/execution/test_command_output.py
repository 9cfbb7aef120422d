"""What a command writes, on pipes that stand for the lines of a guest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from umlctl import streams
from umlctl.execution.command_output import CommandOutput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "0123456789abcdef"


class Lines:
    """Where a guest writes, and what is told of it.

    Fields:
        ours, its: ends of each stream
        shut: streams that nobody takes
    """

    def __init__(self) -> None:
        pairs = os.pipe(), os.pipe()
        self.ours, self.its = (pairs[0][0], pairs[1][0]), [pairs[0][1], pairs[1][1]]
        self.shut: list[int] = []
        self.output = CommandOutput(self.ours, TOKEN, self.shut.append)

    def write(self, index: int, data: bytes) -> None:
        os.write(self.its[index], data)

    def close(self) -> None:
        for each in self.its:
            os.close(each)
        self.output.finish()
        self.output.close()
        for each in self.ours:
            os.close(each)


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    found = []
    for name in ("STDOUT", "STDERR"):
        found.append(os.open(tmp_path / name, os.O_CREAT | os.O_WRONLY))
        monkeypatch.setattr(streams, name, found[-1])
    made = Lines()
    yield made
    made.close()
    for each in found:
        os.close(each)


def test_each_stream_ends_with_its_token(lines: Lines, tmp_path: Path) -> None:
    lines.output.begin("ppp")
    assert lines.output.open == 2
    lines.write(0, b"out" + TOKEN.encode() + b"more")
    lines.write(1, TOKEN.encode())
    lines.output.finish()
    assert lines.output.open == 0
    assert (tmp_path / "STDOUT").read_bytes() == b"out"
    assert (tmp_path / "STDERR").read_bytes() == b""
    assert lines.output.silence() < 0


def test_only_streams_that_somebody_takes_are_read(lines: Lines) -> None:
    lines.output.begin("nnn")
    assert lines.output.open == 0


def test_stream_that_nobody_takes_is_told_and_read_to_its_end(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr(streams, "STDERR", full)
    lines.output.begin("nnp")
    lines.write(1, b"some")
    lines.write(1, TOKEN.encode())
    lines.output.finish()
    os.close(full)
    assert lines.shut == [1]
    assert lines.output.problem == "cannot write what the command writes: No space left on device"


def test_others_may_take_what_is_written_and_are_let_go_at_the_close() -> None:
    """Of a guest that is paused no stream ends."""
    ours, its = zip(os.pipe(), os.pipe(), strict=True)
    taken = bytearray(), bytearray()
    output = CommandOutput(ours, TOKEN, lambda _: None, (taken[0].extend, taken[1].extend))
    output.begin("npp")
    os.write(its[0], b"out")
    os.write(its[1], b"err")
    output.close()
    assert output.open == 0
    assert tuple(map(bytes, taken)) == (b"out", b"err")
    for each in (*ours, *its):
        os.close(each)
