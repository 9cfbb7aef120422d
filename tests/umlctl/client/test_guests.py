from __future__ import annotations

import os
import shutil
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from socketproto.exchange import pieces
from tests.conftest import DEADLINE, Bare
from tests.umlctl.recovery.test_cleanup import died
from tests.umlctl.recovery.test_discover import leave, run_dir, running
from tests.umlctl.state.test_records import write_record
from umlctl.client import guests, unsupervised
from umlctl.client.guests import gather
from umlctl.host import paths
from umlctl.state import umid_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.conftest import Address
    from umlctl.protocol.status import Status

__all__ = ["run_dir"]


@pytest.mark.parametrize("said", [b"what?", b"[]", b"\xff", b""])
def test_answer_that_is_no_status_does_not_break_the_list(house: str, said: bytes) -> None:
    def answer(_server: Bare, _data: bytes, _address: Address) -> Iterable[bytes]:
        return [reply.encode() for reply in pieces(said)]

    os.makedirs(f"{house}/h/.uml/odd")
    with closing(Bare(f"{house}/h/.uml/odd/mconsole", answer, 0o600)) as server:
        server.start()
        (status,) = gather()
    assert (status.umid, status.state) == ("odd", "silent")
    assert "not a status" in (status.trouble or "")


def test_guests_that_have_ended_come_last(run_dir: str) -> None:
    died()
    leave("z")
    with running(umid="z") as pid:
        write_record("z", pid=pid)
        assert [(each.umid, each.state) for each in gather()] == [
            ("z", "unsupervised"),
            ("demo", "dead"),
        ]


@pytest.fixture
def when_it_was_missed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Has something happen once a guest was asked that nobody answered for."""

    def set_what(happens: Callable[[], None]) -> None:
        real = guests._ask

        def ask(name: str) -> Status | None:
            found = real(name)
            if found is None:
                monkeypatch.setattr(guests, "_ask", real)
                happens()
            return found

        monkeypatch.setattr(guests, "_ask", ask)
        monkeypatch.setattr(unsupervised, "LOCK_RELEASE_TIMEOUT", DEADLINE)

    return set_what


def test_supervisor_that_adopts_a_guest_just_now_is_waited_for(
    run_dir: str, when_it_was_missed: Callable[[Callable[[], None]], None]
) -> None:
    """It has the guest, and its socket is still that of the one before."""
    asked: list[bytes] = []

    def answer(_server: Bare, data: bytes, _address: Address) -> Iterable[bytes]:
        asked.append(data)
        said = b'{"umid": "demo", "state": "running", "pid": 1}'
        return [reply.encode() for reply in pieces(said)]

    with (
        umid_lock.claim("demo"),
        closing(Bare(paths.guest_socket("demo"), answer, 0o600)) as server,
    ):
        write_record()
        server.bind()
        server.unbind(remove=False)
        when_it_was_missed(server.start)
        (status,) = gather()
    assert (status.state, bool(asked)) == ("running", True)


def test_supervisor_whose_directory_was_removed_is_waited_for(
    run_dir: str, when_it_was_missed: Callable[[Callable[[], None]], None]
) -> None:
    """It makes it anew, and has the guest all the time."""

    def answer(_server: Bare, _data: bytes, _address: Address) -> Iterable[bytes]:
        said = b'{"umid": "demo", "state": "running", "pid": 1}'
        return [reply.encode() for reply in pieces(said)]

    server = Bare(paths.guest_socket("demo"), answer, 0o600)

    def make_anew() -> None:
        paths.make_run_dir()
        os.makedirs(paths.guest_dir("demo"))
        server.bind()
        server.start()

    with umid_lock.claim("demo"), closing(server):
        write_record()
        shutil.rmtree(paths.run_dir())
        when_it_was_missed(make_anew)
        (status,) = gather()
    assert status.state == "running"
