"""Guests that nobody supervises: one request has a supervisor see to them, and a look nothing."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from socketproto.exchange import pieces
from tests.conftest import Bare
from tests.umlctl.recovery.test_cleanup import died, ended
from tests.umlctl.recovery.test_discover import leave, run_dir, running, spoil
from tests.umlctl.state.test_records import write_record
from umlctl.client import unsupervised
from umlctl.host import paths
from umlctl.protocol.status import Ending
from umlctl.recovery import discover
from umlctl.state import records, umid_lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.conftest import Address

__all__ = ["run_dir"]


@pytest.fixture
def supervisor(run_dir: str) -> Iterator[Bare]:
    """The background supervisor, which does nothing that it is told to."""

    def answer(_server: Bare, _data: bytes, _address: Address) -> Iterable[bytes]:
        return [reply.encode() for reply in pieces(b"")]

    made = Bare(paths.supervisor_socket(), answer, 0o600)
    with closing(made):
        made.start()
        yield made


def test_guest_whose_record_is_lost_is_taken_over_by_one_request(
    supervisor: Bare, monkeypatch: pytest.MonkeyPatch
) -> None:
    def see(_umid: str) -> None:
        raise AssertionError("who it is, is for the supervisor to find out")

    monkeypatch.setattr(discover, "see", see)
    leave()
    spoil()
    assert not unsupervised.ask_to_adopt("demo")
    assert not unsupervised.ask_to_adopt("demo", everyone=True)
    assert supervisor.commands == [b"adopt demo", b"adopt"]


def test_guest_that_died_unseen_is_for_the_supervisor_to_bury(supervisor: Bare) -> None:
    record = died()
    assert not unsupervised.ask_to_adopt("demo")
    assert supervisor.commands == [b"adopt demo"]
    assert records.load("demo") == record


def test_nobody_is_asked_to_see_to_what_has_been_seen_to(supervisor: Bare) -> None:
    os.makedirs(paths.record_dir("demo"))
    records.save(ended("", 1 << 22))
    for name in ("demo", "nobody", "/run/demo/mconsole"):
        assert not unsupervised.ask_to_adopt(name)
    assert supervisor.commands == []


def test_guest_that_runs_on_is_shown_with_what_takes_it_over(run_dir: str) -> None:
    leave()
    with running() as pid:
        write_record(pid=pid)
        record = records.load("demo")
        assert record is not None
        found = unsupervised.unsupervised_status(record)
        assert (found.state, found.pid) == ("unsupervised", pid)
        assert "`umlctl adopt demo` has it supervised again" in str(found.trouble)
        assert "nobody supervises it; `umlctl adopt demo`" in unsupervised.epitaph("demo")
        assert unsupervised.ending("demo") == ""


def test_guest_that_died_unseen_is_shown_as_dead(house: str) -> None:
    record = died()
    found = unsupervised.unsupervised_status(record)
    assert (found.state, found.since, found.ending and found.ending.code) == ("dead", 5.0, 3)
    assert "demo does not run: exited with status 3" in unsupervised.epitaph("demo")
    assert unsupervised.epitaph("demo").endswith("; `umlctl start demo` starts it again")
    record.own_line = True
    records.save(record)
    assert unsupervised.epitaph("demo").endswith("; who started it as `linux` starts it again")
    assert unsupervised.ending("demo") == "exited with status 3"
    assert not umid_lock.has_owner("demo")


def test_guest_that_is_to_be_started_again_says_by_what(house: str) -> None:
    record = died()
    record.again = True
    record.ending = Ending(cause="exited", code=3)
    assert "which `umlctl adopt demo` does" in str(unsupervised.unsupervised_status(record).trouble)


def test_guest_of_one_command_runs_and_is_nobody_elses(run_dir: str) -> None:
    with running() as pid:
        held = umid_lock.claim("demo")
        os.makedirs(paths.session_dir("demo"))
        write_record(pid=pid)
        record = records.load("demo")
        assert record is not None
        found = unsupervised.unsupervised_status(record)
        assert (found.state, found.supervisor_pid) == ("running", os.getpid())
        assert "the command of `umlctl exec`" in str(found.trouble)
        assert "answers nobody" in unsupervised.epitaph("demo")
        held.release()
