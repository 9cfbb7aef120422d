from __future__ import annotations

import itertools
import os
import shutil

import pytest

from tests.umlctl.state.test_records import keep, write_record
from umlctl.cli import gdb, main
from umlctl.errors import HostError
from umlctl.kernels import find, symbols


@pytest.fixture(autouse=True)
def program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    probed = find.ProbedKernel("/linux", "7.3", frozenset(), {})
    monkeypatch.setattr(find, "probe", lambda *_: probed)
    monkeypatch.setattr(symbols, "find", lambda kernel, release: f"{kernel}/{release}/vmlinux")


def test_gdb_is_attached_with_the_symbols_and_lets_signals_pass() -> None:
    words = gdb.command_of("/linux", "", 4711, ("-batch",))
    assert words[0] == "/bin/gdb"
    assert words[-1] == "-batch"
    assert words[words.index("-p") - 1] == "/linux/7.3/vmlinux"
    assert words[words.index("-p") + 1] == "4711"
    (handled,) = [word for word in words if word.startswith("handle ")]
    assert handled.endswith(" nostop noprint pass")
    assert {"SIGSEGV", "SIGALRM", "SIGIO", "SIGUSR1"} < set(handled.split())


def test_kernel_without_symbols_is_debugged_without(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def none(*_: object) -> str:
        raise HostError("there are none")

    monkeypatch.setattr(symbols, "find", none)
    assert "/linux" in gdb.command_of("/linux", "", 1, ())
    assert capfd.readouterr().err == "umlctl: without symbols: there are none\n"


def test_host_without_gdb_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(HostError, match="no gdb on this host: its package is called gdb"):
        gdb.command_of("/linux", "", 1, ())


def test_gdb_takes_the_place_of_the_command(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, words: ran.append(words))
    write_record("demo")
    main.run(["gdb", "demo", "--", "-batch", "-ex", "bt"])
    assert ran[0][-3:] == ["-batch", "-ex", "bt"]
    assert str(os.getpid()) in ran[0]


def test_guest_that_does_not_run_cannot_be_debugged(
    house: str, capfd: pytest.CaptureFixture[str]
) -> None:
    keep("demo", boot_id="another")
    assert main.run(["gdb", "demo"]) == 3
    assert "no guest 'demo' of yours runs here" in capfd.readouterr().err


def test_gdb_has_a_kernel_from_its_first_instruction() -> None:
    words = gdb.command_of("/linux", "", 1, (), "/gate")
    told = [word for before, word in itertools.pairwise(words) if before == "-ex"]
    catch = told.index("tcatch exec")
    assert told[catch + 1 : catch + 3] == ["shell echo >/gate", "continue"]
    assert "symbol-file /linux/7.3/vmlinux" in told
    assert not any("catch" in word for word in gdb.command_of("/linux", "", 1, ()))
