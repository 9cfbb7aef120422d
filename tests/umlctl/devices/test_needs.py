from __future__ import annotations

from umlctl.devices import needs
from umlctl.devices.needs import TAP, TTY, Need


def test_needs_are_told_apart_by_what_they_say() -> None:
    assert Need(TAP, "tap0") == Need(TAP, "tap0")
    assert len({Need(TAP, "tap0"), Need(TTY, "tap0"), Need(TAP, "tap1")}) == 3


def test_every_kind_is_a_word_of_its_own() -> None:
    kinds = [value for name, value in vars(needs).items() if name.isupper()]
    assert len(set(kinds)) == len(kinds) > 5
