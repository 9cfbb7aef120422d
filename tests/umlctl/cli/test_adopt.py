from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.umlctl.recovery.test_cleanup import died
from tests.umlctl.recovery.test_discover import leave, run_dir, running, spoil
from tests.umlctl.state.test_records import ended, keep, write_record
from umlctl import exitcodes
from umlctl.cli import main
from umlctl.client import unsupervised
from umlctl.host import paths
from umlctl.recovery import cleanup, discover
from umlctl.state import records, umid_lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.umlctl.cli.conftest import Run

__all__ = ["run_dir"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Guests that a supervisor was asked to adopt, `all` for all of them; none comes."""
    found: list[str] = []

    def ask_to_adopt(name: str) -> bool:
        found.append(name)
        return False

    monkeypatch.setattr(unsupervised, "ask_to_adopt", ask_to_adopt)
    monkeypatch.setattr(unsupervised, "ask_to_adopt_all", lambda: found.append("all"))
    return found


@pytest.fixture
def nobody(asked: list[str]) -> None:
    """No supervisor comes."""


@pytest.mark.parametrize("words", [[], ["demo"]])
def test_guest_whose_supervisor_has_another_tmp_is_not_said_to_have_one_again(
    run_dir: str, nobody: None, capfd: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with umid_lock.claim("demo"):
        write_record()
        shutil.rmtree(run_dir)
        assert main.run(["adopt", *words]) == exitcodes.FAILED
        said = capfd.readouterr()
        assert said.out == ""
        assert "demo runs, and its supervisor" in said.err
        assert "cannot be asked from here" in said.err


def test_nothing_to_adopt_is_done_without_a_word(
    run: Callable[..., Run], run_dir: str, asked: list[str]
) -> None:
    done = run("adopt")
    assert (done.code, done.out, done.err) == (exitcodes.OK, "", "")
    assert asked == []


def test_guest_without_a_supervisor_is_adopted_and_told(
    run: Callable[..., Run], run_dir: str, asked: list[str]
) -> None:
    leave()
    with running() as pid:
        write_record(pid=pid)
        done = run("adopt")
        assert asked == ["demo"]
        assert done.code == exitcodes.FAILED
        assert "demo: could not be taken over" in done.err


def test_only_those_that_are_named_are_adopted(
    run: Callable[..., Run], run_dir: str, asked: list[str]
) -> None:
    for umid in ("a", "b"):
        leave(umid)
    with running(umid="a") as a, running(umid="b") as b:
        write_record("a", pid=a)
        write_record("b", pid=b)
        run("adopt", "b")
    assert asked == ["b"]


def test_who_does_not_run_is_told_what_became_of_it(
    run: Callable[..., Run], run_dir: str, asked: list[str]
) -> None:
    keep("old", ending=ended(3, 1.0))
    done = run("adopt", "old", "never", "a/b")
    assert done.code == exitcodes.NO_GUEST
    old, never, path = done.err.splitlines()
    assert "old does not run: exited" in old
    assert "no guest 'never'" in never
    assert "no guest 'a/b'" in path


def test_guest_that_has_a_supervisor_is_said_to_have_one(
    run: Callable[..., Run], run_dir: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsupervised, "is_served", lambda _name: True)
    monkeypatch.setattr(unsupervised, "out_of_reach", lambda _name: (0, ""))
    leave()
    with running() as pid, umid_lock.claim("demo"):
        write_record(pid=pid)
        done = run("adopt", "demo")
    assert (done.code, done.out) == (exitcodes.OK, "demo has a supervisor\n")
    assert asked == []


@pytest.fixture
def heir(run_dir: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A supervisor that sees to all who have died, at each request; the requests."""
    requests: list[str] = []

    def see_to(request: str) -> None:
        requests.append(request)
        for record in list(records.load_all()):
            cleanup.clean_up(record)
        discover.set_dead_aside()

    monkeypatch.setattr(unsupervised, "ask_supervisor", see_to)
    return requests


def test_guest_that_died_unseen_is_told_with_its_end(
    run: Callable[..., Run], heir: list[str]
) -> None:
    died()
    done = run("adopt")
    told = "demo died without a supervisor, exited with status 3\n"
    assert (done.code, done.out, done.err) == (exitcodes.OK, told, "")
    assert heir == ["adopt"]
    again = run("adopt", "demo")
    assert "demo does not run: exited with status 3" in again.err
    assert heir == ["adopt"], "there was nothing to see to"


def test_record_that_cannot_be_read_is_set_aside(run: Callable[..., Run], heir: list[str]) -> None:
    spoil()
    spoil("held")
    with umid_lock.claim("held"):
        done = run("adopt")
    assert done.code == exitcodes.OK
    assert "it was set aside" in done.err
    assert "its supervisor writes it anew" in done.err
    assert heir == ["adopt"]


def test_guest_that_has_just_died_is_told_with_the_end_that_its_tiny_parent_saw(
    run: Callable[..., Run], heir: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = paths.guest_dir("demo")
    with subprocess.Popen(
        ["sh", "-c", "echo; read line", "shim.sh", directory],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as shim:
        assert shim.stdout is not None
        shim.stdout.readline()  # for a moment, a process that executes a program has no words
        record = died(shim=shim.pid)
        os.rename(f"{directory}/status", f"{directory}/status~")

        def see_to(_request: str) -> None:
            os.rename(f"{directory}/status~", f"{directory}/status")
            shim.kill()
            shim.wait()
            cleanup.clean_up(record)

        monkeypatch.setattr(unsupervised, "ask_supervisor", see_to)
        done = run("adopt")
    assert done.out == "demo died without a supervisor, exited with status 3\n"
