"""What can be done to guests and their supervisor; each step leaves the world as it says."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from socketproto.wire import Request
from tests.chaos.world import SMALL, Violation
from umlctl.host import processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.world import Tormented, World

    Step = Callable[[World, Tormented], None]

QUERIES = ("version", "help", "status", "devices", "proc meminfo", "proc interrupts", "stack 1")
RUBBISH = 40
DISKS = 3


def ask(world: World, guest: Tormented) -> None:
    """A client asks some things."""
    for _ in range(5):
        outcome = world.house.ask(guest.umid, world.random.choice(QUERIES))
        if not outcome.ok:
            raise Violation(f"{guest.umid}: {outcome}")


def ask_with_the_stock_client(world: World, guest: Tormented) -> None:
    done = world.house.stock(guest.umid, "version")
    if b"Linux" not in done.stdout:
        raise Violation(f"{guest.umid}: the stock client got {done}")


def kill_clients(world: World, guest: Tormented) -> None:
    """Clients die in the middle of an answer."""
    for words in (["proc", "1/mountinfo"], ["events", "-f"], ["stack", "1"]):
        process = subprocess.Popen(
            world.house.command(words[0], guest.umid, *words[1:]),
            env=world.house.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        world.loose.append(process)
    world.let_loose_go()


def stop_a_client(world: World, guest: Tormented) -> None:
    """A subscriber is stopped, and reads no more; it is killed some steps later."""
    if len(world.loose) > 3:
        world.let_loose_go()
    process = subprocess.Popen(
        world.house.command("events", world.house.public(guest.umid), "-f"),
        env=world.house.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGSTOP)
    world.loose.append(process)


def send_rubbish(world: World, guest: Tormented) -> None:
    """Datagrams that are no requests, to all sockets that take some, and none is read."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.bind(f"{world.path}/rubbish")
        sender.setblocking(False)
        try:
            for path in (
                world.house.public(guest.umid),
                f"{world.house.run}/g/{guest.umid}/notify",
            ):
                for _ in range(RUBBISH):
                    size = world.random.randrange(600)
                    try:
                        sender.sendto(world.random.randbytes(size), path)
                    except OSError:
                        break
        finally:
            os.unlink(f"{world.path}/rubbish")


def flood(world: World, guest: Tormented) -> None:
    """A client asks on and on, and reads nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.bind(f"{world.path}/flood")
        sender.setblocking(False)
        try:
            for _ in range(300):
                try:
                    sender.sendto(Request(b"proc meminfo").encode(), world.house.public(guest.umid))
                except OSError:
                    break
        finally:
            os.unlink(f"{world.path}/flood")


def plug_or_unplug(world: World, guest: Tormented) -> None:
    if guest.stopped:
        return
    if guest.disks and (len(guest.disks) >= DISKS or world.random.random() < 0.5):
        name = world.random.choice(sorted(guest.disks))
        world.house.ok("disk", "rm", guest.umid, name)
        os.unlink(guest.disks.pop(name))
    else:
        path = world.image(guest)
        answer = world.house.ok("disk", "add", guest.umid, path)
        guest.disks[answer.split()[0]] = path


def plug_a_network_or_unplug_it(world: World, guest: Tormented) -> None:
    if guest.stopped:
        return
    if guest.nics:
        world.house.ok("nic", "rm", guest.umid, guest.nics.pop())
    else:
        way = world.random.choice((["--switch", "chaos"], ["--user"]))
        answer = world.house.ok("nic", "add", guest.umid, *way)
        guest.nics.add(answer.split()[0])


def stop_or_go(world: World, guest: Tormented) -> None:
    world.house.ok("go" if guest.stopped else "stop", guest.umid)
    guest.stopped = not guest.stopped


def reboot(world: World, guest: Tormented) -> None:
    if guest.stopped:
        return
    before = world.status(guest)["reboots"]
    world.house.ok("reboot", guest.umid)
    if not world.soon(lambda: _has_rebooted(world, guest, before)):
        raise Violation(f"{guest.umid} has not rebooted: {world.status(guest)}")
    guest.reboots += 1
    world.learn(guest)


def _has_rebooted(world: World, guest: Tormented, before: int) -> bool:
    status: dict[str, Any] = world.status(guest)
    return bool(status["state"] == "running" and status["reboots"] == before + 1)


def replace_the_kernel(world: World, guest: Tormented) -> None:
    """Its file is gone, being built, or something else: no guest reboots into that, and nothing of
    it is run."""
    if guest.stopped:
        return
    aside, ran = f"{world.kernel}~", f"{world.path}/ran"
    os.rename(world.kernel, aside)
    try:
        kind = world.random.choice(("gone", "empty", "cut", "script", "other"))
        if kind == "cut":
            shutil.copy(aside, world.kernel)
            os.truncate(world.kernel, world.random.randrange(os.stat(aside).st_size))
        elif kind == "other":
            shutil.copy("/bin/ls", world.kernel)
        elif kind != "gone":
            with open(world.kernel, "w") as file:
                file.write(f"#!/bin/sh\n: >{ran}\n" if kind == "script" else "")
            os.chmod(world.kernel, 0o755)
        for words in (["reboot"], ["sysrq", "b"]):
            done = world.house.umlctl(words[0], guest.umid, *words[1:])
            if done.returncode != 1 or "is not a UML kernel" not in done.stderr:
                raise Violation(f"{guest.umid} with a kernel that is {kind}: {done}")
        new = world.house.umlctl("start", f"{guest.umid}-new", "--kernel", world.kernel)
        if new.returncode != 7 or os.path.exists(ran):
            raise Violation(f"a kernel that is {kind} was run: {new}")
    finally:
        os.rename(aside, world.kernel)
    ask(world, guest)
    reboot(world, guest)


def panic(world: World, guest: Tormented) -> None:
    if guest.stopped:
        stop_or_go(world, guest)
    world.house.umlctl("sysrq", guest.umid, "c")
    guest.panics += 1
    world.restarted(guest)


def kill_the_kernel(world: World, guest: Tormented) -> None:
    os.kill(guest.pid, signal.SIGKILL)
    world.restarted(guest)


def kill_the_supervisor(world: World, _guest: Tormented) -> None:
    """The next command has all guests adopted, as they were."""
    world.kill_supervisor()


def kill_the_supervisor_and_a_kernel(world: World, guest: Tormented) -> None:
    """A guest that dies unseen is reported, and can be started."""
    world.kill_supervisor()
    os.kill(guest.pid, signal.SIGKILL)
    seen = ("dead", "running")
    if not world.soon(lambda: _adopted(world, guest)["state"] in seen):
        raise Violation(f"{guest.umid}: its end was not seen: {world.house.listed(guest.umid)}")
    if world.house.listed(guest.umid)["state"] == "running":
        guest.lives += 1
        guest.disks, guest.nics, guest.stopped = {}, set(), False
        world.learn(guest)
    else:
        world.start(guest)


def _adopted(world: World, guest: Tormented) -> dict[str, Any]:
    """The row of `list` for a guest that the next supervisor has been asked to see to."""
    world.house.umlctl("adopt", guest.umid)
    return world.house.listed(guest.umid)


def remove_the_run_directory(world: World, guest: Tormented) -> None:
    """Nobody dies of it, and who supervises goes on to."""
    before = world.status(guest)["supervisor_pid"]
    shutil.rmtree(world.house.run, ignore_errors=True)  # it is being made anew meanwhile
    ask_from_elsewhere(world, guest)
    sockets = [world.house.public(each.umid) for each in world.guests]
    sockets += [world.house.kernel_socket(each.umid) for each in world.guests]
    if not world.soon(lambda: all(map(os.path.exists, sockets))):
        raise Violation(
            f"not there again: {[path for path in sockets if not os.path.exists(path)]}"
        )
    if world.status(guest)["supervisor_pid"] != before:
        raise Violation(f"{guest.umid} has another supervisor than {before}: {world.status(guest)}")


def ask_from_elsewhere(world: World, _guest: Tormented) -> None:
    """A cron job, or somebody with another HOME, finds the same guests."""
    home = world.random.choice(("/nonexistent", world.path, "relative", ""))
    env = {name: world.house.env[name] for name in ("PATH", "UMLCTL_DIR")}
    env |= {"HOME": home} if home else {}
    env |= {"XDG_RUNTIME_DIR": world.path} if world.random.random() < 0.5 else {}
    done = subprocess.run(
        world.house.command("list", "--json"), env=env, capture_output=True, text=True, check=False
    )
    found = {row["umid"]: row["state"] for row in json.loads(done.stdout or "[]")}
    for each in world.guests:
        if found.get(each.umid) != ("stopped" if each.stopped else "running"):
            raise Violation(f"{each.umid} with HOME={home!r}: {found.get(each.umid)}, {done}")


def kill_helpers(world: World, guest: Tormented) -> None:
    """Switches, and what leads out of them: they are started again, and guests do not notice."""
    rows = world.status(guest)["devices"]
    helpers = world.random.choice((("switch_pid",), ("uplink_pid",), ("switch_pid", "uplink_pid")))
    for host in (row["host"] for row in rows if row.get("host")):
        for pid in (host.get(helper) for helper in helpers):
            if pid:
                with suppress(ProcessLookupError):  # a way out ends with its switch
                    os.kill(pid, signal.SIGKILL)


def take_descriptors(world: World, guest: Tormented) -> None:
    """The supervisor may open hardly any more files for a while: what needs one is refused, and it
    is said why."""
    pid = world.status(guest)["supervisor_pid"]
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = max(map(int, os.listdir(f"/proc/{pid}/fd"))) + 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (taken + world.random.randrange(6), hard))
    refused: list[str] = []
    try:
        for _ in range(5):
            outcome = world.house.ask(guest.umid, world.random.choice(QUERIES))
            refused += [] if outcome.ok else [str(outcome)]
        if not guest.stopped and len(guest.disks) < DISKS:
            path = world.image(guest)
            done = world.house.umlctl("disk", "add", guest.umid, path)
            if done.returncode == 0:
                guest.disks[done.stdout.split()[0]] = path
            else:
                os.unlink(path)
                refused.append(done.stderr)
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    if strange := [text for text in refused if "`ulimit -n`" not in text]:
        raise Violation(f"{guest.umid}, for want of descriptors: {strange}")


def fill_the_disk(world: World, guest: Tormented) -> None:
    """The state directory is full for some requests; nothing but history is lost."""
    if not world.small:
        return
    filler = f"{world.small}/filler"
    _fill(filler)
    try:
        ask(world, guest)
        if not guest.stopped:
            stop_or_go(world, guest)
            stop_or_go(world, guest)
    finally:
        os.unlink(filler)


def fill_the_memory(world: World, _guest: Tormented) -> None:
    """Where the memory of one guest is, there is no more: it dies of that, and no other does."""
    guest = world.guests[0]
    if not world.memory:
        return
    if guest.stopped:
        stop_or_go(world, guest)
    filler = f"{world.memory}/filler"
    _fill(filler)
    try:
        console = f"{world.house.run}/g/{guest.umid}/con0.in"
        with open(console, "r+b", buffering=0, opener=_without_waiting) as file:
            file.write(b"head -c 30000000 /dev/zero | tail | wc\n")
        if not world.soon(lambda: not processes.alive(guest.pid, guest.started)):
            raise Violation(f"{guest.umid} lives without memory: {world.status(guest)}")
        for other in world.guests[1:]:
            ask(world, other)
    finally:
        os.unlink(filler)
    guest.panics += 1
    world.restarted(guest)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _fill(filler: str) -> None:
    """Have a file take all that is left of its file system, which is a small one."""
    with suppress(OSError), open(filler, "wb", buffering=0) as file:
        while file.tell() < SMALL and file.write(b"\0" * (1 << 16)):
            pass


STEPS: dict[str, tuple[int, Step]] = {
    step.__name__: (weight, step)
    for weight, step in (
        (6, ask),
        (3, ask_with_the_stock_client),
        (3, kill_clients),
        (3, stop_a_client),
        (3, send_rubbish),
        (3, flood),
        (8, plug_or_unplug),
        (4, plug_a_network_or_unplug_it),
        (6, stop_or_go),
        (3, reboot),
        (2, replace_the_kernel),
        (2, panic),
        (2, kill_the_kernel),
        (4, kill_the_supervisor),
        (1, kill_the_supervisor_and_a_kernel),
        (2, remove_the_run_directory),
        (2, ask_from_elsewhere),
        (3, kill_helpers),
        (2, take_descriptors),
        (2, fill_the_disk),
        (1, fill_the_memory),
    )
}
"""Each with how often it is taken, as a weight."""
