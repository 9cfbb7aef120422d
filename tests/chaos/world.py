"""Guests to be tormented, and what is true of them whatever is done to them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

from socketproto.blocking import Connection, Unreachable
from socketproto.exchange import ANSWERED, GONE, REFUSED, TIMED_OUT, TRUNCATED
from tests.live.conftest import House
from umlctl.host import processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

DEADLINE = 30.0
"""Within which every request has its outcome, seconds."""
SETTLES = 60.0
"""Within which a guest is again as it should be, seconds."""
OUTCOMES = (ANSWERED, REFUSED, GONE, TIMED_OUT, TRUNCATED)
SIZE = 1 << 20
SMALL = 96 << 20
"""Of the file system with all state, which can be filled, bytes."""
MEMORY = 64 << 20
"""Of the one that the first guest's memory is in."""
TOLD = 20
"""Events of a guest that are shown with a violation."""
CLIENTS = 6
"""That never rest."""


class Violation(AssertionError):
    """Something that must never be."""


class Tormented:
    """What is known of one guest.

    Fields:
        disks: devices that it must have, with their files
        stopped: it is paused
        lives: how often it was started, by us or by its policy
        panics, reboots: how often it has done so
        pid, started, boot: of the life it is in
    """

    def __init__(self, umid: str) -> None:
        self.umid = umid
        self.disks: dict[str, str] = {}
        self.nics: set[str] = set()
        self.stopped = False
        self.lives = 0
        self.panics = self.reboots = 0
        self.pid = self.started = 0
        self.boot = ""


class World:
    """A home with some guests in one background supervisor, and clients that never rest.

    Fields:
        random: for each step another, so that a seed does the same whatever the last step met
        small: a file system of our own that can be filled; empty where none can be mounted
        kernel: a copy of the kernel, which all guests run
        memory: another, with the memory of the first guest: what /dev/shm is to the others
        loose: processes that a step has left behind on purpose
    """

    def __init__(self, random: Random, guests: int) -> None:
        self.random = random
        self.path = tempfile.mkdtemp(prefix="c", dir="/tmp")
        self.small = self._mount(f"{self.path}/u/state", SMALL)
        self.memory = self._mount(f"{self.path}/m", MEMORY)
        self.house = House(self.path)
        self.kernel = f"{self.path}/linux"
        shutil.copy(json.loads(self.house.ok("kernel", "list", "--json"))[0]["path"], self.kernel)
        self.guests = [Tormented(f"{os.path.basename(self.path)}-{n}") for n in range(guests)]
        self.loose: list[subprocess.Popen[bytes]] = []
        self.requests = 0
        self.wrong: list[str] = []
        self._numbers = itertools.count()
        self._over = threading.Event()
        self._clients = [threading.Thread(target=self._ask_on, args=(n,)) for n in range(CLIENTS)]
        for guest in self.guests:
            self.start(guest)
        for client in self._clients:
            client.start()

    def _mount(self, path: str, size: int) -> str:
        """A directory on a file system that is soon full."""
        os.makedirs(path)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", path],
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
        for path in filter(None, (self.small, self.memory)):
            subprocess.run(["umount", "-l", path], check=False)
        shutil.rmtree(self.path)

    # What is done to guests

    def start(self, guest: Tormented) -> None:
        words = ["--mem", "48M", "--restart", "on-failure", "--kernel", self.kernel]
        if self.memory and guest is self.guests[0]:
            words += ["--mem-dir", self.memory]
        self.house.ok("start", guest.umid, *words)
        guest.lives += 1
        guest.disks, guest.nics, guest.stopped = {}, set(), False
        self.learn(guest)

    def image(self, guest: Tormented) -> str:
        """A file of a guest's own."""
        path = f"{self.path}/{next(self._numbers)}-{guest.umid}.img"
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
        guest.started = processes.start_time(guest.pid) or 0
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
        if self.house.ok("proc", guest.umid, "sys/kernel/random/boot_id") != guest.boot:
            raise Violation(f"{guest.umid} has rebooted, and nobody made it")
        if not self.soon(lambda: self._table(guest) == set(guest.disks) | guest.nics):
            due = sorted(set(guest.disks) | guest.nics)
            raise Violation(f"{guest.umid} has {self._table(guest)}, and should have {due}")
        for name in guest.nics:
            if not self.soon(lambda name=name: self._is_served(guest, name)):
                raise Violation(f"nobody serves {name} of {guest.umid}: {self._row(guest, name)}")
        if not guest.stopped:
            self._check_disks(guest)
            self._check_nics(guest)

    def _row(self, guest: Tormented, name: str) -> dict[str, Any]:
        return next((row for row in self.status(guest)["devices"] if row["name"] == name), {})

    def _is_served(self, guest: Tormented, name: str) -> bool:
        """The host has a switch for a NIC, and behind one for users a way out."""
        row = self._row(guest, name)
        host = row.get("host") or {}
        helpers = [host.get("switch_pid"), host.get("uplink_pid")]
        wanted = 2 if row.get("asked", "").startswith("user") else 1
        return all(pid and self._is_ours(pid) for pid in helpers[:wanted])

    def _check_nics(self, guest: Tormented) -> None:
        for name in ("vec0", "vec1"):
            asked = f"proc 1/root/sys/class/net/{name}/address"
            mac = self._row(guest, name).get("mac", "")

            def agrees(asked: str = asked, mac: str = mac) -> bool:
                outcome = self.house.ask(guest.umid, asked)
                return (outcome.text.strip() if outcome.ok else "") == mac

            if not self.soon(agrees):  # after a boot, it mounts /sys some time
                said = self.house.ask(guest.umid, asked)
                raise Violation(f"{guest.umid} has for {name} {said}, the table {mac or 'nothing'}")

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
        stray = self._open_images(guest) - set(guest.disks.values())
        if stray:
            raise Violation(f"the kernel of {guest.umid} has {stray} open, not of {guest.disks}")

    def _open_images(self, guest: Tormented) -> set[str]:
        """The files that its kernel has for disks, by the host."""
        numbers = os.listdir(f"/proc/{guest.pid}/fd")
        found = (processes.open_file(guest.pid, number) for number in numbers)
        return {path for path in found if path and path.endswith(".img")}

    def check_end(self) -> None:
        """What must be true when all is over: nothing is left, and the history tells it all."""
        for guest in self.guests:
            self.house.umlctl("shutdown", guest.umid, "10")
            if not self.soon(lambda guest=guest: not self.house.leftovers(guest.umid)):
                raise Violation(f"{guest.umid} leaves {self.house.leftovers(guest.umid)}")
            self._check_history(guest)
        self._over.set()
        self.let_loose_go()
        self.house.ok("quit")
        if not self.soon(lambda: not self._left()):
            raise Violation(f"left on this host: {self._left()}")

    def _left(self) -> list[str]:
        """Processes, sockets, locks and whatever else stands where only what runs has a place."""
        names = (name for name in os.listdir("/proc") if name.isdigit())
        found = [f"process {name}" for name in names if self._is_ours(int(name))]
        run = self.house.run
        for directory in (f"{self.house.home}/.uml", f"{run}/k", f"{run}/g", f"{run}/n"):
            if os.path.isdir(directory):
                found += [f"{directory}/{name}" for name in os.listdir(directory)]
        if os.path.exists(f"{run}/supervisor/mconsole"):
            found.append("the supervisor's socket")
        return found

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
        for event, count in (
            ("started", guest.lives),
            ("panicked", guest.panics),
            ("rebooting", guest.reboots),
        ):
            if names.count(event) != count:
                raise Violation(
                    f"{guest.umid} has {count} x {event}, its history {names.count(event)}"
                )
        if names[-1] != "ended":
            raise Violation(f"{guest.umid}: the history ends with {names[-1]}")

    def story(self) -> Iterator[str]:
        """What each guest has gone through of late, and where its kernel is."""
        for guest in self.guests:
            done = self.house.umlctl("events", guest.umid)
            yield from done.stdout.splitlines()[-TOLD:]
            for name in ("wchan", "syscall"):
                with contextlib.suppress(OSError), open(f"/proc/{guest.pid}/{name}") as file:
                    yield f"{guest.umid}, pid {guest.pid}: {name} {file.read().strip()}"

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
                    self._over.wait(0.01)
                    socket = connection.link.socket  # closed if it did not end well
                    more = socket is not None and select.select([socket], [], [], 0)[0]
                if outcome.kind not in OUTCOMES or more:
                    again = " and then another" if more else ""
                    self.wrong.append(f"{guest.umid}: {text}: {outcome}{again}")
            except Unreachable:
                self._over.wait(0.02)
            took = time.monotonic() - begun
            self.requests += 1
            if took > DEADLINE:
                self.wrong.append(f"{guest.umid}: a request took {took:.0f}s")
            self._over.wait(0.01)
