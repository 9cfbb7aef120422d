from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import tty
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from socketproto.wire import PANIC, USER, Notification
from umlctl.compat import expected_place, handing_over, terminals
from umlctl.compat.attendant import Attendant
from umlctl.guest import kernel_line
from umlctl.guest.definition import Definition
from umlctl.host import exit_status, paths, processes
from umlctl.state import records, umid_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.state.umid_lock import Claim

DEADLINE = 30.0


class Attended:
    """A process that stands for a kernel, with who attends it."""

    def __init__(self, house: str, stack: ExitStack, shared: list[int]) -> None:
        self.kernel = subprocess.Popen(["sleep", "600"], start_new_session=True)
        stack.callback(self.kernel.wait)
        stack.callback(self.kernel.kill)
        started = processes.start_time(self.kernel.pid)
        assert started is not None
        self.held: Claim = umid_lock.claim("demo")
        self.place = f"{house}/place/demo"
        expected_place.make(self.place, "demo")
        path = os.path.realpath(f"/proc/{self.kernel.pid}/exe")
        self.record = records.Record(
            definition=Definition(umid="demo", kernel=path, home=paths.home()),
            supervisor_pid=0,
            pid=self.kernel.pid,
            started=started,
            boot_id=records.host_boot_id(),
            since=1.0,
            own_line=True,
            relay=f"{house}/relay",
            place=self.place,
        )
        records.save(self.record)
        self.program = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self.program.bind(f"{house}/relay")
        self.program.settimeout(DEADLINE)
        self.sender = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        notify = stack.enter_context(
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        )
        notify.bind(f"{self.held.directory}/notify")
        numbers = [notify.fileno(), self.held.lock, self.held.owner]
        told: dict[str, Any] = {
            "umid": "demo",
            "descriptors": numbers,
            "terminals": terminals.look(shared),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", handing_over.ATTENDANT, "demo"],
            stdin=subprocess.PIPE,
            pass_fds=[*numbers, *shared],
        )
        stack.callback(self.process.wait)
        stack.callback(self.process.kill)
        assert self.process.stdin is not None
        with self.process.stdin as stdin:
            stdin.write(json.dumps(told).encode())
        self.held.leave()

    def notify(self, kind: int, data: bytes) -> None:
        datagram = Notification(kind, data).encode()
        self.sender.sendto(datagram, f"{paths.guest_dir('demo')}/notify")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_kernel_that_ends_before_it_can_be_asked_leaves_nothing(
    house: str, stack: ExitStack
) -> None:
    attended = Attended(house, stack, [])
    attended.notify(USER, b"said")
    assert Notification.decode(attended.program.recv(1024)).data == b"said"
    attended.notify(PANIC, b"oh\0")
    assert Notification.decode(attended.program.recv(1024)).kind == PANIC
    assert umid_lock.has_owner("demo")
    assert os.path.exists(attended.place)
    attended.kernel.send_signal(signal.SIGKILL)
    attended.kernel.wait(DEADLINE)
    assert attended.process.wait(DEADLINE) == 0
    for path in (attended.place, paths.guest_dir("demo"), paths.record_dir("demo")):
        assert not os.path.lexists(path)
    assert not umid_lock.has_owner("demo")


def test_how_a_kernel_ended_that_no_supervisor_had_is_written_down(house: str) -> None:
    with subprocess.Popen(
        ["sh", "-c", "read line; exit 3"], stdin=subprocess.PIPE, start_new_session=True
    ) as kernel:
        pidfd = os.pidfd_open(kernel.pid)
        held = umid_lock.claim("demo")
        record = records.Record(
            definition=kernel_line.definition(
                [], "demo", os.path.realpath("/bin/sh"), "/", paths.home()
            ),
            supervisor_pid=0,
            pid=kernel.pid,
            started=processes.start_time(kernel.pid) or 0,
            boot_id=records.host_boot_id(),
            since=1.0,
            own_line=True,
        )
        records.save(record)
    try:
        exit_status.of(pidfd)
    except OSError:
        pytest.skip("this host does not tell")
    held.leave()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        Attendant(record, held, notify).bury(pidfd)
    os.close(pidfd)
    found = records.load("demo")
    assert found is not None
    assert found.ending is not None
    assert (found.ending.cause, found.ending.code) == ("exited", 3)


def test_kernel_that_has_ended_already_leaves_nothing(house: str, stack: ExitStack) -> None:
    master, slave = pty.openpty()
    stack.callback(os.close, master)
    stack.callback(os.close, slave)
    before = termios.tcgetattr(slave)
    attended = Attended(house, stack, [slave])
    tty.setraw(slave)
    attended.kernel.kill()
    attended.kernel.wait(DEADLINE)
    assert attended.process.wait(DEADLINE) == 0
    assert termios.tcgetattr(slave) == before
    assert not os.path.lexists(paths.guest_dir("demo"))
