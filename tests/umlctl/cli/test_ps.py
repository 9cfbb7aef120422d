from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.umlctl.recovery.test_discover import leave, run_dir, running
from tests.umlctl.state.test_records import write_record
from umlctl import exitcodes
from umlctl.state import umid_lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.umlctl.cli.conftest import Run

__all__ = ["run_dir"]


def test_processes_of_a_guest_are_shown_without_asking_it(
    run: Callable[..., Run], run_dir: str
) -> None:
    leave()
    with running() as pid, umid_lock.claim("demo"):
        write_record(pid=pid)
        done = run("ps", "demo")
        rows = json.loads(run("ps", "demo", "--json").out)
    heading, *lines = done.out.splitlines()
    assert heading.split() == ["PID", "ROLE", "STATE", "CPU", "MEMORY", "NAME", "FOR"]
    assert lines[0].split()[:2] == [str(os.getpid()), "supervisor"]
    assert [(row["pid"], row["role"]) for row in rows][:2] == [
        (os.getpid(), "supervisor"),
        (pid, "kernel"),
    ]
    assert done.err == ""


def test_guest_without_a_supervisor_is_said_to_have_none(
    run: Callable[..., Run], run_dir: str
) -> None:
    leave()
    with running() as pid:
        write_record(pid=pid)
        done = run("ps", "demo")
    assert done.code == exitcodes.OK
    assert f"{pid}" in done.out
    assert "demo has no supervisor; `umlctl adopt demo` gives it one" in done.err


def test_kernel_that_was_started_by_hand_has_written_down_its_process(
    run: Callable[..., Run], short: str
) -> None:
    path = f"{short}/mconsole"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door, running() as pid:
        door.bind(path)
        done = run("ps", path)
        assert done.code == exitcodes.NO_GUEST
        assert "its pid is not known" in done.err
        with open(f"{short}/pid", "w") as file:
            file.write(f"{pid}\n")
        (row,) = json.loads(run("ps", path, "--json").out)
    assert (row["pid"], row["role"]) == (pid, "kernel")


@pytest.mark.parametrize("guest", ["demo", "/nowhere/mconsole"])
def test_who_is_not_there_has_none(run: Callable[..., Run], run_dir: str, guest: str) -> None:
    done = run("ps", guest)
    assert (done.code, done.out) == (exitcodes.NO_GUEST, "")
    assert "no guest" in done.err
