from __future__ import annotations

from functools import partial
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
    monkeypatch.setattr(keeper, "_hide", list)
    for _ in range(5):
        keeper._look()
    assert (missing, said) == ([], ["locks", "locks"])


def test_kernel_that_has_no_mounts_is_hidden_nothing_from() -> None:
    for confined, binds in (("off", True), ("", True), ("writes", False)):
        record = SimpleNamespace(confined=confined, binds=binds)
        life: Any = SimpleNamespace(launched=SimpleNamespace(record=record))
        assert Keeper(partial(_as_it_is, life), [])._hide() == []


def _as_it_is(life: Any) -> Any:
    return life
