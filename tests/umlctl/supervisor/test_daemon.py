from __future__ import annotations

import errno
import os
import signal
import time
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
import trio.testing

from socketproto.client import Client
from tests import fake_kernel
from umlctl import exitcodes
from umlctl.guest import definition as definitions
from umlctl.host import eventlog, paths, processes, records
from umlctl.host.claim import claim, has_owner
from umlctl.protocol.status import Ending
from umlctl.supervisor import daemon, run
from umlctl.supervisor.door import Door
from umlctl.supervisor.history import History
from umlctl.supervisor.launch import launch
from umlctl.supervisor.readiness import Milestones

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from umlctl.supervisor.launch import Launched

DEADLINE = 30.0


@pytest.fixture
def define(house: str, tmp_path: Path) -> Callable[[str], str]:
    """Write down a guest whose kernel does nothing; the file's path."""
    kernel = fake_kernel.write(f"{tmp_path}/linux", "exec sleep 600\n")

    def write(umid: str) -> str:
        path = f"{house}/{umid}.json"
        definition = definitions.Definition(umid=umid, kernel=kernel, timeout=DEADLINE)
        with open(path, "wb") as file:
            file.write(definitions.encode(definition))
        return path

    return write


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """A background supervisor; the path of its socket."""
    paths.make_run_dir()
    listener = Door(paths.supervisor_socket())
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.Daemon(listener).run)
            yield listener.path
            with Client(listener.path) as client:
                assert (await client.request("quit", DEADLINE)).ok
    listener.close()


async def start(path: str, file: str) -> dict[str, Any]:
    with Client(path) as client:
        outcome = await client.request(f"start {file}", DEADLINE)
    assert outcome.ok, outcome
    answer: dict[str, Any] = msgspec.json.decode(outcome.data)
    return answer


@pytest.mark.parametrize("problem", [OSError(errno.ENOSPC, "No space left"), ValueError("what?")])
async def test_guest_that_cannot_be_launched_is_that_guests_failure(
    define: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def fail(*_: object) -> Launched:
        raise problem

    monkeypatch.setattr(daemon, "launch", fail)
    async with serving() as path:
        for _ in range(2):
            answer = await start(path, define("demo"))
            assert answer["code"] == exitcodes.FAILED
        assert answer["text"].startswith(str(problem))
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
        await run.run_guest(launched, log, others, task_status=task_status)
        with claim("demo"):
            await trio.sleep(0.2)

    monkeypatch.setattr(daemon, "run_guest", run_slowly)
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

        monkeypatch.setattr(daemon, "launch", slow)
        told.append(await start(path, define("demo")))
    assert told[0]["code"] == exitcodes.NEVER_STARTED
    assert not processes.alive(launched[0].pid, launched[0].started)
    with claim("demo"):
        pass


def leave(file: str) -> Launched:
    """A guest that runs and whose supervisor was killed."""
    with open(file, "rb") as written:
        definition = definitions.decode(written.read())
    launched = launch(definition, claim(definition.umid))
    launched.notify.close()
    os.close(launched.claim.owner)
    os.close(launched.claim.lock)
    return launched


async def adopt(path: str, *umids: str) -> None:
    with Client(path) as client:
        assert (await client.request(" ".join(["adopt", *umids]), DEADLINE)).ok


async def test_guest_that_does_not_answer_holds_up_who_asks_for_it_alone(
    define: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "UP", 10 * DEADLINE)
    left = leave(define("silent"))
    async with serving() as path:
        await adopt(path, "another")
        assert has_owner("silent")
        with Client(path) as client:
            with trio.move_on_after(0.1) as patience:
                await client.request("adopt silent", DEADLINE)
            assert patience.cancelled_caught
        os.kill(left.pid, signal.SIGSTOP)
        await adopt(path, "silent")  # nobody could say when it will answer
        await adopt(path)


async def test_guest_that_cannot_be_brought_back_holds_nobody_up(
    define: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "UP", 10 * DEADLINE)
    left = leave(define("demo"))
    processes.kill_guest(left.pid, left.started, [])
    os.waitpid(left.shim, 0)  # noqa: ASYNC222 - it has been killed
    os.unlink(left.definition.kernel)
    left.record.again = True
    left.record.ending = Ending(cause="ended", code=1)
    records.save(left.record)
    async with serving() as path:
        await adopt(path)
        assert not has_owner("demo")


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
        monkeypatch.setattr(daemon, "launch", fail)
        assert (await start(path, file))["code"] == exitcodes.FAILED
    record = records.load("demo")
    assert record is not None
    assert record.ending is not None
    assert [event["event"] for event in eventlog.Reader("demo").read()] == ["ended"]


async def test_guest_that_has_just_died_is_buried_once_its_tiny_parent_has_said_how(
    define: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = leave(define("demo"))
    os.kill(left.shim, signal.SIGSTOP)
    processes.kill_guest(left.pid, left.started, [])
    looked: list[float] = []
    sleep = time.sleep

    def look_again(seconds: float) -> None:
        looked.append(seconds)
        os.kill(left.shim, signal.SIGCONT)
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", look_again)
    monkeypatch.setattr(daemon, "DIES", DEADLINE)
    async with serving() as path:
        await adopt(path)
        record = records.load("demo")
    with suppress(ChildProcessError):  # the supervisor reaps whatever ends of this process
        os.waitpid(left.shim, 0)  # noqa: ASYNC222 - its kernel has been killed
    assert looked
    assert record is not None
    assert record.ending is not None
    assert record.ending.cause != "ended", "it was seen how"


def test_full_disk_takes_no_log_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    daemon._log_event({"event": "ready"})
    daemon._say_trace("demo", ValueError("what?"))


async def test_service_stays_though_there_is_nothing_to_do(
    house: str, autojump_clock: trio.testing.MockClock
) -> None:
    paths.make_run_dir()
    listener = Door(paths.supervisor_socket())
    with trio.move_on_after(daemon.IDLE * 10) as limit:
        await daemon.Daemon(listener, service=True).run()
    assert limit.cancelled_caught
    # No limit here: the clock jumps while a thread works.
    await daemon.Daemon(listener, service=False).run()
    listener.close()


@pytest.mark.usefixtures("house")
async def test_what_was_not_written_of_a_guest_that_is_removed_is_let_go(
    autojump_clock: trio.testing.MockClock,
) -> None:
    milestones = Milestones()
    milestones.is_dead()
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
    listener: Any = None
    with trio.fail_after(3600):
        await daemon.Daemon(listener)._write_later(guest)
    assert records.names() == []
