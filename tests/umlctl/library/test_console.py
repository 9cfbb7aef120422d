"""A console, with a socket in place of its supervisor."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from umlctl.client.attach import Attachment
from umlctl.errors import GuestEnded, HostError, TimedOut, UsageError
from umlctl.library.console import Console
from umlctl.protocol.console_socket import HELLO, INPUT, NOTICE, OUTPUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The supervisor's end of a connection."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def connect(attachment: Attachment, waits: Callable[[], bool] | None) -> None:
        assert waits is None
        ours.setblocking(False)
        attachment._socket = ours

    monkeypatch.setattr(Attachment, "connect", connect)
    theirs.settimeout(60)
    yield theirs
    theirs.close()
    ours.close()


def notice(**facts: Any) -> bytes:
    return NOTICE + json.dumps(facts).encode()


def hello(supervisor: socket.socket) -> dict[str, Any]:
    packet = supervisor.recv(1000)
    assert packet[:1] == HELLO
    found: dict[str, Any] = json.loads(packet[1:])
    return found


def test_what_is_printed_is_waited_for_piece_by_piece(supervisor: socket.socket) -> None:
    with Console("demo", "0", past=True, force=False) as console:
        said = hello(supervisor)
        assert (said["console"], said["offset"], said["keyboard"]) == ("con0", 0, True)
        supervisor.send(notice(offset=0, keyboard="yours"))
        for piece in (b"one\r\ntwo \xe2\x82", b"\xac three", b" four"):
            supervisor.send(OUTPUT + piece)
        match = console.expect(r"two (.)")
        assert (match[1], console.before) == ("\u20ac", "one\n")
        assert console.expect("four").group() == "four"
        assert console.before == " three "
        console.sendline("typed")
        assert supervisor.recv(1000) == INPUT + b"typed\n"


def test_what_comes_from_now_on(supervisor: socket.socket) -> None:
    with Console("demo", "ssl1", past=False, force=True):
        said = hello(supervisor)
        assert "offset" not in said
        assert (said["console"], said["lines"], said["force"]) == ("ssl1", 0, True)


def test_time_that_is_up_says_what_was_printed(supervisor: socket.socket) -> None:
    with Console("demo", "con0", past=True, force=False) as console:
        supervisor.send(OUTPUT + b"other")
        with pytest.raises(TimedOut, match=r"'login:' within 0\.2 seconds, but: 'other'"):
            console.expect("login:", timeout=0.2)
        assert console.unread == "other"


def test_end_of_the_guest_ends_the_wait(supervisor: socket.socket) -> None:
    with Console("demo", "con0", past=True, force=False) as console:
        supervisor.send(OUTPUT + b"last words")
        supervisor.send(notice(ended="panicked: by hand"))
        with pytest.raises(GuestEnded, match="panicked: by hand") as caught:
            console.expect("login:")
        assert caught.value.console == "last words"
        assert console.expect("words").group() == "words"


def test_problem_of_the_supervisor_is_an_error(supervisor: socket.socket) -> None:
    with Console("demo", "con0", past=True, force=False) as console:
        supervisor.send(notice(problem="there is no con0"))
        with pytest.raises(HostError, match="demo: there is no con0"):
            console.expect("x")


def test_next_supervisor_goes_on_where_the_last_has_ended(
    supervisor: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def reconnect(attachment: Attachment) -> bool:
        attachment.close()
        ours.setblocking(False)
        attachment._socket = ours
        return True

    monkeypatch.setattr(Attachment, "reconnect", reconnect)
    with theirs, Console("demo", "con0", past=True, force=False) as console:
        hello(supervisor)
        supervisor.send(notice(offset=100))
        supervisor.send(OUTPUT + b"12345")
        supervisor.close()
        theirs.send(OUTPUT + b"6")
        assert console.expect("123456").group() == "123456"
        assert hello(theirs)["offset"] == 105


def test_name_that_is_no_console_is_refused() -> None:
    with pytest.raises(UsageError, match="no console"):
        Console("demo", "con77", past=True, force=False)
