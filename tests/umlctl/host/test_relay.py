from __future__ import annotations

import socket

from umlctl.host.relay import MAX_WAITING, Relay


def test_datagrams_arrive_in_order_though_nobody_takes_them_for_a_while(short: str) -> None:
    relay = Relay(f"{short}/n")
    sent = [b"%d" % number for number in range(100)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as taker:
        taker.bind(f"{short}/n")
        for each in sent:
            relay.send(each)  # waits for nobody
        assert not relay.flush()
        found: list[bytes] = []
        while len(found) < len(sent):
            found.append(taker.recv(100))
            relay.flush()
        assert found == sent
        assert relay.flush()


def test_what_nobody_listens_for_is_lost(short: str) -> None:
    relay = Relay(f"{short}/n")
    relay.send(b"lost")
    assert relay.flush()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as taker:
        taker.bind(f"{short}/n")
        relay.send(b"found")
        assert taker.recv(100) == b"found"


def test_what_no_socket_can_be_called_is_lost() -> None:
    relay = Relay("/" + "x" * 200)
    relay.send(b"lost")
    assert relay.flush()


def test_who_takes_nothing_costs_no_memory(short: str) -> None:
    relay = Relay(f"{short}/n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as taker:
        taker.bind(f"{short}/n")
        for number in range(2 * MAX_WAITING):
            relay.send(b"%d" % number)
        found: list[bytes] = []
        while found_more(taker, found):
            relay.flush()
        assert MAX_WAITING <= len(found) < 2 * MAX_WAITING
        assert found[-1] == b"%d" % (2 * MAX_WAITING - 1)


def found_more(taker: socket.socket, found: list[bytes]) -> bool:
    """Take what has come; False if nothing has."""
    try:
        found.append(taker.recv(100))
    except BlockingIOError:
        return False
    return True
