from __future__ import annotations

import os
import socket
import struct
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.switches import BROADCAST, Guest, frame, kill, mac, place, until
from tests.umlctl.compat.test_switch_request import request
from umlctl.compat import daemon_switch
from umlctl.compat.daemon_switch import Switch, data_socket
from umlctl.networks.segments import Segment

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["place"]

DEADLINE = 30.0


class Kernel:
    """What a guest's kernel has of a switch: a control connection, and a socket for frames."""

    def __init__(self, control: str, address: bytes | str = b"") -> None:
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.data = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        for each in (self.control, self.data):
            each.settimeout(DEADLINE)
        own = (b"\0" + os.urandom(8)).ljust(108, b"\0")
        self.data.bind(address or own)
        self.control.connect(control)
        self.control.sendall(request(os.fsencode(address) if address else own))
        said = self.control.recv(110)
        self.switch = b""
        if said:
            (path,) = struct.unpack("=2x108s", said)
            self.switch = path if not path[0] else path.partition(b"\0")[0]

    def send(self, data: bytes) -> None:
        self.data.sendto(data, self.switch)

    def hears(self, data: bytes) -> bool:
        return self.data.recv(2000) == data

    def hears_nothing(self) -> bool:
        self.data.setblocking(False)
        try:
            self.data.recv(2000)
        except BlockingIOError:
            return True
        finally:
            self.data.settimeout(DEADLINE)
        return False

    def close(self) -> None:
        self.control.close()
        self.data.close()


@contextmanager
def running(short: str, *, hub: bool = False, data: str = "", network: str = "") -> Iterator[str]:
    """A switch in a thread of this process; its control socket."""
    path = f"{short}/ctl"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(15)
    switch = Switch(listener, data_socket(data), hub=hub)
    if network:
        switch.join(network)
    loop = switch.loop
    loop._set_signals = lambda: None  # type: ignore[method-assign] # they are the main thread's
    wake, waker = socket.socketpair()
    loop.watch(wake.fileno(), 1, lambda _events: loop.end())
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield path
    finally:
        waker.send(b"x")
        thread.join(DEADLINE)
        switch.close()
        wake.close()
        waker.close()
        os.unlink(path)


@contextmanager
def kernels(control: str, count: int) -> Iterator[list[Kernel]]:
    made = [Kernel(control) for _ in range(count)]
    try:
        yield made
    finally:
        for each in made:
            each.close()


def test_frames_go_to_all_until_it_is_known_where(short: str) -> None:
    with running(short) as control, kernels(control, 3) as (a, b, c):
        first = frame(BROADCAST, mac(1), b"who?")
        a.send(first)
        assert b.hears(first)
        assert c.hears(first)
        answer = frame(mac(1), mac(2), b"me")
        b.send(answer)
        assert a.hears(answer)
        for number in range(100):  # in order, and to one alone
            sent = frame(mac(2), mac(1), bytes([number]))
            a.send(sent)
            assert b.hears(sent)
        assert c.hears_nothing()
        assert a.hears_nothing()


def test_hub_sends_all_to_all(short: str) -> None:
    with running(short, hub=True) as control, kernels(control, 3) as (a, b, c):
        for to in (BROADCAST, mac(1), mac(9)):
            b.send(frame(to, mac(2)))
            assert a.hears(frame(to, mac(2)))
            assert c.hears(frame(to, mac(2)))


def test_what_a_guest_does_not_take_at_once_waits_for_it(short: str) -> None:
    """The original drops it: a datagram socket holds ten."""
    with running(short) as control, kernels(control, 2) as (a, b):
        sent = [frame(BROADCAST, mac(1), number.to_bytes(2, "big")) for number in range(300)]
        for each in sent:
            a.send(each)
        for each in sent:
            assert b.hears(each)


def test_guest_that_goes_is_forgotten(short: str) -> None:
    with running(short, hub=True) as control, kernels(control, 2) as (a, b):
        first = Kernel(control, f"{short}/own")
        b.send(frame(BROADCAST, mac(2)))
        assert first.hears(frame(BROADCAST, mac(2)))
        assert a.hears(frame(BROADCAST, mac(2)))
        first.close()
        os.unlink(f"{short}/own")
        again = Kernel(control, f"{short}/own")
        until(lambda: again.switch)
        b.send(frame(BROADCAST, mac(3)))
        assert again.hears(frame(BROADCAST, mac(3)))
        again.close()


def test_strangers_are_neither_heard_nor_told(short: str) -> None:
    with running(short, data=f"{short}/data") as control, kernels(control, 2) as (a, b):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(frame(BROADCAST, mac(9)), f"{short}/data")
            stranger.bind(f"{short}/s")
            stranger.sendto(frame(BROADCAST, mac(9)), f"{short}/data")
        a.send(b"too short")
        a.send(frame(BROADCAST, mac(1)))
        assert b.hears(frame(BROADCAST, mac(1)))


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.0\r\n\r\n", request(b"x", version=2), b"", b"\1"])
def test_bad_requests_harm_nobody(short: str, sent: bytes) -> None:
    with running(short) as control, kernels(control, 2) as (a, b):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bad:
            bad.settimeout(DEADLINE)
            bad.connect(control)
            bad.sendall(sent)
            if len(sent) > 11:
                assert bad.recv(1) == b""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bad:
            bad.settimeout(DEADLINE)
            bad.connect(control)
            bad.sendall(request(b"\0nobody there"))
            assert bad.recv(1) == b""
        a.send(frame(BROADCAST, mac(1)))
        assert b.hears(frame(BROADCAST, mac(1)))


def test_path_of_another_user_is_not_sent_to(short: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon_switch, "_uid", lambda _connection: os.geteuid() + 1)
    with running(short) as control:
        refused = Kernel(control, f"{short}/own")
        assert refused.switch == b""
        refused.close()
        with kernels(control, 1) as (other,):
            assert other.switch


def test_address_is_of_one_guest(short: str) -> None:
    with running(short) as control:
        first = Kernel(control, f"{short}/own")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as second:
            second.settimeout(DEADLINE)
            second.connect(control)
            second.sendall(request(os.fsencode(f"{short}/own")))
            assert second.recv(1) == b""
        first.close()


def test_network_is_joined_and_joined_again(place: str) -> None:
    with running(place, network="lan") as control, kernels(control, 1) as (a,):
        with Guest(Segment("lan")) as guest:
            guest.send(frame(BROADCAST, mac(7)))
            assert a.hears(frame(BROADCAST, mac(7)))
            a.send(frame(mac(7), mac(1)))
            assert guest.recv(2000) == frame(mac(7), mac(1))
        kill("lan")

        def is_back() -> bool:
            """There may be no switch yet, or one that waits for the other side."""
            try:
                return bool(Segment("lan").status()["ports"])
            except Exception:  # noqa: BLE001
                return False

        until(is_back)
        with Guest(Segment("lan")) as guest:
            guest.send(frame(BROADCAST, mac(8)))
            assert a.hears(frame(BROADCAST, mac(8)))
