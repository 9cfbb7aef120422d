"""The switch as a process, seen from its sockets."""

from __future__ import annotations

import array
import json
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from umlctl.host import frames, paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

DEADLINE = 30.0
BROADCAST = b"\xff" * 6
UNTIDY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
"""All examples go to one switch: it has to survive the lot."""


def mac(number: int) -> bytes:
    return b"\x02" + number.to_bytes(5, "big")


def frame(to: bytes, source: bytes, text: bytes = b"") -> bytes:
    return to + source + b"\x08\x00" + text


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)  # who is waited for needs the processor


class Running:
    """A switch, and sockets to it that are closed with it."""

    def __init__(self, name: str, *options: str) -> None:
        self.name = name
        self.sockets: list[socket.socket] = []
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "umlctl.host.switch", *options, "--", name],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.control = self.connect(paths.network_control(name))

    def connect(self, path: str) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(DEADLINE)
        self.sockets.append(connection)

        def connected() -> bool:
            try:
                connection.connect(path)
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            return True

        until(connected)
        return connection

    def client(self) -> socket.socket:
        return self.connect(paths.network_control(self.name))

    def port(self) -> socket.socket:
        """A connection, as a kernel makes it, that the switch has taken."""
        before = len(self.ports())
        made = self.connect(paths.network_port(self.name))
        until(lambda: len(self.ports()) > before)
        return made

    def ask(self, request: object, fds: Sequence[int] = ()) -> dict[str, Any]:
        return ask(self.control, request, fds)

    def ports(self) -> list[dict[str, Any]]:
        return self.ask({"status": True})["ports"]  # type: ignore[no-any-return]

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE)

    def close(self) -> str:
        """End it, if it has not ended; what it said."""
        for connection in self.sockets:
            connection.close()
        self.process.kill()
        return self.process.communicate()[1]


def ask(connection: socket.socket, request: object, fds: Sequence[int] = ()) -> dict[str, Any]:
    socket.send_fds(connection, [json.dumps(request).encode()], list(fds)) if fds else (
        connection.send(json.dumps(request).encode())
    )
    return hear(connection)


def hear(connection: socket.socket) -> dict[str, Any]:
    return json.loads(connection.recv(1 << 20))  # type: ignore[no-any-return]


def hear_with(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A message and the descriptors that came with it."""
    data, fds, _, _ = socket.recv_fds(connection, 1 << 20, 8)
    return json.loads(data), fds


def arrived(connection: socket.socket) -> list[bytes]:
    """All that is there to be read."""
    found = []
    connection.setblocking(False)
    try:
        while data := connection.recv(frames.LONGEST):
            found.append(data)
    except BlockingIOError:
        pass
    finally:
        connection.settimeout(DEADLINE)
    return found


@pytest.fixture
def make(house: str) -> Iterator[Callable[..., Running]]:
    """Starts switches: `make(*options, name="lan")`."""
    made: list[Running] = []

    def start(*options: str, name: str = "lan") -> Running:
        made.append(Running(name, *options))
        return made[-1]

    yield start
    for running in made:
        said = running.close()
        assert "Traceback" not in said, said


@pytest.fixture
def lan(make: Callable[..., Running]) -> Running:
    """One that has taken our control connection."""
    made = make("--idle", "600")  # however long the test takes, it does not end before
    assert not made.ports()
    return made


# Frames


def test_frames_go_where_they_belong(lan: Running) -> None:
    a, b, c = lan.port(), lan.port(), lan.port()
    a.send(frame(BROADCAST, mac(1)))
    assert b.recv(100) == c.recv(100) == frame(BROADCAST, mac(1))
    b.send(frame(mac(1), mac(2), b"answer"))
    assert a.recv(100) == frame(mac(1), mac(2), b"answer")
    a.send(frame(mac(2), mac(1), b"to b"))
    assert b.recv(100) == frame(mac(2), mac(1), b"to b")
    assert not arrived(c)
    assert not arrived(a)


def test_status_says_who_is_there_and_what_went_through(lan: Running) -> None:
    a, b = lan.port(), lan.port()
    before = time.time()
    a.send(frame(BROADCAST, mac(1), b"x" * 46))
    b.recv(100)
    status = lan.ask({"status": True})
    assert status["name"] == "lan"
    assert status["pid"] == lan.process.pid
    assert status["uplink"] is None
    assert status["forwards"] == []
    assert 0 < status["since"] <= before
    first, second = status["ports"]
    assert first["id"] != second["id"]
    assert first["pid"] == second["pid"] == os.getpid()
    assert first["macs"] == ["02:00:00:00:00:01"]
    assert second["macs"] == []
    assert (first["in_frames"], first["in_bytes"], first["out_frames"]) == (1, 60, 0)
    assert (second["out_frames"], second["out_bytes"], second["dropped"]) == (1, 60, 0)


def test_frame_as_long_as_a_kernel_can_make_one_gets_through(lan: Running) -> None:
    a, b = lan.port(), lan.port()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    long = frame(BROADCAST, mac(1), os.urandom(65535))
    a.send(long)
    assert b.recv(1 << 20) == long


def test_what_is_no_frame_is_dropped(lan: Running) -> None:
    a, b = lan.port(), lan.port()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    a.send(BROADCAST + mac(1) + b"\x08")
    a.send(b"")
    a.send(frame(BROADCAST, mac(1), bytes(frames.LONGEST)))
    a.send(frame(BROADCAST, mac(1), b"good"))
    assert b.recv(100) == frame(BROADCAST, mac(1), b"good")
    assert lan.ports()[0]["dropped"] == 2
    assert lan.ports()[0]["in_frames"] == 1


@UNTIDY
@given(st.lists(st.binary(max_size=80), max_size=20))
@example([b"", b"\0" * 14, b"\xff" * 14, b"\1" * 13])
def test_no_frame_harms(lan: Running, sent: list[bytes]) -> None:
    hostile = lan.connect(paths.network_port(lan.name))
    honest = lan.connect(paths.network_port(lan.name))
    a = lan.connect(paths.network_port(lan.name))
    for data in sent:
        hostile.send(data)
    hostile.close()
    until(lambda: len(lan.ports()) == 2)
    honest.send(frame(BROADCAST, mac(1), b"still there"))
    while a.recv(100) != frame(BROADCAST, mac(1), b"still there"):
        pass
    for each in (honest, a):
        each.close()
    until(lambda: not lan.ports())


def test_addresses_of_a_hostile_guest_are_listed_in_part(lan: Running) -> None:
    a, b = lan.port(), lan.port()
    b.send(frame(BROADCAST, mac(0)))
    for number in range(1, 3000):
        a.send(frame(mac(0), mac(number)))
    until(lambda: lan.ports()[0]["in_frames"] == 2999)
    first, second = lan.ports()
    assert first["macs"][0] == mac(2999).hex(":")
    assert len(first["macs"]) < 100
    assert second["macs"] == [mac(0).hex(":")]


def test_status_of_many_ports_fits_into_one_packet(lan: Running) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most[1], most[1]))
    try:
        for number in range(300):
            port = lan.connect(paths.network_port(lan.name))
            for source in range(20):
                port.send(frame(mac(1 << 20), mac(100 * number + source)))
        until(lambda: lan.ask({"status": True})["unlisted"] == 300 - 256)
        assert len(lan.ports()) == 256
    finally:
        for connection in lan.sockets[1:]:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
    until(lambda: not lan.ports())


# Slow, dead and too many


def test_slow_port_delays_nobody(lan: Running) -> None:
    sender, slow, quick = lan.port(), lan.port(), lan.port()
    slow.send(frame(mac(1), mac(2)))
    quick.send(frame(mac(1), mac(3)))
    until(lambda: all(port["macs"] for port in lan.ports()[1:]))
    for each in (slow, quick):
        arrived(each)
    sent = 0
    while not lan.ports()[1]["dropped"]:
        for _ in range(500):
            sender.send(frame(mac(2), mac(1), bytes(1400)))
            sent += 1
    sender.send(frame(mac(3), mac(1), b"in time"))
    assert quick.recv(100) == frame(mac(3), mac(1), b"in time")
    dropped = lan.ports()[1]["dropped"]
    count = 0

    def all_taken() -> bool:
        nonlocal count
        count += len(arrived(slow))
        return bool(count + dropped == sent)

    until(all_taken)
    assert [port["dropped"] for port in lan.ports()] == [0, dropped, 0]


def test_port_that_ends_is_let_go_at_once(lan: Running) -> None:
    before = lan.descriptors()
    a, b = lan.port(), lan.port()
    a.send(frame(BROADCAST, mac(1)))
    b.recv(100)
    a.close()
    until(lambda: len(lan.ports()) == 1)
    b.send(frame(mac(1), mac(2)))
    b.shutdown(socket.SHUT_WR)
    until(lambda: not lan.ports())
    assert lan.descriptors() == before
    assert watched(lan) == 4, "two listeners, the signals and our own client"


def watched(lan: Running) -> int:
    """How many descriptors its epoll has."""
    directory = f"/proc/{lan.process.pid}/fdinfo"
    found = 0
    for name in os.listdir(directory):
        with open(f"{directory}/{name}") as file:
            found += sum(line.startswith("tfd:") for line in file)
    return found


def test_frames_sent_just_before_the_end_arrive(lan: Running) -> None:
    a, b = lan.port(), lan.port()
    for number in range(200):
        a.send(frame(BROADCAST, mac(1), bytes([number])))
    a.close()
    assert [b.recv(100)[-1] for _ in range(200)] == list(range(200))


def test_connection_for_which_there_is_no_descriptor_waits(lan: Running) -> None:
    first = lan.port()
    limit = lan.descriptors()
    most = resource.prlimit(lan.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
    second = lan.connect(paths.network_port(lan.name))
    second.send(frame(BROADCAST, mac(1)))
    assert len(lan.ports()) == 1
    first.close()
    until(lambda: [port["macs"] for port in lan.ports()] == [[mac(1).hex(":")]])
    assert most[0] >= limit


# Holding


def held(client: socket.socket) -> tuple[int, socket.socket]:
    message, fds = hear_with(client)
    assert message["pid"] == os.getpid()
    (fd,) = fds
    return message["port"], socket.socket(fileno=fd)


def test_holder_gets_a_duplicate_of_each_connection(lan: Running) -> None:
    lan.port()
    holder = lan.client()
    holder.send(json.dumps({"hold": os.getpid()}).encode())
    first, duplicate = held(holder)
    assert hear(holder) == {"holding": os.getpid()}
    lan.port()
    second, other = held(holder)
    assert [port["id"] for port in lan.ports()] == [first, second]
    with duplicate, other:
        lan.sockets[1].close()
        assert hear(holder) == {"gone": first}
        assert len(lan.ports()) == 1
        assert lan.ask({"status": True})["holders"] == 1
    holder.close()
    until(lambda: lan.ask({"status": True})["holders"] == 0)
    assert len(lan.ports()) == 1


def test_connections_of_others_are_not_handed_over(lan: Running) -> None:
    lan.port()
    holder = lan.client()
    assert ask(holder, {"hold": os.getpid() + 1}) == {"holding": os.getpid() + 1}
    lan.port()
    assert ask(holder, {"status": True})["name"] == "lan"


def test_holding_twice_is_holding_once(lan: Running) -> None:
    holder = lan.client()
    for _ in range(2):
        assert ask(holder, {"hold": os.getpid()}) == {"holding": os.getpid()}
    lan.port()
    held(holder)[1].close()
    assert ask(holder, {"status": True})["name"] == "lan"


def test_what_a_process_has_forgotten_is_closed(lan: Running) -> None:
    """A kernel that reboots keeps its old connections open, and reads them no more."""
    holder = lan.client()
    ask(holder, {"hold": os.getpid()})
    port = lan.port()
    number, duplicate = held(holder)
    assert lan.ask({"forget": os.getpid() + 1}) == {"ok": True}
    assert len(lan.ports()) == 1
    assert lan.ask({"forget": os.getpid()}) == {"ok": True}
    assert lan.ports() == []
    assert hear(holder) == {"gone": number}
    duplicate.close()
    assert port.recv(1) == b""


def test_connection_outlives_a_killed_switch(make: Callable[..., Running]) -> None:
    first = make()
    a, b = first.port(), first.port()
    a.send(frame(BROADCAST, mac(1)))
    b.recv(100)
    holder = first.client()
    holder.send(json.dumps({"hold": os.getpid()}).encode())
    duplicates = [held(holder)[1] for _ in range(2)]
    first.kill()
    a.send(frame(BROADCAST, mac(1), b"sent without a switch"))
    second = make()
    for duplicate in [*duplicates, *duplicates]:
        assert second.ask({"give": True, "pid": os.getpid()}, [duplicate.fileno()])["ok"]
        if duplicate is duplicates[1]:
            assert len(second.ports()) == 2
    assert len(second.ports()) == 2
    assert [port["pid"] for port in second.ports()] == [os.getpid()] * 2
    a.send(frame(BROADCAST, mac(1), b"sent with one"))
    # The first was for nobody if it was taken before the other was given.
    received = b.recv(100)
    while received != frame(BROADCAST, mac(1), b"sent with one"):
        received = b.recv(100)
    b.send(frame(mac(1), mac(2), b"back"))
    assert a.recv(100) == frame(mac(1), mac(2), b"back")
    for duplicate in duplicates:
        duplicate.close()
    a.close()
    until(lambda: len(second.ports()) == 1)


def test_given_connection_that_has_ended_is_dropped(lan: Running) -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    far.close()
    before = lan.descriptors()
    with near:
        assert lan.ask({"give": True}, [near.fileno()]) == {"error": "the connection has ended"}
    assert not lan.ports()
    assert lan.descriptors() == before


def test_only_a_connection_can_be_given(lan: Running) -> None:
    before = lan.descriptors()
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stream = socket.socketpair()
    alone = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    null = os.open("/dev/null", os.O_RDONLY)
    refused = [[null], [stream[0].fileno()], [alone.fileno()], [s.fileno() for s in pair], []]
    for fds in refused:
        assert "error" in lan.ask({"give": True, "pid": 1}, fds)
    os.close(null)
    for each in (*pair, *stream, alone):
        each.close()
    assert not lan.ports()
    assert lan.descriptors() == before


# Control


@pytest.mark.parametrize(
    "request_",
    [
        *({}, [], 1, None, "status", {"status": False}, {"hold": 0}, {"hold": -1}, {"hold": True}),
        *({"hold": "1"}, {"hold": 1.0}, {"give": True}, {"quit": 1.5}, {"forward": 8080}),
        *({"forward": "8080:80"}, {"hold": None}),
    ],
)
def test_request_that_makes_no_sense_is_answered_so(lan: Running, request_: object) -> None:
    assert set(lan.ask(request_)) == {"error"}


requests = st.one_of(
    st.binary(min_size=1, max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["status", "hold", "give", "forward", "pid", "x"]), inner
            )
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
)


@UNTIDY
@given(requests, st.integers(0, 3))
@example(b"[" * 60000, 0)
@example(b'{"hold":' + b"9" * 5000 + b"}", 1)
@example(b"x" * 70000, 2)
@example(b'{"status": true}', 3)
@example(b"\xff\xfe", 253)
def test_no_request_harms_and_its_descriptors_are_closed(
    lan: Running, data: bytes, count: int
) -> None:
    before = lan.descriptors()
    client = lan.client()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    null = os.open("/dev/null", os.O_RDONLY)
    try:
        rights = array.array("i", [null] * count)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if count else []
        client.sendmsg([data], ancillary)
        assert isinstance(hear(client), dict)
    finally:
        os.close(null)
        client.close()
    until(lambda: lan.descriptors() == before)
    lan.sockets.remove(client)


def test_descriptors_that_come_with_frames_are_not_kept(lan: Running) -> None:
    a, b = lan.port(), lan.port()
    before = lan.descriptors()
    socket.send_fds(a, [frame(BROADCAST, mac(1))], [a.fileno(), 0])
    assert hear_fds(b) == []
    assert lan.descriptors() == before


def hear_fds(connection: socket.socket) -> list[int]:
    return socket.recv_fds(connection, 100, 8)[1]


def test_client_that_reads_nothing_is_given_up(lan: Running) -> None:
    before = lan.descriptors()
    client = lan.client()

    def flood() -> None:
        while True:
            client.send(b'{"status": true}')

    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        flood()
    assert lan.ports() == []
    assert lan.descriptors() == before


# Its life


def test_sockets_are_for_us_alone(lan: Running) -> None:
    lan.ports()
    for path in (paths.network_dir("lan"), paths.network_port("lan"), paths.network_control("lan")):
        assert stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0
    with open(f"{paths.network_dir('lan')}/lock") as file:
        assert int(file.read()) == lan.process.pid


def test_second_switch_of_a_name_leaves_it_to_the_first(
    lan: Running, make: Callable[..., Running]
) -> None:
    lan.ports()
    second = make()
    assert second.process.wait(DEADLINE) == 0
    assert second.ask({"status": True})["pid"] == lan.process.pid
    assert make(name="other").ask({"status": True})["pid"] != lan.process.pid


def test_it_ends_when_nobody_is_there(make: Callable[..., Running]) -> None:
    lan = make("--idle", "0.05")
    assert lan.process.wait(DEADLINE) == 0
    assert not os.path.exists(paths.network_dir("lan"))


def test_port_keeps_it_alive_and_its_end_ends_it(make: Callable[..., Running]) -> None:
    lan = make("--idle", "0.3")
    a = lan.port()
    with pytest.raises(subprocess.TimeoutExpired):
        lan.process.wait(0.6)
    a.close()
    assert lan.process.wait(DEADLINE) == 0


def test_holder_keeps_it_alive_and_its_end_ends_it(make: Callable[..., Running]) -> None:
    lan = make("--idle", "0.3")
    holder = lan.client()
    ask(holder, {"hold": 1})
    with pytest.raises(subprocess.TimeoutExpired):
        lan.process.wait(0.6)
    holder.close()
    assert lan.process.wait(DEADLINE) == 0


def test_it_stays_while_it_is_asked_to(make: Callable[..., Running]) -> None:
    lan = make("--idle", "0.5")
    until_time = time.monotonic() + 1.0
    until(lambda: lan.ask({"stay": True}) and time.monotonic() > until_time)
    assert lan.process.wait(DEADLINE) == 0
    assert time.monotonic() >= until_time + 0.5


def test_looking_at_it_does_not_keep_it(make: Callable[..., Running]) -> None:
    lan = make("--idle", "0.5")

    def ended() -> bool:
        try:
            lan.ask({"status": True})
        except (OSError, json.JSONDecodeError):
            return True
        return False

    until(ended)
    assert lan.process.wait(DEADLINE) == 0


def test_kernel_that_connects_in_the_last_moment_is_taken(make: Callable[..., Running]) -> None:
    lan = make("--idle", "0.2")
    lan.ports()
    lan.process.send_signal(signal.SIGSTOP)
    late = lan.connect(paths.network_port("lan"))
    with pytest.raises(subprocess.TimeoutExpired):
        lan.process.wait(0.4)
    lan.process.send_signal(signal.SIGCONT)
    other = lan.connect(paths.network_port("lan"))
    late.send(frame(BROADCAST, mac(1)))
    while other.recv(100) != frame(BROADCAST, mac(1)):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_in_order(lan: Running, number: int) -> None:
    a = lan.port()
    lan.process.send_signal(number)
    assert lan.process.wait(DEADLINE) == 0
    assert a.recv(1) == b""
    assert sorted(os.listdir(paths.network_dir("lan"))) == ["lock", "options"]


def test_quit_ends_it_and_tells_the_holders(lan: Running) -> None:
    lan.port()
    holder = lan.client()
    holder.send(json.dumps({"hold": os.getpid()}).encode())
    number, duplicate = held(holder)
    duplicate.close()
    hear(holder)
    assert lan.ask({"quit": True}) == {"ok": True}
    assert lan.process.wait(DEADLINE) == 0
    assert hear(holder) == {"gone": number}
    assert hear(holder) == {"quit": True}
    assert holder.recv(1) == b""
    assert not os.path.exists(paths.network_dir("lan"))


def test_sockets_of_a_killed_switch_are_replaced(make: Callable[..., Running]) -> None:
    first = make()
    first.kill()
    assert os.path.exists(paths.network_port("lan"))
    second = make()
    assert second.ask({"status": True})["pid"] == second.process.pid
    second.port()


def test_switch_whose_directory_was_removed_is_the_one_of_its_name_still(lan: Running) -> None:
    one, two = lan.port(), lan.port()
    shutil.rmtree(paths.run_dir())
    done = subprocess.run(
        [sys.executable, "-P", "-m", "umlctl.host.switch", "--", "lan"],
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0
    three = lan.connect(paths.network_port("lan"))
    until(lambda: len(lan.ports()) == 3)
    assert len(ask(lan.client(), {"status": True})["ports"]) == 3
    one.send(frame(BROADCAST, mac(1)))
    assert two.recv(100) == three.recv(100) == frame(BROADCAST, mac(1))
    until(lambda: os.path.exists(paths.network_options("lan")))
    with open(f"{paths.network_dir('lan')}/lock") as file:
        assert file.read() == f"{lan.process.pid}\n"


@pytest.mark.parametrize("name", ["a/b", "..", "", "n" * 33])
def test_bad_name_is_refused(house: str, name: str) -> None:
    command = [sys.executable, "-P", "-m", "umlctl.host.switch", "--", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 1
    assert "a network's name" in done.stderr
    assert not os.listdir(f"{house}/u")
