"""Parts of a guest that are made up: they do what a test wants them to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from socketproto.exchange import ANSWERED, Outcome
from umlctl.supervisor.kernel import KernelClient
from umlctl.supervisor.process import GuestProcesses

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from umlctl.host.processes import Held


async def well(_text: str, _timeout: float) -> Outcome:
    return Outcome(ANSWERED)


class MadeKernel(KernelClient):
    """A kernel.

    Fields:
        answer: what it answers, and when
        asked: what it was asked
    """

    def __init__(self) -> None:
        super().__init__("/nowhere/demo/mconsole", lambda _trouble: None)
        self.answer: Callable[[str, float], Awaitable[Outcome]] = well
        self.asked: list[str] = []

    async def ask(self, text: str, timeout: float = 10.0, *, renew: float = 0.0) -> Outcome:
        assert renew <= timeout
        self.asked.append(text)
        return await self.answer(text, timeout)

    async def resume(self) -> Outcome:
        return await self.ask("go")


class MadeCall:
    """A request of a client.

    Fields:
        said: its answer so far
        error: of its answer; None: it has none yet
        parts: how many parts came before
    """

    pid = os.getpid()  # of one that lives

    def __init__(self, text: str, uid: int = 0, gid: int = 0) -> None:
        self.data = text.encode()
        self.uid, self.gid = uid, gid
        self.read: object = None
        self.said = b""
        self.error: int | None = None
        self.parts = 0

    def step_aside(self) -> None:
        pass

    async def part(self, data: bytes = b"") -> None:
        self.parts += 1
        self.said += data

    async def answer(self, data: bytes | str, error: int = 0) -> None:
        assert self.error is None, "answered twice"
        self.said += data.encode() if isinstance(data, str) else data
        self.error = error

    @property
    def text(self) -> str:
        return self.said.decode()


class MadeProcess(GuestProcesses):
    """A process.

    Fields:
        holder: who holds it
        signals: what it was sent
    """

    def __init__(self) -> None:
        super().__init__(4711, 1)
        self.holder: Held | None = None
        self.signals: list[int] = []

    def held(self) -> Held | None:
        return self.holder

    def looks_stopped(self) -> bool:
        return False

    def signal(self, number: int) -> None:
        self.signals.append(number)
