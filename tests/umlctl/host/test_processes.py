from __future__ import annotations

import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from umlctl.host import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEADLINE = 30.0
TREE = """
import os, signal, sys
def child(leave):
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        if leave:
            os.setsid()
        os.write(writer, b"x")
        signal.pause()
    os.read(reader, 1)
    return pid
print(child(False), child(True), flush=True)
signal.pause()
"""
"""A leader with one child in its group and one in a session of its own."""


@contextmanager
def leader(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that leads its own group, as a kernel does; its whole group goes with it."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            processes.kill_guest(process.pid, 0, processes.descendants(process.pid))


@contextmanager
def tree() -> Iterator[tuple[int, int, int]]:
    """Pids of a leader, its child, and its child that left the group."""
    with leader(TREE) as process:
        inside, outside = map(int, line(process).split())
        yield process.pid, inside, outside


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)  # who is waited for needs the processor


def gone(pid: int) -> bool:
    """No such process, or only what waits to be reaped."""
    return processes.start_time(pid) is None


SECOND_THREAD = """
import ctypes, sys, threading
threading.Thread(target=sys.stdin.read).start()
ctypes.CDLL(None).syscall(60, 0)  # exit: of this thread alone
"""


def test_process_lives_as_long_as_one_of_its_threads() -> None:
    """One that was killed has its files and locks as long."""
    with leader(SECOND_THREAD) as process:
        until(lambda: (seen := processes.look(process.pid)) and seen.state == "dead")
        started = processes.start_time(process.pid)
        assert started is not None
        assert processes.alive(process.pid, started)
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: not processes.alive(process.pid, started))


def test_process_is_known_by_pid_and_start_time() -> None:
    started = processes.start_time(os.getpid())
    assert started is not None
    assert processes.alive(os.getpid(), started)
    assert not processes.alive(os.getpid(), started + 1)
    assert not processes.alive(0, started)
    assert not processes.alive(-1, started)


def test_process_that_is_not_there_has_no_start_time() -> None:
    assert processes.start_time(1 << 30) is None
    assert not processes.alive(1 << 30, 1)
    assert processes.cpu_seconds(1 << 30) is None
    assert processes.memory_used(1 << 30) is None
    assert processes.looks_stopped(1 << 30) is None
    assert not processes.rests_elsewhere(1 << 30)
    assert processes.descendants(1 << 30) == []
    assert processes.outside_group(1 << 30) == {}
    assert processes.last_processor(1 << 30) == ""


def test_process_ran_on_a_processor_of_this_host() -> None:
    assert int(processes.last_processor(os.getpid())) in range(os.cpu_count() or 1)


def test_zombie_does_not_live() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert os.path.exists(f"/proc/{pid}/stat")
        assert processes.start_time(pid) is None
    finally:
        os.waitpid(pid, 0)


def test_name_with_blanks_and_brackets_does_not_confuse() -> None:
    script = "open('/proc/self/comm', 'w').write('a) R (b 1'); print(flush=True); input()"
    with leader(script) as process:
        line(process)
        started = processes.start_time(process.pid)
        assert started is not None
        assert processes.alive(process.pid, started)


@example(name=b"TracerPid:\t1")
@given(name=st.binary(min_size=1, max_size=15).filter(lambda name: b"\0" not in name))
def test_process_may_have_any_name(name: bytes) -> None:
    with open("/proc/self/comm", "rb") as file:
        before = file.read().rstrip(b"\n")
    try:
        with open("/proc/self/comm", "wb") as file:
            file.write(name)
        seen = processes.look(os.getpid())
    finally:
        with open("/proc/self/comm", "wb") as file:
            file.write(before)
    assert seen is not None
    assert (seen.pid, seen.parent, seen.group) == (os.getpid(), os.getppid(), os.getpgrp())
    assert seen.tracer == 0
    assert seen.threads >= 1
    assert seen.memory > 1 << 20


def test_process_looks_as_the_host_says() -> None:
    with tree() as (main, inside, outside):
        until(lambda: (seen := processes.look(inside)) and seen.state == "sleeping")
        seen = processes.look(inside)
        assert seen is not None
        assert (seen.parent, seen.group, seen.threads, seen.tracer) == (main, main, 1, 0)
        left = processes.look(outside)
        assert left is not None
        assert (left.parent, left.group) == (main, outside)
        os.kill(inside, signal.SIGSTOP)
        until(lambda: (seen := processes.look(inside)) and seen.state == "suspended")
    assert processes.look(1 << 30) is None


def test_thread_is_known_by_its_process() -> None:
    tid = threading.get_native_id()
    assert processes.is_thread(tid, os.getpid())
    assert not processes.is_thread(tid, os.getppid())


def test_descendants_are_found_in_other_sessions_too() -> None:
    with tree() as (main, inside, outside):
        assert set(processes.descendants(main)) == {inside, outside}
        assert processes.outside_group(main) == {outside: processes.start_time(outside)}


def test_killed_guest_leaves_no_process() -> None:
    with tree() as (main, inside, outside):
        processes.kill_guest(main, 0, [outside])
        until(lambda: all(map(gone, (main, inside, outside))))


def test_stopped_processes_are_killed_too() -> None:
    with tree() as (main, inside, outside):
        os.killpg(main, signal.SIGSTOP)
        processes.kill_guest(main, 0, [outside])
        until(lambda: all(map(gone, (main, inside, outside))))


def test_members_of_a_group_that_run_something_else_live_on() -> None:
    with tree() as (main, inside, outside):
        with subprocess.Popen(["sleep", "600"], start_new_session=True) as other:
            processes.kill_members(main, "/bin/sleep")
            assert not any(map(gone, (main, inside, outside)))
            processes.kill_members(main, sys.executable)
            until(lambda: gone(main) and gone(inside))
            assert not gone(outside)
            assert not gone(other.pid)
            processes.kill_members(main, sys.executable)  # nothing is left of it
            other.kill()
        os.kill(outside, signal.SIGKILL)


def test_others_in_a_group_are_let_live() -> None:
    script = "sleep 600 & echo $!; exec \"$0\" -Sc 'import signal; signal.pause()'"
    with subprocess.Popen(
        ["sh", "-c", script, sys.executable], stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        other = int(line(process))
        until(lambda: os.path.samefile(f"/proc/{process.pid}/exe", sys.executable))
        processes.kill_members(process.pid, sys.executable)
        assert process.wait(DEADLINE) == -signal.SIGKILL
        assert not gone(other)
        os.kill(other, signal.SIGKILL)


def test_kernel_that_leads_no_group_yet_is_killed_alone() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        started = processes.start_time(process.pid)
        assert started is not None
        processes.kill_guest(process.pid, started + 1, [])
        assert process.poll() is None, "its number is another's by now"
        processes.kill_guest(process.pid, started, [])
        assert process.wait(DEADLINE) == -signal.SIGKILL


def test_killing_what_is_gone_is_no_error() -> None:
    with tree() as (main, _inside, outside):
        processes.kill_guest(main, 0, [outside])
        until(lambda: gone(main) and gone(outside))
    processes.kill_guest(main, 0, [outside])


def test_cpu_of_children_counts() -> None:
    spin = "import os\nif not os.fork():\n    while True: pass\nprint(flush=True)\ninput()"
    with leader(spin) as process:
        line(process)
        first = processes.cpu_seconds(process.pid)
        assert first is not None
        until(lambda: (processes.cpu_seconds(process.pid) or 0) > first + 0.05)


def test_memory_is_what_the_unlinked_file_really_takes() -> None:
    with tempfile.TemporaryFile() as memory, tempfile.TemporaryFile() as small:
        memory.truncate(64 << 20)
        small.write(b"x" * 4096)
        small.flush()
        before = processes.memory_used(os.getpid())
        memory.seek(32 << 20)
        memory.write(b"x" * (4 << 20))
        memory.flush()
        after = processes.memory_used(os.getpid())
    assert before is not None
    assert before < 1 << 20
    assert after is not None
    assert 4 << 20 <= after < 8 << 20


def test_process_without_guest_memory_has_none() -> None:
    with leader("print(flush=True); input()") as process:
        line(process)
        assert processes.memory_used(process.pid) is None


def test_kernel_that_sleeps_on_its_socket_looks_stopped(short: str) -> None:
    script = (
        "import socket, sys\n"
        "sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "sock.bind(sys.argv[1])\n"
        "print(flush=True)\n"
        "sock.recv(1)\n"
        "print(flush=True)\n"
        "input()\n"
    )
    with leader(script, f"{short}/s") as process:
        line(process)
        until(lambda: processes.looks_stopped(process.pid))
        assert not processes.rests_elsewhere(process.pid)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", f"{short}/s")
        line(process)
        until(lambda: processes.looks_stopped(process.pid) is False)
        until(lambda: processes.rests_elsewhere(process.pid))


def test_process_that_computes_does_not_rest() -> None:
    with leader("print(flush=True)\nwhile True: pass") as process:
        line(process)
        assert not processes.rests_elsewhere(process.pid)


@pytest.mark.parametrize("pid", [0, -1])
def test_no_process_has_a_number_below_one(pid: int) -> None:
    assert not processes.alive(pid, 0)


def test_process_that_a_debugger_or_a_signal_holds_is_known() -> None:
    script = "import ctypes, os, signal, sys\n"
    traced = (
        "ctypes.CDLL(None).ptrace(0, 0, 0, 0)\n"  # PTRACE_TRACEME
        "os.kill(os.getpid(), signal.SIGSTOP)\n"
    )
    for held, state, word in (
        (traced, "traced", str(os.getpid())),
        ("os.kill(os.getpid(), signal.SIGSTOP)\n", "suspended", "kill -CONT"),
    ):
        process = subprocess.Popen([sys.executable, "-c", script + held])
        try:
            end = time.monotonic() + DEADLINE
            while (found := processes.held(process.pid)) is None:
                assert time.monotonic() < end
                time.sleep(0.01)
            assert found.state == state
            assert word in found.by
        finally:  # who traces a process is told that it stops, which Popen takes for its end
            os.kill(process.pid, signal.SIGKILL)
            while os.WIFSTOPPED(os.waitpid(process.pid, 0)[1]):
                pass
            process.returncode = -signal.SIGKILL
    assert processes.held(os.getpid()) is None
    assert processes.held(process.pid) is None


def test_memory_that_processes_share_is_known_by_its_file(tmp_path: Path) -> None:
    before = processes.shared_memory(os.getpid())
    path = tmp_path / "memory"
    path.write_bytes(bytes(4096))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 4096):
        path.unlink()
        (found,) = processes.shared_memory(os.getpid()) - before
        assert found[1] == str(os.fstat(file.fileno()).st_ino)
        with mmap.mmap(file.fileno(), 4096, access=mmap.ACCESS_COPY):
            assert processes.shared_memory(os.getpid()) - before == {found}
    assert processes.shared_memory(1 << 22) == set()
