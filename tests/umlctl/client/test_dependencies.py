from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from socketproto.exchange import pieces
from tests.conftest import Bare
from umlctl.client.dependencies import await_earlier
from umlctl.errors import NeverStarted, NoGuest
from umlctl.guest.definition import Definition
from umlctl.state.umid_lock import claim

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.conftest import Address


def web(timeout: float = 30.0) -> Definition:
    return Definition(umid="web", kernel="/linux", after=("db",), timeout=timeout)


@contextmanager
def saying(house: str, *answers: bytes, mode: int = 0o600) -> Iterator[Bare]:
    """A guest named db that answers so, the last again and again."""
    left = list(answers)

    def answer(_server: Bare, _data: bytes, _address: Address) -> Iterable[bytes]:
        said = left.pop(0) if len(left) > 1 else left[0]
        return [reply.encode() for reply in pieces(said)]

    os.makedirs(f"{house}/h/.uml/db")
    server = Bare(f"{house}/h/.uml/db/mconsole", answer, mode)
    try:
        server.start()
        yield server
    finally:
        server.close()


def test_guest_that_runs_is_not_waited_for(house: str) -> None:
    with saying(house, b'{"state": "running"}') as server:
        await_earlier(web())
        assert server.commands == [b"status"]


def test_guest_that_boots_is_waited_for(house: str) -> None:
    words = (b'{"state": "booting"}', b"what?", b'{"state": "rebooting"}', b'{"state": "running"}')
    with saying(house, *words) as server:
        await_earlier(web())
        assert len(server.commands) == len(words)


def test_bare_kernel_runs(house: str) -> None:
    with saying(house, b"Linux", mode=0o755) as server:
        await_earlier(web())
        assert not server.commands


def test_guest_that_is_not_ready_in_time_is_named(house: str) -> None:
    with (
        saying(house, b'{"state": "booting"}'),
        pytest.raises(NeverStarted, match="web comes after db, which is not ready within"),
    ):
        await_earlier(web(timeout=0.01))


def test_guest_that_does_not_run_is_named(house: str) -> None:
    with pytest.raises(NoGuest, match="web comes after db, which does not run; start db first"):
        await_earlier(web())


def test_guest_that_has_just_died_does_not_run(house: str) -> None:
    with saying(house, b'{"state": "dead"}'), pytest.raises(NoGuest, match="does not run"):
        await_earlier(web())


def test_guest_whose_door_is_not_open_yet_is_waited_for(house: str) -> None:
    with claim("db"), pytest.raises(NeverStarted, match="not ready within"):
        await_earlier(web(timeout=0.01))
