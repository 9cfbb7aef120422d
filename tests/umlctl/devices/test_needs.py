from __future__ import annotations

from umlctl.devices.needs import COW, FILE, Need


def test_needs_are_equal_by_what_they_say() -> None:
    assert Need(FILE, "/a") == Need(FILE, "/a", write=False)
    assert Need(FILE, "/a") != Need(FILE, "/a", write=True)
    assert Need(FILE, "/a") != Need(COW, "/a")
    assert Need(FILE, "/a") != Need(FILE, "/b")
    assert Need(FILE, "/a") != ("file", "/a", False)
    assert len({Need(FILE, "/a"), Need(FILE, "/a"), Need(COW, "/a")}) == 2


def test_need_shows_what_it_is() -> None:
    assert repr(Need(COW, "/a.cow", write=True)) == "Need('cow', '/a.cow', write=True)"
