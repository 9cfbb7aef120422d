"""Guests to be tormented, and what is true of them whatever is done to them."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

from socketproto.blocking import Connection, Unreachable
from socketproto.exchange import ANSWERED, GONE, REFUSED, TIMED_OUT, TRUNCATED
from tests.live.conftest import House, processes_of
from umlctl.host import processes

if TYPE_CHECKING:
    from random import Random

DEADLINE = 30.0
"""Within which every request has its outcome, seconds."""
SETTLES = 60.0
"""Within which a guest is again as it should be, seconds."""
OUTCOMES = (ANSWERED, REFUSED, GONE, TIMED_OUT, TRUNCATED)
SIZE = 1 << 20
SMALL = 96 << 20
"""Of the file systems that can be filled, bytes."""


class Violation(AssertionError):
    """Something that must never be."""


class Tormented:
    """What is known of one guest.

    Fields:
        disks: devices that it must have, with their files
        stopped: it is paused
        lives: how often it was started, by us or by its policy
        panics: how often it has panicked
        pid, boot: of the life it is in
    """

    def __init__(self, umid: str) -> None:
        self.umid = umid
        self.disks: dict[str, str] = {}
        self.nics: set[str] = set()
        self.stopped = False
        self.lives = 0
        self.panics = 0
        self.pid = 0
        self.boot = ""


class World:
    """A home with some guests in one background supervisor, and clients that never rest.

    Fields:
        small: a file system of our own that can be filled; empty where none can be mounted
        loose: processes that a step has left behind on purpose
    """

    def __init__(self, random: Random, guests: int) -> None:
        self.random = random
        self.path = tempfile.mkdtemp(prefix="c", dir="/tmp")
        self.small = self._mount(f"{self.path}/s")
        self.house = House(self.path)
        self.guests = [Tormented(f"{os.path.basename(self.path)}-{n}") for n in range(guests)]
        self.loose: list[subprocess.Popen[bytes]] = []
        self.requests = 0
        self.wrong: list[str] = []
        self._images = itertools.count()
        self._over = threading.Event()
        self._clients = [threading.Thread(target=self._ask_on, args=(n,)) for n in range(2)]
        for guest in self.guests:
            self.start(guest)
        for client in self._clients:
            client.start()

    def _mount(self, path: str) -> str:
        """The state directory, on a file system that is soon full."""
        os.makedirs(path)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SMALL},mode=700", "tmpfs", path],
            capture_output=True,
            check=False,
        )
        return path if done.returncode == 0 else ""

    def close(self) -> None:
        self._over.set()
        for client in self._clients:
            client.join()
        self.let_loose_go()
        self.house.umlctl("quit")
        for guest in self.guests:
            self.house.umlctl("kill", guest.umid)
        if self.small:
            subprocess.run(["umount", "-l", self.small], check=False)
        shutil.rmtree(self.path)

    # What is done to guests

    def start(self, guest: Tormented) -> None:
        self.house.ok("start", guest.umid, "--mem", "48M", "--restart", "on-failure")
        guest.lives += 1
        guest.disks, guest.nics, guest.stopped = {}, set(), False
        self.learn(guest)

    def image(self, guest: Tormented) -> str:
        """A file of a guest's own."""
        path = f"{self.path}/{next(self._images)}-{guest.umid}.img"
        with open(path, "wb") as file:
            file.truncate(SIZE)
        return path

    def restarted(self, guest: Tormented) -> None:
        """It has ended, and its policy has it back: as it was started."""
        guest.lives += 1
        guest.disks, guest.nics, guest.stopped = {}, set(), False
        old = guest.pid

        def back() -> bool:
            status = self.status(guest)
            return status["state"] == "running" and status["pid"] not in (None, old)

        if not self.soon(back):
            # Given up after too many in a row, which is as it should be.
            if self.status(guest)["state"] != "dead":
                raise Violation(f"{guest.umid} is not started again: {self.status(guest)}")
            guest.lives -= 1
            self.start(guest)
            return
        self.learn(guest)

    def learn(self, guest: Tormented) -> None:
        status = self.status(guest)
        guest.pid = status["pid"]
        guest.boot = self.house.ok("proc", guest.umid, "sys/kernel/random/boot_id")

    def kill_supervisor(self) -> None:
        pid = self.status(self.guests[0])["supervisor_pid"]
        started = processes.start_time(pid)
        os.kill(pid, signal.SIGKILL)
        if started is None or not self.soon(lambda: not processes.alive(pid, started)):
            raise Violation(f"the supervisor, pid {pid}, cannot be killed")

    def let_loose_go(self) -> None:
        for process in self.loose:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
        self.loose = []

    # What is seen

    def status(self, guest: Tormented) -> dict[str, Any]:
        begun = time.monotonic()
        found = self.house.status(guest.umid)
        if time.monotonic() - begun > DEADLINE:
            raise Violation(f"{guest.umid}: status took {time.monotonic() - begun:.0f}s")
        return found

    def soon(self, condition: Any) -> bool:
        """Whether it becomes true in time."""
        end = time.monotonic() + SETTLES
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def check(self) -> None:
        """What must be true between two steps."""
        if self.wrong:
            raise Violation("; ".join(self.wrong))
        for guest in self.guests:
            self._check_guest(guest)

    def _check_guest(self, guest: Tormented) -> None:
        status = self.status(guest)
        wanted = "stopped" if guest.stopped else "running"
        if not self.soon(lambda: self.status(guest)["state"] == wanted):
            raise Violation(f"{guest.umid} is not {wanted}: {self.status(guest)}")
        if status["pid"] != guest.pid:
            raise Violation(f"{guest.umid} is another process: {status['pid']}, not {guest.pid}")
        boot = self.house.ok("proc", guest.umid, "sys/kernel/random/boot_id")
        if boot != guest.boot:
            raise Violation(f"{guest.umid} has rebooted, and nobody made it")
        if not self.soon(lambda: self._table(guest) == set(guest.disks) | guest.nics):
            due = sorted(set(guest.disks) | guest.nics)
            raise Violation(f"{guest.umid} has {self._table(guest)}, and should have {due}")
        if not guest.stopped:
            self._check_disks(guest)

    def _table(self, guest: Tormented) -> set[str]:
        return {row["name"] for row in self.status(guest)["devices"]}

    def _check_disks(self, guest: Tormented) -> None:
        """The table, the guest and the host agree."""
        partitions = self.house.ok("proc", guest.umid, "partitions").split()
        for name, path in guest.disks.items():
            block = f"ubd{chr(ord('a') + int(name[3:]))}"
            if block not in partitions:
                raise Violation(f"{guest.umid} has no {block} though {name} is {path}")
        present = [word for word in partitions if word.startswith("ubd")]
        if len(present) > len(guest.disks) + 1:
            raise Violation(f"{guest.umid} has {present}, and only {guest.disks} were plugged")

    def check_end(self) -> None:
        """What must be true when all is over: nothing is left, and the history tells it all."""
        for guest in self.guests:
            self.house.umlctl("shutdown", guest.umid, "10")
            if not self.soon(lambda guest=guest: not self.house.leftovers(guest.umid)):
                raise Violation(f"{guest.umid} leaves {self.house.leftovers(guest.umid)}")
            self._check_history(guest)
        for kind in ("slirp4netns",):
            mine = [pid for pid in processes_of(kind) if self._is_ours(pid)]
            if mine:
                raise Violation(f"{kind} is left: {mine}")

    def _is_ours(self, pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                return self.path.encode() in file.read()
        except OSError:
            return False

    def _check_history(self, guest: Tormented) -> None:
        text = self.house.ok("events", guest.umid, "--json")
        names = [json.loads(line)["event"] for line in text.splitlines()]
        if "missed" in names:
            return  # a full disk has taken some, and says so
        for event, count in (("started", guest.lives), ("panicked", guest.panics)):
            if names.count(event) != count:
                raise Violation(
                    f"{guest.umid} has {count} x {event}, its history {names.count(event)}"
                )
        if names[-1] != "ended":
            raise Violation(f"{guest.umid}: the history ends with {names[-1]}")

    # Clients that never rest

    def _ask_on(self, number: int) -> None:
        """Ask guests by turns: every request has one outcome, in time."""
        turn = number
        while not self._over.is_set():
            guest = self.guests[turn % len(self.guests)]
            turn += 1
            begun = time.monotonic()
            try:
                with Connection(self.house.public(guest.umid)) as connection:
                    text = ("version", "proc uptime", "status", "config con0")[turn % 4]
                    outcome = connection.request(text, DEADLINE)
                if outcome.kind not in OUTCOMES:
                    self.wrong.append(f"{guest.umid}: {text}: {outcome}")
            except Unreachable:
                self._over.wait(0.02)
            took = time.monotonic() - begun
            self.requests += 1
            if took > DEADLINE:
                self.wrong.append(f"{guest.umid}: a request took {took:.0f}s")
            self._over.wait(0.01)
