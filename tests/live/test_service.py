"""Guests as a service: start and end in order, and a supervisor that is itself watched."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.live.conftest import House, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def own() -> Iterator[House]:
    """A home of this test's own: what is done to all guests is done to these alone."""
    path = tempfile.mkdtemp(prefix="u", dir="/tmp")
    house = House(path)
    try:
        yield house
    finally:
        house.umlctl("shutdown", "--all", "0")
        house.umlctl("quit")
        shutil.rmtree(path)


def has_init(house: House, umid: str) -> None:
    wait_for(lambda: "exit` ends it" in house.ok("logs", umid), f"{umid} has an init")


def ended(house: House, umid: str) -> float:
    ending: dict[str, Any] = house.listed(umid)["ending"]
    assert ending["cause"] == "shut down", ending
    assert house.leftovers(umid) == []
    return float(ending["time"])


def test_all_guests_end_in_order_whoever_supervises_them(own: House) -> None:
    own.start("db")
    own.start("web", "--after", "db")
    with own.running("proxy", "--after", "web") as process:
        for name in ("db", "web", "proxy"):
            has_init(own, name)
        done = own.umlctl("shutdown", "--all", "20", "--json")
        assert done.returncode == 0, done
        assert process.wait(30) == 0
    results = json.loads(done.stdout)
    assert [each["umid"] for each in results] == ["proxy", "web", "db"]
    assert all(each["in_order"] for each in results)
    for name in ("proxy", "web", "db"):
        assert f"umlctl: {name}: shut down, after" in done.stderr
    assert ended(own, "proxy") < ended(own, "web") < ended(own, "db")


def test_supervisor_ends_its_guests_in_order(own: House) -> None:
    own.start("db")
    own.start("web", "--after", "db")
    own.start("proxy", "--after", "web", "--after", "db")
    for name in ("db", "web", "proxy"):
        has_init(own, name)
    own.ok("quit")
    assert ended(own, "proxy") < ended(own, "web") < ended(own, "db")


def test_guest_that_has_to_be_halted_is_told(own: House) -> None:
    script = f"{own.path}/init"
    with open(script, "w") as file:
        file.write(
            "#!/bin/sh\ntrap '' INT\nmount -t proc proc /proc\n"
            "echo 0 >/proc/sys/kernel/ctrl-alt-del\necho deaf >/proc/mconsole\n"
            "while :; do sleep 1; done\n"
        )
    os.chmod(own.path, 0o755)
    os.chmod(script, 0o755)
    own.start("deaf", "--init", script)
    own.start("web", "--after", "deaf")
    has_init(own, "web")
    wait_for(
        lambda: own.ask("deaf", "proc sys/kernel/ctrl-alt-del").data.strip() == b"0", "it is deaf"
    )
    done = own.umlctl("shutdown", "--all", "1")
    assert done.returncode == 7, done
    said = "deaf: did not end in order: shut down: it had not ended by itself within 1s"
    assert said in done.stderr
    assert "umlctl: web: shut down, after" in done.stderr


def test_guest_waits_for_the_one_that_it_comes_after(own: House) -> None:
    refused = own.umlctl("start", "web", "--mem", "64M", "--after", "db")
    assert refused.returncode == 3, refused
    assert "web comes after db, which does not run; start db first" in refused.stderr
    own.start("db")
    own.start("web", "--after", "db")


def test_enabled_guests_are_started_in_order(own: House) -> None:
    own.start("db")
    own.start("web", "--after", "db")
    own.start("mail", "--after", "db")
    for name in ("db", "web", "mail"):
        own.ok("enable", name)
    own.ok("quit")
    done = own.umlctl("autostart", "--json")
    results = {each["umid"]: each for each in json.loads(done.stdout)}
    assert done.returncode == 0, done
    assert {each["outcome"] for each in results.values()} == {"started"}
    began = {name: own.status(name)["started"] for name in ("db", "web", "mail")}
    assert began["db"] < min(began["web"], began["mail"])
    assert results.keys() == began.keys()
    again = own.umlctl("autostart")
    assert "umlctl: web: ran already" in again.stderr


def test_autostart_goes_on_past_a_guest_that_fails(own: House) -> None:
    own.start("db", "--append", "quiet")
    own.start("web", "--after", "db")
    own.start("mail")
    for name in ("db", "web", "mail"):
        own.ok("enable", name)
    own.ok("quit")
    file = f"{own.path}/s/umlctl/enabled/db.json"
    with open(file) as opened:
        definition = json.load(opened)
    with open(file, "w") as opened:
        json.dump({**definition, "root": "/nowhere/"}, opened)
    done = own.umlctl("autostart")
    assert done.returncode == 7, done
    assert "umlctl: mail: started, kernel pid" in done.stderr
    assert "umlctl: db: was not started: db: there is no directory /nowhere/" in done.stderr
    assert "umlctl: web: was not started: it comes after db, which was not started" in done.stderr
