"""One console: its log, the FIFO that its kernel reads, and the viewers that look and type."""

from __future__ import annotations

import os
import socket
import struct
import time
from typing import Final

import trio

from umlctl.host import limits
from umlctl.protocol import console_socket
from umlctl.protocol.console_socket import MAX_PACKET_BYTES
from umlctl.state import console_log
from umlctl.supervisor.consoles.packets import Hello, Notice, hung_up

LOOK_INTERVAL: Final = 0.25
"""The time between two looks at what sends no notice, seconds."""
FAST_GROWTH_BYTES: Final = console_log.KEPT_BYTES // 8
"""How much a log that grows fast grows between two looks, bytes."""
MOMENT_INTERVAL: Final = 1.0
"""The time between two entries of a log's index, seconds."""
READING_TIMEOUT: Final = 1.0
"""How long a viewer may take nothing before it counts as not reading, seconds."""
MAX_KEPT_BYTES: Final = 8 * console_log.KEPT_BYTES
"""The most of a log that is kept for viewers that are behind, bytes."""
MAX_PIECE_BYTES: Final = MAX_PACKET_BYTES - 1
MAX_PAST_BYTES: Final = 65536
"""The most that a viewer is shown of the past, bytes."""
_UCRED: Final = struct.Struct("3i")


def peer_of(connection: trio.socket.SocketType) -> tuple[int, int]:
    """The pid and uid of the process that connected."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, _ = _UCRED.unpack(credentials)
    return pid, uid


class AttachedViewer:
    """A process that is attached to a console.

    Fields:
        pid, uid: of the process
        since: when it attached, seconds since 1970
        offset: of the log's byte that it gets next
        moved: when it last took something, by trio's clock
        wants: it wants to type
        turn: set while it has the keyboard
        said: notices that have yet to be sent to it
        scope: cancelled to let it go
    """

    def __init__(self, connection: trio.socket.SocketType, *, wants: bool) -> None:
        self.pid, self.uid = peer_of(connection)
        self.since = time.time()
        self.connection = connection
        self.offset = 0
        self.moved = trio.current_time()
        self.wants = wants
        self.turn = trio.Event()
        self.said: list[Notice] = []
        self.scope = trio.CancelScope()


class ServedConsole:
    """One console: a log, a FIFO, and its viewers.

    Fields:
        name: con0
        viewers: in the order in which they came
        typist: the viewer that has the keyboard
        ended: how the guest has ended; empty as long as it lives
    """

    def __init__(self, name: str, directory: str, records: str) -> None:
        self.name = name
        self.log = f"{records}/{console_socket.log_name(name)}"
        self.viewers: list[AttachedViewer] = []
        self.typist: AttachedViewer | None = None
        self.ended = ""
        self.grown = trio.Event()
        self._fifo = f"{directory}/{name}.in"
        self._typing = trio.Lock()
        self._file = -1
        self._index = console_log.Index(self.log)
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
        """Have all viewers look for more."""
        self.grown.set()
        self.grown = trio.Event()

    def keep(self) -> bool:
        """Note the time of what is new, and cut off what is old; True if the log grows fast.

        Raises: OSError
        """
        size = self.size
        grown, self._seen = size - self._seen, size
        now = time.time()
        if size != self._noted and now - self._noted_at >= MOMENT_INTERVAL:
            self._index.add(console_log.MOMENT, now, self._noted)
            self._noted, self._noted_at = size, now
        if size > console_log.KEPT_BYTES:
            console_log.trim(self.log, self._bound(size))
        return grown > FAST_GROWTH_BYTES

    def _bound(self, size: int) -> int:
        """How much of the log to keep: more for viewers that are behind and reading, within
        bounds."""
        now = trio.current_time()
        behind = [size - each.offset for each in self.viewers if now - each.moved < READING_TIMEOUT]
        return min(max([console_log.KEPT_BYTES, *behind]), MAX_KEPT_BYTES)

    def note_boot(self) -> None:
        """Note in the index that a boot has begun.

        Raises: OSError
        """
        size = self.size
        begin = console_log.find_boot(self.log, size) if self.name == "con0" else size
        self._index.add(console_log.BOOT, time.time(), begin)

    def note_launch(self) -> None:
        """Note in the index that the console is there for the first time since the guest was
        started.

        Raises: OSError
        """
        if not console_log.boots(console_log.index_of(self.log)):
            self._index.add(console_log.LAUNCH, time.time(), 0)

    def read(self, viewer: AttachedViewer) -> bytes:
        """The next bytes for a viewer; none if it has them all.

        Raises: OSError
        """
        if self._file < 0:
            self._file = limits.for_client(os.open(self.log, os.O_RDONLY | os.O_CLOEXEC))
        begin = console_log.start(self._file)
        if viewer.offset < begin:
            viewer.said.append(Notice(lost=begin - viewer.offset))
            viewer.offset = begin
        return os.pread(self._file, MAX_PIECE_BYTES, viewer.offset)

    def begin(self, viewer: AttachedViewer, hello: Hello) -> None:
        """Set where a viewer begins, and tell the viewer."""
        size = self.size
        if hello.offset is not None:
            viewer.offset = min(max(0, hello.offset), size)
        else:
            viewer.offset = size
            if hello.lines > 0 and size:
                descriptor = os.open(self.log, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    least = max(console_log.start(descriptor), size - MAX_PAST_BYTES)
                    viewer.offset = console_log.last_lines(descriptor, hello.lines, least)
                finally:
                    os.close(descriptor)
        viewer.said.append(Notice(offset=viewer.offset, replay=size - viewer.offset))

    # The keyboard

    def add_viewer(self, viewer: AttachedViewer, *, force: bool) -> None:
        self.viewers.append(viewer)
        if not viewer.wants:
            return
        if self.typist is not None and force:
            self.typist.turn = trio.Event()
            self.say(self.typist, Notice(keyboard="taken", by=viewer.pid))
            self.typist = None
        if self.typist is None:
            self._give_keyboard(viewer)
        else:
            viewer.said.append(Notice(keyboard="waiting", by=self.typist.pid))

    def request_keyboard(self, viewer: AttachedViewer) -> None:
        """Give a viewer the keyboard: now if no other viewer has it, else in its turn."""
        viewer.wants = True
        if self.typist is None:
            self._give_keyboard(viewer)

    def remove_viewer(self, viewer: AttachedViewer) -> None:
        self.viewers.remove(viewer)
        self.release_keyboard(viewer)

    def release_keyboard(self, viewer: AttachedViewer) -> None:
        """Take the keyboard from a viewer that types no more, and give it to the next that wants
        it."""
        viewer.wants = False
        if self.typist is viewer:
            self.typist = None
            following = next((each for each in self.viewers if each.wants), None)
            if following is not None:
                self._give_keyboard(following)

    def _give_keyboard(self, viewer: AttachedViewer) -> None:
        self.typist = viewer
        viewer.turn.set()
        self.say(viewer, Notice(keyboard="yours"))

    def say(self, viewer: AttachedViewer, notice: Notice) -> None:
        if notice.size is not None:  # only the last size counts
            viewer.said = [each for each in viewer.said if each.size is None]
        viewer.said.append(notice)
        self.wake()

    async def type(self, data: bytes, viewer: AttachedViewer) -> None:
        """Hand what a viewer types to the guest; this waits while the guest takes none.

        Raises: OSError: among others when the viewer is gone
        """
        async with self._typing:
            # The supervisor's own open file description: the kernel sets flags on its own.
            descriptor = os.open(self._fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                while data:
                    try:
                        data = data[os.write(descriptor, data) :]
                    except BlockingIOError:
                        with trio.move_on_after(LOOK_INTERVAL):
                            await trio.lowlevel.wait_writable(descriptor)
                        if hung_up(viewer.connection):
                            raise BrokenPipeError from None
            finally:
                os.close(descriptor)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
