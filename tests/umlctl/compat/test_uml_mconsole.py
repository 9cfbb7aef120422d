from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from socketproto.exchange import pieces
from tests.conftest import echo
from umlctl.compat import asking, uml_mconsole

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Address, Bare

    MakeBare = Callable[..., Bare]

USAGE = "Usage : uml_mconsole socket-name [command]\n"
WORDS = Path(uml_mconsole.__file__).stem


def failing(_server: Bare, data: bytes, _address: Address) -> list[bytes]:
    """Refuses all, with what it was asked."""
    return [each.encode() for each in pieces(data, -22)]


def run(*words: str) -> int:
    return uml_mconsole.main([WORDS, *words])


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has a script on standard input."""

    def has(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    return has


@pytest.mark.parametrize("words", [(), ("--strict",)])
def test_usage(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    assert run(*words) == 1
    assert capsys.readouterr() == ("", USAGE)


@pytest.mark.parametrize("strict", [(), ("--strict",)])
@pytest.mark.parametrize("mode", [0o755, 0o600])
def test_answer_and_its_status(
    bare: MakeBare, capsys: pytest.CaptureFixture[str], strict: tuple[str, ...], mode: int
) -> None:
    path = bare(echo, mode=mode).path
    assert run(*strict, path, "config", "ubd0 \t") == 0
    assert capsys.readouterr().out == "OK config ubd0\n"
    path = bare(failing, name="other", mode=mode).path
    assert run(*strict, path, "remove", "ubd9") == 234
    assert capsys.readouterr().out == "ERR remove ubd9\n"


@pytest.mark.parametrize(
    ("error", "code"), [(1, 1), (-1, 255), (-2, 254), (-16, 240), (-19, 237), (-104, 152)]
)
def test_status_is_the_error_of_the_answer(bare: MakeBare, error: int, code: int) -> None:
    def answer(_server: Bare, _data: bytes, _address: Address) -> list[bytes]:
        return [each.encode() for each in pieces(b"x", error)]

    assert run(bare(answer).path, "anything") == code


def test_refusal_of_many_parts_is_one(bare: MakeBare, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(_server: Bare, _data: bytes, _address: Address) -> list[bytes]:
        return [each.encode() for each in pieces(b"x" * 700, -22)]

    for strict in ((), ("--strict",)):
        assert run(*strict, bare(answer).path, "config") == 234
        assert capsys.readouterr().out == "ERR " + "x" * 700 + "\n"


def test_guest_that_is_not_there(house: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--strict", "nobody", "version") == 1
    out, err = capsys.readouterr()
    assert (out, err.count("Warning: couldn't stat file: ")) == ("", 3)
    assert err.endswith("Sending command to '' : Invalid argument\n")
    assert run("nobody", "version") == 1
    assert run("--help", "version") == 1  # a name like any other
    assert "no guest '--help'" in capsys.readouterr().err


def test_own_words(
    bare: MakeBare, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bare(echo).path
    assert run(path, "mconsole-versionX") == 0
    assert capsys.readouterr().out == "uml_mconsole client version 2\n"
    assert run(path, "quit", "now") == 0
    assert capsys.readouterr().out == ""
    assert run(path, "interrupt") == 0
    assert capsys.readouterr().out == (
        "Cannot determine the PID of your UML session, not sending signal.\n"
    )
    monkeypatch.setattr(asking.Asking, "pid", lambda _self: os.getpid())
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            run(path, "int")
    finally:
        signal.signal(signal.SIGINT, before)
    monkeypatch.setattr(asking.Asking, "pid", lambda _self: 4_000_000)
    assert run(path, "int") == 1
    assert "int: pid 4000000: No such process" in capsys.readouterr().err
    assert run(path, "helpme") == 0
    assert capsys.readouterr().out == "OK helpme\n" + uml_mconsole.LOCAL_HELP
    assert run(path, "umlfs", "x") == 234
    assert capsys.readouterr().out == "ERR Failed to parse file descriptor\n"
    assert run(path, "umlfs", "7") == 0
    assert capsys.readouterr().out == "OK umlfs 7\n"


def test_switch(bare: MakeBare, capsys: pytest.CaptureFixture[str]) -> None:
    path = bare(echo).path
    assert run(path, "switch", path) == 0
    assert capsys.readouterr().out == f"Switched to '{path}'\n"
    assert run(path, "switch", "/nowhere") == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("log hello", ["log hello", "log \n"]),
        ("loghello", ["log hello", "log \n"]),
        ("log", ["log \n"]),
        ("log  \t ", ["log \n"]),
        ("log a\nb", ["log a\nb", "log \n"]),
        ("log " + "x" * 506, ["log " + "x" * 506, "log \n"]),
        ("log " + "x" * 507, ["log " + "x" * 506, "log x", "log \n"]),
        ("log " + "x" * 505 + "\ny", ["log " + "x" * 505 + "\n", "log y", "log \n"]),
        ("log ä" * 300, None),
    ],
)
def test_text_is_logged_in_pieces(
    bare: MakeBare, capsys: pytest.CaptureFixture[str], text: str, sent: list[str] | None
) -> None:
    server = bare(echo)
    assert run(server.path, text) == 0
    if sent is not None:
        assert server.commands == [each.encode() for each in sent]
    assert all(len(each) <= 510 for each in server.commands)
    assert capsys.readouterr().out.count("OK log ") >= len(server.commands)


def test_file_is_logged(
    bare: MakeBare, capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    server = bare(echo)
    (tmp_path / "text").write_bytes(b"\xff" * 600 + b"\n")
    assert run(server.path, "log", "-f", str(tmp_path / "text")) == 0
    assert server.commands == [b"log " + b"\xff" * 506, b"log " + b"\xff" * 94 + b"\n"]
    capsysbinary.readouterr()
    for path, why in (("none", "No such file or directory"), ("", "Is a directory")):
        assert run(server.path, "log", f"-f{tmp_path}/{path}") == 1
        out, err = capsysbinary.readouterr()
        assert (out, err.splitlines()[-1]) == (b"", f"opening file: {why}".encode())


def test_log_that_is_refused_fails_but_by_the_letter(bare: MakeBare) -> None:
    path = bare(failing).path
    assert run(path, "log x") == run(path, "help") == 234
    assert run("--strict", path, "log x") == run("--strict", path, "help") == 0


def test_script_has_a_prompt_and_its_own_lines(
    bare: MakeBare, capsys: pytest.CaptureFixture[str], typed: Callable[[str], None]
) -> None:
    path = bare(echo).path
    prompt = f"({path[:11]}) "
    typed("version\n\n  x  \nswitch /nowhere\nmconsole-version\nlast")
    assert run(path) == 0
    assert capsys.readouterr().out == (
        f"{prompt}version\nOK version\n{prompt}\nOK \n{prompt}  x  \nOK   x\n"
        f"{prompt}switch /nowhere\n{prompt}mconsole-version\numl_mconsole client version 2\n"
        f"{prompt}last\nOK last\n{prompt}\n"
    )


def test_refusals_do_not_end_a_script(
    bare: MakeBare, capsys: pytest.CaptureFixture[str], typed: Callable[[str], None]
) -> None:
    path = bare(failing).path
    typed("a\nb\nquit\nc\n")
    assert run(path) == 0
    assert capsys.readouterr().out.splitlines()[1::2] == ["ERR a", "ERR b"]


@pytest.mark.usefixtures("house")
def test_nobody_has_a_prompt_too(
    bare: MakeBare, capsys: pytest.CaptureFixture[str], typed: Callable[[str], None]
) -> None:
    path = bare(echo).path
    typed(f"version\nswitch {path}\nversion\n")
    assert run("nobody") == 0
    out, err = capsys.readouterr()
    prompt = f"({path[:11]}) "
    assert out == (
        f"([None]) version\n([None]) switch {path}\nSwitched to '{path}'\n"
        f"{prompt}version\nOK version\n{prompt}\n"
    )
    assert "Sending command to '' : no guest 'nobody'" in err
