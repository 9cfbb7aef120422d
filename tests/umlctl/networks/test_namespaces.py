"""The one namespace of a user's bridges."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from umlctl.host import netns, paths, processes
from umlctl.networks import namespaces, segments
from umlctl.networks.bridge import unable
from umlctl.state import records

if TYPE_CHECKING:
    from types import SimpleNamespace

here = pytest.mark.skipif(bool(unable()), reason="this host has no such namespace")


def test_choice_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(namespaces.CHOICE, raising=False)
    assert namespaces.forbidden() == ""
    monkeypatch.setenv(namespaces.CHOICE, "switch")
    assert namespaces.forbidden() == "UMLCTL_NETWORKS=switch"


@here
def test_it_is_the_one_that_another_switch_has(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.makedirs(f"{house}/u", exist_ok=True)
    os.makedirs(f"{paths.make_run_dir()}/s/other")
    monkeypatch.setattr(segments, "pid_of", lambda name: os.getpid() if name == "other" else 0)
    with netns.make() as made, namespaces.obtain("lan") as found:
        assert found.inode == made.inode


@here
def test_it_is_the_one_that_a_guest_is_in(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.makedirs(f"{paths.make_run_dir()}/s")
    monkeypatch.setattr(records, "load_all", lambda: [_record(7, 1), _record(8, 2)])
    monkeypatch.setattr(processes, "start_time", lambda _pid: 2)
    with netns.make() as made:
        again = netns.NetworkNamespace(
            os.dup(made.net), os.dup(made.user) if made.user >= 0 else -1
        )
        monkeypatch.setattr(netns, "of_process", lambda pid: again if pid == 8 else None)
        with namespaces.obtain("lan") as found:
            assert found.inode == made.inode


def _record(pid: int, started: int) -> SimpleNamespace:
    from types import SimpleNamespace

    entry = SimpleNamespace(made={namespaces.PORT: "tap"})
    return SimpleNamespace(pid=pid, started=started, devices=[entry])


@here
def test_without_any_there_is_a_new_one(house: str) -> None:
    os.makedirs(f"{paths.make_run_dir()}/s")
    with namespaces.obtain("lan") as one, namespaces.obtain("lan") as other:
        assert one.inode != other.inode
