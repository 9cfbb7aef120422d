"""Round trips, measured inside one process with the installed wheel; run by `bench.measures`.

    probe.py trips KERNEL PUBLIC ROUNDS COUNT PAUSE    p50 and p99 of each road, a list a round
    probe.py late  KERNEL PUBLIC COUNT                 requests that waited longer than 20 ms
    probe.py dead  PUBLIC ROUNDS COUNT                 p99 of a live client, alone and among dead
    probe.py flood PUBLIC ROUNDS COUNT PAUSE           p99 of a client, and while another floods
    probe.py proc  PUBLIC... ROUNDS COUNT              times of `proc` to each, a list a round

KERNEL is the kernel's own socket, PUBLIC the supervisor's, PAUSE microseconds before each
request. Prints JSON, times in seconds.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from socketproto.blocking import Connection
from socketproto.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LATE: Final = 0.020
DEAD: Final = 40
FLOODS: Final = {
    "one socket": (1, b"version"),
    "64 sockets": (64, b"version"),
    "64 sockets, long answers": (64, b"stack 1"),
    "64 sockets, rubbish": (64, b"rubbish"),
}
"""What another process floods with: on how many sockets, and what."""
DEADLINE: Final = 10.0
STALL: Final = 1.0
"""A kernel that missed its wake-up may sleep for long; who has no clients' care kicks it then."""
_HEAD: Final = struct.Struct("=III")


def request(command: bytes) -> bytes:
    return _HEAD.pack(0xCAFEBABE, 2, len(command)) + command.ljust(512, b"\0")


VERSION: Final = request(b"version")
KICK: Final = request(b"k")
STACK: Final = request(b"stack 1")


def bound() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind("")
    sock.settimeout(STALL)
    return sock


def answer(sock: socket.socket, path: str) -> None:
    try:
        sock.recv(524)
    except TimeoutError:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.sendto(KICK, path)
        sock.settimeout(DEADLINE)
        sock.recv(524)
        sock.settimeout(STALL)


def connected_loop(path: str, count: int, pause: float = 0.0) -> list[float]:
    """As bare as it gets: a connected socket, for the kernel."""
    taken = []
    with bound() as sock:
        sock.connect(path)
        for _ in range(count):
            if pause:
                time.sleep(pause)
            begin = time.perf_counter()
            sock.send(VERSION)
            answer(sock, path)
            taken.append(time.perf_counter() - begin)
    return taken


def unconnected_loop(
    path: str, count: int, pause: float = 0.0, *, timeout: float | None = STALL
) -> list[float]:
    """The same through the supervisor, which answers from another socket.

    Without a timeout it blocks where the queue is full, as clients in C do. With one, Python asks
    again and again, and takes the processor from who is to empty the queue.
    """
    taken = []
    with bound() as sock:
        sock.settimeout(timeout)
        for _ in range(count):
            if pause:
                time.sleep(pause)
            begin = time.perf_counter()
            sock.sendto(VERSION, path)
            answer(sock, path)
            taken.append(time.perf_counter() - begin)
    return taken


def client_loop(path: str, count: int, pause: float = 0.0) -> list[float]:
    """Our trio client."""
    return trio.run(_client_loop, path, count, pause)


async def _client_loop(path: str, count: int, pause: float) -> list[float]:
    taken = []
    with Client(path) as client:
        for _ in range(count):
            if pause:
                await trio.sleep(pause)
            begin = time.perf_counter()
            outcome = await client.request("version", DEADLINE)
            taken.append(time.perf_counter() - begin)
            if not outcome.ok:
                raise RuntimeError(f"{path}: {outcome}")
    return taken


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def trips(kernel: str, public: str, rounds: int, count: int, pause: int) -> dict[str, Any]:
    seconds = pause / 1e6
    roads: dict[str, Callable[[int], list[float]]] = {
        "direct": partial(connected_loop, kernel, pause=seconds),
        "client": partial(client_loop, kernel, pause=seconds),
        "public": partial(unconnected_loop, public, pause=seconds),
    }
    found: dict[str, Any] = {name: {"p50": [], "p99": []} for name in roads}
    for road in roads.values():
        road(20)
    for _ in range(rounds):
        for name, road in roads.items():
            taken = road(count)
            found[name]["p50"].append(percentile(taken, 0.5))
            found[name]["p99"].append(percentile(taken, 0.99))
    return found


def late(kernel: str, public: str, count: int) -> dict[str, Any]:
    found = {}
    for name, path in {"direct": kernel, "public": public}.items():
        taken = client_loop(path, count)
        found[name] = {
            "late": sum(one > LATE for one in taken),
            "longest": max(taken),
            "total": sum(taken),
        }
    return found


def dead(public: str, rounds: int, count: int) -> dict[str, Any]:
    found: dict[str, list[float]] = {"alone": [], "among": []}
    unconnected_loop(public, 50)
    for _ in range(rounds):
        found["alone"].append(percentile(unconnected_loop(public, count), 0.99))
        with ExitStack() as stack:
            for _client in range(DEAD):
                stack.enter_context(bound()).sendto(STACK, public)
            # Until they are all served as far as their queues go.
            unconnected_loop(public, 50)
            found["among"].append(percentile(unconnected_loop(public, count), 0.99))
        unconnected_loop(public, 50)
    return found


@contextmanager
def flooding(public: str, sockets: int, command: bytes) -> Iterator[None]:
    """Another process that sends on all its sockets as fast as it can, and reads what comes."""
    pid = os.fork()
    if not pid:
        try:
            _flood(public, sockets, command)
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _flood(public: str, sockets: int, command: bytes) -> None:
    socks = [bound() for _ in range(sockets)]
    datagram = request(command)
    for sock in socks:
        sock.setblocking(False)
    while True:
        for sock in socks:
            for work in (partial(sock.sendto, datagram, public), partial(sock.recv, 524)):
                with suppress(BlockingIOError):
                    work()


def flood(public: str, rounds: int, count: int, pause: int) -> dict[str, Any]:
    found: dict[str, list[float]] = {name: [] for name in ("alone", *FLOODS)}
    unconnected_loop(public, 50)
    for _ in range(rounds):
        taken = unconnected_loop(public, count, pause / 1e6, timeout=None)
        found["alone"].append(percentile(taken, 0.99))
        for name, (sockets, command) in FLOODS.items():
            with flooding(public, sockets, command):
                unconnected_loop(public, 50)
                taken = unconnected_loop(public, count, pause / 1e6, timeout=None)
            found[name].append(percentile(taken, 0.99))
            unconnected_loop(public, 50)
    return found


def proc(*paths: str, rounds: int, count: int) -> list[list[list[float]]]:
    """Questions for a file of /proc, to one guest after the other within a round."""
    found: list[list[list[float]]] = [[] for _ in paths]
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(path)) for path in paths]
        for number in range(rounds):
            turns = list(enumerate(connections))
            for index, connection in turns if number % 2 else turns[::-1]:
                taken = []
                for _ in range(count):
                    begin = time.perf_counter()
                    assert connection.request("proc uptime", DEADLINE).ok
                    taken.append(time.perf_counter() - begin)
                found[index].append(taken)
    return found


def main(words: list[str]) -> int:
    what, *arguments = words
    paths = [word for word in arguments if not word.isdigit()]
    numbers = [int(word) for word in arguments if word.isdigit()]
    measures: dict[str, Callable[..., object]] = {
        "trips": trips,
        "late": late,
        "dead": dead,
        "flood": flood,
        "proc": lambda *words: proc(*words[:-2], rounds=words[-2], count=words[-1]),
    }
    print(json.dumps(measures[what](*paths, *numbers)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
