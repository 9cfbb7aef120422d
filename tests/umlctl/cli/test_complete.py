from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from click import Context
from click.shell_completion import ShellComplete

from tests.umlctl.state.test_records import keep
from umlctl.cli import complete, main
from umlctl.definitions import files
from umlctl.output.guest_table import COLUMNS
from umlctl.protocol.commands import SYSRQ
from umlctl.protocol.console_socket import CONSOLES
from umlctl.shell.completion import NIC_OPTIONS, PROC_FILES

if TYPE_CHECKING:
    from tests.umlctl.cli.conftest import Supervisor


def completed(*words: str) -> dict[str, Any]:
    """What Tab offers for the last word, each with its meaning."""
    *before, incomplete = words
    found = ShellComplete(main.root, {}, "umlctl", "_UMLCTL_COMPLETE").get_completions(
        list(before), incomplete
    )
    return {item.value: item.help for item in found}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose answer is late here, is waited for."""
    monkeypatch.setattr(complete, "ANSWER_TIMEOUT", 30.0)


@pytest.mark.usefixtures("house")
def test_what_the_prompt_completes_the_hosts_shell_completes_too() -> None:
    assert completed("proc", "demo", "mem") == {"meminfo": PROC_FILES["meminfo"]}
    assert set(completed("proc", "demo", "")) == set(PROC_FILES)
    assert completed("sysrq", "demo", "") == SYSRQ
    assert set(completed("plug", "demo", "")) == {"disk", "nic", "share", "console"}
    assert "switch=" in completed("plug", "demo", "nic", "")
    assert set(completed("plug", "demo", "console", "con")) == {"con1", "con2", "con3", "con4"}
    assert {"user", "switch="} <= set(completed("start", "a", "--nic", ""))
    assert completed("start", "a", "--nic", "us") == {"user": "the internet, through slirp4netns"}
    assert completed("run", "--nic", "user,ad") == {"user,addr=": NIC_OPTIONS["addr="]}
    assert completed("version", "demo", "") == {}
    assert completed("log", "demo", "a") == {}


@pytest.mark.usefixtures("house")
def test_consoles_are_completed() -> None:
    assert list(completed("console", "demo", "")) == list(CONSOLES)
    assert list(completed("logs", "demo", "--console", "ssl1")) == ["ssl1"]


def test_help_is_completed_with_commands_and_guests(supervisor: Supervisor) -> None:
    assert list(completed("help", "de")) == ["define", "demo", "devices"]
    commands = main.root.list_commands(Context(main.root))
    assert set(completed("help", "")) == {"demo", "migrating", *commands}


def test_columns_are_completed_behind_those_that_are_typed() -> None:
    assert set(completed("list", "--columns", "")) == set(COLUMNS)
    assert completed("list", "--columns", "name,me") == {"name,memory": COLUMNS["memory"].meaning}
    assert list(completed("list", "--columns", "name,na")) == []
    assert list(completed("list", "--sort", "up")) == ["uptime"]
    assert list(completed("list", "--format", "c")) == ["compact", "csv"]


def test_files_of_disks_are_completed(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house)
    for name in ("a.img", "b.cow"):
        with open(f"{house}/{name}", "w"):
            pass
    assert completed("start", "a", "--disk", f"{house}/a") == {f"{house}/a.img": None}
    assert list(completed("plug", "demo", "disk", "a.img,cow=b")) == ["a.img,cow=b.cow"]
    assert list(completed("config", "demo", "ubd1=a")) == ["ubd1=a.img"]
    # bash makes words of their own of `=` and `:`
    assert list(completed("config", "demo", "ubd1", "=", "a")) == ["a.img"]
    assert "tap" in completed("config", "demo", "vec1", ":", "transport", "=", "")


def test_devices_of_the_guest_are_completed(supervisor: Supervisor) -> None:
    supervisor.table = [{"name": "ubd1", "asked": "/a"}, {"name": "vec0", "asked": "user"}]
    assert completed("remove", "demo", "") == {"ubd1": "/a", "vec0": "user"}
    assert completed("remove", "demo", "v") == {"vec0": "user"}
    assert "ubd2=" in completed("config", "demo", "ubd")
    assert completed("remove", "nobody", "") == {}


def test_disks_and_nics_are_completed_and_nobody_is_waited_for(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("ubd1", "ubd2", "vec0")
    supervisor.table = [{"name": name, "asked": f"for {name}"} for name in names]
    assert completed("disk", "rm", "demo", "") == {"ubd1": "for ubd1", "ubd2": "for ubd2"}
    assert list(completed("disk", "rm", "demo", "ubd2")) == ["ubd2"]
    assert list(completed("nic", "rm", "demo", "")) == ["vec0"]
    assert completed("disk", "rm", "none", "") == {}
    supervisor.answers["devices"] = (b"rubbish", 0)
    assert completed("disk", "rm", "demo", "") == {}
    supervisor.server.answer = lambda *_: []
    monkeypatch.setattr(complete, "ANSWER_TIMEOUT", 0.05)
    assert completed("disk", "rm", "demo", "") == {}


def test_whatever_stands_before_is_completed_or_not_but_never_a_fault(house: str) -> None:
    for words in (
        ["plug", "demo", "'", ""],
        ["config", "demo", "=", "=", ""],
        ["proc", "demo", "|"],
        ["disk", "nonsense", ""],
    ):
        completed(*words)


def test_files_of_the_host_are_offered(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house)
    for name in ("a.img", "ab.img", ".hidden"):
        with open(f"{house}/{name}", "w"):
            pass
    os.mkdir(f"{house}/a dir")
    assert complete.files("a") == ["a dir/", "a.img", "ab.img"]
    assert complete.files(f"{house}/ab") == [f"{house}/ab.img"]
    assert ".hidden" not in complete.files("")
    assert complete.files(".h") == [".hidden"]
    assert complete.files("/nonexistent/x") == []


def test_definitions_are_completed_for_whatever_takes_one(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(house)
    for name in ("web", "wiki", "db"):
        files.save(name, "")
    keep("worn")
    for name in ("we.toml", "we.txt"):
        os.close(os.open(name, os.O_CREAT))
    os.mkdir("we")
    assert list(completed("start", "w")) == ["we.toml", "we/", "web", "wiki", "worn"]
    assert list(completed("run", "w")) == list(completed("start", "w"))
    assert list(completed("dumpargs", "wi")) == ["wiki"]
    for verb in ("edit", "undefine"):
        assert list(completed(verb, "w")) == ["web", "wiki"]
    for verb in ("show", "enable"):
        assert list(completed(verb, "w")) == ["web", "wiki", "worn"]
    assert list(completed("define", "we")) == ["we.toml", "we/", "web"]
    assert list(completed("examples", "lan")) == ["lan-a", "lan-b", "lan-c"]
