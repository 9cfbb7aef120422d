from __future__ import annotations

import os
import select
import signal
import socket
import sys
import termios
import threading
import tty
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.umlctl.state.test_records import ended, keep, write_record
from umlctl import exitcodes, streams
from umlctl.cli import viewer as viewers
from umlctl.cli.console_answer import Answer
from umlctl.cli.keyboard import Keyboard
from umlctl.cli.transcript import Transcript, log_path
from umlctl.cli.viewer import ConsoleViewer, Runner
from umlctl.client.attach import Attachment
from umlctl.host import paths
from umlctl.protocol.console_socket import INPUT, MAX_PACKET_BYTES, NOTICE, OUTPUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from umlctl.protocol.status import Ending


class Supervisor:
    """That of the guest `demo`, which does as a test says with the one viewer that comes."""

    def __init__(self) -> None:
        paths.make_run_dir()
        os.makedirs(paths.guest_dir("demo"))
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(f"{paths.guest_dir('demo')}/attach")
        self._listener.listen()
        self.connection = self._listener

    def tell(self, **notice: object) -> None:
        self.connection.send(NOTICE + msgspec.json.encode(notice))

    def show(self, data: bytes) -> None:
        self.connection.send(OUTPUT + data)

    def leave(self) -> None:
        self.connection.close()

    def close(self) -> None:
        self._listener.close()
        self.connection.close()

    @contextmanager
    def doing(self, what: Callable[[], None]) -> Iterator[None]:
        """Do something when the viewer has come."""

        def work() -> None:
            self.connection = self._listener.accept()[0]
            self.connection.recv(MAX_PACKET_BYTES)
            what()

        thread = threading.Thread(target=work)
        thread.start()
        yield
        thread.join()


@pytest.fixture
def supervisor(house: str) -> Iterator[Supervisor]:
    found = Supervisor()
    yield found
    found.close()


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """What is on standard input: all that it says, and then its end."""
    reader, writer = os.pipe()
    monkeypatch.setattr(streams, "STDIN", reader)

    def say(data: bytes) -> None:
        os.write(writer, data)
        os.close(writer)

    yield say
    os.close(reader)


def viewer(*, keyboard: bool = True, offset: int | None = None) -> ConsoleViewer:
    attachment = Attachment("demo", "con0", keyboard=keyboard)
    return ConsoleViewer(attachment, Transcript("demo", "con0", offset), b"")


def test_script_stays_until_its_text_is_printed(
    supervisor: Supervisor,
    script: Callable[[bytes], None],
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    def answer() -> None:
        supervisor.tell(offset=0, replay=0)
        supervisor.tell(keyboard="yours")
        assert supervisor.connection.recv(MAX_PACKET_BYTES) == INPUT + b"make\n"
        supervisor.show(b"all is done\n")

    looking = viewer()
    looking.answer = Answer(None, b"done")
    script(b"make\n")
    with supervisor.doing(answer):
        assert looking.run(None) == exitcodes.OK
    assert capfdbinary.readouterr().out == b"all is done\n"


def test_script_does_not_wait_for_the_keyboard_of_another(
    supervisor: Supervisor, script: Callable[[bytes], None], capfd: pytest.CaptureFixture[str]
) -> None:
    script(b"make\n")
    with supervisor.doing(lambda: supervisor.tell(keyboard="waiting", by=7)):
        assert viewer().run(None) == exitcodes.REFUSED
    assert "pid 7 has the keyboard; --force takes it" in capfd.readouterr().err


def test_guest_that_ends_before_the_text_came_is_said(
    supervisor: Supervisor, script: Callable[[bytes], None], capfd: pytest.CaptureFixture[str]
) -> None:
    looking = viewer(keyboard=False)
    looking.answer = Answer(None, b"done")
    with supervisor.doing(lambda: supervisor.tell(offset=0, ended="it powered down")):
        assert looking.run(None) == exitcodes.GONE
    said = capfd.readouterr().err
    assert "demo has ended: it powered down" in said
    assert "it has not printed 'done' before" in said
    script(b"")


@pytest.mark.parametrize("ending", [ended(0, 1.0), None])
def test_guest_that_has_ended_is_known_though_its_supervisor_could_not_tell(
    supervisor: Supervisor,
    script: Callable[[bytes], None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    ending: Ending | None,
) -> None:
    looking = viewer(keyboard=False)
    if ending is None:
        write_record()
    else:
        keep(ending=ending)
    monkeypatch.setattr(looking._attachment, "reconnect", lambda: False)
    with supervisor.doing(supervisor.leave):
        code = looking.run(None)
    said = capfd.readouterr().err
    if ending is None:
        assert code == exitcodes.GONE
        assert "the supervisor of demo has ended; the guest may run on" in said
    else:
        assert code == exitcodes.OK
        assert "demo has ended: exited with status 0" in said
    script(b"")


def test_why_it_cannot_be_attached_is_told(
    supervisor: Supervisor, script: Callable[[bytes], None], capfd: pytest.CaptureFixture[str]
) -> None:
    with supervisor.doing(lambda: supervisor.tell(problem="no console con7")):
        assert viewer().run(None) == exitcodes.FAILED
    assert "no console con7" in capfd.readouterr().err
    script(b"")


def test_signal_ends_a_viewer_and_what_it_had_changed(
    supervisor: Supervisor, script: Callable[[bytes], None]
) -> None:
    def kill() -> None:
        supervisor.tell(keyboard="yours")
        supervisor.connection.recv(MAX_PACKET_BYTES)  # now it moves bytes, and heeds signals
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    looking = viewer()
    looking.answer = Answer(None, b"never")
    script(b"typed")
    with supervisor.doing(kill):
        assert looking.run(None) == exitcodes.SIGNALLED + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("moment", ["raw", "shown"])
def test_signal_at_a_bad_moment_leaves_no_terminal_raw(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Just when the terminal is raw, and when the rest is shown before it is restored."""
    controller, terminal = os.openpty()
    file = os.fdopen(terminal, "r+b", buffering=0)
    monkeypatch.setattr(sys, "stdin", file)
    before = termios.tcgetattr(terminal)
    raw = tty.setraw

    def killed(*arguments: int) -> None:
        raw(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    def end() -> None:
        with suppress(BrokenPipeError):  # the viewer is gone already
            supervisor.tell(ended="it powered down")

    looking = viewer()
    looking.keyboard = Keyboard(b"\x1d", is_terminal=True)
    if moment == "raw":
        monkeypatch.setattr(tty, "setraw", killed)
    else:
        monkeypatch.setattr(looking, "_show_rest", lambda: os.kill(os.getpid(), signal.SIGTERM))
    with supervisor.doing(end):
        assert looking.run(None) in {exitcodes.OK, exitcodes.SIGNALLED + signal.SIGTERM}
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)  # the viewer is to end, and leaves it ignored
    assert termios.tcgetattr(terminal) == before
    file.close()
    os.close(controller)


def test_terminal_that_does_not_block_is_shown_everything_and_is_as_it_was(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reader begins late, when it has long taken all that it takes at once."""
    controller, terminal = os.openpty()
    before = termios.tcgetattr(terminal)
    ends = [os.fdopen(os.dup(terminal), mode, buffering=0) for mode in ("rb", "wb")]
    for name, end in zip(("stdin", "stdout"), ends, strict=True):
        monkeypatch.setattr(sys, name, end)
        monkeypatch.setattr(streams, name.upper(), end.fileno())
    os.set_blocking(terminal, False)  # and so are its copies
    text = b"".join(b"%d\r\n" % number for number in range(15000))
    seen = bytearray()

    def feed() -> None:
        supervisor.tell(offset=0, replay=0)
        for start in range(0, len(text), 30000):
            supervisor.show(text[start : start + 30000])
        supervisor.tell(ended="it powered down")
        select.select([controller], [], [])
        with suppress(OSError):  # the viewer's end is closed
            while data := os.read(controller, 65536):
                seen.extend(data)

    looking = viewer(keyboard=False)
    with supervisor.doing(feed):
        try:
            assert looking.run(None) == exitcodes.OK
            assert termios.tcgetattr(terminal) == before
        finally:
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)  # as the viewer leaves it ignored
            for end in ends:
                end.close()
            os.close(terminal)
    os.close(controller)
    assert bytes(seen).startswith(text)


@pytest.fixture
def runner() -> Iterator[tuple[Runner, int]]:
    """`umlctl run`, and the end of the pipe that it holds."""
    reader, writer = os.pipe()
    yield Runner(reader), writer
    os.close(reader)


def test_runner_says_that_the_guest_is_over(runner: tuple[Runner, int]) -> None:
    run, writer = runner
    assert not run.has_news()
    os.write(writer, b"\0")
    assert run.has_news()
    os.close(writer)
    assert run.is_over()
    assert run.is_over()
    assert run.has_news()


def test_runner_that_was_killed_says_nothing(runner: tuple[Runner, int]) -> None:
    run, writer = runner
    os.close(writer)
    assert run.has_news()
    assert not run.is_over()


def test_terminal_of_run_shows_what_came_before_it_could_attach(
    house: str, runner: tuple[Runner, int], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    run, writer = runner
    path = log_path("demo", "con0")
    os.makedirs(os.path.dirname(path))
    with open(path, "wb") as file:
        file.write(b"panic\n")
    os.write(writer, b"\0")
    os.close(writer)
    assert viewers.main("demo", run.descriptor, 0, 0) == exitcodes.OK
    assert capfdbinary.readouterr().out == b"panic\n"
    found = os.stat(path)
    code = viewers.main("demo", run.descriptor, found.st_dev, found.st_ino)
    assert code == exitcodes.NO_GUEST
    assert capfdbinary.readouterr().out == b"", "that was of the life before"
