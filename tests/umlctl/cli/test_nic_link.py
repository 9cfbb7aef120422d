"""`umlctl nic set`, and a switch that says what it was told."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tests.umlctl.cli.test_guest_nic import guest, nic
from umlctl import exitcodes
from umlctl.cli import main
from umlctl.cli.nic_link import in_words
from umlctl.networks import link, segments
from umlctl.networks.link import PLAIN, Character
from umlctl.recovery import discover
from umlctl.state.records import DeviceEntry

MAC = "02:00:00:00:00:01"


class Switch:
    """Of the network that the guest's NIC is on."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self.links: list[dict[str, Any]] = []
        self.out = self.err = ""
        self._capfd = capfd

    def set(self, mac: str, pid: int, character: Character) -> None:
        self.links = [{"mac": mac, "pid": pid, **link.described(character)}]

    def main(self, *words: str) -> int:
        code = main.run(["nic", "set", *words])
        sys.stdout.flush()
        self.out, self.err = self._capfd.readouterr()
        return code


@pytest.fixture
def switch(
    house: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Switch:
    made = Switch(capfd)
    on_tap = DeviceEntry(name="vec1", asked="", kernel="", tap="t0")
    entry = nic("vec0")
    entry.mac = MAC
    monkeypatch.setattr(discover, "running", lambda: [guest(entry, on_tap)])
    monkeypatch.setattr(segments.Segment, "status", lambda _: {"links": made.links})
    monkeypatch.setattr(segments.Segment, "set_link", lambda _, *words: made.set(*words))
    return made


def test_link_is_set_and_what_is_not_named_stays(switch: Switch) -> None:
    words = "--delay 20ms --jitter 500us --loss 1.5% --rate 10mbit"
    assert switch.main("demo", "vec0", *words.split()) == 0
    assert switch.out == "demo vec0: delay 20ms, jitter 0.5ms, loss 1.5%, rate 10mbit\n"
    assert switch.main("demo", "0", "--down", "--loss", "0") == 0
    assert switch.out == "demo vec0: delay 20ms, jitter 0.5ms, rate 10mbit, down\n"
    assert switch.main("demo", "0", "--up") == 0
    (there,) = switch.links
    assert there == {"mac": MAC, "pid": 2, "delay": 0.02, "jitter": 0.0005, "rate": 1e7}


def test_reset_forgets_all_that_was_set_before(switch: Switch) -> None:
    switch.main("demo", "vec0", "--delay", "1.5s")
    assert switch.main("demo", "vec0", "--reset", "--rate", "64kbit", "--json") == 0
    assert json.loads(switch.out) == {
        "guest": "demo",
        "name": "vec0",
        "link": {"delay": 0.0, "jitter": 0.0, "loss": 0.0, "rate": 64000.0, "down": False},
    }
    assert switch.main("demo", "vec0", "--reset") == 0
    assert switch.out == "demo vec0: plain\n"


def test_without_options_it_is_shown_alone(switch: Switch) -> None:
    switch.links = [{"mac": MAC, "pid": 2, "loss": 0.25}]
    before = list(switch.links)
    assert switch.main("demo", "vec0") == 0
    assert switch.out == "demo vec0: loss 25%\n"
    assert switch.links == before


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("demo vec0 --delay 20", exitcodes.USAGE, "'20' is no time as 20ms"),
        ("demo vec0 --delay 61s", exitcodes.USAGE, "a link has no delay 61.0"),
        ("demo vec0 --loss 101%", exitcodes.USAGE, "a link has no loss 1.01: it is a part of 1"),
        ("demo vec0 --delay 99s", exitcodes.USAGE, "no delay 99.0: it is in seconds, 60 at most"),
        ("demo vec0 --rate 10", exitcodes.USAGE, "'10' is no rate as 10mbit"),
        ("demo lan --down", exitcodes.USAGE, "a NIC is vecN or ethN, not 'lan'"),
        ("demo vec7 --down", exitcodes.USAGE, "of these it has: vec0, vec1"),
        ("none vec0 --down", exitcodes.NO_GUEST, "no guest 'none' runs here"),
        ("demo vec1 --down", exitcodes.FAILED, "`sudo tc qdisc replace dev t0 root netem"),
    ],
)
def test_what_cannot_be_set_is_said(switch: Switch, words: str, code: int, said: str) -> None:
    assert switch.main(*words.split()) == code
    assert said in switch.err
    assert switch.links == []


def test_character_is_said_in_words() -> None:
    assert in_words(PLAIN) == "plain"
    assert in_words(Character(jitter=0.001)) == "delay 0ms, jitter 1ms"
    assert in_words(Character(rate=2.5e9)) == "rate 2.5gbit"
    assert in_words(Character(rate=5.0)) == "rate 5bit"
