from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

import msgspec

from tests.snapshots import disk, ended, take
from umlctl import exitcodes
from umlctl.state import umid_lock
from umlctl.state.file_identity import hold_of
from umlctl.state.records import DeviceEntry

if TYPE_CHECKING:
    import pytest

    from tests.umlctl.cli.conftest import Supervisor


def test_supervisor_takes_it_and_what_it_says_is_shown(supervisor: Supervisor, house: str) -> None:
    made = take("clean", {"demo": [disk(house)], "db": [disk(house, "db")]})
    text = "layer save clean keep=3 with=db"
    supervisor.answer(text, made)
    words = ["snapshot", "create", "demo", "clean", "--with", "db", "--keep", "3"]
    assert supervisor.main(*words) == 0
    assert supervisor.asked[-1] == text
    assert supervisor.out.startswith("clean has demo ubd1, db ubd1, ")
    assert supervisor.out.endswith("demo and db were stopped for 10 ms\n")
    assert supervisor.main(*words, "--json") == 0
    found = json.loads(supervisor.out)
    assert (found["name"], found["pause"], found["guests"]) == ("clean", 0.01, ["demo", "db"])


def test_what_may_be_lacking_is_said(supervisor: Supervisor, house: str) -> None:
    made = take("clean", {"demo": [disk(house)]})
    member = msgspec.structs.replace(made.members[0], synced="not seen", lacks=("its root, /r/",))
    supervisor.answer("layer save clean", msgspec.structs.replace(made, members=(member,)))
    assert supervisor.main("snapshot", "create", "demo", "clean") == 0
    assert "demo was stopped for 10 ms" in supervisor.out
    assert "what it had in memory may be lacking: not seen" in supervisor.err
    assert "its root, /r/, is not in it" in supervisor.err


def test_refusal_and_nonsense_are_errors(supervisor: Supervisor) -> None:
    supervisor.refuse("layer save a", "No space left on device", -errno.ENOSPC)
    assert supervisor.main("snapshot", "create", "demo", "a") == exitcodes.REFUSED
    assert "No space left" in supervisor.err
    supervisor.answer("layer save b", {"x": 1})
    assert supervisor.main("snapshot", "create", "demo", "b") == exitcodes.FAILED
    for words in (["a/b"], [".x"], ["x", "--with", "a,b"], ["x", "--keep", "0"]):
        assert supervisor.main("snapshot", "create", "demo", *words) == exitcodes.USAGE


def test_snapshots_are_listed_and_shown(supervisor: Supervisor, house: str) -> None:
    assert supervisor.main("snapshot", "list") == 0
    take("one", {"demo": [disk(house)]}, time=2.0)
    take("two", {"web": [disk(house, "web")], "demo": [disk(house, number=2)]}, time=1.0)
    assert supervisor.main("snapshot", "list", "demo") == 0
    rows = [line.split() for line in supervisor.out.splitlines()[1:]]
    assert [row[:2] for row in rows] == [["web", "two"], ["demo", "one"]]
    assert supervisor.main("snapshot", "list", "--json") == 0
    assert [each["name"] for each in json.loads(supervisor.out)] == ["two", "one"]
    assert supervisor.main("snapshot", "info", "demo", "two") == 0
    assert "web, demo" in supervisor.out
    assert f"{house}/web1/web1.cow" in supervisor.out
    assert supervisor.main("snapshot", "info", "demo", "none") == exitcodes.NO_GUEST
    assert "it has one" in supervisor.err
    assert supervisor.main("snapshot", "list", "../x") == exitcodes.USAGE


def test_one_that_no_kernel_would_take_is_said_to_be_so(supervisor: Supervisor, house: str) -> None:
    made = disk(house)
    take("one", {"demo": [made]})
    assert supervisor.main("snapshot", "info", "demo", "one") == 0
    assert "problem" not in supervisor.out
    os.utime(made.backing, (1, 1))
    assert supervisor.main("snapshot", "info", "demo", "one") == 0
    (said,) = [line for line in supervisor.out.splitlines() if line.startswith("problem ")]
    assert made.backing in said
    assert supervisor.main("snapshot", "list") == 0
    assert "no kernel takes it" in supervisor.out
    assert supervisor.main("snapshot", "list", "--json") == 0
    assert made.backing in json.loads(supervisor.out)[0]["layers"][0]["problem"]


def test_one_is_removed_unless_a_guest_has_it(
    supervisor: Supervisor, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from umlctl.cli import snapshot_use
    from umlctl.state.leases import Use

    one = take("one", {"demo": [disk(house)]})
    path = one.path_of(one.layers[0])
    holds = [hold_of(path, write=False)]
    entry = DeviceEntry(name="ubd1", asked=path, kernel=f"ubd1r={path}", holds=holds)
    with monkeypatch.context() as patch:
        patch.setattr(snapshot_use, "users", lambda: [Use("web", entry)])
        assert supervisor.main("snapshot", "rm", "demo", "one") == exitcodes.FAILED
        assert f"{path} is read by web as its ubd1" in supervisor.err
    assert supervisor.main("snapshot", "rm", "demo", "one") == 0
    assert not os.path.exists(one.directory)
    assert supervisor.main("snapshot", "rm", "demo", "one") == exitcodes.NO_GUEST


def test_guests_that_have_ended_are_taken_here(
    supervisor: Supervisor, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended("web", disk(house, "web"))
    ended("db", disk(house, "db"))
    assert supervisor.main("snapshot", "create", "web", "a") == 0
    assert supervisor.out.startswith("a has ubd1, ")
    assert supervisor.out.endswith("; web has ended\n")
    assert supervisor.main("snapshot", "create", "web", "a") == exitcodes.FAILED
    assert "web has a snapshot a already" in supervisor.err
    words = ["snapshot", "create", "web", "b", "--with", "db", "--keep", "1"]
    assert supervisor.main(*words) == 0
    assert supervisor.out.endswith("; web and db have ended\n")
    assert supervisor.main("snapshot", "list", "web") == 0
    assert [row.split()[1:2] for row in supervisor.out.splitlines()[1:]] == [["b"]]
    for other, code, said in (
        ("nobody", exitcodes.NO_GUEST, "nobody knows the disks of nobody"),
        ("web", exitcodes.USAGE, "web cannot be taken with itself"),
        ("demo", exitcodes.REFUSED, "`umlctl snapshot create demo c --with web` takes both"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(umid_lock, "has_owner", lambda umid: umid == "demo")
            assert supervisor.main("snapshot", "create", "web", "c", "--with", other) == code
        assert said in supervisor.err
    assert supervisor.main("snapshot", "create", "nobody", "a") == exitcodes.NO_GUEST
