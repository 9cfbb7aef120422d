"""The sockets of a guest's consoles, and the viewers that connect to them."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from umlctl.host import brand, limits
from umlctl.protocol import console_socket, status
from umlctl.protocol.console_socket import MAX_PACKET_BYTES, NOTICE
from umlctl.supervisor.consoles.agent import Agent
from umlctl.supervisor.consoles.console import LOOK_INTERVAL, ServedConsole, peer_of
from umlctl.supervisor.consoles.log_keeper import LogKeeper
from umlctl.supervisor.consoles.packets import Hello, Notice, read_hello, tell
from umlctl.supervisor.consoles.visit import Visit
from umlctl.supervisor.endurance import endure

if TYPE_CHECKING:
    from umlctl.protocol.events import EventName
    from umlctl.state.records import DeviceEntry
    from umlctl.supervisor.history import History

HELLO_TIMEOUT: Final = 5.0
"""How long a client may take to say what it wants, seconds."""
MAX_VIEWERS: Final = 256
"""The most viewers of one console."""
RETRY_INTERVAL: Final = 5.0
"""The time between two tries to open a socket that could not be opened, seconds."""


class Consoles:
    """The consoles of one guest that can be attached to, and their sockets.

    Fields:
        by_name: the consoles that the guest has
    """

    def __init__(
        self, directory: str, records: str, history: History, *, agent: bool, elsewhere: str = ""
    ) -> None:
        """directory: of the running guest; records: of the files that outlive it

        agent: the guest's init program is umlctl's own, and takes window sizes
        elsewhere: the kernel argument by which con0 reads from something else
        """
        self._elsewhere = elsewhere
        self.by_name = {"con0": ServedConsole("con0", directory, records)}
        self._ended = ""
        self._directory = directory
        self._records = records
        self._history = history
        self._agent = Agent(directory, is_there=agent)
        self._keeper = LogKeeper(self.by_name, history)
        self._scopes: dict[str, trio.CancelScope] = {}
        self._listeners: dict[str, socket.socket] = {}
        self._nursery: trio.Nursery | None = None
        self._unserved: set[str] = set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve viewers and keep the logs, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for name in ("attach", *self.by_name):
                    self._serve(name)
                self._keeper.begin(nursery)
                task_status.started()
        finally:
            self._nursery = None
            for console in self.by_name.values():
                console.close()
            for listener in self._listeners.values():
                listener.close()
            self._keeper.close()

    async def end(self, how: str) -> None:
        """Note that the guest has ended: viewers get the rest, are told, and are let go."""
        self._ended = how
        for console in self.by_name.values():
            console.ended = how
            console.wake()
        while any(console.viewers for console in self.by_name.values()):  # noqa: ASYNC110
            await trio.sleep(0.01)

    def note_boot(self) -> None:
        """Note that the guest boots again: its system console has begun to say so."""
        self._keeper.note_boot()

    def sync(self, entries: list[DeviceEntry]) -> None:
        """Serve the consoles that are in the device table, and no others."""
        wanted = {"con0"}
        for entry in entries:
            name = entry.name
            if name in console_socket.CONSOLES[1:] and entry.kernel == console_socket.config(name):
                wanted.add(name)
        for name in self.by_name.keys() - wanted:
            self._drop(name)
        for name in wanted - self.by_name.keys():
            console = self.by_name[name] = ServedConsole(name, self._directory, self._records)
            console.ended = self._ended
            self._keeper.note_launch(console)
            self._serve(name)
        for console in self.by_name.values():
            if console.typist is not None:  # it has had the keyboard since before a reboot
                self._agent.want_shell(console.name)

    def socket_of(self, name: str) -> str:
        """The path of the socket by which programs attach to a console."""
        return f"{self._directory}/{name}"

    def listing(self) -> list[status.Console]:
        """The consoles as `status` shows them."""
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

    # Viewers

    def _bind(self, name: str) -> socket.socket:
        kind = socket.SOCK_SEQPACKET if name == "attach" else socket.SOCK_STREAM
        listener = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)
        path = f"{self._directory}/{name}"
        try:
            if os.path.exists(path):
                os.unlink(path)  # left by a supervisor that was killed
            listener.bind(path)
            os.chmod(path, 0o600)
            listener.listen(16)
        except BaseException:
            listener.close()
            raise
        return listener

    def _serve(self, name: str) -> None:
        """Open a socket; if it cannot be opened, the guest goes on without, and it is tried
        again."""
        if self._nursery is None:
            return
        try:
            self._listeners[name] = self._bind(name)
        except OSError as problem:
            text = limits.explained(problem)
            if name not in self._unserved:
                self._unserved.add(name)
                self._history.add("failed", request=f"socket {name}", text=text)
            self._nursery.start_soon(self._serve_later, name)
            return
        self._unserved.discard(name)
        accept = partial(self._accept, name, self._listeners[name])
        self._nursery.start_soon(endure, self._history, f"socket {name}", accept)

    async def _serve_later(self, name: str) -> None:
        await trio.sleep(RETRY_INTERVAL)
        if name not in self._listeners and name in ("attach", *self.by_name):
            self._serve(name)

    def restore(self) -> list[str]:
        """Open again the sockets that were removed; return their names."""
        missing = [
            name for name in self._listeners if not os.path.exists(f"{self._directory}/{name}")
        ]
        for name in missing:
            old = self._listeners.pop(name)
            trio.lowlevel.notify_closing(old)  # attached viewers stay attached
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
                        # Perhaps for want of descriptors; others may be closed soon.
                        await trio.sleep(LOOK_INTERVAL)
                        continue
                    if connection.fileno() >= limits.descriptors() - 1:
                        _turn_away_at_once(connection, packets=name == "attach")
                    elif connection.fileno() >= limits.most_for_clients():
                        nursery.start_soon(_turn_away, connection, name == "attach")
                    else:
                        nursery.start_soon(self._welcome, name, connection)

    async def _welcome(self, name: str, connection: trio.socket.SocketType) -> None:
        """Serve a client that has connected. Whatever it sends must not end the guest."""
        try:
            with connection:
                if brand.is_on(peer_of(connection)[0]):
                    return  # a confined guest's
                if name == "attach":
                    await self._attach(connection)
                else:
                    # Only what the client types shows whether it wants the keyboard.
                    hello = Hello(console=name, keyboard=False)
                    await self._view(connection, hello, packets=False)
        except Exception as problem:  # noqa: BLE001
            event: EventName = "failed" if limits.is_lacking(problem) else "internal error"
            self._history.add(event, console=name, text=limits.explained(problem))

    async def _attach(self, connection: trio.socket.SocketType) -> None:
        hello = None
        try:
            with trio.move_on_after(HELLO_TIMEOUT):
                hello = read_hello(await connection.recv(MAX_PACKET_BYTES))
        except (OSError, msgspec.DecodeError, ValueError, RecursionError):
            return
        if hello is not None:
            await self._view(connection, hello, packets=True)

    async def _view(
        self, connection: trio.socket.SocketType, hello: Hello, *, packets: bool
    ) -> None:
        """Serve one viewer until it leaves."""
        console = self.by_name.get(hello.console)
        problem = ""
        if console is None:
            problem = f"the guest has no console {hello.console}"
        elif len(console.viewers) >= MAX_VIEWERS:
            problem = f"{console.name} has {MAX_VIEWERS} viewers already"
        elif console.name == "con0" and self._elsewhere and hello.keyboard and packets:
            problem = (
                f"what is typed does not reach the guest: its kernel was started with "
                f"{self._elsewhere}; --read-only shows what it prints here"
            )
        try:
            if console is not None and not problem:
                self._keeper.look_at(console)
                await Visit(console, connection, self._agent, packets=packets).run(hello)
        except* OSError as group:
            problem = limits.explained(group)  # the viewer is gone, or its console
        if problem and packets:
            with suppress(OSError):
                await tell(connection, Notice(problem=problem))


async def _turn_away(connection: trio.socket.SocketType, packets: bool) -> None:
    """Tell a client at once that there are no more descriptors for viewers."""
    with connection, suppress(OSError):
        if packets:
            # A client that has yet to say hello would not hear it.
            with trio.move_on_after(LOOK_INTERVAL):
                await connection.recv(MAX_PACKET_BYTES)
            await tell(connection, Notice(problem=limits.few_descriptors()))


def _turn_away_at_once(connection: trio.socket.SocketType, *, packets: bool) -> None:
    """Tell the same to a viewer that holds the last descriptor, without waiting for its hello."""
    with socket.socket(fileno=connection.detach()) as sock, suppress(OSError):
        if packets:
            sock.setblocking(False)
            sock.send(NOTICE + msgspec.json.encode(Notice(problem=limits.few_descriptors())))
