from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from umlctl.client import attach, unsupervised
from umlctl.client.attach import Attachment
from umlctl.errors import HostError, NoGuest
from umlctl.host import paths
from umlctl.protocol.console_socket import HELLO, INPUT, MAX_PACKET_BYTES, OUTPUT, SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator


def make_directory() -> None:
    """Of the guest `demo`."""
    paths.make_run_dir()
    os.makedirs(paths.guest_dir("demo"))


class Supervisors:
    """Those of the guest `demo`, one after another, as far as its consoles go."""

    def __init__(self) -> None:
        self._path = f"{paths.guest_dir('demo')}/attach"
        make_directory()
        self._listener: socket.socket | None = None
        self._ends: list[socket.socket] = []
        self.restore()

    def restore(self) -> None:
        """Open the socket."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(self._path)
        self._listener.listen()

    @property
    def end(self) -> socket.socket:
        """Of the last connection."""
        return self._ends[-1]

    def greeted(self) -> dict[str, Any]:
        """What the next viewer says that it wants."""
        assert self._listener is not None
        self._ends.append(self._listener.accept()[0])
        packet = self.heard()
        assert packet[:1] == HELLO
        hello: dict[str, Any] = json.loads(packet[1:])
        return hello

    def heard(self) -> bytes:
        return self.end.recv(MAX_PACKET_BYTES, socket.MSG_DONTWAIT)

    def die(self) -> None:
        """Leave the socket behind, as one that is killed."""
        assert self._listener is not None
        self._listener.close()
        for end in self._ends:
            end.close()

    def replaced(self, _umid: str) -> bool:
        """The next one stands where this one did."""
        os.unlink(self._path)
        self.restore()
        return True


@pytest.fixture
def supervisors(house: str) -> Iterator[Supervisors]:
    found = Supervisors()
    yield found
    found.die()


@pytest.fixture
def attached(supervisors: Supervisors) -> Iterator[Attachment]:
    """A viewer that has greeted."""
    attachment = Attachment("demo", "con0")
    attachment.connect(None)
    attachment.greet(24, None)
    hello = supervisors.greeted()
    assert hello == {"console": "con0", "keyboard": True, "force": False, "lines": 24}
    yield attachment
    attachment.close()


def test_what_was_typed_goes_to_the_next_supervisor_that_hears_it(
    supervisors: Supervisors, attached: Attachment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One may be killed before it has said anything."""
    monkeypatch.setattr(unsupervised, "ask_to_adopt", supervisors.replaced)
    attached.hear_keyboard("yours")
    supervisors.die()
    attached.type(b"typed")
    for _ in range(2):
        assert attached.reconnect()
        attached.greet(24, 7)
        hello = supervisors.greeted()
        assert hello["force"], "the keyboard is its own still"
        assert hello["offset"] == 7
        assert attached.typing is None
        supervisors.die()
    assert attached.reconnect()
    attached.greet(24, 7)
    supervisors.greeted()
    attached.hear_keyboard("yours")
    assert supervisors.heard() == INPUT + b"typed"


def test_who_had_no_keyboard_takes_none_from_others(
    supervisors: Supervisors, attached: Attachment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsupervised, "ask_to_adopt", supervisors.replaced)
    attached.hear_keyboard("waiting")
    supervisors.die()
    assert attached.reconnect()
    attached.greet(24, 7)
    assert not supervisors.greeted()["force"]


def test_supervisor_that_does_not_come_back_is_not_waited_for_without_end(
    supervisors: Supervisors, attached: Attachment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsupervised, "ask_to_adopt", lambda _umid: False)
    monkeypatch.setattr(attach, "RETURN_TIMEOUT", 0.1)
    supervisors.die()
    assert not attached.reconnect()


def test_packets_come_one_by_one_and_none_is_the_end(
    supervisors: Supervisors, attached: Attachment
) -> None:
    assert attached.receive() is None
    supervisors.end.send(OUTPUT + b"a")
    supervisors.end.send(OUTPUT + b"b")
    assert [attached.receive(), attached.receive()] == [OUTPUT + b"a", OUTPUT + b"b"]
    supervisors.die()
    assert attached.receive() == b""


def test_last_words_are_heard_of_a_supervisor_that_did_not_take_what_was_typed(
    supervisors: Supervisors, attached: Attachment
) -> None:
    attached.type(b"typed")
    supervisors.end.send(OUTPUT + b"a")
    supervisors.die()
    assert [attached.receive(), attached.receive()] == [OUTPUT + b"a", b""]


def test_guest_that_takes_nothing_is_sent_it_later(
    supervisors: Supervisors, attached: Attachment
) -> None:
    count = 0
    while not attached.is_behind:
        count += 1
        attached.type(b"%06d" % count)
    heard: list[bytes] = []
    while len(heard) < count:
        heard.append(supervisors.heard())
        attached.flush()
    assert heard == [INPUT + b"%06d" % number for number in range(1, count + 1)]
    attached.tell_size(50, 132)
    assert supervisors.heard() == SIZE + b"[50, 132]"


@pytest.mark.usefixtures("house")
def test_guest_that_is_not_there_may_still_come() -> None:
    attachment = Attachment("demo", "con0")
    assert attachment.fileno() == -1
    with pytest.raises(NoGuest, match="no guest 'demo' with a console to attach to runs here"):
        attachment.connect(None)
    tries = 3

    def waits() -> bool:
        nonlocal tries
        tries -= 1
        return tries > 0

    with pytest.raises(NoGuest):
        attachment.connect(waits)
    assert tries == 0


@pytest.mark.usefixtures("house")
def test_socket_that_cannot_be_connected_to_is_said() -> None:
    make_directory()
    path = f"{paths.guest_dir('demo')}/attach"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(path)
        with pytest.raises(HostError, match=f"demo: cannot attach to {path}"):
            Attachment("demo", "con0").connect(None)
