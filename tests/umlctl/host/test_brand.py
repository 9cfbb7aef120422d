"""The mark of confined processes."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from umlctl.host import brand, call_list, privileges
from umlctl.host.call_list import CallList

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    os.uname().machine not in call_list.MACHINES, reason="such programs are for x86-64"
)


@contextmanager
def marked(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that was marked before it began, without privileges."""
    calls = CallList()
    brand.put(calls)
    privileges.keep(calls, (), namespace=False)
    program = call_list.open_program(calls.program())
    path = f"/proc/self/fd/{program}"
    try:
        with subprocess.Popen(
            [path, *words], pass_fds=[program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            yield process
            process.kill()
    finally:
        os.close(program)


def test_nobody_else_is_marked() -> None:
    assert not brand.is_on(os.getpid())
    assert not brand.is_on(1)
    assert not brand.is_on(0)
    assert not brand.is_on(-1)


def test_mark_stays_with_what_a_process_starts_and_with_what_that_makes_of_itself() -> None:
    script = (
        "ulimit -H -x unlimited; ulimit -H -q 9; "
        "setsid bash -c 'ulimit -x 9; echo $$; read line'; exit 1"
    )
    with marked("/bin/bash", "-c", script) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert brand.is_on(process.pid)
        assert pid != process.pid
        assert brand.is_on(pid)
        assert process.stdin is not None
        process.stdin.close()


def test_one_limit_alone_is_no_mark() -> None:
    with subprocess.Popen(["sh", "-c", "ulimit -q 0; exec sleep 60"]) as process:
        assert not brand.is_on(process.pid)
        process.kill()


def test_who_has_ended_may_have_been_marked() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert brand.is_on(process.pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts processes of others")
def test_mark_of_another_users_process_is_seen() -> None:
    with marked("/bin/sh", "-c", "echo; read line") as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert brand._is_seen_on(process.pid)
    assert not brand._is_seen_on(os.getpid())
