from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import trio

from umlctl.host import place
from umlctl.supervisor.keeper import Keeper

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


async def test_what_is_removed_while_it_is_made_anew_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who removes a directory with all in it goes on while it is made: what is to be seen then is
    no sign that all is there."""
    said: list[str] = []
    history = SimpleNamespace(add=lambda _event, **facts: said.append(facts["text"]))
    lifecycle = SimpleNamespace(ending=None, reboot_lost=False)
    life: Any = SimpleNamespace(history=history, lifecycle=lifecycle)
    keeper = Keeper(lambda: life, [])
    missing = [["locks"], ["locks"], []]
    monkeypatch.setattr(place, "keep", lambda: None)
    monkeypatch.setattr(keeper, "_sight", lambda: (None,))

    async def make() -> list[str]:
        return missing.pop(0)

    monkeypatch.setattr(keeper, "_make", make)
    monkeypatch.setattr(keeper, "_hide", list)
    for _ in range(5):
        await keeper._look()
    assert (missing, said) == ([], ["locks", "locks"])


class _Socket:
    """A kernel's socket whose name was removed."""

    path = "/run/k/demo/mconsole"

    def __init__(self) -> None:
        self.there = False
        self.answers = True
        self.asked: Callable[[], object] = lambda: None

    def is_there(self) -> bool:
        return self.there

    async def hears(self, _question: str, _owner: int | None, _replies: str) -> bool:
        await trio.lowlevel.checkpoint()
        self.asked()
        return self.answers

    def look(self) -> bool:
        made, self.there = not self.there, True
        return made


async def test_name_of_the_kernels_socket_is_made_anew_only_if_it_stays_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A kernel that powers down removes the name itself, before it ends: what is made then stays,
    as if the kernel had been killed."""
    said: list[str] = []
    history = SimpleNamespace(add=lambda _event, **facts: said.append(facts["text"]))
    socket: Any = _Socket()
    kernel = SimpleNamespace(owner=None, replies="", busy=False)
    lifecycle = SimpleNamespace(ending=None, reboot_lost=False)
    life: Any = SimpleNamespace(
        history=history, kernel_socket=socket, kernel=kernel, lifecycle=lifecycle
    )
    lives = [life]
    found: list[Any] = []
    keeper = Keeper(lambda: lives[-1], [])
    monkeypatch.setattr(place, "keep", lambda: None)
    monkeypatch.setattr(keeper, "_sight", lambda: (None,))
    monkeypatch.setattr(keeper, "_make_places", lambda _life: [])
    monkeypatch.setattr(keeper, "_make_found", found.append)
    monkeypatch.setattr(keeper, "_hide", list)
    await keeper._look()
    assert (socket.there, said) == (False, [])
    socket.answers = False  # a kernel that takes its time to reboot
    await keeper._look()
    assert (socket.there, said) == (False, [])
    socket.answers = True
    socket.asked = lambda: lives.append(SimpleNamespace(history=history))
    found.clear()
    await keeper._look()  # another life has begun by the answer
    assert (socket.there, said, found) == (False, [], [])
    lives.pop()
    socket.asked = lambda: setattr(lifecycle, "ending", "ended")
    await keeper._look()  # it has ended by the answer, and is to be found by nobody
    assert (socket.there, said, found) == (False, [], [])
    lifecycle.ending = None
    socket.asked = lambda: None
    await keeper._look()  # though nothing has changed since
    assert (socket.there, said) == (True, [socket.path])
    socket.there = False
    await keeper._look()
    socket.there = True  # a kernel that has rebooted
    await keeper._look()
    socket.there = False
    await keeper._look()
    assert (socket.there, said) == (False, [socket.path])


def test_kernel_that_has_no_mounts_is_hidden_nothing_from() -> None:
    for confined, binds in (("off", True), ("", True), ("writes", False)):
        record = SimpleNamespace(confined=confined, binds=binds)
        life: Any = SimpleNamespace(launched=SimpleNamespace(record=record))
        assert Keeper(partial(_as_it_is, life), [])._hide() == []


def _as_it_is(life: Any) -> Any:
    return life
