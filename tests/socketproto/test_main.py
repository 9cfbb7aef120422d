from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import socketproto
from socketproto import __main__ as program
from socketproto import blocking
from socketproto.exchange import pieces

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Address, Bare

    MakeBare = Callable[..., Bare]
    Capture = pytest.CaptureFixture[bytes]

ROOT = Path(socketproto.__file__).parent.parent
ALONE = """
import runpy, sys
sys.path.insert(0, {root!r})
sys.argv[1:] = {arguments!r}
try:
    runpy.run_module("socketproto", run_name="__main__", alter_sys=True)
finally:
    ours = {{"socketproto", "__main__"}}
    tops = {{name.partition(".")[0] for name in sys.modules}} - ours
    print(sorted(tops - sys.stdlib_module_names), "umlctl" in tops, file=sys.stderr)
"""


def alone(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m socketproto ARGUMENTS` where nothing but the standard library is installed."""
    script = ALONE.format(root=str(ROOT), arguments=list(arguments))
    command = [sys.executable, "-I", "-S", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def reply(data: bytes, error: int = 0) -> list[bytes]:
    return [each.encode() for each in pieces(data, error)]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline is a default argument of `request`."""
    real = blocking.Connection.request

    def request(connection: blocking.Connection, command: str) -> object:
        return real(connection, command, 0.05)

    monkeypatch.setattr(blocking.Connection, "request", request)


def test_it_needs_the_standard_library_alone(bare: MakeBare) -> None:
    done = alone(bare().path, "log", "hello", "there")
    assert (done.returncode, done.stdout) == (0, "log hello there\n")
    assert done.stderr == "[] False\n"


def test_answer_is_printed_as_it_came(bare: MakeBare, capfdbinary: Capture) -> None:
    server = bare(lambda *_: reply(b"\nMemTotal: \xff\n\n"))
    assert program.main([server.path, "proc", "meminfo"]) == 0
    sys.stdout.flush()
    assert capfdbinary.readouterr() == (b"\nMemTotal: \xff\n", b"")
    assert server.commands == [b"proc meminfo"]


def test_empty_answer_prints_nothing(bare: MakeBare, capfdbinary: Capture) -> None:
    server = bare(lambda *_: reply(b""))
    assert program.main([server.path, "go"]) == 0
    sys.stdout.flush()
    assert capfdbinary.readouterr() == (b"", b"")


def test_err_is_1(bare: MakeBare, capfdbinary: Capture) -> None:
    server = bare(lambda *_: reply(b"no such device", -19))
    assert program.main([server.path, "remove", "ubd9"]) == 1
    sys.stdout.flush()
    assert capfdbinary.readouterr() == (b"no such device\n", b"socketproto: refused: remove\n")


@pytest.mark.parametrize("arguments", [[], ["/tmp"], ["--help"], ["-h", "version"]])
def test_wrong_usage_is_2(arguments: list[str], capfdbinary: Capture) -> None:
    assert program.main(arguments) == 2
    assert capfdbinary.readouterr().err == b"usage: python -m socketproto PATH COMMAND...\n"


def test_command_too_long_is_2(bare: MakeBare, capfdbinary: Capture) -> None:
    assert program.main([bare().path, "log", "x" * 600]) == 2
    assert b"at most 511 bytes" in capfdbinary.readouterr().err


def test_nobody_there_is_3(short: str, capfdbinary: Capture) -> None:
    assert program.main([f"{short}/none", "version"]) == 3
    assert f"{short}/none: No such file" in capfdbinary.readouterr().err.decode()


@pytest.mark.usefixtures("impatient")
def test_silence_is_4(bare: MakeBare, capfdbinary: Capture) -> None:
    assert program.main([bare(lambda *_: []).path, "version"]) == 4
    assert capfdbinary.readouterr().err.startswith(b"socketproto: timed out: no answer")


def test_server_that_goes_away_is_5(bare: MakeBare, capfdbinary: Capture) -> None:
    def end(server: Bare, _data: bytes, _address: Address) -> list[bytes]:
        server.unbind()
        return []

    assert program.main([bare(end).path, "halt"]) == 5
    assert b"guest gone: it ended" in capfdbinary.readouterr().err


def test_lost_end_is_6(
    bare: MakeBare, capfdbinary: Capture, time_up_after: Callable[[int], None]
) -> None:
    time_up_after(1)
    server = bare(lambda _server, data, _address: reply(b"x" * 600)[:1] if data != b"k" else [])
    assert program.main([server.path, "stack", "1"]) == 6
    sys.stdout.flush()
    captured = capfdbinary.readouterr()
    assert captured.out == b"x" * 511 + b"\n"
    assert captured.err.startswith(b"socketproto: truncated: ")
