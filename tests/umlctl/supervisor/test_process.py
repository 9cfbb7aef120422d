from __future__ import annotations

import os
import signal
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trio

from umlctl.host import processes
from umlctl.supervisor.process import RUNNING_CPU_SECONDS, GuestProcesses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio.testing import MockClock

DEADLINE = 30.0


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as child:
        yield child
        child.kill()


def process_of(child: subprocess.Popen[bytes]) -> GuestProcesses:
    started = processes.start_time(child.pid)
    assert started is not None
    return GuestProcesses(child.pid, started)


async def test_process_that_is_killed_has_ended(child: subprocess.Popen[bytes]) -> None:
    process = process_of(child)
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.await_end)
            await trio.testing.wait_all_tasks_blocked()
            process.kill()
    assert child.wait() == -signal.SIGKILL


async def test_status_of_somebodys_child_is_seen_where_the_host_tells(
    child: subprocess.Popen[bytes],
) -> None:
    program = os.readlink(f"/proc/{child.pid}/exe")
    process = GuestProcesses(child.pid, process_of(child).started, program)
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.await_end)
            await trio.testing.wait_all_tasks_blocked()
            process.kill()
            assert await trio.to_thread.run_sync(child.wait) == -signal.SIGKILL
    assert process.status in (128 + signal.SIGKILL, None)


async def test_signal_reaches_the_process_as_long_as_its_end_is_waited_for(
    child: subprocess.Popen[bytes],
) -> None:
    process = process_of(child)
    process.signal(signal.SIGTERM)
    assert child.poll() is None
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.await_end)
            await trio.testing.wait_all_tasks_blocked()
            process.signal(signal.SIGTERM)
    assert child.wait() == -signal.SIGTERM


async def test_number_that_another_process_has_by_now_is_one_that_has_ended(
    child: subprocess.Popen[bytes],
) -> None:
    process = GuestProcesses(child.pid, process_of(child).started - 1)
    with trio.fail_after(DEADLINE):
        await process.await_end()
    assert child.poll() is None


def test_helper_outside_the_group_is_killed_with_it() -> None:
    script = "setsid sleep 600 & echo $!; exec sleep 600"
    with subprocess.Popen(
        ["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True
    ) as child:
        assert child.stdout is not None
        helper = int(child.stdout.readline())
        descriptor = os.pidfd_open(helper)
        process = process_of(child)
        while helper not in processes.outside_group(child.pid):
            os.sched_yield()
        process.find_helpers()
        process.kill()
        with open(descriptor, "rb", buffering=0):
            assert -child.wait() == signal.SIGKILL
        assert not processes.alive(helper, 0)


def test_process_is_held_until_nobody_need_look_any_more(child: subprocess.Popen[bytes]) -> None:
    process = process_of(child)
    assert process.held() is None
    os.kill(child.pid, signal.SIGSTOP)
    os.waitpid(child.pid, os.WUNTRACED)
    held = process.held()
    assert held is not None
    assert held.state == "suspended"
    process.gone = True
    assert process.held() is None


@pytest.mark.parametrize(
    ("sights", "used", "stopped"),
    [
        (["runs", "runs", "stopped"], 0.0, True),
        (["runs", "runs", "elsewhere"], 0.0, False),
        (["runs", "runs", "runs", "stopped"], RUNNING_CPU_SECONDS / 2, False),
    ],
)
async def test_kernel_that_does_what_it_was_asked_is_stopped_or_not_once_it_rests(
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
    sights: list[str],
    used: float,
    stopped: bool,
) -> None:
    """However long it stands still on its way there; who computes on is not stopped."""
    seen = iter(sights)
    sight = ""
    cpu = iter(number * used for number in range(10))

    def looks_stopped(_pid: int) -> bool:
        nonlocal sight
        sight = next(seen)
        return sight == "stopped"

    monkeypatch.setattr(processes, "looks_stopped", looks_stopped)
    monkeypatch.setattr(processes, "rests_elsewhere", lambda _pid: sight == "elsewhere")
    monkeypatch.setattr(processes, "cpu_seconds", lambda _pid: next(cpu))
    monkeypatch.setattr(processes, "held", lambda _pid: None)
    assert await GuestProcesses(4711, 1).is_stopped() is stopped


OLD, NEW = {("00:1b", "1")}, {("00:1b", "2")}


@pytest.mark.parametrize(
    ("resets", "kernels", "its", "ends"),
    [
        (True, OLD, OLD, True),
        (False, NEW, NEW, False),
        (False, NEW, OLD, True),
        (False, NEW, set(), False),
        (False, set(), OLD, False),
        (None, NEW, OLD, True),
        (None, NEW, NEW, False),
    ],
)
def test_traced_processes_are_ended_unless_they_are_the_next_kernels(
    child: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    resets: bool | None,
    kernels: set[tuple[str, str]],
    its: set[tuple[str, str]],
    ends: bool,
) -> None:
    """Once the socket of the kernel that was told to reset is closed, they may be."""
    with subprocess.Popen(["sleep", "600"]) as traced, subprocess.Popen(["sleep", "600"]) as helper:
        looks = {pid: processes.look(pid) for pid in (traced.pid, helper.pid)}
        tracers = {traced.pid: child.pid, helper.pid: 0}

        def look(pid: int) -> processes.Seen | None:
            seen = looks[pid]
            return None if seen is None else seen._replace(tracer=tracers[pid])

        monkeypatch.setattr(processes, "descendants", lambda _pid: list(looks))
        monkeypatch.setattr(processes, "look", look)
        memory = {child.pid: kernels, traced.pid: its}
        monkeypatch.setattr(processes, "shared_memory", memory.__getitem__)
        socket: Any = SimpleNamespace(is_of_this_boot=lambda _pid: resets)
        process_of(child).end_traced(None if resets is None else socket)
        if ends:
            assert traced.wait(DEADLINE) == -signal.SIGKILL
        assert [each.poll() for each in (helper, child)] == [None, None]
        assert ends or traced.poll() is None
        traced.kill()
        helper.kill()
