"""`umlctl console`: a terminal on a guest's console.

It stands on the standard library alone: it begins at once, and does little but move bytes.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import termios
import threading
import time
import tty
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import click

from umlctl import exitcodes, streams
from umlctl.cli import complete
from umlctl.cli.answered import Answer
from umlctl.cli.noise import Quiet
from umlctl.cli.seconds import SECONDS
from umlctl.cli.terminal import Key, Screen, without_questions
from umlctl.client.ask import GuestClient
from umlctl.errors import HostError, NoGuest, UmlctlError, UsageError
from umlctl.host import paths
from umlctl.output import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The same as in umlctl.host.attaching, which imports more than a terminal needs.
HELLO, INPUT, SIZE, NOTICE, OUTPUT = b"h", b"i", b"s", b"n", b"o"
PACKET: Final = 65536

ESCAPE: Final = "^]"
AGAIN: Final = 0.3
"""How long the same key may follow itself: as elsewhere it must be pressed thrice, seconds."""
COMES_BACK: Final = 5.0
"""How long a supervisor that has ended may take to come back, seconds."""
ROWS: Final = 24
"""Of a terminal that does not say how many it has."""
PAUSE: Final = 0.05
BEHIND: Final = 256
"""Packets of input that a guest that takes none may be behind."""


@click.command(
    epilog="""\b
Examples:
  umlctl console demo                the system console; ^] leaves it
  umlctl console demo 1              con1, the guest's /dev/tty1, plugged if need be
  umlctl console demo --read-only    watch, whoever types
  umlctl console demo --force        take the keyboard from who has it
  echo uptime | umlctl console demo
  echo 'make check; echo do""ne' | umlctl console demo --until done --wait 600
""",
)
@click.argument("guest", shell_complete=complete.guests)
@click.argument("console", default="0", metavar="[CONSOLE]", shell_complete=complete.consoles)
@click.option("--read-only", is_flag=True, help="Only look; leave the keyboard to others.")
@click.option("--force", is_flag=True, help="Take the keyboard from who has it.")
@click.option(
    "--escape", default=ESCAPE, show_default=True, metavar="KEY", help="^A to ^_, or `none`."
)
@click.option("--stty", is_flag=True, help="Type an stty command when the window's size changes.")
@click.option(
    "--wait",
    type=SECONDS,
    metavar="SECONDS",
    help="After the end of input: the longest silence. [default: 5; with --until: any]",
)
@click.option("--until", metavar="TEXT", help="After the end of input: stay until TEXT is printed.")
def console(
    guest: str,
    console: str,
    read_only: bool,
    force: bool,
    escape: str,
    stty: bool,
    wait: float | None,
    until: str | None,
) -> int:
    """Attach a terminal to a console of a guest.

    CONSOLE is 0 to 4, con0 to con4, or ssl0 to ssl3 (the guest's /dev/ttyS0 to ttyS3). Any
    number of people may look at one console; one of them has the keyboard.
    """
    key = escape_key(escape)
    if until == "":
        raise UsageError("--until needs a text that is to be printed")
    name = f"con{console}" if console.isdigit() else console
    if name != "con0":
        _plug(guest, name)
    viewer = Viewer(guest, name, key, keyboard=not read_only, force=force, stty=stty)
    viewer.answer = Answer(wait, os.fsencode(until or ""))
    return viewer.run(None)


def attach_while(umid: str, start: Callable[[], int]) -> int:
    """Start a guest and be on its console from the first byte; the exit code.

    start: in a thread of its own; its exit code

    Raises: HostError, UmlctlError of `start`
    """
    codes: list[int | BaseException] = []
    old = identity(log_path(umid, "con0"))

    def work() -> None:
        try:
            codes.append(start())
        except BaseException as problem:  # noqa: BLE001 - raised again below
            codes.append(problem)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    viewer = Viewer(umid, "con0", escape_key(ESCAPE), offset=0)
    viewer.old_log = old
    viewer.answer = Answer(asked=True)
    try:
        code = viewer.run(lambda: not codes)
    except NoGuest:
        code = exitcodes.NO_GUEST  # it did not come to be; why, has `start` to say
    if viewer.left and not codes:
        return code  # the guest boots on
    thread.join()
    (result,) = codes
    if isinstance(result, BaseException):
        raise result
    return result or code


def escape_key(text: str) -> bytes:
    """The byte of a control key such as ^] or ^A; none of `none`.

    Raises: UsageError
    """
    if text == "none":
        return b""
    if len(text) == 2 and text[0] == "^" and "@" < text[1].upper() <= "_":
        return bytes([ord(text[1].upper()) & 0x1F])
    raise UsageError(f"an escape key is ^A to ^_ or `none`, not {text!r}")


def _plug(guest: str, name: str) -> None:
    """See that the guest has a console.

    Raises: HostError, NoGuest
    """
    with GuestClient(guest) as asked:
        outcome = asked.ask(f"plug console {name}")
    if not outcome.ok:
        raise HostError(f"{guest}: {outcome}")


class Viewer:
    """A terminal, or whatever is on standard input and output, on a console.

    Fields:
        left: its user has left, and the guest goes on
        answer: what is expected once the input is over
        runner: the `umlctl run` whose guest this is, to the end of which it stays; None: nobody's
        old_log: what `identity` said of the log before the guest was started
    """

    def __init__(
        self,
        guest: str,
        console: str,
        escape: bytes,
        *,
        keyboard: bool = True,
        force: bool = False,
        stty: bool = False,
        offset: int | None = None,
    ) -> None:
        """offset: the byte of the console's log to begin with; None: the last screen"""
        self.left = False
        self.answer = Answer()
        self.runner: Runner | None = None
        self.old_log: Identity | None = None
        self._umid = paths.umid_of(guest)
        self._console = console
        self._key = Key(escape)
        self._keyboard = keyboard
        self._force = force
        self._stty = stty
        self._offset = offset
        self._replay = 0
        self._typing: bool | None = None if keyboard else False  # nobody has said yet
        self._outgoing: deque[bytes] = deque()
        self._lost_at = 0.0
        self._kept: list[bytes] = []
        self._screen = Screen()
        self._log = -1
        self._terminal = sys.stdin.isatty() and sys.stdout.isatty()
        self._connection: socket.socket | None = None
        self._resized = False
        self._code: int | None = None
        self._input_over = False
        self._over = False
        self._quiet = Quiet()

    def run(self, waits: Callable[[], bool] | None) -> int:
        """Stay attached until the escape key, or the guest's end; the exit code.

        waits: whether a guest that is not there yet may still come

        Raises: NoGuest, HostError
        """
        try:
            while self._code is None:
                self._connect(waits)
                self._stay()
        except NoGuest:
            if not self._show_unseen():
                raise
            if self.runner is not None:
                self._hear_runner()
        return self._code or exitcodes.OK

    def _stay(self) -> None:
        """Be attached, until this life of the guest is over or the viewer leaves."""
        self._say_who()
        with self._raw():
            try:
                self._loop()
                self._show_rest()
            finally:
                if self._connection is not None:
                    self._connection.close()
                self._write(self._screen.restoring() if self._terminal else b"")

    # The log

    def _take_log(self) -> None:
        """Have the log of the guest's life at hand, as far as it may be read."""
        try:
            found = os.open(log_path(self._umid, self._console), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        if self._log >= 0 and os.path.samestat(os.fstat(found), os.fstat(self._log)):
            os.close(found)
            return
        if self._log >= 0:  # it was started again, and this is of its next life
            os.close(self._log)
            self._offset = 0 if self._offset is not None else None
        self._log = found

    def _show_unseen(self) -> bool:
        """Show what came and went before it could be attached to; whether it was ever there."""
        found = identity(log_path(self._umid, self._console))
        if self._offset is None or found is None or found == self.old_log:
            return self._log >= 0
        self._take_log()
        self._show_rest()
        return True

    def _show_rest(self) -> None:
        """Show what is in the log, and did not come by the socket."""
        if self._log < 0 or self._offset is None or self.left or self._code:
            return
        from umlctl.host import consolelog

        try:
            self._lose(consolelog.start(self._log) - self._offset)
            for data in consolelog.read(self._log, self._offset, os.fstat(self._log).st_size):
                self._show(data)
        except OSError as problem:
            self._note(f"the log of {self._umid} cannot be read: {problem}")

    def _lose(self, count: int) -> None:
        """Say that some of the log was cut off before it was shown."""
        if count > 0:
            self._offset = (self._offset or 0) + count
            self._note(f"{count} bytes were cut off before they were shown")

    # The connection

    def _connect(self, waits: Callable[[], bool] | None) -> None:
        path = f"{paths.guest_dir(self._umid)}/attach"
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                connection.connect(path)
                connection.setblocking(False)
                break
            except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
                connection.close()
                if waits is None and self._adopted():
                    continue
                if waits is None or not waits():
                    raise NoGuest(self._why_none(path)) from None
                time.sleep(PAUSE)
            except OSError as problem:
                connection.close()
                raise HostError(f"{self._umid}: cannot attach to {path}: {problem}") from problem
        self._take_log()
        hello: dict[str, Any] = {
            "console": self._console,
            "keyboard": self._keyboard,
            "force": self._force,
            "lines": (self._size()[0] or ROWS) if self._terminal else 0,
        }
        if self._offset is not None:
            hello["offset"] = self._offset
        self._connection = connection
        self._send(HELLO + json.dumps(hello).encode())

    def _why_none(self, path: str) -> str:
        from umlctl.client.unsupervised import epitaph

        said = epitaph(self._umid) if paths.has_record(self._umid) else ""
        return said or (
            f"no guest {self._umid!r} with a console to attach to runs here ({path}); "
            "`umlctl list` shows the guests, a bare kernel's console is its own"
        )

    def _adopted(self) -> bool:
        """The guest had no supervisor any more, and has one now."""
        from umlctl.client.unsupervised import take_over

        return take_over(self._umid)

    def _send(self, packet: bytes) -> None:
        self._outgoing.append(packet)
        self._flush()

    def _flush(self) -> None:
        """Send what can be; a guest that is stopped takes nothing."""
        assert self._connection is not None
        while self._outgoing:
            try:
                self._connection.send(self._outgoing[0])
            except OSError:
                return  # full, or gone: the next look at the connection shows which
            self._outgoing.popleft()

    def _come_back(self) -> bool:
        """The supervisor is gone, and its guest perhaps not: the next one has it soon."""
        assert self._connection is not None
        self._connection.close()
        now = time.monotonic()
        self._lost_at = self._lost_at or now
        if now - self._lost_at > COMES_BACK:
            return False
        time.sleep(PAUSE)
        # What was typed meanwhile goes to the next one that greets us, as the keyboard does.
        kept = self._kept + [packet for packet in self._outgoing if packet[:1] == INPUT]
        self._outgoing.clear()
        self._force = self._force if self._typing is None else self._typing
        self._typing = None if self._keyboard else False
        from umlctl.client.unsupervised import take_over

        take_over(self._umid)
        deadline = self._lost_at + COMES_BACK
        try:
            self._connect(lambda: time.monotonic() < deadline)
        except (NoGuest, HostError):
            return False
        self._kept = kept
        return True

    # Moving bytes

    def _loop(self) -> None:
        wakes, wakened = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        before = signal.set_wakeup_fd(wakened, warn_on_full_buffer=False)
        handlers = {
            number: signal.signal(number, self._caught)
            for number in (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP)
        }
        self._over = False
        try:
            while self._code is None and not self._over:
                assert self._connection is not None
                ready = self._await(wakes)
                if self._resized:
                    self._tell_size()
                if streams.STDIN in ready:
                    self._take_input()
                if self._connection.fileno() in ready:
                    self._take_packet()
                elif not ready and self._input_over and not self._outgoing:
                    self._leave_silent()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            os.close(wakes)
            os.close(wakened)

    def _await(self, wakes: int) -> set[int]:
        """Wait until something can be done; the descriptors that have something.

        Raises: ReaderGone
        """
        assert self._connection is not None
        connection = self._connection.fileno()
        poll = select.poll()
        poll.register(streams.STDOUT, 0)
        poll.register(wakes, select.POLLIN)
        poll.register(connection, select.POLLIN | (select.POLLOUT if self._outgoing else 0))
        if self._reads():
            poll.register(streams.STDIN, select.POLLIN)
        if self.runner is not None:
            poll.register(self.runner.descriptor, select.POLLIN)
        patience = self.answer.patience if self._input_over and self.runner is None else None
        found = dict(poll.poll(None if patience is None else patience * 1000))
        if found.get(streams.STDOUT) and not self._terminal:
            raise streams.ReaderGone
        if wakes in found:
            os.read(wakes, 64)
        if self.runner is not None and self.runner.descriptor in found:
            self._hear_runner()
        if found.get(connection, 0) & select.POLLOUT:
            self._flush()
        return {wakes if event == select.POLLOUT else each for each, event in found.items()}

    def _hear_runner(self) -> None:
        """The guest is over, or who ran it was killed."""
        assert self.runner is not None
        if self.runner.is_over():
            self._over = True
        else:
            self._note(
                f"`umlctl run` was killed; {self._umid} may run on, and "
                f"`umlctl console {self._umid}` attaches to it"
            )
            self._code = exitcodes.GONE

    def _leave_silent(self) -> None:
        """Leave a console that has nothing to print any more, or none for long."""
        answer = self.answer
        self._code = exitcodes.OK
        if answer.complete:
            return
        silence = f"{self._umid} has printed nothing for {answer.patience:g}s"
        if answer.until:
            self._note(f"{silence}, and {os.fsdecode(answer.until)!r} was not in it before")
            self._code = exitcodes.TIMED_OUT
        else:
            self._note(
                f"{silence}, and may print on: `umlctl logs {self._umid} -f` shows it; "
                "--wait SECONDS stays longer, --until TEXT until that is printed"
            )

    def _reads(self) -> bool:
        """Whether to read what is typed: a script's only when it can be passed on."""
        if self._input_over or len(self._outgoing) > BEHIND:
            return False
        return self._typing is True or (self._terminal and self._typing is not None)

    def _caught(self, number: int, _frame: object) -> None:
        if number == signal.SIGWINCH:
            self._resized = True
        else:
            self._code = exitcodes.SIGNALLED + number

    def _take_input(self) -> None:
        try:
            data = os.read(streams.STDIN, 4096)
        except BlockingIOError:
            return
        if not data:
            self._input_over = True
        elif self._terminal and (place := self._key.find(data)) >= 0:
            data = data[:place]
            self.left = True
            self._code = exitcodes.OK
        if data and self._typing:
            self._send(INPUT + data)
            self.answer.typed(data)
        elif data and self._keyboard and self._code is None:
            self._note("somebody else has the keyboard; --force takes it")

    def _take_packet(self) -> None:
        assert self._connection is not None
        try:
            packet = self._connection.recv(PACKET)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if packet:
            self._lost_at = 0.0
        if packet[:1] == OUTPUT:
            self._show(packet[1:])
        elif packet[:1] == NOTICE:
            self._hear(json.loads(packet[1:]))
        elif self.runner is not None:
            self._over = True
        elif not self._come_back():
            self._show_rest()
            self._note(f"the supervisor of {self._umid} has ended; the guest may run on")
            self._code = exitcodes.GONE

    def _show(self, data: bytes) -> None:
        assert self._offset is not None
        self._offset += len(data)
        self.answer.printed(data)
        past, self._replay = self._replay > 0, self._replay - len(data)
        data = self._quiet(data)
        if self._terminal:
            if past:
                data = without_questions(data)
            self._screen.note(data)
            data = self._screen.returned(data)
        self._write(data)
        if self._input_over and self.answer.found and self._code is None:
            self._code = exitcodes.OK

    def _hear(self, notice: dict[str, Any]) -> None:
        if "offset" in notice:
            self._offset, self._replay = notice["offset"], notice.get("replay", 0)
            if self._log >= 0:
                begin = max(0, notice["offset"] - PACKET)
                self.answer.begin(os.pread(self._log, notice["offset"] - begin, begin))
        if notice.get("keyboard"):
            self._hear_keyboard(notice["keyboard"], notice.get("by", 0))
        rows, columns = self._size()
        if notice.get("size") is False and not self._stty and rows and columns:
            self._note(
                f"nobody in the guest can be told the window's size; "
                f"type: stty rows {rows} columns {columns}"
            )
        if "lost" in notice:
            self._lose(notice["lost"])
        if notice.get("problem"):
            self._note(notice["problem"])
            self._code = exitcodes.FAILED
        if notice.get("ended"):
            self._end(notice["ended"])

    def _hear_keyboard(self, keyboard: str, by: int) -> None:
        """Heed who has the keyboard, see umlctl.host.attaching."""
        self._typing = keyboard == "yours"
        who = f"pid {by} has the keyboard"
        if self._typing:
            self._outgoing.extend(self._kept)
            self._kept = []
            self._flush()
            if self._terminal:
                self._tell_size()
        elif self._terminal or self.runner is not None:
            self._note(f"{who}{'; --force takes it' if keyboard == 'waiting' else ' now'}")
        else:
            say(f"{who}; --force takes it, --read-only only looks", exitcodes.OK)
            self._code = exitcodes.REFUSED  # what is to be typed would wait for ever

    def _end(self, how: str) -> None:
        """The guest has ended, or one life of it."""
        if self.runner is not None:
            self._over = True  # that says how
            return
        self._note(f"{self._umid} has ended: {how}")
        self._code = exitcodes.OK
        if self.answer.until and not self.answer.found:
            self._note(f"it has not printed {os.fsdecode(self.answer.until)!r} before")
            self._code = exitcodes.GONE

    # The terminal

    def _size(self) -> tuple[int, int]:
        """Rows and columns of the window; of some terminals nobody knows, and they are 0."""
        try:
            found = os.get_terminal_size(streams.STDOUT)
        except OSError:
            return 0, 0
        return found.lines, found.columns

    def _tell_size(self) -> None:
        self._resized = False
        if not self._typing:
            return
        rows, columns = self._size()
        if not (rows and columns):
            return
        self._send(SIZE + json.dumps([rows, columns]).encode())
        if self._stty:
            self._send(INPUT + f"stty rows {rows} columns {columns}\r".encode())

    @contextmanager
    def _raw(self) -> Iterator[None]:
        """Have every key go to the guest, and the terminal as it was afterwards."""
        if not self._terminal:
            yield
            return
        before = termios.tcgetattr(sys.stdin)
        tty.setraw(sys.stdin, termios.TCSADRAIN)
        raw = termios.tcgetattr(sys.stdin)
        try:
            yield
        finally:
            self._swallow()
            # A shell has the terminal by now if `umlctl run` was killed: it lets who ignores this
            # put the modes right, and what it has made of them itself is left alone.
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            with suppress(termios.error):  # there is no terminal any more
                if termios.tcgetattr(sys.stdin) == raw:
                    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

    def _swallow(self) -> None:
        """Whoever is used to pressing the key thrice must not have the shell hear of it."""
        if self.left:
            while select.select([sys.stdin], [], [], AGAIN)[0]:
                data = os.read(streams.STDIN, 64)
                if not data or not self._key.only(data):
                    break

    def _say_who(self) -> None:
        if self._terminal:
            key = f"^{chr(self._key.byte[0] | 0x40)}" if self._key.byte else "nothing"
            self._note(f"attached to {self._console} of {self._umid}; {key} leaves it")

    def _note(self, text: str) -> None:
        """Say something in a line of its own."""
        if self._terminal:
            sys.stderr.write(f"\r\n\x1b[0m[umlctl: {text}]\r\n")
            sys.stderr.flush()
        else:
            say(text, exitcodes.OK)

    def _write(self, data: bytes) -> None:
        try:
            streams.write_all(streams.STDOUT, data)
        except OSError as problem:
            if self._code is None and not self._terminal:
                say(f"the console of {self._umid}: {problem}", exitcodes.FAILED)
            self._code = self._code or exitcodes.FAILED


Identity = tuple[int, int]


def identity(path: str) -> Identity | None:
    """Tells a log from the one that takes its place; None if there is none, or nothing in it."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found.st_size else None


def log_path(umid: str, console: str) -> str:
    """Where a console is logged; the same as in umlctl.host.attaching."""
    return f"{paths.record_dir(umid)}/{'console' if console == 'con0' else console}.log"


class Runner:
    """The `umlctl run` that this terminal belongs to, by a pipe.

    A byte comes when the guest is over; the pipe ends without one when the process was killed.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._over = False

    def is_over(self) -> bool:
        """The guest is over: called when there is something to read."""
        self._over = self._over or bool(os.read(self.descriptor, 1))
        return self._over

    def has_news(self) -> bool:
        return self._over or bool(select.select([self.descriptor], [], [], 0)[0])


def main(umid: str, alive: int, device: int, inode: int) -> int:
    """Be the terminal of `umlctl run --console`, which is the parent; the exit code.

    alive: see Runner
    device, inode: of the log that was there before, see `identity`; 0 if there was none
    """
    viewer = Viewer(umid, "con0", escape_key(ESCAPE), offset=0)
    viewer.runner = runner = Runner(alive)
    viewer.old_log = (device, inode) if inode else None
    try:
        return viewer.run(lambda: not runner.has_news())
    except UmlctlError:
        return exitcodes.NO_GUEST  # it did not come to be; why, has the parent to say
    except streams.ReaderGone:
        return exitcodes.SIGNALLED + signal.SIGPIPE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:5])))
