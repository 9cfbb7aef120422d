from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from socketproto.exchange import pieces
from socketproto.wire import MAX_TEXT_BYTES, Reply
from tests.conftest import echo
from umlctl.client import ask
from umlctl.compat.asking import Asking, Strictly, check
from umlctl.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Address, Bare

    MakeBare = Callable[..., Bare]

BOTH = pytest.mark.parametrize("kind", [Asking, Strictly])
MODES = pytest.mark.parametrize("mode", [0o755, 0o600], ids=["bare", "supervised"])


def no_answer(_server: Bare, _data: bytes, _address: Address) -> list[bytes]:
    return []


def first_says(_server: Bare, data: bytes, _address: Address) -> list[bytes]:
    """As a kernel: the error is in the first part alone."""
    if data == b"k":
        return []
    return [Reply(-22, True, b"no ").encode(), Reply(0, False, b"way").encode()]


@BOTH
@MODES
def test_answer_comes_whole(bare: MakeBare, kind: type[Asking], mode: int) -> None:
    def answer(_server: Bare, _data: bytes, _address: Address) -> list[bytes]:
        return [each.encode() for each in pieces(b"x" * 2000)]

    found = kind("name", bare(answer, mode=mode).path).ask("proc meminfo")
    assert found is not None
    assert (found.ok, found.data) == (True, b"x" * 2000)


@pytest.mark.parametrize(("kind", "error"), [(Asking, -22), (Strictly, 0)])
def test_letter_looks_at_the_last_part_alone(
    bare: MakeBare, kind: type[Asking], error: int
) -> None:
    found = kind("name", bare(first_says).path).ask("config")
    assert found is not None
    assert (found.error, found.data) == (error, b"no way")


@MODES
def test_silence_ends(bare: MakeBare, monkeypatch: pytest.MonkeyPatch, mode: int) -> None:
    monkeypatch.setattr(ask.Deadline, "left", lambda _self: (0.1, 0.1))
    found = Asking("name", bare(no_answer, mode=mode).path).ask("version")
    assert found is not None
    assert found.kind == "timed out"


@BOTH
def test_kernel_that_ends_is_seen(bare: MakeBare, kind: type[Asking]) -> None:
    def end(server: Bare, data: bytes, _address: Address) -> list[bytes]:
        if data == b"sysrq c":
            server.unbind()
        return []

    server = bare(end)
    found = kind("name", server.path).ask("sysrq c")
    assert found is not None
    assert found.kind == "guest gone"


def test_command_that_is_too_long_is_refused_but_by_the_letter(bare: MakeBare) -> None:
    server = bare(echo)
    found = Asking("name", server.path).ask("log " + "x" * 600)
    assert found is not None
    assert (found.error, found.data) == (1, b"a command has at most 511 bytes, this one 604")
    assert server.commands == []
    found = Strictly("name", server.path).ask("log " + "x" * 600)
    assert found is not None
    assert found.data == b"log " + b"x" * (MAX_TEXT_BYTES - 4)


@pytest.mark.parametrize("text", ["proc kcore", "proc/kcore", "proc 1/fd/0", "sysrq t", "sysrq tx"])
def test_bare_kernel_is_spared_what_it_would_not_survive(bare: MakeBare, text: str) -> None:
    server = bare(echo)
    asking = Asking("name", server.path)
    found = asking.ask(text)
    assert found is not None
    assert found.error == -1
    assert found.text.startswith("refused: ")
    assert server.commands == []
    for forced in (asking.ask(f"!{text}"), Strictly("name", server.path).ask(text)):
        assert forced is not None
        assert (forced.ok, forced.text) == (True, text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "versionX",
            "status",
            "stop 5",
            "kill",
            "nonsense",
            "",
            "!halt",
            "log hi",
            "config udb1=x",
        ),
        *("sysrq", "sysrq help", "proc", "proc meminfo", "go"),
    ],
)
def test_bare_kernel_hears_the_rest_as_it_stands(bare: MakeBare, text: str) -> None:
    server = bare(echo)
    found = Asking("name", server.path).ask(text)
    assert found is not None
    assert found.text == text


def test_check_minds_what_a_kernel_would_take_it_for() -> None:
    for text in ("processes", "sysrqt", "proc  kcore", "proc 1/root/proc/kcore"):
        if text == "processes":
            check(text)
        else:
            with pytest.raises(Refusal):
                check(text)


@BOTH
def test_nobody_there_is_told(
    house: str, capsys: pytest.CaptureFixture[str], kind: type[Asking]
) -> None:
    assert kind("nobody", "").ask("version") is None
    said = capsys.readouterr().err
    assert said.startswith("Sending command to '' : ")
    assert ("Invalid argument" in said) == (kind is Strictly)
    assert ("no guest 'nobody'" in said) == (kind is Asking)
    plain = f"{house}/plain"
    with open(plain, "w"):
        pass
    assert kind("nobody", plain).ask("version") is None
    said = capsys.readouterr().err
    assert said.startswith(f"Sending command to '{plain}' : ")
    assert "this is not a socket" in said


@BOTH
def test_pid_of_what_is_no_kernel_is_not_known(bare: MakeBare, kind: type[Asking]) -> None:
    server = bare(echo)
    assert kind("name", server.path).pid() is None
    with open(f"{os.path.dirname(server.path)}/pid", "w") as file:
        file.write("4000000\n")  # an old file may name another process by now
    assert kind("name", server.path).pid() == (4000000 if kind is Strictly else None)
    for all_processes in ("-1", "0", "1", "x"):
        with open(f"{os.path.dirname(server.path)}/pid", "w") as file:
            file.write(all_processes)
        assert kind("name", server.path).pid() is None


@BOTH
def test_what_is_no_reply_is_not_taken_for_one(bare: MakeBare, kind: type[Asking]) -> None:
    def answer(_server: Bare, data: bytes, _address: Address) -> list[bytes]:
        return [] if data == b"k" else [b"", b"no reply", Reply(0, False, b"one").encode()]

    found = kind("name", bare(answer).path).ask("version")
    assert found is not None
    assert found.data == b"one"
