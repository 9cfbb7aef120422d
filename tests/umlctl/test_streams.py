"""Standard descriptors of all sorts, each given to a process of its own."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import umlctl
from socketproto.exchange import pieces
from tests.program import UMLCTL
from umlctl import streams
from umlctl.host import paths
from umlctl.state import console_log, event_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Bare

    MakeBare = Callable[..., Bare]

ROOT = Path(umlctl.__file__).parent.parent
LONG = b"".join(b"%07d\n" % number for number in range(60_000))
"""More than any pipe holds."""


def start(*words: str, **how: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*UMLCTL, *words], cwd=ROOT, **how)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The reader's and the writer's end; the latter does not block."""
    ends = os.pipe()
    os.set_blocking(ends[1], False)
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def gone() -> Iterator[int]:
    """The writer's end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.fixture
def demo(house: str) -> str:
    """A guest that lives, and has a log and a history, both long."""
    os.makedirs(paths.record_dir("demo"))
    with open(f"{paths.record_dir('demo')}/console.log", "wb") as file:
        file.write(LONG + b"[    1.000000] the end\n")
    console_log.Index(file.name).add(console_log.LAUNCH, 1.0, 0)
    for number in range(2000):
        event = {"time": float(number), "umid": "demo", "event": "user", "text": "x" * 80}
        event_log.append("demo", event_log.encode(event))
    paths.make_run_dir()
    os.makedirs(paths.guest_dir("demo"))
    return "demo"


def late(process: subprocess.Popen[bytes], pipe: tuple[int, int]) -> bytes:
    """What a reader gets who begins once the pipe is full, or has all there is."""
    found = b""
    with process:
        while process.poll() is None:
            room = select.select([], [pipe[1]], [], 0.01)[1]
            if not room:
                found += os.read(pipe[0], 65536)
    os.set_blocking(pipe[0], False)
    try:
        while True:
            found += os.read(pipe[0], 65536)
    except BlockingIOError:
        return found


@pytest.mark.parametrize("words", [["logs", "demo"], ["events", "--all", "--json"]])
def test_pipe_that_does_not_block_gets_all_of_it(
    demo: str, pipe: tuple[int, int], words: list[str]
) -> None:
    process = start(*words, stdout=pipe[1])
    found = late(process, pipe)
    assert process.returncode == 0
    assert found.count(b"\n") == (LONG.count(b"\n") + 1 if words[0] == "logs" else 2000)


@pytest.mark.parametrize("words", [["proc", "SOCKET", "uptime"], ["mconsole", "SOCKET", "help"]])
def test_answer_goes_whole_into_a_pipe_that_does_not_block(
    bare: MakeBare, pipe: tuple[int, int], words: list[str]
) -> None:
    server = bare(lambda *_: [each.encode() for each in pieces(LONG[:80_000])])
    process = start(*(server.path if word == "SOCKET" else word for word in words), stdout=pipe[1])
    assert late(process, pipe) == LONG[:80_000]
    assert process.returncode == 0


@pytest.mark.parametrize("words", [["mconsole", "SOCKET", "-"], ["shell", "SOCKET"]])
def test_input_that_does_not_block_is_waited_for(bare: MakeBare, words: list[str]) -> None:
    server = bare()
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    command = (server.path if word == "SOCKET" else word for word in words)
    with start(*command, stdin=reader, stdout=subprocess.PIPE) as process:
        for text in (b"ver", b"sion\nstack", b" 1\n"):
            while int.from_bytes(_unread(reader), sys.byteorder) and process.poll() is None:
                time.sleep(0.002)  # who is waited for needs the processor
            os.write(writer, text)
        os.close(writer)
        assert process.wait(60) == 0
    os.close(reader)
    assert server.commands == [b"version", b"stack 1"]


def _unread(descriptor: int) -> bytes:
    import fcntl
    import termios

    return fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0")


@pytest.mark.parametrize(
    "words",
    [
        *(["--help"], ["help"], ["info"], ["kernel", "list"]),
        *(["logs", "demo"], ["dmesg", "demo"], ["events", "demo"], ["events", "--all", "--json"]),
        *(["disk", "--help"], ["version", "SOCKET"], ["proc", "SOCKET", "uptime", "--json"]),
        *(["mconsole", "SOCKET", "version"], ["shell", "SOCKET", "-c", "version"]),
        ["shell", "SOCKET", "--keep-going", "-c", "version; version | cat >&2; version"],
    ],
)
def test_closed_pipe_is_141(bare: MakeBare, demo: str, gone: int, words: list[str]) -> None:
    server = bare()
    command = (server.path if word == "SOCKET" else word for word in words)
    with start(*command, stdout=gone, stderr=subprocess.PIPE) as process:
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 141
    assert b"Broken" not in said
    assert b"Traceback" not in said


@pytest.mark.parametrize(
    "words",
    [
        *(["logs", "-f"], ["events", "-f", "-n", "1"], ["events", "--all", "-f"]),
        ["dmesg", "-f"],
    ],
)
def test_follower_ends_when_its_reader_has_gone(demo: str, words: list[str]) -> None:
    named = words if "--all" in words else [*words, demo]
    with start(*named, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while process.stdout.read(1) != b"\n":
            pass
        process.stdout.close()
        assert process.wait(60) == 141


def test_follower_of_a_supervisors_events_sees_that_its_reader_has_gone(bare: MakeBare) -> None:
    event = msgspec.json.encode({"time": 1.0, "umid": "demo", "event": "user"}) + b"\n"
    server = bare(lambda *_: [each.encode() for each in pieces(event, more=True)], mode=0o600)
    with start("events", "-f", server.path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"user" in process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 141


def test_nobody_who_listens_to_errors_changes_nothing(house: str, gone: int) -> None:
    with start("version", f"{house}/none", stdout=subprocess.PIPE, stderr=gone) as process:
        assert process.communicate(timeout=60)[0] == b""
    assert process.returncode == 3


ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
"""A locale that is not UTF-8, which every host has."""


@pytest.mark.parametrize("in_json", [False, True])
def test_letter_that_the_locale_lacks_is_told_by_its_number(demo: str, in_json: bool) -> None:
    os.unlink(event_log.path_of(demo))
    event = {"time": 1.0, "umid": demo, "event": "user", "text": "a ☃ b"}
    event_log.append(demo, event_log.encode(event))
    words = ["events", demo, *(["--json"] if in_json else [])]
    with start(*words, env={**os.environ, **ASCII}, stdout=subprocess.PIPE) as process:
        found = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert b"a \\u2603 b" in found


@pytest.mark.parametrize("name", [b"\xc3\xbcn\xc3\xaf.img", b"\xfcn.img", "☃".encode()])
def test_argument_is_sent_byte_by_byte_whatever_the_locale(bare: MakeBare, name: bytes) -> None:
    server = bare(mode=0o600)
    words = [os.fsencode(server.path), b"config", b"ubd1=/" + name]
    command = [os.fsencode(sys.executable), b"-m", b"umlctl", b"mconsole", *words]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **ASCII}, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert server.commands == [b"config ubd1=/" + name]


@given(st.binary())
def test_bytes_that_are_no_text_come_out_as_they_came_in(data: bytes) -> None:
    reader, writer = os.pipe()
    with open(reader, "rb") as taken:
        with open(writer, "w", encoding="utf-8") as like:
            made = streams._writer(streams._Patient(writer, "w", closefd=False), like)
            made.write(os.fsdecode(data))
            made.flush()
        assert taken.read() == data
