"""The consoles of one guest: their logs within bounds, and whoever looks at them.

The kernel writes each console to a file and reads it from a FIFO, so that nothing here is needed
for the guest to go on. A viewer is a place in the file: one that is slow, or does not read at
all, delays nobody, and costs no memory.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from umlctl.host import attaching, consolelog, scarce
from umlctl.host.attaching import HELLO, INPUT, NOTICE, OUTPUT, PACKET, SIZE, Hello, Notice
from umlctl.host.inotify import Watch
from umlctl.protocol import status
from umlctl.supervisor.endurance import endure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.host.records import Entry
    from umlctl.supervisor.history import History

LOOK: Final = 0.25
"""Between two looks at the size of the logs, seconds."""
LOOK_OFTEN: Final = 0.02
"""The same while one grows fast."""
FAST: Final = consolelog.BOUND // 8
MOMENTS: Final = 1.0
"""Between two entries of an index, seconds."""
READING: Final = 1.0
"""A viewer that has taken nothing for so long does not read, seconds."""
MOST: Final = 8 * consolelog.BOUND
"""The most that is kept for a viewer that is behind, bytes."""
GATHER: Final = 0.002
"""How long output is gathered before its viewers are woken again, seconds."""
UNWATCHED: Final = 0.02
"""Between two looks for viewers where the host has no more inotify, seconds."""
HELLO_WAITS: Final = 5.0
"""How long somebody may take to say what it wants, seconds."""
PIECE: Final = PACKET - 1
VIEWERS: Final = 256
LATER: Final = 5.0
"""Between two tries to open a socket that could not be opened, seconds."""
WITH_SHELL: Final = ("con1", "con2", "con3", "con4")
"""Consoles on which our init program starts a shell; con0 has one always."""
SCREEN: Final = 65536
"""The most that is shown of the past, bytes."""
_HELLO: Final = msgspec.json.Decoder(Hello)
_UCRED: Final = struct.Struct("3i")


class Viewer:
    """Somebody who is attached.

    Fields:
        pid, uid: of the process
        since: seconds since 1970
        offset: of the log's byte that it gets next
        moved: when it last took something, by trio's clock
        wants: would type if it could
        turn: set while it has the keyboard
        said: what it has yet to be told
        scope: cancelled to let it go
    """

    def __init__(self, connection: trio.socket.SocketType, *, wants: bool) -> None:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        self.pid, self.uid, _ = _UCRED.unpack(credentials)
        self.since = time.time()
        self.connection = connection
        self.offset = 0
        self.moved = trio.current_time()
        self.wants = wants
        self.turn = trio.Event()
        self.said: list[Notice] = []
        self.scope = trio.CancelScope()


class Console:
    """One console: a log, a FIFO, and its viewers.

    Fields:
        name: con0
        viewers: in the order in which they came
        typist: the one of them who has the keyboard
    """

    def __init__(self, name: str, directory: str, records: str) -> None:
        self.name = name
        self.log = f"{records}/{attaching.log_name(name)}"
        self.viewers: list[Viewer] = []
        self.typist: Viewer | None = None
        self.grown = trio.Event()
        self._fifo = f"{directory}/{name}.in"
        self._typing = trio.Lock()
        self._file = -1
        self._index = consolelog.Index(self.log)
        self._seen = self._noted = self.size
        self._noted_at = 0.0

    # The log

    @property
    def size(self) -> int:
        try:
            return os.stat(self.log).st_size
        except OSError:
            return 0

    def wake(self) -> None:
        """Have all viewers look: there may be more."""
        self.grown.set()
        self.grown = trio.Event()

    def keep(self) -> bool:
        """Note the time of what is new, and cut off what is old; whether it grows fast.

        Raises: OSError
        """
        size = self.size
        grown, self._seen = size - self._seen, size
        now = time.time()
        if size != self._noted and now - self._noted_at >= MOMENTS:
            self._index.add(consolelog.MOMENT, now, self._noted)
            self._noted, self._noted_at = size, now
        if size > consolelog.BOUND:
            consolelog.trim(self.log, self._bound(size))
        return grown > FAST

    def _bound(self, size: int) -> int:
        """What is to be kept: more for viewers that are behind and reading, within reason."""
        now = trio.current_time()
        behind = [size - each.offset for each in self.viewers if now - each.moved < READING]
        return min(max([consolelog.BOUND, *behind]), MOST)

    def note_boot(self) -> None:
        """A boot has begun.

        Raises: OSError
        """
        size = self.size
        begin = consolelog.find_boot(self.log, size) if self.name == "con0" else size
        self._index.add(consolelog.BOOT, time.time(), begin)

    def note_launch(self) -> None:
        """It is there for the first time since the guest was started.

        Raises: OSError
        """
        if not consolelog.boots(consolelog.index_of(self.log)):
            self._index.add(consolelog.LAUNCH, time.time(), 0)

    def read(self, viewer: Viewer) -> bytes:
        """The next bytes for a viewer; none if it has them all.

        Raises: OSError
        """
        if self._file < 0:
            self._file = os.open(self.log, os.O_RDONLY | os.O_CLOEXEC)
        begin = consolelog.start(self._file)
        if viewer.offset < begin:
            viewer.said.append(Notice(lost=begin - viewer.offset))
            viewer.offset = begin
        return os.pread(self._file, PIECE, viewer.offset)

    def begin(self, viewer: Viewer, hello: Hello) -> None:
        """Set where a viewer begins, and tell it."""
        size = self.size
        if hello.offset is not None:
            viewer.offset = min(max(0, hello.offset), size)
        else:
            viewer.offset = size
            if hello.lines > 0 and size:
                descriptor = os.open(self.log, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    least = max(consolelog.start(descriptor), size - SCREEN)
                    viewer.offset = consolelog.last_lines(descriptor, hello.lines, least)
                finally:
                    os.close(descriptor)
        viewer.said.append(Notice(offset=viewer.offset, replay=size - viewer.offset))

    # The keyboard

    def enter(self, viewer: Viewer, *, force: bool) -> None:
        self.viewers.append(viewer)
        if not viewer.wants:
            return
        if self.typist is not None and force:
            self.typist.turn = trio.Event()
            self.say(self.typist, Notice(keyboard="taken", by=viewer.pid))
            self.typist = None
        if self.typist is None:
            self._give(viewer)
        else:
            viewer.said.append(Notice(keyboard="waiting", by=self.typist.pid))

    def want(self, viewer: Viewer) -> None:
        """It would type, now if nobody else does."""
        viewer.wants = True
        if self.typist is None:
            self._give(viewer)

    def leave(self, viewer: Viewer) -> None:
        self.viewers.remove(viewer)
        self.let_go(viewer)

    def let_go(self, viewer: Viewer) -> None:
        """It types no more: the next who would gets the keyboard."""
        viewer.wants = False
        if self.typist is viewer:
            self.typist = None
            following = next((each for each in self.viewers if each.wants), None)
            if following is not None:
                self._give(following)

    def _give(self, viewer: Viewer) -> None:
        self.typist = viewer
        viewer.turn.set()
        self.say(viewer, Notice(keyboard="yours"))

    def say(self, viewer: Viewer, notice: Notice) -> None:
        if notice.size is not None:  # only the last counts
            viewer.said = [each for each in viewer.said if each.size is None]
        viewer.said.append(notice)
        self.wake()

    async def type(self, data: bytes, viewer: Viewer) -> None:
        """Hand what a viewer types to the guest; waits while it takes none.

        Raises: OSError: among them that the viewer is gone
        """
        async with self._typing:
            # A description of our own: the kernel sets flags on its one.
            descriptor = os.open(self._fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                while data:
                    try:
                        data = data[os.write(descriptor, data) :]
                    except BlockingIOError:
                        with trio.move_on_after(LOOK):
                            await trio.lowlevel.wait_writable(descriptor)
                        if _hung_up(viewer.connection):
                            raise BrokenPipeError from None
            finally:
                os.close(descriptor)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Consoles:
    """The consoles of one guest that can be attached to, and their sockets.

    Fields:
        by_name: those that the guest has
        ended: how the guest has ended; empty as long as it lives
    """

    def __init__(
        self, directory: str, records: str, history: History, *, agent: bool, elsewhere: str = ""
    ) -> None:
        """directory: of the running guest; records: what outlives it

        agent: the guest's init program is ours, and takes window sizes
        elsewhere: the kernel's argument that has its con0 read somebody else
        """
        self._elsewhere = elsewhere
        self.by_name = {"con0": Console("con0", directory, records)}
        self.ended = ""
        self._directory = directory
        self._records = records
        self._history = history
        self._agent = agent
        self._watch: Watch | None = None
        self._unwatched = False
        self._watching = trio.Event()
        self._scopes: dict[str, trio.CancelScope] = {}
        self._listeners: dict[str, socket.socket] = {}
        self._nursery: trio.Nursery | None = None
        self._complained: set[str] = set()
        self._unserved: set[str] = set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve viewers and keep the logs, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for name in ("attach", *self.by_name):
                    self._serve(name)
                nursery.start_soon(endure, self._history, "logs", self._keep)
                nursery.start_soon(endure, self._history, "viewers", self._wake)
                task_status.started()
        finally:
            self._nursery = None
            for console in self.by_name.values():
                console.close()
            for listener in self._listeners.values():
                listener.close()
            if self._watch is not None:
                self._watch.close()

    async def end(self, how: str) -> None:
        """The guest has ended: viewers get the rest, are told, and let go."""
        self.ended = how
        for console in self.by_name.values():
            console.wake()
        while any(console.viewers for console in self.by_name.values()):  # noqa: ASYNC110
            await trio.sleep(0.01)

    def note_boot(self) -> None:
        """The guest boots again: its system console has begun to say so."""
        for console in self.by_name.values():
            with self._quietly(console.name):
                console.note_boot()

    def sync(self, entries: list[Entry]) -> None:
        """Have the consoles that the device table has."""
        wanted = {"con0"}
        for entry in entries:
            name = entry.name
            if name in attaching.CONSOLES[1:] and entry.kernel == attaching.config(name):
                wanted.add(name)
        for name in self.by_name.keys() - wanted:
            self._drop(name)
        for name in wanted - self.by_name.keys():
            console = self.by_name[name] = Console(name, self._directory, self._records)
            with self._quietly(name):
                console.note_launch()
            self._serve(name)
        for console in self.by_name.values():
            if console.typist is not None:  # since before a reboot
                self._want_shell(console)

    def socket_of(self, name: str) -> str:
        """Where programs are attached to a console."""
        return f"{self._directory}/{name}"

    def listing(self) -> list[status.Console]:
        """As `status` shows them."""
        return [
            status.Console(
                name=console.name,
                socket=self.socket_of(console.name),
                log=console.log,
                viewers=[
                    status.Viewer(
                        pid=viewer.pid,
                        uid=viewer.uid,
                        since=round(viewer.since, 3),
                        keyboard=viewer is console.typist,
                    )
                    for viewer in console.viewers
                ],
            )
            for console in self.by_name.values()
        ]

    # Logs

    async def _keep(self) -> None:
        while True:
            fast = False
            for console in list(self.by_name.values()):
                with self._quietly(console.name):
                    fast |= console.keep()
            await trio.sleep(LOOK_OFTEN if fast else LOOK)

    @contextmanager
    def _quietly(self, name: str) -> Iterator[None]:
        """A log that cannot be kept is told of once, and is no reason to stop."""
        try:
            yield
        except OSError as problem:
            if name not in self._complained and problem.errno != errno.ENOENT:
                self._complained.add(name)
                self._history.add("log not kept", console=name, text=str(problem))

    async def _wake(self) -> None:
        """Wake the viewers of a console whenever its log grows."""
        while True:
            if not any(console.viewers for console in self.by_name.values()):
                self._watching = trio.Event()
                await self._watching.wait()
            if self._watch is None:
                await trio.sleep(UNWATCHED)
            else:
                try:
                    await trio.lowlevel.wait_readable(self._watch)
                except trio.ClosedResourceError:
                    continue
                self._watch.clear()
            for console in self.by_name.values():
                console.wake()
            await trio.sleep(GATHER)

    def _look_at(self, console: Console) -> None:
        """Have viewers of a console woken from now on."""
        self._watching.set()
        try:
            if self._watch is None and not self._unwatched:
                self._watch = Watch()
            if self._watch is not None:
                self._watch.add(console.log)
        except OSError:
            self._unwatched = True  # looking often will do, for all of them
            if self._watch is not None:
                trio.lowlevel.notify_closing(self._watch)
                self._watch.close()
                self._watch = None

    # Viewers

    def _bind(self, name: str) -> socket.socket:
        kind = socket.SOCK_SEQPACKET if name == "attach" else socket.SOCK_STREAM
        listener = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)
        path = f"{self._directory}/{name}"
        try:
            if os.path.exists(path):
                os.unlink(path)  # of a supervisor that was killed
            listener.bind(path)
            os.chmod(path, 0o600)
            listener.listen(16)
        except BaseException:
            listener.close()
            raise
        return listener

    def _serve(self, name: str) -> None:
        """Open a socket; a guest whose consoles cannot be attached to is a guest."""
        if self._nursery is None:
            return
        try:
            self._listeners[name] = self._bind(name)
        except OSError as problem:
            text = scarce.explained(problem)
            if name not in self._unserved:
                self._unserved.add(name)
                self._history.add("failed", request=f"socket {name}", text=text)
            self._nursery.start_soon(self._serve_later, name)
            return
        self._unserved.discard(name)
        accept = partial(self._accept, name, self._listeners[name])
        self._nursery.start_soon(endure, self._history, f"socket {name}", accept)

    async def _serve_later(self, name: str) -> None:
        await trio.sleep(LATER)
        if name not in self._listeners and name in ("attach", *self.by_name):
            self._serve(name)

    def stand(self) -> list[str]:
        """Open the sockets again that somebody has removed; their names."""
        missing = [
            name for name in self._listeners if not os.path.exists(f"{self._directory}/{name}")
        ]
        for name in missing:
            old = self._listeners.pop(name)
            trio.lowlevel.notify_closing(old)  # who is attached stays so
            old.close()
            self._serve(name)
        return missing

    def _drop(self, name: str) -> None:
        console = self.by_name.pop(name)
        if name in self._listeners:
            self._listeners.pop(name).close()
            with suppress(FileNotFoundError):
                os.unlink(f"{self._directory}/{name}")
        if name in self._scopes:
            self._scopes.pop(name).cancel()
        for viewer in console.viewers:
            viewer.scope.cancel()
        console.close()

    async def _accept(self, name: str, bound: socket.socket) -> None:
        if bound.fileno() < 0:
            return  # dropped already
        listener = trio.socket.from_stdlib_socket(bound)
        with trio.CancelScope() as scope:
            self._scopes[name] = scope
            async with trio.open_nursery() as nursery:
                while True:
                    try:
                        connection, _ = await listener.accept()
                    except (OSError, trio.ClosedResourceError):
                        if listener.fileno() < 0:
                            return
                        await trio.sleep(LOOK)  # no descriptors, perhaps; others may end
                        continue
                    if connection.fileno() >= scarce.descriptors() - 1:
                        connection.close()
                    elif connection.fileno() >= scarce.most_for_clients():
                        nursery.start_soon(_turn_away, connection, name == "attach")
                    else:
                        nursery.start_soon(self._welcome, name, connection)

    async def _welcome(self, name: str, connection: trio.socket.SocketType) -> None:
        """Serve who has connected, whatever it sends: it must not end the guest."""
        try:
            with connection:
                if name == "attach":
                    await self._attach(connection)
                else:
                    # Only what it types shows whether it wants the keyboard.
                    hello = Hello(console=name, keyboard=False)
                    await self._view(connection, hello, packets=False)
        except Exception as problem:  # noqa: BLE001
            event = "failed" if scarce.is_lacking(problem) else "internal error"
            self._history.add(event, console=name, text=scarce.explained(problem))

    async def _attach(self, connection: trio.socket.SocketType) -> None:
        hello = None
        try:
            with trio.move_on_after(HELLO_WAITS):
                hello = _read_hello(await connection.recv(PACKET))
        except (OSError, msgspec.DecodeError, ValueError, RecursionError):
            return
        if hello is not None:
            await self._view(connection, hello, packets=True)

    async def _view(
        self, connection: trio.socket.SocketType, hello: Hello, *, packets: bool
    ) -> None:
        """Serve one viewer to its end."""
        console = self.by_name.get(hello.console)
        problem = ""
        if console is None:
            problem = f"the guest has no console {hello.console}"
        elif len(console.viewers) >= VIEWERS:
            problem = f"{console.name} has {VIEWERS} viewers already"
        elif console.name == "con0" and self._elsewhere and hello.keyboard and packets:
            problem = (
                f"what is typed does not reach the guest: its kernel was started with "
                f"{self._elsewhere}; --read-only shows what it prints here"
            )
        try:
            if console is not None and not problem:
                await self._view_console(console, connection, hello, packets=packets)
        except* OSError as group:
            problem = scarce.explained(group)  # the viewer is gone, or its console
        if problem and packets:
            with suppress(OSError):
                await _tell(connection, Notice(problem=problem))

    async def _view_console(
        self,
        console: Console,
        connection: trio.socket.SocketType,
        hello: Hello,
        *,
        packets: bool,
    ) -> None:
        viewer = Viewer(connection, wants=hello.keyboard)
        self._look_at(console)
        console.begin(viewer, hello)
        console.enter(viewer, force=hello.force)
        if hello.keyboard:
            self._want_shell(console)
        try:
            with viewer.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._take, console, viewer, packets)
                    await self._show(console, viewer, packets)
                    nursery.cancel_scope.cancel()
        finally:
            console.leave(viewer)

    async def _show(self, console: Console, viewer: Viewer, packets: bool) -> None:
        """Send what the guest writes, and what there is to say."""
        while True:
            grown, ended = console.grown, self.ended
            data = console.read(viewer)
            while viewer.said:  # more may come while one is told
                notice = viewer.said.pop(0)
                if packets:
                    await _tell(viewer.connection, notice)
            if data:
                await _send(viewer.connection, OUTPUT + data if packets else data)
                viewer.offset += len(data)
                viewer.moved = trio.current_time()
            elif ended:
                if packets:
                    await _tell(viewer.connection, Notice(ended=ended))
                return
            else:
                await grown.wait()

    async def _take(self, console: Console, viewer: Viewer, packets: bool) -> None:
        """Take what the viewer types, until it is gone."""
        if packets:
            while data := await viewer.connection.recv(PACKET):
                if console.typist is not viewer:
                    continue  # it has been told
                if data[:1] == INPUT:
                    await console.type(data[1:], viewer)
                elif data[:1] == SIZE:
                    console.say(viewer, Notice(size=self._resize(console.name, data[1:])))
        else:
            while data := await viewer.connection.recv(PACKET):
                self._want(console, viewer)
                while console.typist is not viewer:  # nobody tells it; what it says can wait
                    with trio.move_on_after(LOOK):
                        await viewer.turn.wait()
                    if _hung_up(viewer.connection):
                        viewer.scope.cancel()
                        return
                await console.type(data, viewer)
            console.let_go(viewer)
            while not _hung_up(viewer.connection):  # noqa: ASYNC110 - it may still read
                await trio.sleep(LOOK)
        viewer.scope.cancel()

    def _resize(self, name: str, data: bytes) -> bool:
        """Tell the guest a window's size; whether there is somebody in it to hear."""
        try:
            rows, columns = msgspec.json.decode(data, type=tuple[int, int])
        except msgspec.DecodeError:
            return False
        if not self._agent or not (0 < rows < 10000 and 0 < columns < 10000):
            return False
        line = f"tty{'S' if name.startswith('ssl') else ''}{name[3:]}"
        return self._tell_init(f"size {line} {rows} {columns}\n")

    def _want(self, console: Console, viewer: Viewer) -> None:
        if not viewer.wants:
            self._want_shell(console)
        console.want(viewer)

    def _want_shell(self, console: Console) -> None:
        """Somebody would type: our init program has a shell there, if nobody has opened it."""
        if self._agent and console.name in WITH_SHELL:
            self._tell_init(f"shell tty{console.name[3:]}\n")

    def _tell_init(self, line: str) -> bool:
        """Say something to our init program; whether it will hear of it."""
        try:
            descriptor = os.open(
                f"{self._directory}/agent.in", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
            )
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        except OSError:
            return False
        return True


def _read_hello(packet: bytes) -> Hello | None:
    """Raises: DecodeError"""
    if packet[:1] != HELLO:
        return None
    return _HELLO.decode(packet[1:])


def _hung_up(connection: trio.socket.SocketType) -> bool:
    """The other end is closed, and not only for writing."""
    poll = select.poll()
    poll.register(connection.fileno(), 0)
    return bool(poll.poll(0))


async def _turn_away(connection: trio.socket.SocketType, packets: bool) -> None:
    """Tell somebody at once that there are no descriptors for viewers any more."""
    with connection, suppress(OSError):
        if packets:
            with trio.move_on_after(LOOK):  # who still has to say hello, would not hear
                await connection.recv(PACKET)
            await _tell(connection, Notice(problem=scarce.few_descriptors()))


async def _tell(connection: trio.socket.SocketType, notice: Notice) -> None:
    await _send(connection, NOTICE + msgspec.json.encode(notice))


async def _send(connection: trio.socket.SocketType, data: bytes) -> None:
    """Send all of it; a packet goes as a whole."""
    while data:
        data = data[await connection.send(data) :]
