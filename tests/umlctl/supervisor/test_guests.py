from __future__ import annotations

import errno
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from socketproto.client import Client
from tests.umlctl.supervisor.serving import DEADLINE, adopt, define, leave, serving, start
from umlctl import exitcodes
from umlctl.errors import SEE_DOCTOR
from umlctl.host import daemonlog, paths, processes
from umlctl.host.systemd.notify import Manager
from umlctl.state import event_log, records
from umlctl.state.umid_lock import claim, has_owner
from umlctl.supervisor import guest_task, guests
from umlctl.supervisor.history import History
from umlctl.supervisor.launch.launch import launch
from umlctl.supervisor.readiness import Milestones

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.supervisor.launch.launched import Launched

__all__ = ["define"]


@pytest.mark.parametrize("problem", [OSError(errno.ENOSPC, "No space left"), ValueError("what?")])
async def test_guest_that_cannot_be_launched_is_that_guests_failure(
    define: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def fail(*_: object) -> Launched:
        raise problem

    monkeypatch.setattr(guests, "launch", fail)
    async with serving() as path:
        for _ in range(2):
            answer = await start(path, define("demo"))
            assert answer["code"] == exitcodes.FAILED
        assert getattr(problem, "strerror", "what?") in answer["text"]
        assert (SEE_DOCTOR in answer["text"]) == isinstance(problem, OSError)
        with claim("demo"):
            pass


async def test_guest_that_nobody_waits_for_boots_on(define: Callable[[str], str]) -> None:
    async with serving() as path:
        answer = await start(path, f"no-wait {define('demo')}")
        assert (answer["code"], answer["status"]["state"]) == (0, "booting")
        assert has_owner("demo")


async def test_guest_is_started_again_though_its_clean_up_is_not_done(
    define: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run_slowly(
        launched: Launched,
        log: Any,
        others: Any,
        task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        await guest_task.run_guest(launched, log, others, task_status=task_status)
        with claim("demo"):
            await trio.sleep(0.2)

    monkeypatch.setattr(guests, "run_guest", run_slowly)
    async with serving() as path:
        for _ in range(2):
            answer = await start(path, f"no-wait {define('demo')}")
            assert answer["code"] == 0, answer
            with Client(paths.guest_socket("demo")) as client:
                assert (await client.request("kill", DEADLINE)).ok


async def test_guest_without_a_door_is_that_guests_failure(
    define: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def adopt() -> None:
        raise OSError(errno.EPERM, "no door")

    async with serving() as path:
        monkeypatch.setattr(processes, "adopt_orphans", adopt)
        for _ in range(2):
            answer = await start(path, define("demo"))
            assert answer["code"] == exitcodes.NEVER_STARTED
            assert "no door" in answer["text"]


async def test_guest_that_is_being_launched_ends_with_the_supervisor(
    define: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[Launched] = []
    told: list[dict[str, Any]] = []
    async with trio.open_nursery() as nursery, serving() as path:

        def slow(*arguments: Any) -> Launched:
            found = launch(*arguments)
            trio.from_thread.run(quit_meanwhile)
            launched.append(found)
            return found

        async def quit_meanwhile() -> None:
            nursery.start_soon(quit_now)
            with Client(path) as client:
                while (await client.request("start nothing")).error != -errno.EAGAIN:
                    pass

        async def quit_now() -> None:
            with Client(path) as client:
                await client.request("quit", DEADLINE)

        monkeypatch.setattr(guests, "launch", slow)
        told.append(await start(path, define("demo")))
    assert told[0]["code"] == exitcodes.NEVER_STARTED
    assert not processes.alive(launched[0].pid, launched[0].started)
    with claim("demo"):
        pass


async def test_guest_that_died_unseen_has_its_end_written_before_it_is_started_again(
    define: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Launched:
        raise OSError(errno.ENOSPC, "No space left")

    file = define("demo")
    async with serving() as path:
        await adopt(path)
        left = leave(file)
        processes.kill_guest(left.pid, left.started, [])
        os.waitpid(left.shim, 0)  # noqa: ASYNC222 - its kernel has been killed
        monkeypatch.setattr(guests, "launch", fail)
        assert (await start(path, file))["code"] == exitcodes.FAILED
    record = records.load("demo")
    assert record is not None
    assert record.ending is not None
    assert [event["event"] for event in event_log.Reader("demo").read()] == ["ended"]


def test_full_disk_takes_no_log_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    guests._log_event({"event": "ready"})
    daemonlog.trace("demo", ValueError("what?"))


@pytest.mark.usefixtures("house")
async def test_what_was_not_written_of_a_guest_that_is_removed_is_let_go(
    autojump_clock: trio.testing.MockClock,
) -> None:
    milestones = Milestones()
    milestones.mark_dead()
    history = History("demo", on_disk=True)
    history.add("ended")
    records_of = SimpleNamespace(records=paths.record_dir("demo"))
    launched = SimpleNamespace(claim=records_of)
    guest: Any = SimpleNamespace(
        umid="demo",
        milestones=milestones,
        history=history,
        life=SimpleNamespace(unwritten=True),
        launched=launched,
    )
    assert not history.flush()
    with trio.fail_after(3600):
        async with trio.open_nursery() as nursery:
            await guests.Guests(nursery, Manager())._write_later(guest)
    assert records.names() == []
