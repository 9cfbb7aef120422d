"""`umlctl console`: a terminal on a guest's console.

It stands on the standard library alone: it begins at once, and does little but move bytes.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import sys
import termios
import threading
import time
import tty
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from umlctl import exitcodes
from umlctl.cli import complete
from umlctl.cli.noise import STAMP, Quiet
from umlctl.errors import HostError, NoGuest, UmlctlError, UsageError
from umlctl.host import paths
from umlctl.oneshot import absent, say

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
QUIET: Final = 0.5
"""A console without output for so long has said all, for who attached without a terminal."""
PAUSE: Final = 0.05
BEHIND: Final = 256
"""Packets of input that a guest that takes none may be behind."""

_QUESTIONS: Final = re.compile(
    rb"\x1b\[[?>=]?[0-9;]*[cn]|\x1b\[\?[0-9;]*\$p|\x1bP[^\x1b]*\x1b\\|\x1b\]\d+;\?[^\x07\x1b]*"
    rb"(?:\x07|\x1b\\)|\x05"
)
"""What a terminal would answer: of the past, nobody waits for it any more."""
_MODES: Final = re.compile(rb"\x1b\[\?([0-9;]+)([hl])")
_OTHERS: Final = re.compile(rb"\x1b=|\x1b\[\d*;?\d*r|\x1b\([^B]|\x0e")
"""An application's keypad, a part of the screen that scrolls alone, another set of letters."""
_USUAL: Final = b"\x1b7\x1b[r\x1b8\x1b>\x1b(B\x0f"
"""What undoes all of these."""
_LONGEST: Final = 64
"""The most of a sequence that may come in the next packet, bytes."""
_SHOWN: Final = (b"25", b"7")
"""Modes that a terminal has on: the cursor, and wrapping."""


@click.command(
    epilog="""\b
Examples:
  umlctl console demo                the system console; ^] leaves it
  umlctl console demo 1              con1, the guest's /dev/tty1, plugged if need be
  umlctl console demo --read-only    watch, whoever types
  umlctl console demo --force        take the keyboard from who has it
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
def console(guest: str, console: str, read_only: bool, force: bool, escape: str, stty: bool) -> int:
    """Attach a terminal to a console of a guest.

    CONSOLE is 0 to 4, con0 to con4, or ssl0 to ssl3 (the guest's /dev/ttyS0 to ttyS3). Any
    number of people may look at one console; one of them has the keyboard.
    """
    key = escape_key(escape)
    name = f"con{console}" if console.isdigit() else console
    if name != "con0":
        _plug(guest, name)
    viewer = Viewer(guest, name, key, keyboard=not read_only, force=force, stty=stty)
    return viewer.run(None)


def attach_while(umid: str, start: Callable[[], int]) -> int:
    """Start a guest and be on its console from the first byte; the exit code.

    start: in a thread of its own; its exit code

    Raises: HostError, UmlctlError of `start`
    """
    codes: list[int | BaseException] = []

    def work() -> None:
        try:
            codes.append(start())
        except BaseException as problem:  # noqa: BLE001 - raised again below
            codes.append(problem)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    viewer = Viewer(umid, "con0", escape_key(ESCAPE), offset=0)
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
    from socketproto.blocking import Connection, Unreachable

    with Connection(paths.find_socket(guest)) as connection:
        try:
            outcome = connection.request(f"plug console {name}")
        except Unreachable as problem:
            raise NoGuest(absent(guest, problem)) from None
    if not outcome.ok:
        raise HostError(f"{guest}: {outcome}")


class Viewer:
    """A terminal, or whatever is on standard input and output, on a console.

    Fields:
        left: its user has left, and the guest goes on
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
        self._umid = paths.umid_of(guest)
        self._console = console
        self._escape = escape
        self._keyboard = keyboard
        self._force = force
        self._stty = stty
        self._offset = offset
        self._replay = 0
        self._typing: bool | None = None if keyboard else False  # nobody has said yet
        self._outgoing: deque[bytes] = deque()
        self._lost_at = 0.0
        self._kept: list[bytes] = []
        self._modes: set[bytes] = set()
        self._other_modes = False
        self._begun = self._line = b""
        self._returns = self._has_terminal = False
        self._terminal = sys.stdin.isatty() and sys.stdout.isatty()
        self._connection: socket.socket | None = None
        self._resized = False
        self._code: int | None = None
        self._input_over = False
        self._quiet = Quiet()

    def run(self, waits: Callable[[], bool] | None) -> int:
        """Stay attached until the escape key, or the guest's end; the exit code.

        waits: whether a guest that is not there yet may still come

        Raises: NoGuest, HostError
        """
        self._connect(waits)
        self._say_who()
        with self._raw():
            try:
                self._loop()
            finally:
                if self._connection is not None:
                    self._connection.close()
                self._write(self._restoring())
        return self._code or exitcodes.OK

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
        hello: dict[str, Any] = {
            "console": self._console,
            "keyboard": self._keyboard,
            "force": self._force,
            "lines": self._size()[0] if self._terminal else 0,
        }
        if self._offset is not None:
            hello["offset"] = self._offset
        self._connection = connection
        self._send(HELLO + json.dumps(hello).encode())

    def _why_none(self, path: str) -> str:
        from umlctl.cli.afterlife import epitaph

        said = epitaph(self._umid) if paths.has_record(self._umid) else ""
        return said or (
            f"no guest {self._umid!r} with a console to attach to runs here ({path}); "
            "`umlctl list` shows the guests, a bare kernel's console is its own"
        )

    def _adopted(self) -> bool:
        """The guest had no supervisor any more, and has one now."""
        from umlctl.cli.afterlife import take_over

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
        # What was typed meanwhile goes to the next one, after its greeting.
        kept = [packet for packet in self._outgoing if packet[:1] == INPUT]
        self._outgoing.clear()
        self._force, self._typing = bool(self._typing), None if self._keyboard else False
        from umlctl.cli.afterlife import take_over

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
        try:
            while self._code is None:
                assert self._connection is not None
                files: list[Any] = [self._connection, wakes]
                if self._reads():
                    files.append(sys.stdin)
                writes = [self._connection] if self._outgoing else []
                ready, sendable, _ = select.select(
                    files, writes, [], QUIET if self._input_over else None
                )
                if sendable:
                    self._flush()
                if wakes in ready:
                    os.read(wakes, 64)
                if self._resized:
                    self._tell_size()
                if sys.stdin in ready:
                    self._take_input()
                if self._connection in ready:
                    self._take_packet()
                elif self._input_over and not (ready or self._outgoing):
                    self._code = exitcodes.OK
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            os.close(wakes)
            os.close(wakened)

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
        data = os.read(sys.stdin.fileno(), 4096)
        if not data:
            self._input_over = True
        elif self._escape and self._terminal and self._escape in data:
            data = data[: data.index(self._escape)]
            self.left = True
            self._code = exitcodes.OK
        if data and self._typing:
            self._send(INPUT + data)
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
        elif not self._come_back():
            self._note(f"the supervisor of {self._umid} has ended; the guest may run on")
            self._code = exitcodes.GONE

    def _show(self, data: bytes) -> None:
        assert self._offset is not None
        self._offset += len(data)
        past, self._replay = self._replay > 0, self._replay - len(data)
        data = self._quiet(data)
        if self._terminal:
            if past:
                data = _QUESTIONS.sub(b"", data)
            self._note_modes(data)
            data = self._returned(data)
        self._write(data)

    def _returned(self, data: bytes) -> bytes:
        """Begin the kernel's own lines at the left: no terminal of the guest's sees to that.

        A line of the kernel's has its time at the front; before there is a terminal, all are.
        """
        found = []
        for line in data.splitlines(keepends=True):
            begun = self._line + line[: _LONGEST - len(self._line)]
            self._line = b"" if line.endswith(b"\n") else begun
            if line.endswith(b"\r\n") or (line == b"\n" and self._returns):
                self._has_terminal = True
            elif line.endswith(b"\n") and (not self._has_terminal or STAMP.match(begun)):
                line = line[:-1] + b"\r\n"  # noqa: PLW2901
            self._returns = line.endswith(b"\r")
            found.append(line)
        return b"".join(found)

    def _note_modes(self, data: bytes) -> None:
        """Remember what has to be undone at the end."""
        data = self._begun + data
        for modes, switch in _MODES.findall(data):
            for mode in modes.split(b";"):
                usual = mode in _SHOWN
                if (switch == b"h") != usual:
                    self._modes.add(mode)
                else:
                    self._modes.discard(mode)
        self._other_modes = self._other_modes or _OTHERS.search(data) is not None
        begun = data[-_LONGEST:].rpartition(b"\x1b")
        self._begun = begun[1] + begun[2] if begun[1] else b""

    def _hear(self, notice: dict[str, Any]) -> None:
        if "offset" in notice:
            self._offset, self._replay = notice["offset"], notice.get("replay", 0)
        keyboard = notice.get("keyboard")
        if keyboard == "yours":
            self._typing = True
            self._outgoing.extend(self._kept)
            self._kept = []
            self._flush()
            if self._terminal:
                self._tell_size()
        elif keyboard:
            self._typing = False
            if not self._terminal:
                who = f"pid {notice.get('by')} has the keyboard"
                say(f"{who}; --force takes it, --read-only only looks", exitcodes.OK)
                self._code = exitcodes.REFUSED  # what is to be typed would wait for ever
                return
            who = f"pid {notice.get('by')} has the keyboard"
            self._note(f"{who}{'; --force takes it' if keyboard == 'waiting' else ' now'}")
        if notice.get("size") is False and not self._stty:
            rows, columns = self._size()
            self._note(
                f"nobody in the guest can be told the window's size; "
                f"type: stty rows {rows} columns {columns}"
            )
        if "lost" in notice:
            self._offset = (self._offset or 0) + notice["lost"]
            self._note(f"{notice['lost']} bytes were cut off before they were shown")
        if notice.get("problem"):
            self._note(notice["problem"])
            self._code = exitcodes.FAILED
        if notice.get("ended"):
            self._note(f"{self._umid} has ended: {notice['ended']}")
            self._code = exitcodes.OK

    # The terminal

    def _size(self) -> tuple[int, int]:
        """Rows and columns of the window."""
        try:
            found = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            return 24, 80
        return found.lines, found.columns

    def _tell_size(self) -> None:
        self._resized = False
        if not self._typing:
            return
        rows, columns = self._size()
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
        try:
            yield
        finally:
            self._swallow()
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

    def _swallow(self) -> None:
        """Whoever is used to pressing the key thrice must not have the shell hear of it."""
        if self._escape and self._code == exitcodes.OK:
            while select.select([sys.stdin], [], [], AGAIN)[0]:
                if os.read(sys.stdin.fileno(), 1) != self._escape:
                    break

    def _restoring(self) -> bytes:
        """What undoes the modes that the guest's programs have set."""
        if not self._terminal:
            return b""
        undone = [
            b"\x1b[?" + mode + (b"h" if mode in _SHOWN else b"l") for mode in sorted(self._modes)
        ]
        return b"".join(undone) + (_USUAL if self._other_modes else b"") + b"\x1b[0m\r\n"

    def _say_who(self) -> None:
        if self._terminal:
            key = "nothing" if not self._escape else f"^{chr(self._escape[0] | 0x40)}"
            self._note(f"attached to {self._console} of {self._umid}; {key} leaves it")

    def _note(self, text: str) -> None:
        """Say something in a line of its own."""
        if self._terminal:
            sys.stderr.write(f"\r\n\x1b[0m[umlctl: {text}]\r\n")
            sys.stderr.flush()
        else:
            say(text, exitcodes.OK)

    def _write(self, data: bytes) -> None:
        descriptor = sys.stdout.fileno()
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError:
            self._code = self._code or exitcodes.FAILED


def main(umid: str, alive: int) -> int:
    """Be the terminal of `umlctl run --console`, which is the parent; the exit code.

    alive: a descriptor that ends when there can be no such guest any more
    """
    try:
        return Viewer(umid, "con0", escape_key(ESCAPE), offset=0).run(
            lambda: not select.select([alive], [], [], 0)[0]
        )
    except UmlctlError:
        return exitcodes.NO_GUEST  # it did not come to be; why, has the parent to say


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
