"""Consoles whose kernel is this test: it appends to the logs and reads the FIFOs."""

from __future__ import annotations

import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
import trio.testing

from umlctl.protocol import console_socket
from umlctl.protocol.console_socket import HELLO, INPUT, MAX_PACKET_BYTES, NOTICE, OUTPUT
from umlctl.supervisor.consoles.server import Consoles
from umlctl.supervisor.history import History

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

DEADLINE = 30.0


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(DEADLINE):
        while not condition():  # noqa: ASYNC110 - files have nobody to tell
            await trio.sleep(0.002)


def size_of(path: str) -> int:
    return os.stat(path).st_size


class Kernel:
    """The other end of the consoles' files."""

    def __init__(self, place: Path) -> None:
        self.directory = str(place / "run")
        self.records = str(place / "records")
        os.mkdir(self.directory)
        os.mkdir(self.records)
        self.inputs = {}
        for name in (*console_socket.CONSOLES, "agent"):
            path = f"{self.directory}/{name}.in"
            os.mkfifo(path)
            self.inputs[name] = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.write("")
        self.history = History("demo")
        self.consoles = Consoles(self.directory, self.records, self.history, agent=True)
        self.viewers: list[Viewer] = []

    def write(self, text: str | bytes, name: str = "con0") -> None:
        data = text.encode() if isinstance(text, str) else text
        with open(f"{self.records}/{console_socket.log_name(name)}", "ab") as file:
            file.write(data)

    def read(self, name: str = "con0") -> bytes:
        try:
            return os.read(self.inputs[name], 1 << 17)
        except BlockingIOError:
            return b""

    async def hears(self, data: bytes, name: str = "con0") -> None:
        heard = b""
        with trio.fail_after(DEADLINE):
            while len(heard) < len(data):
                heard += self.read(name)
                await trio.sleep(0.002)
        assert heard == data

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.consoles.run)
            yield
            nursery.cancel_scope.cancel()

    def close(self) -> None:
        for viewer in self.viewers:
            if viewer.connection.fileno() >= 0:
                os.close(viewer.connection.detach())
        for descriptor in self.inputs.values():
            os.close(descriptor)


@pytest.fixture
def kernel(tmp_path: Path) -> Any:
    made = Kernel(tmp_path)
    yield made
    made.close()


class Viewer:
    """Somebody on the socket `attach`."""

    def __init__(self, kernel: Kernel) -> None:
        self.connection = trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kernel.viewers.append(self)
        self.path = f"{kernel.directory}/attach"
        self.output = b""
        self.notices: list[dict[str, Any]] = []
        self.over = False

    async def hello(self, console: str = "con0", **asked: object) -> Viewer:
        await self.connection.connect(self.path)
        hello = {"console": console, **asked}
        await self.connection.send(HELLO + msgspec.json.encode(hello))
        return self

    async def until(self, condition: Callable[[], object]) -> None:
        with trio.fail_after(DEADLINE):
            while not condition():
                packet = await self.connection.recv(MAX_PACKET_BYTES)
                if packet[:1] == OUTPUT:
                    self.output += packet[1:]
                elif packet[:1] == NOTICE:
                    self.notices.append(msgspec.json.decode(packet[1:]))
                else:
                    assert packet == b""
                    self.over = True
                    assert condition()

    async def sees(self, data: bytes) -> None:
        await self.until(lambda: data in self.output)

    async def is_told(self, **facts: object) -> dict[str, Any]:
        def told() -> dict[str, Any] | None:
            return next((n for n in self.notices if facts.items() <= n.items()), None)

        await self.until(told)
        found = told()
        assert found is not None
        self.notices.remove(found)
        return found

    async def type(self, data: bytes) -> None:
        await self.connection.send(INPUT + data)

    def close(self) -> None:
        self.connection.close()


async def attached(kernel: Kernel, console: str = "con0", **asked: object) -> Viewer:
    return await Viewer(kernel).hello(console, **asked)
