"""A socket for clients that stays where they look for it, even if its file is removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from socketproto.blocking import SERVED_MODE
from socketproto.listener import Listener
from umlctl.host import limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from socketproto.listener import AtOnce, Call


class Door:
    """A bound socket. Call `serve`, meanwhile `restore`, then `close`."""

    def __init__(self, path: str, mode: int = SERVED_MODE) -> None:
        """mode: see `Listener.bind`

        Raises: OSError
        """
        self.path = path
        self._mode = mode
        self._listener = Listener.bind(path, mode)
        self._removed = trio.Event()
        self._retired: set[Listener] = set()
        self._nursery: trio.Nursery | None = None
        self._handle: Callable[[Call], Awaitable[None]]
        self._at_once: AtOnce | None = None

    async def serve(
        self, handle: Callable[[Call], Awaitable[None]], at_once: AtOnce | None = None
    ) -> None:
        """Serve clients, as `Listener.serve`."""
        self._handle = handle
        self._at_once = at_once
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._serve, self._listener)
            await trio.sleep_forever()

    def restore(self) -> bool:
        """Bind the socket again if its file was removed; True if it had been.

        Clients that have asked through the old socket get an answer all the same.

        Raises: OSError
        """
        if self._nursery is None or self._listener.is_in_place():
            return False
        fresh = Listener.bind(self.path, self._mode)
        self._retired.add(self._listener)
        self._removed.set()
        self._listener, self._removed = fresh, trio.Event()
        self._nursery.start_soon(self._serve, fresh)
        return True

    async def idle(self) -> None:
        """Wait until every request that has been received is answered."""
        for listener in (*self._retired, self._listener):
            await listener.idle()

    def close(self) -> None:
        for listener in (*self._retired, self._listener):
            listener.close()
        self._retired.clear()

    async def _serve(self, listener: Listener) -> None:
        listener.most, listener.most_kept = limits.most_for_clients(), limits.most_to_keep()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.serve, self._handle, self._at_once)
            await self._removed.wait()
            await listener.idle()
            nursery.cancel_scope.cancel()
        self._retired.discard(listener)
        listener.close()
