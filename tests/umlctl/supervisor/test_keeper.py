from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from umlctl.host import place
from umlctl.supervisor.keeper import Keeper

if TYPE_CHECKING:
    import pytest


def test_what_is_removed_while_it_is_made_anew_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who removes a directory with all in it goes on while it is made: what is to be seen then is
    no sign that all is there."""
    said: list[str] = []
    history = SimpleNamespace(add=lambda _event, **facts: said.append(facts["text"]))
    life: Any = SimpleNamespace(history=history)
    keeper = Keeper(lambda: life, [])
    missing = [["locks"], ["locks"], []]
    monkeypatch.setattr(place, "keep", lambda: None)
    monkeypatch.setattr(keeper, "_sight", lambda: (None,))
    monkeypatch.setattr(keeper, "_make", lambda: missing.pop(0))
    for _ in range(5):
        keeper._look()
    assert (missing, said) == ([], ["locks", "locks"])
