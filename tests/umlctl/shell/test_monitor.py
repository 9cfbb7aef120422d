"""What is known of a guest while its prompt waits."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from socketproto.blocking import Link
from tests.umlctl.state.test_records import write_record
from umlctl import exitcodes
from umlctl.client import background
from umlctl.host import paths
from umlctl.networks import segments
from umlctl.shell.monitor import GuestMonitor

if TYPE_CHECKING:
    from tests.umlctl.shell.conftest import At


DISK = {
    "name": "ubd1",
    "asked": "/a.img",
    "kernel": "ubd1=/a.img",
    "boot": False,
    "observed": None,
}


async def test_guest_is_seen_with_its_devices(at: At) -> None:
    status = {
        "umid": "demo",
        "state": "running",
        "since": 1.0,
        "pid": 17,
        "memory": 1 << 20,
        "cpu": 0.5,
        "devices": [DISK],
        "consoles": [{"name": "con0"}],
    }
    at.supervisor.answer("status", status)
    live = GuestMonitor("demo", lambda: None, lambda _text: None)
    await live.look()
    assert live.state == "running"
    assert live.facts.devices == {"con0": "a console", "ubd1": "/a.img"}
    assert "1.0M memory" in live.line()
    at.supervisor.answers["status"] = (b"rubbish", 0)
    await live.look()
    assert live.facts.devices == {"con0": "a console", "ubd1": "/a.img"}, "as last seen"


async def test_line_below_has_what_matters_most_of_the_guest(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    status: dict[str, Any] = {
        "umid": "demo",
        "state": "running",
        "since": 990.0,
        "started": 989.8,
        "pid": 17,
        "memory": 1 << 20,
        "cpu": 0.5,
        "devices": [],
        "consoles": [{"name": "con0"}],
    }
    live = GuestMonitor("demo", lambda: None, lambda _text: None)

    async def line(columns: int = 200, **more: Any) -> str:
        at.supervisor.answer("status", status | more)
        await live.look()
        return live.line(columns)

    assert await line() == "demo running 10.0s | 1.0M memory | 0.5s cpu"
    assert "up" not in await line(), "the same time twice"
    assert "up 8m20s" in await line(started=500.0)
    assert "| 1 device |" in await line(devices=[DISK])
    assert "| 2 devices |" in await line(devices=[DISK, DISK])
    assert "stuck" in await line(trouble="stuck")
    assert await line(started="rubbish")
    event = {"time": 995.0, "umid": "demo", "event": "panicked", "text": "oh " * 30, "pid": 3}
    live._event(msgspec.json.encode(event), 2.0)
    live._event(msgspec.json.encode(event | {"event": "refused"}), 2.0)
    wide = await line(devices=[DISK])
    assert wide.endswith("…")
    assert "panicked: oh" in wide, "and the umid not again"
    for columns in range(1, 120):
        assert len(await line(columns, devices=[DISK])) <= columns
    assert (await line(80, devices=[DISK])).startswith("demo running 10.0s | ")
    assert "panicked: oh" in await line(60, devices=[DISK]), "numbers give way to news"


async def test_guest_that_is_gone_is_dead(house: str) -> None:
    live = GuestMonitor("nobody", lambda: None, lambda _text: None)
    await live.look()
    assert live.state == "dead"
    assert "dead" in live.line()


async def test_guest_that_nobody_supervises_is_shown_and_left_so(house: str) -> None:
    paths.make_run_dir()
    write_record()
    live = GuestMonitor("demo", lambda: None, lambda _text: None)
    await live.look()
    assert live.state == "unsupervised"
    assert "`umlctl adopt demo` has it supervised again" in live.line()
    assert background.pid() == 0


async def test_events_are_told_but_for_those_of_ones_own_commands(at: At) -> None:
    told: list[str] = []
    live = GuestMonitor("demo", lambda: None, told.append, at.session.pids)

    def event(name: str, when: float, pid: int = 1) -> bytes:
        return msgspec.json.encode({"time": when, "umid": "demo", "event": name, "pid": pid})

    ours = os.getpid()
    for pid, name, when, is_told in (
        (1, "panicked", 5.0, True),
        (1, "panicked", 1.0, False),
        (1, "device added", 6.0, True),
        (ours, "device added", 7.0, False),
        (ours, "panicked", 8.0, True),
        (1, "refused", 9.0, False),
    ):
        before = len(told)
        live._event(event(name, when, pid), 2.0)
        assert (len(told) > before) is is_told, (pid, name, when)
    for name, state in (("stopped", "stopped"), ("ready", "running"), ("ended", "dead")):
        live._event(event(name, 9.0), 2.0)
        assert live.state == state
    live._event(event("stopped", 9.5), 2.0)
    assert live.shown == "paused"
    assert told[-1].endswith("demo paused pid=1")
    assert "paused" in live.last
    live._event(b"rubbish", 2.0)
    live._event(b"{}", 2.0)


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "raise it with `ulimit -n`"),
        (RuntimeError("can't start new thread"), "processes"),
    ],
)
async def test_prompt_goes_on_where_this_process_lacks_what_a_command_takes(
    at: At, monkeypatch: pytest.MonkeyPatch, problem: Exception, said: str
) -> None:
    def lacks(*_words: object) -> None:
        raise problem

    live = GuestMonitor("demo", lambda: None, lambda _text: None)
    with monkeypatch.context() as here:
        here.setattr(Link, "open", lacks)
        assert await at.obey("version") == exitcodes.FAILED
        assert at.err.startswith(f"umlctl: demo: {problem}; ")
        assert said in at.err
        await live.look()
        assert said in live.problem
    assert await at.obey("version") == exitcodes.OK


async def test_mistake_of_ours_is_not_taken_for_what_is_lacking(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_words: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(Link, "open", fails)
    with pytest.raises(RuntimeError, match="a mistake"):
        await at.obey("version")
    with pytest.raises(RuntimeError, match="a mistake"):
        await GuestMonitor("demo", lambda: None, lambda _text: None).look()


async def test_what_keeps_us_from_looking_at_the_guest_is_shown(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> list[str]:
        raise OSError(errno.EMFILE, "Too many open files")

    live = GuestMonitor("demo", lambda: None, lambda _text: None)
    with monkeypatch.context() as here:
        here.setattr(segments, "names", full)
        await live.look()
    assert "Too many open files" in live.line()
    await live.look()
    assert "Too many" not in live.line()
