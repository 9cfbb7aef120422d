"""What every test may use: short directories, a home of its own, a fake kernel's socket,
bounded property tests.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import select
import shutil
import signal
import socket
import tempfile
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from socketproto import blocking
from socketproto.blocking import kicker
from socketproto.exchange import Exchange, pieces
from socketproto.wire import MAGIC, REQUEST_BYTES, Reply
from umlctl.host import paths, place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Address = str | bytes
    Answer = Callable[["Bare", bytes, Address], Iterable[bytes]]

DEADLINE = 30.0
"""For conditions that must come true; a test that meets it has failed."""

settings.register_profile("umlctl", deadline=None, max_examples=80, derandomize=True, database=None)
settings.load_profile("umlctl")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # by a shell that began this beside itself
    signal.signal(signal.SIGINT, signal.default_int_handler)


PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_GET_CHILD_SUBREAPER, PR_SET_CHILD_SUBREAPER = 3, 4, 37, 36
_LIBC = ctypes.CDLL(None, use_errno=True)


def _of_this_process() -> dict[str, object]:
    """What a test may change of the process that all tests share, and the next one would have."""
    reaps = ctypes.c_int()
    _LIBC.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(reaps), 0, 0, 0)
    mask = os.umask(0o077)
    os.umask(mask)
    limits = {kind: getattr(resource, f"RLIMIT_{kind}") for kind in ("NOFILE", "NPROC", "CORE")}
    numbers = set(signal.Signals) - {signal.SIGALRM}  # that is the time limit's of each test
    return {
        "working directory": os.getcwd(),
        "umask": mask,
        "users": (os.getresuid(), os.getresgid(), os.getgroups()),
        "reaps orphans": bool(reaps.value),
        "dumpable": _LIBC.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0),
        "blocked signals": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        **{f"limit {kind}": resource.getrlimit(number) for kind, number in limits.items()},
        **{number.name: signal.getsignal(number) for number in numbers},
    }


def _descriptors() -> dict[int, str]:
    """What this process has open."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # of the directory that was just listed
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


@pytest.fixture(autouse=True)
def _leaves_this_process_as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    kicker()  # it is opened once, for all that follow
    before, opened = _of_this_process(), _descriptors()
    yield
    after = _of_this_process()
    changed = {name: after[name] for name in before if before[name] != after[name]}
    assert not changed, "the test has changed the process that it shares with others"
    if "live" not in request.path.parts:  # their guests are shared, and so is what leads to them
        if _descriptors().items() - opened.items():
            gc.collect()
        end = time.monotonic() + DEADLINE
        # A thread that nobody waits for, as of a menu, may be about to close what it reads.
        while (left := dict(_descriptors().items() - opened.items())) and time.monotonic() < end:
            time.sleep(0.01)
        assert not left, "the test has left something open"


@pytest.fixture
def short() -> Iterator[str]:
    """A directory whose name leaves room for a socket: tmp_path is too long for one."""
    path = tempfile.mkdtemp(prefix="u-", dir="/tmp")
    try:
        yield path
    finally:
        for where, names, _ in os.walk(path):
            for name in names:  # a guest may have left one that is closed
                if not os.path.islink(f"{where}/{name}"):
                    os.chmod(f"{where}/{name}", 0o700)
        shutil.rmtree(path)


def keep_no_more(directory: str) -> None:
    """Close what this process keeps of a place, see umlctl.host.place: it would for good."""
    for path in list(place._kept):
        if path.startswith(directory):
            os.close(place._kept.pop(path))


@pytest.fixture
def house(short: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """HOME, the cache and the place of this user's guests in a directory of their own."""
    for name, own in (("HOME", "h"), ("UMLCTL_DIR", "u"), ("XDG_CACHE_HOME", "c")):
        os.mkdir(f"{short}/{own}", 0o700)
        monkeypatch.setenv(name, f"{short}/{own}")
    yield short
    keep_no_more(short)
    keep_no_more(paths.shared_dir())


@pytest.fixture
def crowded() -> Iterator[None]:
    """What is opened gets a number that select(2) does not take, as in a supervisor of many."""
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(least, 2048), most))
    opened: list[int] = []
    try:
        while not opened or opened[-1] < 1100:
            opened.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        yield
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))


class Bare:
    """The socket of a kernel that nobody supervises: world-executable, one datagram at a time.

    Fields:
        answer: what is sent for a command, as datagrams; whatever does not fit is dropped
        seen: datagrams' commands received, kicks too: a slow machine may see any number of them
        senders: the address of each
        asleep: so many datagrams are left lying until the next one wakes it
    """

    def __init__(self, path: str, answer: Answer, mode: int = 0o755) -> None:
        self.path = path
        self.answer = answer
        self.mode = mode
        self.seen: list[bytes] = []
        self.senders: list[Address] = []
        self.asleep = 0
        self.socket: socket.socket | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wake = socket.socketpair()

    @property
    def commands(self) -> list[bytes]:
        """What was received but for kicks."""
        return [data for data, _ in self._received()]

    @property
    def clients(self) -> list[Address]:
        """The senders of these."""
        return [sender for _, sender in self._received()]

    def _received(self) -> list[tuple[bytes, Address]]:
        with self._changed:  # both lists grow, one after the other
            both = list(zip(self.seen, self.senders, strict=True))
        return [(data, sender) for data, sender in both if data != b"k"]

    @property
    def open_socket(self) -> socket.socket:
        assert self.socket is not None
        return self.socket

    def bind(self) -> None:
        """Stand at the path, in place of what is there, without reading yet."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, self.mode)

    def unbind(self, *, remove: bool = True) -> None:
        """Be gone, as an ended kernel; without `remove`, as a panicked one."""
        if threading.current_thread() is not self._thread:
            self.stop()  # or it would wait at a descriptor that is another's by then
        if self.socket is not None:
            self.socket.close()
            self.socket = None
            if remove:
                os.unlink(self.path)

    def start(self) -> None:
        if self.socket is None:
            self.bind()
        self._thread = threading.Thread(target=self._run, name=self.path)
        self._thread.start()

    def stop(self) -> None:
        """Read no more; the socket stays."""
        if self._thread is not None:
            self._wake[1].send(b"x")
            self._thread.join(DEADLINE)
            assert not self._thread.is_alive()
            self._thread = None

    def restart(self) -> None:
        self.stop()
        self.unbind()
        self.start()

    def close(self) -> None:
        self.stop()
        if self.socket is not None:
            self.socket.close()
        for end in self._wake:
            end.close()

    def wait_seen(self, count: int) -> None:
        """Until so many commands have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.seen) >= count, DEADLINE), self.seen

    def wait_commands(self, count: int) -> None:
        """The same of those that are no kicks: who gives up early may do so before they come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.commands) >= count, DEADLINE), self.seen

    def send(self, datagrams: Iterable[bytes], address: Address) -> None:
        for datagram in datagrams:
            try:
                self.open_socket.sendto(datagram, socket.MSG_DONTWAIT, address)
            except (BlockingIOError, ConnectionRefusedError):
                continue

    def _run(self) -> None:
        held: list[tuple[bytes, Address]] = []
        while True:
            waiting = [self._wake[0], *([self.socket] if self.socket is not None else [])]
            ready = select.select(waiting, [], [])[0]
            if self._wake[0] in ready:
                self._wake[0].recv(1)
                return
            datagram, address = self.open_socket.recvfrom(REQUEST_BYTES)
            held.append((datagram, address))
            if self.asleep:
                self.asleep -= 1
                continue
            for each in held:
                self._take(*each)
            held = []

    def _take(self, datagram: bytes, address: Address) -> None:
        assert datagram.startswith(MAGIC.to_bytes(4, "little"))
        data = datagram[12 : 12 + int.from_bytes(datagram[8:12], "little")]
        with self._changed:
            self.seen.append(data)
            self.senders.append(address)
            self._changed.notify_all()
        replies = list(self.answer(self, data, address))
        if address and self.socket is not None:
            self.send(replies, address)


def echo(_server: Bare, data: bytes, _address: Address) -> list[bytes]:
    """Answers with the command itself; like a kernel, it does not know `k`."""
    if data == b"k":
        return [Reply(1, False, b"Unknown command").encode()]
    return [reply.encode() for reply in pieces(data)]


@pytest.fixture
def time_up_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has the time of an exchange be up when so many replies of it have come, and not before."""
    real = Exchange.receive

    def set_count(count: int) -> None:
        came = 0

        def receive(exchange: Exchange, datagram: bytes, *, keep: bool = True) -> Reply:
            nonlocal came
            came += 1
            return real(exchange, datagram, keep=keep)

        monkeypatch.setattr(Exchange, "receive", receive)
        monkeypatch.setattr(blocking, "monotonic", lambda: 1e9 if came >= count else 0.0)

    return set_count


@pytest.fixture
def bare(short: str) -> Iterator[Callable[..., Bare]]:
    """Makes fake kernels: `bare(answer, name=..., mode=...)`, running."""
    made: list[Bare] = []

    def make(
        answer: Answer = echo, *, name: str = "mconsole", mode: int = 0o755, start: bool = True
    ) -> Bare:
        server = Bare(f"{short}/{name}", answer, mode)
        made.append(server)
        server.bind()
        if start:
            server.start()
        return server

    yield make
    for server in made:
        server.close()
