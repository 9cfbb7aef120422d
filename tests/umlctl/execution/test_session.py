"""A session, and a guest that is a thread."""

from __future__ import annotations

import math
import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from socketproto.wire import PANIC, Notification
from tests.live.conftest import wait_for
from umlctl import streams
from umlctl.execution import session as sessions
from umlctl.execution import signals
from umlctl.execution.session import Outcome, Pipes, Session, Streams
from umlctl.protocol.control_line import Said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOKEN = "0123456789abcdef"
DEADLINE = 60.0


class Guest:
    """The other ends of a session's lines, and its standard streams.

    Fields:
        out, err: what came on those; whole once the session has ended
    """

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = str(path)
        self.pipes = Pipes()
        self.kernel, self.notify = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.stdin, self.input = os.pipe()
        self.out, self.err = path / "out", path / "err"
        self._descriptors = [
            os.open(each, os.O_CREAT | os.O_WRONLY) for each in (self.out, self.err)
        ]
        monkeypatch.setattr(streams, "STDIN", self.stdin)
        monkeypatch.setattr(streams, "STDOUT", self._descriptors[0])
        monkeypatch.setattr(streams, "STDERR", self._descriptors[1])
        self.told: list[str] = []

    def close(self) -> None:
        self.pipes.close()
        self.kernel.close()
        self.notify.close()
        for descriptor in (self.stdin, self.input, *self._descriptors):
            try:
                os.close(descriptor)
            except OSError:
                pass

    def say(self, text: str) -> None:
        os.write(self.pipes.its["hear"], text.encode() + b"\n")

    def write(self, name: str, data: bytes) -> None:
        os.write(self.pipes.its[name], data)

    def die(self) -> None:
        for name in {"hear", "output", "error"} & self.pipes.its.keys():
            os.close(self.pipes.its.pop(name))

    def hear(self, word: str) -> str:
        """The next line of the host, which begins so."""
        text = b""
        while not text.endswith(b"\n"):
            text += os.read(self.pipes.its["tell"], 1)
        found = text.decode().strip()
        self.told.append(found)
        assert found.startswith(word), self.told
        return found

    def run(
        self,
        acts: Callable[[Guest], None],
        *,
        kinds: str = "ppp",
        boot: float = DEADLINE,
        limit: float | None = None,
        ready: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Have the guest act while a session runs."""
        problems: list[BaseException] = []

        def act() -> None:
            try:
                acts(self)
            except BaseException as problem:  # noqa: BLE001 - raised again where it is seen
                problems.append(problem)
                self.die()

        thread = threading.Thread(target=act)
        self.session = Session(self.pipes.ours, self.directory, kinds, TOKEN)
        now = time.monotonic()
        thread.start()
        with self.session.heeding():
            outcome = self.session.run(
                self.notify, ready, now + boot, None if limit is None else now + limit
            )
            thread.join(DEADLINE)
            assert not thread.is_alive()
            self.die()
            self.session.finish()
        self.session.close()
        assert problems == []
        return outcome

    def begin(self) -> None:
        self.say("up")
        self.hear("go")
        self.say("began")

    def end(self, status: int = 0) -> None:
        self.say(f"status {status}")
        self.write("output", TOKEN.encode())
        self.write("error", TOKEN.encode())
        self.hear("bye")


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guest]:
    made = Guest(tmp_path, monkeypatch)
    yield made
    made.close()


def test_streams_are_apart_and_whole(guest: Guest) -> None:
    def acts(guest: Guest) -> None:
        guest.begin()
        guest.write("output", b"out" + bytes(range(256)))
        guest.write("error", b"err")
        guest.end(3 << 8)

    assert guest.run(acts) == Outcome(Said("status", (768,)), began=True)
    assert guest.out.read_bytes() == b"out" + bytes(range(256))
    assert guest.err.read_bytes() == b"err"


def test_status_does_not_overtake_what_was_written(guest: Guest) -> None:
    def acts(guest: Guest) -> None:
        guest.begin()
        guest.say("status 0")
        for _ in range(100):
            guest.write("output", b"x" * 1000)
        guest.write("output", TOKEN.encode())
        guest.write("error", TOKEN.encode())
        guest.hear("bye")

    guest.run(acts)
    assert len(guest.out.read_bytes()) == 100_000


def test_input_is_handed_over_with_its_end(guest: Guest) -> None:
    os.write(guest.input, b"typed")
    os.close(guest.input)

    def acts(guest: Guest) -> None:
        guest.begin()
        assert guest.hear("in") == "in 1"
        with open(f"{guest.directory}/1", "rb") as file:
            assert file.read() == b"typed"
        assert guest.hear("in") == "in 0"
        guest.say("taken 1")
        guest.end()

    assert guest.run(acts).said == Said("status", (0,))
    assert not os.path.exists(f"{guest.directory}/1")


def test_input_that_nobody_reads_is_left(guest: Guest) -> None:
    def acts(guest: Guest) -> None:
        guest.begin()
        guest.say("closed 0")
        end = time.monotonic() + DEADLINE
        while guest.session._feed.is_open and time.monotonic() < end:
            time.sleep(0.001)
        os.write(guest.input, b"x")
        guest.end()

    guest.run(acts)
    assert os.read(guest.stdin, 1) == b"x"


def test_signals_are_the_commands(guest: Guest) -> None:
    def acts(guest: Guest) -> None:
        guest.begin()
        assert guest.hear("in") == "in 0"  # it is known that the command has begun
        os.kill(os.getpid(), signal.SIGUSR1)
        assert guest.hear("signal") == f"signal {int(signal.SIGUSR1)}"
        guest.end(signal.SIGUSR1)

    os.close(guest.input)
    assert guest.run(acts).said == Said("status", (int(signal.SIGUSR1),))


def test_signal_before_there_is_a_command_ends_all(guest: Guest) -> None:
    def acts(guest: Guest) -> None:
        guest.say("up")
        guest.hear("go")
        os.kill(os.getpid(), signal.SIGTERM)

    outcome = guest.run(acts, kinds="npp")
    assert (outcome.caught, outcome.began, outcome.said) == (signal.SIGTERM, False, None)


def test_nothing_is_passed_on_before_it_is_heard_that_the_command_began(guest: Guest) -> None:
    """Who sees some of it may send it a signal, and a terminal is the command's by then."""
    seen: list[bytes] = []

    def ready() -> None:
        guest.say("began")
        guest.write("output", b"something")
        time.sleep(0.05)  # a session that passes it on too early has its time to do so
        seen.append(guest.out.read_bytes())

    def acts(guest: Guest) -> None:
        guest.say("up")
        guest.hear("go")
        guest.end()

    outcome = guest.run(acts, kinds="npp", ready=ready)
    assert (seen, outcome.said) == ([b""], Said("status", (0,)))
    assert guest.out.read_bytes() == b"something"


def test_signal_that_the_guest_does_not_hear_of_is_said_and_one_more_gives_up(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "UNHEARD_TIMEOUT", 0.01)

    def acts(guest: Guest) -> None:
        guest.begin()
        assert guest.hear("in") == "in 0"  # it is known that the command has begun
        os.kill(os.getpid(), signal.SIGTERM)
        guest.hear("signal")
        wait_for(lambda: b"once more gives up" in guest.err.read_bytes(), "it is said")
        os.kill(os.getpid(), signal.SIGTERM)

    os.close(guest.input)
    outcome = guest.run(acts)
    assert (outcome.caught, outcome.began, outcome.said) == (signal.SIGTERM, True, None)


def test_signals_that_the_guest_hears_of_are_passed_on_for_ever(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "UNHEARD_TIMEOUT", 0.01)

    def acts(guest: Guest) -> None:
        guest.begin()
        assert guest.hear("in") == "in 0"  # it is known that the command has begun
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
            guest.hear("signal")
            guest.say(f"heard {int(signal.SIGTERM)}")
            wait_for(lambda: guest.session._unheard._since == math.inf, "it is heard")
        guest.end()

    os.close(guest.input)
    outcome = guest.run(acts)
    assert (outcome.caught, outcome.said) == (0, Said("status", (0,)))


def test_command_is_told_when_its_time_is_up(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """And then the guest, whether the command has heeded that or not."""
    monkeypatch.setattr(sessions, "LATE_TIMEOUT", 0.01)

    def acts(guest: Guest) -> None:
        guest.begin()
        guest.session._end = time.monotonic()
        guest.say("taken 1")  # something comes, whenever that was seen
        assert guest.hear("signal") == f"signal {int(signal.SIGTERM)}"
        guest.hear("bye")

    assert guest.run(acts, kinds="npp", limit=DEADLINE).late


def test_alarm_has_its_time_be_up(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though that is so far away that poll(2) could not wait for it."""
    monkeypatch.setattr(sessions, "LATE_TIMEOUT", 0.01)

    def acts(guest: Guest) -> None:
        guest.begin()
        assert guest.hear("in") == "in 0"  # it is known that the command has begun
        os.kill(os.getpid(), signal.SIGALRM)
        assert guest.hear("signal") == f"signal {int(signal.SIGTERM)}"
        guest.hear("bye")

    os.close(guest.input)
    assert guest.run(acts, boot=1e9, limit=1e9).late


def test_guest_that_never_begins_is_not_waited_for(guest: Guest) -> None:
    outcome = guest.run(lambda guest: guest.say("up"), kinds="npp", boot=0.05)
    assert outcome == Outcome(None, began=False)


def test_reader_that_is_gone_is_told(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(streams, "STDOUT", writer)

    def acts(guest: Guest) -> None:
        guest.begin()
        guest.write("output", b"x")
        assert guest.hear("shut") == "shut 0"
        guest.end(signal.SIGPIPE)

    guest.run(acts, kinds="npp")
    assert guest.session.problem == ""
    os.close(writer)


def test_full_disk_is_said(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "wb") as full:
        monkeypatch.setattr(streams, "STDERR", full.fileno())

        def acts(guest: Guest) -> None:
            guest.begin()
            guest.write("error", b"x")
            assert guest.hear("shut") == "shut 1"
            guest.end()

        guest.run(acts, kinds="npp")
    assert "No space" in guest.session.problem


def test_guest_that_dies_leaves_what_it_wrote_and_why(guest: Guest) -> None:
    def acts(guest: Guest) -> None:
        guest.begin()
        guest.write("output", b"last" + TOKEN[:5].encode())
        guest.kernel.send(Notification(PANIC, b"sysrq triggered crash\0").encode())
        guest.die()

    outcome = guest.run(acts, kinds="npp")
    assert (outcome.said, outcome.began) == (None, True)
    assert outcome.panic.startswith("sysrq triggered crash")
    assert guest.out.read_bytes() == b"last" + TOKEN[:5].encode()


def test_guest_that_cannot_do_what_it_is_to_do_is_let_go(guest: Guest) -> None:
    def acts(guest: Guest) -> None:
        guest.say("up")
        guest.hear("go")
        guest.say("failed 2 19")
        guest.hear("bye")

    assert guest.run(acts, kinds="npp").said == Said("failed", (2, 19))


def test_second_word_on_how_it_ended_counts_for_nothing(guest: Guest) -> None:
    def acts(guest: Guest) -> None:
        guest.begin()
        guest.say("noexec 2")
        guest.end(127 << 8)

    assert guest.run(acts, kinds="npp").said == Said("noexec", (2,))


def test_streams_may_be_others_and_another_thread_may_have_it_end(guest: Guest) -> None:
    taken = bytearray(), bytearray()
    own = Streams(guest.stdin, (taken[0].extend, taken[1].extend))
    session = Session(guest.pipes.ours, guest.directory, "ppp", TOKEN, None, own)

    def act() -> None:
        guest.begin()
        os.write(guest.input, b"read this")
        guest.hear("in 1")
        guest.write("output", b"out")
        session.cancel()
        guest.hear(f"signal {signal.SIGTERM}")
        guest.end(signal.SIGTERM)

    thread = threading.Thread(target=act)
    thread.start()
    outcome = session.run(guest.notify, lambda: None, time.monotonic() + DEADLINE, None)
    thread.join(DEADLINE)
    session.finish()
    session.close()
    assert (outcome.late, outcome.said) == (True, Said("status", (signal.SIGTERM,)))
    assert tuple(map(bytes, taken)) == (b"out", b"")
    assert (guest.out.read_bytes(), guest.err.read_bytes()) == (b"", b"")
    with open(f"{guest.directory}/1", "rb") as piece:
        assert piece.read() == b"read this"


def test_command_may_be_left_to_itself_once_it_has_begun(guest: Guest) -> None:
    session = Session(guest.pipes.ours, guest.directory, "nnn", TOKEN, until_begun=True)
    thread = threading.Thread(target=guest.begin)
    thread.start()
    outcome = session.run(guest.notify, lambda: None, time.monotonic() + DEADLINE, None)
    thread.join(DEADLINE)
    session.close()
    assert outcome == Outcome(None, began=True)
    assert guest.told == ["go"], "it is not told to end"
