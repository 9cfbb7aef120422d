"""Guests as a service: start and end in order, and a supervisor that is itself watched."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.live.conftest import DEADLINE, DEAF_INIT, House, heed_signals, processes_of, wait_for
from umlctl.host import processes

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def own() -> Iterator[House]:
    """A home of this test's own: what is done to all guests is done to these alone."""
    path = tempfile.mkdtemp(prefix="u", dir="/tmp")
    house = House(path)
    try:
        yield house
    finally:
        house.umlctl("shutdown", "--all", "0")
        house.umlctl("quit")
        house.remove()


DB, WEB, MAIL, PROXY, DEAF = (
    f"{name}-{os.getpid()}" for name in ("db", "web", "mail", "proxy", "deaf")
)
"""Other test processes look at the same /proc."""


class Manager:
    """A service manager's socket, and all that was said to it.

    It is read all the time: a socket holds few signs of life, and what comes then is dropped.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.lines: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        self._hearing = threading.Thread(target=self._hear)
        self._hearing.start()

    def _hear(self) -> None:
        while said := self._socket.recv(4096):
            self.lines += said.decode().split("\n")

    def heard(self, line: str) -> bool:
        """It was said; what the manager was told before it is asked has been heard then."""
        mark = f"heard {time.monotonic_ns()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(mark.encode(), self.path)
        wait_for(lambda: mark in self.lines, "all is read")
        return line in self.lines

    def forget(self) -> None:
        self.heard("")
        self.lines.clear()

    def environment(self, watchdog: float) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": str(int(watchdog * 1e6))}

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(b"", self.path)
        self._hearing.join()
        self._socket.close()


@pytest.fixture
def manager(short: str) -> Iterator[Manager]:
    made = Manager(f"{short}/notify")
    yield made
    made.close()


def ended(house: House, umid: str) -> float:
    ending: dict[str, Any] = house.listed(umid)["ending"]
    assert ending["cause"] == "shut down", ending
    wait_for(lambda: not house.leftovers(umid), f"nothing is left of {umid}", 10)
    return float(ending["time"])


def test_all_guests_end_in_order_whoever_supervises_them(own: House) -> None:
    own.start(DB)
    own.start(WEB, "--after", DB)
    with own.running(PROXY, "--after", WEB) as process:
        for name in (DB, WEB, PROXY):
            own.has_init(name)
        done = own.umlctl("shutdown", "--all", "20", "--json")
        assert done.returncode == 0, done
        assert process.wait(30) == 0
    results = json.loads(done.stdout)
    assert [each["umid"] for each in results] == [PROXY, WEB, DB]
    assert all(each["in_order"] for each in results)
    for name in (PROXY, WEB, DB):
        assert f"umlctl: {name}: shut down, after" in done.stderr
    assert ended(own, PROXY) < ended(own, WEB) < ended(own, DB)


def test_supervisor_ends_its_guests_in_order(own: House) -> None:
    own.start(DB)
    own.start(WEB, "--after", DB)
    own.start(PROXY, "--after", WEB, "--after", DB)
    for name in (DB, WEB, PROXY):
        own.has_init(name)
    own.ok("quit")
    assert ended(own, PROXY) < ended(own, WEB) < ended(own, DB)


def test_guest_that_has_to_be_halted_is_told(own: House) -> None:
    script = f"{own.path}/init"
    with open(script, "w") as file:
        file.write(DEAF_INIT)
    os.chmod(own.path, 0o755)
    os.chmod(script, 0o755)
    own.start(DEAF, "--init", script)
    own.start(WEB, "--after", DEAF)
    own.has_init(WEB)
    wait_for(
        lambda: own.ask(DEAF, "proc sys/kernel/ctrl-alt-del").data.strip() == b"0", "it is deaf"
    )
    done = own.umlctl("shutdown", "--all", "1")
    assert done.returncode == 7, done
    said = f"{DEAF}: did not end in order: shut down: it had not ended by itself within 1s"
    assert said in done.stderr
    # On a busy host a second may be too short for it too; what became of it is said, and first.
    assert done.stderr.index(f"umlctl: {WEB}: ") < done.stderr.index(said)


def test_guest_waits_for_the_one_that_it_comes_after(own: House) -> None:
    refused = own.umlctl("start", WEB, "--mem", "64M", "--after", DB)
    assert refused.returncode == 3, refused
    assert f"{WEB} comes after {DB}, which does not run; start {DB} first" in refused.stderr
    own.start(DB)
    own.start(WEB, "--after", DB)


def test_enabled_guests_are_started_in_order(own: House) -> None:
    own.start(DB)
    own.start(WEB, "--after", DB)
    own.start(MAIL, "--after", DB)
    own.ok("nic", "add", MAIL, "--switch", "post")
    for name in (DB, WEB, MAIL):
        done = own.umlctl("enable", name)
        assert done.returncode == 0
        assert ("no part of that: vec0" in done.stderr) == (name == MAIL)
    own.ok("quit")
    done = own.umlctl("autostart", "--json")
    results = {each["umid"]: each for each in json.loads(done.stdout)}
    assert done.returncode == 0, done
    assert {each["outcome"] for each in results.values()} == {"started"}
    began = {name: own.status(name)["started"] for name in (DB, WEB, MAIL)}
    assert began[DB] < min(began[WEB], began[MAIL])
    assert results.keys() == began.keys()
    again = own.umlctl("autostart")
    assert f"umlctl: {WEB}: ran already" in again.stderr


def test_autostart_goes_on_past_a_guest_that_fails(own: House) -> None:
    own.start(DB, "--append", "quiet")
    own.start(WEB, "--after", DB)
    own.start(MAIL)
    for name in (DB, WEB, MAIL):
        own.ok("enable", name)
    own.ok("quit")
    file = f"{own.state}/enabled/{DB}.json"
    with open(file) as opened:
        definition = json.load(opened)
    with open(file, "w") as opened:
        json.dump({**definition, "root": "/nowhere/"}, opened)
    done = own.umlctl("autostart")
    assert done.returncode == 7, done
    assert f"umlctl: {MAIL}: started, kernel pid" in done.stderr
    assert f"umlctl: {DB}: was not started: {DB}: there is no directory /nowhere/" in done.stderr
    said = f"umlctl: {WEB}: was not started: it comes after {DB}, which was not started"
    assert said in done.stderr


def test_job_runner_is_told_once_and_what_happens_is_json(
    house: House, umid: str, manager: Manager
) -> None:
    reader, writer = os.pipe()
    pipe = os.readlink(f"/proc/self/fd/{reader}")
    process = subprocess.Popen(
        house.command(
            *("run", umid, "--mem", "64M", "--ready-fd", str(writer), "--log-format", "json")
        ),
        env=house.env | manager.environment(0.5),
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[writer],
        preexec_fn=heed_signals,  # noqa: PLW1509
    )
    os.close(writer)
    try:
        with open(reader) as ready:
            line = ready.read()  # to its end: the descriptor is closed
        pid = house.status(umid)["pid"]
        assert line == f"{umid} {pid}\n"
        wait_for(lambda: manager.heard("READY=1"), "the manager knows that it is ready")
        manager.forget()
        wait_for(lambda: manager.heard("WATCHDOG=1"), "there are signs of life")
        house.has_init(umid)
        kernels = processes_of(f"umid={umid}")
        assert pid in kernels
        for each in kernels:  # the tiny parent too; some may have ended meanwhile
            assert "NOTIFY_SOCKET" not in processes.environment(each)
            assert pipe not in processes.descriptors(each)
        assert processes.environment(pid)
        assert processes.descriptors(pid)
        house.ok("reboot", umid)
        house.has_shell(umid)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 128 + signal.SIGTERM
    wait_for(lambda: manager.heard("STOPPING=1"), "the manager knows that it ends")
    assert "READY=1" not in manager.lines  # though it was ready again after the reboot
    events = [json.loads(each) for each in said.splitlines()]
    names = [event["event"] for event in events if event["event"] != "warning"]
    assert names[0] == "started"
    assert names.count("ready") == 2
    assert names.index("rebooting") < names.index("shutdown") < names.index("ended")
    assert all(event["umid"] == umid for event in events)


def test_guest_that_never_is_ready_is_not_said_to_be(
    house: House, umid: str, manager: Manager
) -> None:
    reader, writer = os.pipe()
    command = house.command("run", umid, "--ready-fd", str(writer), "--root", "/dev/null")
    done = subprocess.run(
        command,
        env=house.env | manager.environment(0),
        stderr=subprocess.PIPE,
        pass_fds=[writer],
        timeout=DEADLINE,
        check=False,
    )
    os.close(writer)
    with open(reader) as ready:
        assert ready.read() == ""
    assert done.returncode != 0
    assert not manager.heard("READY=1")


def test_descriptor_that_is_not_open_starts_nothing(house: House, umid: str) -> None:
    done = house.umlctl("run", umid, "--ready-fd", "3")
    assert (done.returncode, "no such descriptor is open" in done.stderr) == (2, True), done
    assert not os.path.exists(f"{house.state}/guests/{umid}")


# The supervisor as a service


@contextlib.contextmanager
def service(
    house: House, manager: Manager, watchdog: float = 30.0
) -> Iterator[subprocess.Popen[str]]:
    """The supervisor, as the unit starts it."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "umlctl.supervisor.daemon", "--service"],
        env=house.env | manager.environment(watchdog),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_signals,  # noqa: PLW1509
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def is_ready(manager: Manager) -> None:
    wait_for(lambda: manager.heard("READY=1"), "the service is ready")


def test_service_is_ready_when_what_is_enabled_has_been_started(
    own: House, manager: Manager
) -> None:
    own.start(DB)
    own.start(WEB, "--after", DB)
    own.start(MAIL)
    for name in (DB, WEB, MAIL):
        own.ok("enable", name)
    own.ok("quit")
    with open(f"{own.state}/enabled/{MAIL}.json", "w") as opened:
        opened.write("{")
    with service(own, manager, watchdog=0.5) as process:
        is_ready(manager)
        rows = {umid: row["state"] for umid, row in own.rows().items()}
        assert rows == {DB: "running", WEB: "running", MAIL: "dead"}
        assert manager.heard("EXTEND_TIMEOUT_USEC=30000000")  # booting may take as long as it takes
        assert "STATUS=2 guests run" in manager.lines
        manager.forget()
        wait_for(lambda: manager.heard("WATCHDOG=1"), "there are signs of life")
        with open(f"/proc/{own.status(WEB)['pid']}/environ", "rb") as file:
            assert b"NOTIFY_SOCKET" not in file.read()
        for name in (DB, WEB):
            own.has_init(name)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    assert manager.heard("STOPPING=1")
    assert "READY=1" not in manager.lines
    assert ended(own, WEB) < ended(own, DB)
    assert f"{DB}: started" in said
    assert f"{MAIL}: failed: " in said
    assert said.count('"cause":"shut down"') == 2


def test_guests_outlive_a_service_that_is_killed_and_the_next_one_has_them(
    own: House, manager: Manager
) -> None:
    with service(own, manager) as process:
        is_ready(manager)
        own.start(DB)
        own.ok("enable", DB)
        own.has_init(DB)
        before = own.status(DB)
        assert before["supervisor_pid"] == process.pid
        process.kill()
        process.wait(DEADLINE)
    manager.forget()
    with service(own, manager) as process:
        is_ready(manager)
        after = own.status(DB)
        assert (after["pid"], after["supervisor_pid"]) == (before["pid"], process.pid)
        own.ok("quit")
        assert process.wait(DEADLINE) == 0
        assert manager.heard("STOPPING=1")
    assert ended(own, DB)


def test_command_leaves_guests_to_the_service_that_has_crashed(
    own: House, manager: Manager
) -> None:
    """One that it started would have them until it ends, and nobody would watch over it."""
    with service(own, manager) as process:
        is_ready(manager)
        own.start(DB)
        process.kill()
        process.wait(DEADLINE)
    manager.forget()
    command = subprocess.Popen(
        own.command("version", DB), env=own.env, stdout=subprocess.PIPE, text=True
    )
    with service(own, manager) as process:
        is_ready(manager)
        said, _ = command.communicate(timeout=DEADLINE)
        assert said.startswith("Linux")
        assert own.status(DB)["supervisor_pid"] == process.pid
        own.ok("quit")
        assert process.wait(DEADLINE) == 0
    assert not os.path.exists(f"{own.run}/supervisor/returns")


def test_service_waits_for_its_turn(own: House, manager: Manager) -> None:
    own.start(DB)
    own.start(WEB)
    own.ok("enable", WEB)
    own.has_init(WEB)
    own.ok("shutdown", WEB)
    first = own.status(DB)["supervisor_pid"]
    with service(own, manager) as process:
        is_ready(manager)
        assert manager.heard("STATUS=waiting for the supervisor to end that runs already")
        assert own.status(WEB)["supervisor_pid"] == first  # it was told what is enabled
        os.kill(first, signal.SIGKILL)
        wait_for(
            lambda: own.listed(DB).get("supervisor_pid") == process.pid, "the service has its turn"
        )
        assert own.status(WEB)["supervisor_pid"] == process.pid
        own.ok("quit")  # whoever comes would wait for a service that was killed to come again
        assert process.wait(DEADLINE) == 0


def test_service_that_waits_ends_what_it_waits_for(own: House, manager: Manager) -> None:
    own.start(DB)
    own.has_init(DB)
    first = own.status(DB)["supervisor_pid"]
    with service(own, manager) as process:
        is_ready(manager)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    assert ended(own, DB)
    wait_for(lambda: processes.start_time(first) is None, "it has ended")
    assert "no background supervisor is running" in own.ok("quit")


def test_supervisor_that_a_command_starts_is_not_that_commands_service(
    own: House, manager: Manager
) -> None:
    own.env |= manager.environment(30)
    own.start(DB)
    own.ok("quit")
    assert not manager.heard("READY=1")
    assert not [line for line in manager.lines if not line.startswith("heard ")]
    with service(own, manager) as process:
        is_ready(manager)
        done = own.umlctl("quit")
        assert "has ended" in done.stdout
        assert process.wait(DEADLINE) == 0
