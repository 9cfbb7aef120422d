"""Parts of a guest that are made up: they do what a test wants them to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socketproto.exchange import ANSWERED, Outcome
from umlctl.supervisor.kernel import Kernel
from umlctl.supervisor.process import Process

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from umlctl.host.processes import Held


async def well(_text: str, _timeout: float) -> Outcome:
    return Outcome(ANSWERED)


class MadeKernel(Kernel):
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


class MadeProcess(Process):
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
