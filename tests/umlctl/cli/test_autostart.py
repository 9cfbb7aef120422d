from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

from socketproto.exchange import ANSWERED, Outcome
from umlctl.cli import main
from umlctl.client import background
from umlctl.definitions import files
from umlctl.guest.definition import Definition
from umlctl.host import paths
from umlctl.kernels import find
from umlctl.protocol.status import Ending
from umlctl.state import enabled, records

if TYPE_CHECKING:
    from collections.abc import Callable


class Said:
    """What is printed, and what the background supervisor says."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd
        self.asked: list[str] = []
        self.pieces: list[bytes] = []
        self.out = self.err = ""

    def main(self, *words: str) -> int:
        code = main.run(list(words))
        sys.stdout.flush()
        self.out, self.err = self._capfd.readouterr()
        return code

    def ask_supervisor(self, command: str, each: Callable[[bytes], None]) -> Outcome:
        self.asked.append(command)
        for piece in self.pieces:
            each(piece)
        return Outcome(ANSWERED)


@pytest.fixture
def said(house: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Said:
    made = Said(capfd)
    monkeypatch.setattr(background, "ask_supervisor", made.ask_supervisor)
    return made


def record(umid: str, *after: str) -> Definition:
    """A guest that has ended."""
    definition = Definition(umid=umid, kernel="/linux", after=after, mem=64 << 20)
    os.makedirs(paths.record_dir(umid))
    records.save(
        records.Record(
            definition=definition,
            supervisor_pid=1,
            pid=0,
            started=0,
            boot_id="",
            since=1.0,
            ending=Ending(cause="shut down", code=0, time=2.0),
        )
    )
    return definition


def test_guest_is_enabled_as_it_was_started_last(said: Said) -> None:
    definition = record("db")
    assert said.main("enable", "db") == 0
    assert (said.out, said.err) == ("db is enabled\n", "")
    assert enabled.load_all() == [enabled.Enabled("db", definition)]
    record("web", "db", "mail")
    assert said.main("enable", "web") == 0
    assert said.err == "umlctl: web comes after mail, which is not enabled\n"


def test_guest_that_nobody_knows_cannot_be_enabled(said: Said) -> None:
    assert said.main("enable", "db") == 3
    assert "nothing is known of a guest db" in said.err
    assert enabled.load_all() == []


def test_guest_is_disabled_once(said: Said) -> None:
    record("db")
    said.main("enable", "db")
    assert said.main("disable", "db") == 0
    assert said.out == "db is not enabled any more\n"
    assert said.main("disable", "db") == 3
    assert "db is not enabled; `umlctl list --enabled` shows" in said.err
    assert said.main("disable", "..") == 2


def test_list_shows_what_is_enabled(said: Said) -> None:
    assert said.main("list", "--enabled") == 0
    assert (said.out, "no guest is enabled" in said.err) == ("", True)
    definition = record("web", "db")
    said.main("enable", "web")
    with open(f"{paths.state_dir()}/enabled/bad.json", "w") as file:
        file.write("{")
    assert said.main("list", "--enabled") == 0
    heading, bad, web = said.out.splitlines()
    assert heading.split() == ["NAME", "STATE", "AFTER", "NOTE"]
    assert bad.startswith("bad   -")
    assert "bad.json: this is no guest definition" in bad
    assert web.split() == ["web", "dead", "db"]
    assert said.main("list", "--enabled", "--json") == 0
    bad_row, row = json.loads(said.out)
    assert (row["umid"], row["state"], row["after"]) == ("web", "dead", ["db"])
    assert row["definition"]["mem"] == definition.mem
    assert (bad_row["definition"], "no guest definition" in bad_row["problem"]) == (None, True)


def test_without_enabled_guests_no_supervisor_is_started(said: Said) -> None:
    assert said.main("autostart") == 0
    assert "no guest is enabled" in said.err
    assert said.main("autostart", "--json") == 0
    assert said.out == "[]\n"
    assert not said.asked


def test_results_are_told_as_they_come(said: Said) -> None:
    record("db")
    said.main("enable", "db")
    said.pieces = [
        b'{"umid":"db","up":true,"outcome":"started","code":0,"text":"","pid":7}\n{"umid":"we',
        b'b","up":true,"outcome":"ran already","code":0,"text":"","pid":null}\n',
    ]
    assert said.main("autostart") == 0
    assert said.asked == ["autostart"]
    assert said.err == "umlctl: db: started, kernel pid 7\numlctl: web: ran already\n"
    said.pieces.append(b'{"umid":"x","up":false,"outcome":"failed","code":125,"text":"no root"}\n')
    assert said.main("autostart", "--json") == 7
    assert said.err.endswith("umlctl: x: was not started: no root\n")
    assert [each["umid"] for each in json.loads(said.out)] == ["db", "web", "x"]


def test_what_a_supervisor_says_that_is_no_result_is_shown(said: Said) -> None:
    record("db")
    said.main("enable", "db")
    said.pieces = [b"what?\n", b"no such \xff"]
    said.main("autostart")
    assert said.err == "umlctl: what?\numlctl: no such \ufffd\n"


def test_defined_guest_is_enabled_as_it_is_written(
    said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = find.ProbedKernel("/linux", "6.1.176", frozenset(), {"UML": "y"})
    monkeypatch.setattr(find, "find", lambda name=None: name or "/linux")
    monkeypatch.setattr(find, "probe", lambda _path, _user="": plain)
    path = files.save("web", 'mem = "99M"\nafter = ["db"]\n')
    assert said.main("enable", "web") == 0
    assert said.out == f"web is enabled, as {path} has it\n"
    assert "web comes after db, which is not enabled" in said.err
    definition = enabled.load_all()[0].definition
    assert definition is not None
    assert definition.mem == 99 << 20
    files.save("web", "\nmem = 1")
    assert said.main("list", "--enabled", "--json") == 0
    assert json.loads(said.out)[0]["problem"].startswith(f"{path}:2: mem: ")
    assert said.main("enable", "web") == 2
    assert said.main("enable", "./web.toml") == 2
    assert "`umlctl define ./web.toml`, and enable that" in said.err
