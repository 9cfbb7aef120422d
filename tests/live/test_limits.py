"""Guests of a supervisor that may open few files, and on file systems that are full."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import resource
import shutil
import subprocess
import tempfile
import threading
from typing import TYPE_CHECKING

import pytest

from tests.live.conftest import DEADLINE, House, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GUESTS = [f"limited{number}" for number in range(6)]
FEW = 64
TOLD = "the supervisor may open 64 files; raise it with `ulimit -n`"
SMALL = 24 << 20


@pytest.fixture
def small() -> Iterator[House]:
    """A home on a file system that can be filled, which takes root; all of its guests end."""
    path = tempfile.mkdtemp(prefix="l", dir="/tmp")
    size = f"size={SMALL},mode=700"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "l", path], check=False)
    house = House(path)
    try:
        yield house
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}/filler")
        house.umlctl("quit")
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", path], check=True)
        shutil.rmtree(path)


def fill(house: House) -> None:
    with contextlib.suppress(OSError), open(f"{house.path}/filler", "ab", buffering=0) as file:
        while file.tell() < 2 * SMALL and file.write(b"\0" * (1 << 16)):
            pass


@contextlib.contextmanager
def loose(house: House, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A client that stays until it is not needed any more, or has been told that it cannot."""
    process = subprocess.Popen(
        house.command(*words),
        env=house.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE)


def limited(house: House, hard: int, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `umlctl WORDS` with few descriptors; the supervisor that it may start has them too."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, hard))

    return subprocess.run(
        house.command(*words),
        env=house.env,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        preexec_fn=limit,
        check=False,
    )


def test_supervisor_takes_the_descriptors_that_it_may_have(small: House) -> None:
    done = limited(small, 4096, "start", "one", "--mem", "48M")
    assert done.returncode == 0, done
    with open(f"/proc/{small.status('one')['supervisor_pid']}/limits") as file:
        line = next(line for line in file if line.startswith("Max open files"))
    assert line.split()[3:5] == ["4096", "4096"]


def test_supervisor_with_few_descriptors_keeps_its_guests(small: House) -> None:
    """Six guests, twenty clients, and then one guest more than there is room for."""
    for umid in GUESTS:
        done = limited(small, FEW, "start", umid, "--mem", "48M")
        assert done.returncode == 0, done
    pids = {umid: small.status(umid)["pid"] for umid in GUESTS}
    with contextlib.ExitStack() as clients:
        consoles = [
            clients.enter_context(loose(small, "console", umid, "--read-only"))
            for umid in [*GUESTS, GUESTS[0], GUESTS[0]]
        ]
        for umid in GUESTS:
            clients.enter_context(loose(small, "events", umid, "-f"))
        clients.enter_context(asking(small))

        def told() -> list[subprocess.Popen[str]]:
            return [each for each in consoles if each.poll() is not None]

        def is_let_in(viewer: subprocess.Popen[str]) -> bool:
            done = small.umlctl("status", GUESTS[0], "--json")
            if TOLD in done.stderr:
                return True  # there is no room for this question either
            seen = json.loads(done.stdout)["consoles"] if done.returncode == 0 else []
            return any(each["pid"] == viewer.pid for console in seen for each in console["viewers"])

        def is_settled(viewer: subprocess.Popen[str]) -> bool:
            return bool(told()) or is_let_in(viewer)

        # How many there is room for is the supervisor's affair, and some more than that are told.
        while not told() and len(consoles) < FEW:
            viewer = clients.enter_context(loose(small, "console", GUESTS[0], "--read-only"))
            consoles.append(viewer)
            wait_for(functools.partial(is_settled, viewer), "it is let in, or one is told")
        assert told()
        more = limited(small, FEW, "start", "one-too-many", "--mem", "48M")
        assert more.returncode != 0
        assert TOLD in more.stderr
        said = [each.communicate()[1] for each in told()]
        assert [text for text in said if TOLD not in text] == []
    _check_untouched(small, pids)
    small.ok("quit", "--leave-guests")
    small.ok("start", "one-too-many", "--mem", "48M")  # by a supervisor that may have more
    _check_untouched(small, pids)


@contextlib.contextmanager
def asking(house: House) -> Iterator[None]:
    """Clients that ask all guests, one question after another. They may be refused for want of a
    descriptor, if they are told so."""
    over = threading.Event()
    wrong: list[object] = []

    def ask_on(umid: str) -> None:
        while not over.is_set():
            done = limited(house, FEW, "version", umid)
            if done.returncode != 0 and TOLD not in done.stderr:
                wrong.append(done)

    clients = [threading.Thread(target=ask_on, args=(umid,)) for umid in GUESTS]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        over.set()
        for client in clients:
            client.join()
    assert not wrong


def _check_untouched(house: House, pids: dict[str, int]) -> None:
    for umid, pid in pids.items():
        assert house.ok("version", umid)
        status = house.status(umid)
        assert (status["state"], status["pid"]) == ("running", pid)
        assert (status["reboots"], status["trouble"]) == (0, None)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes a file system of its own")
def test_full_disk_ends_no_guest_and_what_it_did_not_take_is_written_later(small: House) -> None:
    small.start("dies")
    with small.running("foreground") as foreground:
        fill(small)
        for umid in ("dies", "foreground"):
            assert small.ok("version", umid)
            small.ok("stop", umid)
            small.ok("go", umid)
        for words in (["start", "more", "--mem", "48M"], ["run", "more", "--mem", "48M"]):
            done = small.umlctl(*words)
            assert done.returncode != 0
            assert "No space left on device" in done.stderr
            assert small.path in done.stderr, "it says where"
        image = f"{small.path}/image"
        os.close(os.open(image, os.O_CREAT | os.O_WRONLY))
        os.truncate(image, 1 << 20)
        assert "No space left" in small.umlctl("disk", "add", "dies", image).stderr
        for umid in ("foreground", "dies"):
            fill(small)
            small.ok("shutdown", umid)
        assert foreground.wait(DEADLINE) == 0
        assert foreground.stderr is not None
        # What others have given back meanwhile may have been room enough.
        said = "not recorded: [Errno 28] No space left on device" in foreground.stderr.read()
        assert said or _ending_on_disk(small, "foreground")
    _check_ended(small)
    os.unlink(f"{small.path}/filler")
    wait_for(lambda: _ending_on_disk(small, "dies"), "its supervisor has written it down")
    _check_ended(small)
    for umid in ("dies", "foreground"):
        assert _ending_on_disk(small, umid)
        lines = small.ok("events", umid, "--json").splitlines()
        assert [json.loads(line)["event"] for line in lines].count("ended") == 1
        wait_for(lambda umid=umid: not small.leftovers(umid), "nothing is left")  # type: ignore[misc]


def _check_ended(house: House) -> None:
    """It is known how, wherever that stands."""
    for umid in ("dies", "foreground"):
        assert house.listed(umid)["ending"]["cause"] == "shut down"
        assert house.umlctl("wait", umid).returncode == 0


def _ending_on_disk(house: House, umid: str) -> bool:
    found = find(house.path, lambda path: path.endswith(f"/guests/{umid}/record.json"))
    with open(found[0]) as file:
        return json.load(file)["ending"] is not None


def find(path: str, wanted: Callable[[str], bool]) -> list[str]:
    return [
        f"{directory}/{name}"
        for directory, _, names in os.walk(path)
        for name in names
        if wanted(f"{directory}/{name}")
    ]
