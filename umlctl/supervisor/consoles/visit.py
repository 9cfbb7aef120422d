"""One viewer at a console, from its greeting to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from umlctl.protocol.console_socket import INPUT, MAX_PACKET_BYTES, OUTPUT, SIZE
from umlctl.supervisor.consoles.console import LOOK_INTERVAL, AttachedViewer
from umlctl.supervisor.consoles.packets import Hello, Notice, hung_up, send, tell

if TYPE_CHECKING:
    from umlctl.supervisor.consoles.agent import Agent
    from umlctl.supervisor.consoles.console import ServedConsole


class Visit:
    """Shows a viewer what the console prints, and types what the viewer sends."""

    def __init__(
        self,
        console: ServedConsole,
        connection: trio.socket.SocketType,
        agent: Agent,
        *,
        packets: bool,
    ) -> None:
        """packets: the viewer speaks the protocol of the socket `attach`; else it gets the bare
        bytes"""
        self._console = console
        self._connection = connection
        self._agent = agent
        self._packets = packets

    async def run(self, hello: Hello) -> None:
        """Serve the viewer until it leaves, or until the guest has ended and all is shown.

        Raises: ExceptionGroup of OSError: the viewer is gone, or its console
        """
        console = self._console
        viewer = AttachedViewer(self._connection, wants=hello.keyboard)
        console.begin(viewer, hello)
        console.add_viewer(viewer, force=hello.force)
        if hello.keyboard:
            self._agent.want_shell(console.name)
        try:
            with viewer.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._take, viewer)
                    await self._show(viewer)
                    nursery.cancel_scope.cancel()
        finally:
            console.remove_viewer(viewer)

    async def _show(self, viewer: AttachedViewer) -> None:
        """Send the viewer what the guest writes, and its notices."""
        console = self._console
        while True:
            grown, ended = console.grown, console.ended
            data = console.read(viewer)
            while viewer.said:  # more notices may come while one is sent
                notice = viewer.said.pop(0)
                if self._packets:
                    await tell(self._connection, notice)
            if data:
                await send(self._connection, OUTPUT + data if self._packets else data)
                viewer.offset += len(data)
                viewer.moved = trio.current_time()
            elif ended:
                if self._packets:
                    await tell(self._connection, Notice(ended=ended))
                return
            else:
                await grown.wait()

    async def _take(self, viewer: AttachedViewer) -> None:
        """Take what the viewer types, until it is gone."""
        if self._packets:
            await self._take_packets(viewer)
        else:
            await self._take_bytes(viewer)
        viewer.scope.cancel()

    async def _take_packets(self, viewer: AttachedViewer) -> None:
        console = self._console
        while data := await self._connection.recv(MAX_PACKET_BYTES):
            if console.typist is not viewer:
                continue  # the viewer has been told that another has the keyboard
            if data[:1] == INPUT:
                await console.type(data[1:], viewer)
            elif data[:1] == SIZE:
                resized = self._agent.resize(console.name, data[1:])
                console.say(viewer, Notice(size=resized))

    async def _take_bytes(self, viewer: AttachedViewer) -> None:
        console = self._console
        while data := await self._connection.recv(MAX_PACKET_BYTES):
            if not viewer.wants:
                self._agent.want_shell(console.name)
            console.request_keyboard(viewer)
            # Bare bytes have no notices; what the viewer types can wait.
            while console.typist is not viewer:
                with trio.move_on_after(LOOK_INTERVAL):
                    await viewer.turn.wait()
                if hung_up(self._connection):
                    return
            await console.type(data, viewer)
        console.release_keyboard(viewer)
        while not hung_up(self._connection):  # noqa: ASYNC110 - it may still read
            await trio.sleep(LOOK_INTERVAL)
