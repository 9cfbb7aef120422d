"""What a supervisor is sent that no client should send, and kernels that do not answer."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import random
import select
import socket
import struct
import subprocess
import threading
from typing import TYPE_CHECKING, Any

from socketproto.blocking import Connection, encode, request
from socketproto.wire import MAGIC, Request
from tests.live.conftest import DEADLINE, end_hang, to_hang, wait_for
from umlctl.host import processes

if TYPE_CHECKING:
    from tests.live.conftest import House

DATAGRAMS = 100_000
A_TURN = 0.05
"""How long whoever finds the queue full waits for an answer before another try, seconds."""


def _rubbish(source: random.Random) -> bytes:
    """A datagram that is no request of any command: random, cut short or changed."""
    good = encode(source.choice(["version", "halt", "reboot", "config ubd1=/x", "sysrq b", "stop"]))
    kind = source.randrange(6)
    if kind == 0:
        return source.randbytes(source.randrange(600))
    if kind == 1:
        return good[: source.randrange(12)]
    if kind == 2:
        return source.randbytes(4) + good[4:]
    if kind == 3:
        return struct.pack("=III", MAGIC, source.choice([0, 1, 3, 2**32 - 1]), 4) + good[12:]
    if kind == 4:
        return struct.pack("=III", MAGIC, 2, source.randrange(512, 2**32)) + good[12:]
    word = bytes(source.randrange(1, 256) for _ in range(source.randrange(1, 60)))
    return Request(b"x" + word.replace(b"\0", b"")).encode()


def test_rubbish_never_reaches_the_kernel(house: House, umid: str) -> None:
    house.start(umid, "--hang-after", "600")  # its supervisor asks nothing of its own meanwhile
    house.is_settled(umid)
    before = house.status(umid)["exchanges"]
    source = random.Random(20_261_121)
    address = house.public(umid)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.bind("")
        sender.setblocking(False)
        for _ in range(DATAGRAMS):
            datagram = _rubbish(source)
            while not _is_taken(sender, datagram, address):
                # The supervisor's queue is full: it gets the processor, and its answers are read.
                select.select([sender], [], [], A_TURN)
                _drain(sender)
        wait_for(lambda: _is_refused(sender, b"xlast", address), "the last of them is refused")
    assert house.status(umid)["exchanges"] == before
    assert house.ok("version", umid).startswith("Linux")
    # How often a question is asked until it is answered depends on how busy the host is.
    assert house.status(umid)["exchanges"] > before
    assert house.status(umid)["state"] == "running"


def _is_taken(sock: socket.socket, datagram: bytes, address: str) -> bool:
    try:
        sock.sendto(datagram, address)
    except BlockingIOError:
        return False
    return True


def _is_refused(sock: socket.socket, unknown: bytes, address: str) -> bool:
    """Whether an unknown command is refused by its name: what was sent before it has been read."""
    _drain(sock)
    if not _is_taken(sock, Request(unknown).encode(), address):
        return False
    select.select([sock], [], [], A_TURN)
    return any(unknown in reply for reply in _drain(sock))


def _drain(sock: socket.socket) -> list[bytes]:
    taken: list[bytes] = []
    try:
        while True:
            taken.append(sock.recv(1024))
    except BlockingIOError:
        return taken


def test_a_kernel_that_does_not_answer_is_said_and_comes_back(house: House, umid: str) -> None:
    house.start(umid)
    house.has_shell(umid)
    to_hang(house, umid)()
    first = request(house.public(umid), "proc uptime", 30)
    assert first.kind == "refused"
    assert first.error == -110
    assert "has not answered" in house.status(umid)["trouble"]
    # Those after it are told at once.
    second = house.umlctl("proc", umid, "uptime")
    assert second.returncode == 4
    assert "has not answered" in second.stderr
    end_hang(house, umid)
    wait_for(lambda: house.umlctl("proc", umid, "uptime").returncode == 0, "it is back")
    assert house.status(umid)["trouble"] is None


def test_a_wedged_kernel_is_recovered_by_go(house: House, umid: str) -> None:
    """A request that sleeps while the guest is stopped can leave it waiting on its own socket.

    It takes some tries to get there, past the supervisor, which refuses such requests.
    """
    # Its supervisor asks nothing of its own meanwhile: it would see nothing then, or free it.
    house.start(umid, "--hang-after", "600")
    house.is_settled(umid)
    pid = house.status(umid)["pid"]
    tries = itertools.count()
    nic = "transport=tap,ifname=nowhere"

    def wedged() -> bool | None:
        device = f"vec{next(tries)}"
        with Connection(house.kernel_socket(umid)) as kernel:
            for command in ("stop", f"config {device}:{nic}", f"remove {device}", "go"):
                kernel.request(command, 0.3)
        return processes.looks_stopped(pid)

    def recovered() -> bool:
        """A kernel that was slow to take the last `go`, and has by now, was never wedged."""
        if not wedged() or house.status(umid)["state"] != "stopped":
            return False
        said = house.umlctl("go", umid)
        assert said.returncode == 0 or "Not stopped" in said.stderr
        return said.returncode == 0

    wait_for(recovered, "a kernel that is wedged is recovered")
    assert house.status(umid)["state"] == "running"
    assert not processes.looks_stopped(pid)


def test_a_stopped_kernel_keeps_no_question_of_many_clients(house: House, umid: str) -> None:
    """What it keeps until `go` is put again."""
    house.start(umid)
    questions = ("proc 1/mountinfo", "stack 1", "version", "proc uptime", "config con0")
    kept: list[object] = []

    def ask(number: int) -> None:
        for turn in range(number, number + 10):
            outcome = house.ask(umid, questions[turn % len(questions)])
            if not outcome.ok:
                kept.append((questions[turn % len(questions)], outcome))

    for _ in range(5):
        house.ok("stop", umid)
        clients = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert not kept
        house.ok("go", umid)
    assert house.status(umid)["trouble"] is None


def test_a_client_that_asks_for_everything_and_reads_nothing_delays_nobody(
    house: House, shared: str
) -> None:
    dead = []
    try:
        for _ in range(40):
            connection = Connection(house.public(shared))
            connection.link.open()
            for _ in range(5):
                connection.link.send(encode("stack 1"))
            dead.append(connection)
        with Connection(house.public(shared)) as live:
            for _ in range(200):
                assert live.request("version", 2).ok
            with Connection(house.kernel_socket(shared)) as direct:
                long = direct.request("proc crypto").data
            assert live.request("proc crypto", 2).data == long
    finally:
        for connection in dead:
            connection.close()


def test_a_guest_that_floods_its_notify_socket_harms_nobody(
    house: House, umid: str, shared: str
) -> None:
    """It is not frozen, its history is not pushed out, and another's supervision goes on."""
    house.start(umid)
    pid = house.status(umid)["pid"]
    log = f"{house.state}/supervisor.log"
    before = os.stat(log).st_size
    house.has_shell(umid)
    house.shell(umid, "mkdir -p /tmp/x; (while :; do echo flood; done) >/proc/mconsole 2>&1 &")
    wait_for(lambda: _told(house, umid)[-1].get("left_out", 0) > 500, "much is left out")
    with Connection(house.public(shared)) as other:
        for _ in range(50):
            assert other.request("version", 5).ok
    assert house.ask(umid, "version").ok
    house.shell(umid, "kill %1; echo over >/proc/mconsole")
    events = _told(house, umid)
    assert events[0]["event"] == "started"
    assert 20 <= sum(event["event"] == "user" for event in events) < 40
    assert house.status(umid)["pid"] == pid
    assert os.stat(log).st_size - before < 10_000


def _told(house: House, umid: str) -> list[dict[str, Any]]:
    """The history so far."""
    return [json.loads(line) for line in house.ask(umid, "events past").data.splitlines()]


def test_two_hundred_clients_at_once_are_all_answered(house: House, shared: str) -> None:
    connections = [Connection(house.public(shared)) for _ in range(200)]
    try:
        for connection in connections:
            connection.link.open()
            while not connection.link.send(encode("version")):
                pass
        for connection in connections:
            assert connection.link.socket is not None
            connection.link.socket.settimeout(DEADLINE)
            datagram = None
            while datagram is None:
                datagram = connection.link.receive()
            assert b"Linux shared" in datagram
    finally:
        for connection in connections:
            connection.close()


def test_a_guest_keeps_nothing_open_of_who_started_it(house: House, umid: str) -> None:
    """A lock that its starter holds would be held as long as it runs."""
    path = f"{house.path}/lock"
    script = 'exec 7>"$1"; flock 7; shift; exec "$@"'
    words = [*house.command("start", umid, "--mem", "64M")]
    subprocess.run(["sh", "-c", script, "sh", path, *words], env=house.env, check=True)
    with open(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_pidfile_that_is_no_file_is_refused_and_kept(house: House, umid: str) -> None:
    path = f"{house.path}/fifo"
    os.mkfifo(path)
    done = house.umlctl("start", umid, "--pidfile", path)
    assert done.returncode == 7
    assert "no regular file" in done.stderr
    assert os.path.exists(path)
    os.unlink(path)


def test_a_closed_standard_output_or_error_breaks_nothing(house: House, shared: str) -> None:
    for redirection in (">&-", "2>&-", "<&-"):
        words = ["sh", "-c", f'exec "$@" {redirection}', "sh", *house.command("version", shared)]
        done = subprocess.run(words, env=house.env, capture_output=True, check=False)
        assert done.returncode == 0, done
    words = ["sh", "-c", 'exec "$@" 2>&-', "sh", *house.command("version", "nobody")]
    assert subprocess.run(words, env=house.env, check=False).returncode == 3


def test_no_timeout_is_a_number_that_no_clock_knows(house: House, shared: str, umid: str) -> None:
    for words in (["version", shared], ["run", umid], ["mconsole", shared, "version"]):
        for value in ("nan", "inf", "-1", "0"):
            done = house.umlctl(*words, "--timeout", value)
            assert done.returncode == 2, done
            assert "Traceback" not in done.stderr


def test_a_batch_has_one_outcome_a_line_whatever_happens(house: House, umid: str) -> None:
    house.start(umid)
    lines = ["version", "x" * 600, "log \udcff", "sysrq c", "version", "version"]
    done = house.umlctl("mconsole", umid, "-", "--json", stdin="\n".join(lines))
    outcomes = [json.loads(line)["outcome"] for line in done.stdout.splitlines()]
    assert outcomes[:4] == ["answered", "refused", "answered", "refused"]
    assert len(outcomes) == len(lines)
    assert done.returncode == 2
