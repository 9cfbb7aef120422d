from __future__ import annotations

import json
import os
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from umlctl.cli.main import LAZY
from umlctl.compat import xl, xl_domains
from umlctl.host import paths
from umlctl.protocol.commands import BY_NAME
from umlctl.protocol.status import Device, Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEVICES = [
    Device(name="ubd1", asked="d.img", holds=[{"path": "/d.img"}]),
    Device(name="vec0", asked="user", mac="02:00:00:00:00:01"),
]
GUESTS = [
    Status(umid="web", state="running", pid=42, memory_limit=64 << 20, devices=DEVICES),
    Status(umid="db", state="running", pid=43, memory_limit=64 << 20),
]


class Ran(list[list[str]]):
    """The commands of umlctl that were run, and what the next one says."""

    code, out, err = 0, "", ""
    read = b""

    def run(self, command: list[str], **given: Any) -> SimpleNamespace:
        self.append(command[command.index("umlctl") + 1 :])
        self.read = given.get("input", self.read)
        return SimpleNamespace(returncode=self.code, stdout=self.out, stderr=self.err)

    def popen(self, command: list[str], **_: Any) -> SimpleNamespace:
        self.append(command[command.index("umlctl") + 1 :])
        return SimpleNamespace(wait=lambda: self.code, returncode=None)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ran]:
    ran = Ran()
    monkeypatch.setattr(xl_domains, "gather", lambda: GUESTS)
    monkeypatch.setattr(paths, "has_record", lambda name: name != "others")
    monkeypatch.setattr(subprocess, "run", ran.run)
    monkeypatch.setattr(subprocess, "Popen", ran.popen)
    yield ran
    for each in ran:
        assert each[0] in {*LAZY, *BY_NAME}, "there is such a command"


@pytest.mark.parametrize(
    ("words", "done"),
    [
        ("destroy web", ["kill web"]),
        ("pause 42", ["stop web"]),
        ("unpause db", ["go db"]),
        ("reboot web", ["restart web 999999"]),
        ("reboot -a", ["restart web 999999", "restart db 999999"]),
        ("shutdown web", ["shutdown web 999999"]),
        ("shutdown -w 42 db", ["shutdown web 999999", "shutdown db 999999"]),
        ("shutdown -aw", ["shutdown web 999999", "shutdown db 999999"]),
        ("sysrq web h", ["sysrq web h"]),
        ("block-detach web xvdb", ["disk rm web ubd1"]),
        ("-v network-detach web 0", ["nic rm web vec0"]),
        ("block-attach web file:/d.img xvdc r", ["disk add web --ro --slot 2 -- /d.img"]),
        ("block-attach web /d.img,raw,0x0,w", ["disk add web --slot 0 -- /d.img"]),
        ("block-attach web /d.img", ["disk add web -- /d.img"]),
        ("network-attach web bridge=br0", ["plug web nic tap=auto,bridge=br0"]),
        ("network-attach web mac=02:00:00:00:00:02", ["plug web nic user,mac=02:00:00:00:00:02"]),
    ],
)
def test_command_is_done_by_the_one_of_umlctl(words: str, done: list[str], ran: Ran) -> None:
    assert xl.main(["xl", *words.split()]) == 0
    assert [" ".join(each) for each in ran] == done


@pytest.mark.parametrize(
    ("size", "taken", "change"),
    [
        ("48m", 0, "-16384k"),
        ("64", 16 << 20, "+16384k"),
        ("1G", 0, "+983040k"),
        ("48M", 16 << 20, ""),
    ],
)
def test_memory_is_set_to_what_is_to_be_left(size: str, taken: int, change: str, ran: Ran) -> None:
    ran.out = f'{{"taken": {taken}}}'
    assert xl.main(["xl", "mem-set", "web", size]) == 0
    assert [" ".join(each) for each in ran] == [
        "mem web --json",
        *([f"mem web {change}"] if change else []),
    ]


def test_why_it_has_failed_is_said_without_our_name(
    ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    ran.code, ran.err = 5, "web: as it was\numlctl: web: it is gone\n"
    assert xl.main(["xl", "pause", "web"]) == 1
    assert capsys.readouterr().err == "web: as it was\nweb: it is gone\n"
    assert xl.main(["xl", "mem-set", "web", "1g"]) == 1
    assert xl.main(["xl", "shutdown", "-w", "web"]) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("pause nobody", "nobody is an invalid domain identifier"),
        ("list nobody", "Error: Domain 'nobody' does not exist."),
        ("block-detach web xvdc", "Error: Device xvdc not connected."),
        ("network-detach web 7", "Error: Device 7 not connected."),
        ("domname web", "Invalid domain id web."),
        ("rename web www", "web has its name as long as it runs"),
        ("migrate web there", "migrate has no meaning here: `umlctl snapshot export`"),
        ("nonsense", "command not implemented"),
        ("pause", "'xl pause' takes <Domain>"),
        ("pause --nonsense web", "option --nonsense not recognized"),
        ("shutdown", "takes a Domain, or -a for all"),
        ("shutdown -a web", "takes a Domain, or -a for all"),
        ("sysrq web help", "takes one letter"),
        ("mem-set web much", "a size is a number with k, M or G"),
        ("destroy 0", "0 is this host"),
        ("create /nowhere", "Failed to read config file: /nowhere: No such file or directory"),
        ("block-attach web /d.img,qcow2,xvdb,w", "its format is qcow2"),
        ("block-attach web /d.img,,xvdb1,w", "xvdb1 is no whole disk"),
    ],
)
def test_what_cannot_be_done_is_said(
    words: str, said: str, ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    assert xl.main(["xl", *words.split()]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert not ran


def test_domains_are_shown(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    assert xl.main(["xl", "list"]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        *(["Name", "ID"], ["Domain-0", "0"], ["web", "42"], ["db", "43"])
    ]
    for words, said in (
        ("domid web", "42\n"),
        ("domname 43", "db\n"),
        ("list -l db", '"domid": 43'),
        ("vcpu-list web", "web "),
        ("block-list web", "51728 0   42 "),
        ("network-list web", "02:00:00:00:00:01"),
        ("uptime db", "db "),
        ("info", "nr_cpus  "),
    ):
        assert xl.main(["xl", *words.split()]) == 0, words
        assert said in capsys.readouterr().out
    assert not ran


def test_file_is_read_with_what_is_given_besides(
    ran: Ran, house: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "www.cfg"
    file.write_text("memory = 64")
    left = {"given": "vif ''", "why": "no bridge", "instead": "tap=auto", "at": "x:3"}
    ran.out = json.dumps({"name": None, "text": 'mem = "80M"\n', "left": [left]})
    assert xl.main(["xl", "create", str(file), "memory=80"]) == 0
    assert ran.read == b"memory = 64\nmemory=80"
    assert [each[0] for each in ran] == ["import", "start"]
    assert ran[1][1].endswith("/www.toml")
    with open(ran[1][1]) as definition:
        assert definition.read() == 'mem = "80M"\n', "for when it is started again"
    captured = capsys.readouterr()
    assert captured.out == f"Parsing config from {file}\n"
    assert captured.err == f"{file}: vif '': no bridge: tap=auto\n"
    assert xl.main(["xl", "create", "-qn", str(file)]) == 0
    assert capsys.readouterr() == ('mem = "80M"\n', "")
    assert xl.main(["xl", "create", "-qp", str(file)]) == 0
    assert [each[:2] for each in ran[-1:]] == [["stop", "www"]]
    ran.code = 1
    assert xl.main(["xl", "create", "-q", str(file)]) == 1


def test_what_cannot_be_carried_over_of_a_nic_is_said(
    ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    assert xl.main(["xl", "network-attach", "web", "vifname=foo"]) == 0
    assert capsys.readouterr().err.startswith("vifname=foo: ")


def test_console_is_that_of_umlctl(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _path, words: became.append(words))
    xl.main(["xl", "console", "web"])
    xl.main(["xl", "console", "-n", "1", "42"])
    assert [words[words.index("umlctl") + 1 :] for words in became] == [
        ["console", "web", "0"],
        ["console", "web", "1"],
    ]


def test_supervisors_log_is_that_of_the_hypervisor(
    house: str, ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    assert xl.main(["xl", "dmesg"]) == 0
    assert capsys.readouterr().out == ""
    os.makedirs(f"{house}/u/state")
    with open(f"{house}/u/state/supervisor.log", "wb") as file:
        file.write(b"said\xff\n")
    assert xl.main(["xl", "dmesg"]) == 0
    assert capsys.readouterr().out.startswith("said")


def test_each_command_has_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert xl.main(["xl"]) == 1
    everything = capsys.readouterr().out
    for name, verb in xl.VERBS.items():
        assert f" {name} " in everything
        for words in ([name, "--help"], ["help", name]):
            assert xl.main(["xl", *words]) == 0
            said = capsys.readouterr().out
            assert said.startswith(f"Usage: xl {name}")
            assert verb.help in said
    assert not xl.VERBS.keys() & xl.INSTEAD.keys()
    for name, instead in xl.INSTEAD.items():
        assert xl.main(["xl", name]) != 0
        assert f"{name} has no meaning here: {instead}" in capsys.readouterr().err


def test_all_are_those_that_were_started_here(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    others = Status(umid="others", state="unmanaged", pid=44, memory_limit=64 << 20)
    monkeypatch.setattr(xl_domains, "gather", lambda: [*GUESTS, others])
    assert xl.main(["xl", "reboot", "-a"]) == 0
    assert [each[1] for each in ran] == ["web", "db"]
