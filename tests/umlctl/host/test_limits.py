"""What there is too little of, in processes whose limits are real."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from textwrap import dedent

import pytest

from umlctl.errors import HostError
from umlctl.host import limits, processes

UID = 50000 + os.getpid() % 10000
"""That nobody has, nor another run of these tests."""


def program(text: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", dedent(text), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done
    return done.stdout


def test_supervisor_takes_what_it_may_have_of_descriptors() -> None:
    said = program(
        """
        import resource
        from umlctl.host import limits
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 300))
        print(limits.descriptors(), limits.most_for_clients(), limits.most_to_keep())
        limits.become_supervisor()
        print(limits.descriptors(), limits.most_for_clients(), limits.most_to_keep())
        print(limits.few_descriptors())
        """
    )
    assert said.splitlines()[:2] == ["64 60 0", "300 284 150"]
    assert "the supervisor may open 300 files; raise it with `ulimit -n`, and have a new" in said


def test_last_descriptors_are_no_clients() -> None:
    said = program(
        """
        import os, resource
        from umlctl.host import limits
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        taken = []
        try:
            while True:
                taken.append(limits.for_client(os.open("/dev/null", os.O_RDONLY)))
        except OSError as problem:
            print(taken[-1], problem.errno, limits.descriptors_left())
        """
    )
    assert said == "59 24 4\n"


def test_descriptors_are_counted_to_the_last() -> None:
    said = program(
        """
        import os, resource
        from umlctl.host import limits
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        while left := limits.descriptors_left():
            os.open("/dev/null", os.O_RDONLY)
        try:
            os.open("/dev/null", os.O_RDONLY)
        except OSError as problem:
            print(limits.explained(problem))
        """
    )
    assert "Too many open files" in said
    assert "; this process may open 64 files; raise it with `ulimit -n`\n" in said


def test_process_that_cannot_be_seen_is_not_taken_for_dead() -> None:
    """For want of a descriptor: who buried it would bury the living."""
    said = program(
        """
        import contextlib, os, resource
        from umlctl.host import processes
        from umlctl.state import endings
        me = os.getpid()
        started = processes.start_time(me)
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        with contextlib.suppress(OSError):
            while True:
                os.open("/dev/null", os.O_RDONLY)
        for look in (
            lambda: processes.alive(me, started),
            lambda: processes.held(me),
            lambda: endings.read_exit_status("/nonexistent"),
            lambda: endings.tail_of("/etc/passwd"),
        ):
            try:
                print("seen", look())
            except OSError as problem:
                print(problem.errno)
        print(processes.cpu_seconds(me))
        """
    )
    assert said.split() == [str(errno.EMFILE)] * 4 + ["None"]


def test_process_that_is_no_more_is_dead() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert not processes.alive(child.pid, 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes a user of its own, whose processes it counts")
def test_processes_of_a_user_are_counted_and_threads_too() -> None:
    said = program(
        """
        import ctypes, os, resource, sys, threading
        from umlctl.host import limits
        os.setgroups([])
        os.setgid(int(sys.argv[1]))
        os.setuid(int(sys.argv[1]))
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: else /proc says root
        resource.setrlimit(resource.RLIMIT_NPROC, (4, 4))
        print(limits.processes_left())
        go = threading.Event()
        threads = []
        try:
            while True:
                threads.append(threading.Thread(target=go.wait))
                threads[-1].start()
                print(limits.processes_left())
        except RuntimeError as problem:
            threads.pop()
            print(limits.is_lacking(problem), limits.explained(problem))
        go.set()
        for thread in threads:
            thread.join()
        """,
        str(UID),
    )
    assert said.splitlines()[:4] == ["3", "2", "1", "0"]
    assert f"True can't start new thread; uid {UID} may have 4 processes and threads" in said


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "no memory left"),
        (OSError(errno.ENFILE, "Too many open files in system"), "fs/file-max"),
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), "more processes"),
        (RuntimeError("can't start new thread"), "more processes"),
        (OSError(errno.EACCES, "Permission denied"), ""),
        (RuntimeError("something else"), ""),
        (ValueError("something else"), ""),
    ],
)
def test_lack_is_told_from_other_problems(
    monkeypatch: pytest.MonkeyPatch, problem: Exception, said: str
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (resource.RLIM_INFINITY,) * 2)
    wrapped = HostError("demo: it does not go")
    wrapped.__cause__ = problem
    for whole in (problem, wrapped, ExceptionGroup("all", [ExceptionGroup("some", [problem])])):
        assert limits.is_lacking(whole) == bool(said)
        text = limits.explained(whole)
        assert text.startswith(str(wrapped if whole is wrapped else problem))
        assert said in text
        assert (text in (str(problem), str(wrapped))) == (not said)


def test_full_file_system_is_a_lack_that_speaks_for_itself() -> None:
    problem = OSError(errno.ENOSPC, "No space left on device", "/x")
    assert limits.is_lacking(problem)
    assert limits.explained(problem) == str(problem)
