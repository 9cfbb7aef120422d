from __future__ import annotations

import pytest

from tests.umlctl.supervisor.consoles.conftest import (
    Kernel,
    attached,
)
from umlctl.protocol.console_socket import SIZE
from umlctl.supervisor.consoles import agent as module
from umlctl.supervisor.consoles.server import Consoles


@pytest.mark.parametrize("agent", [True, False])
async def test_size_of_the_window_is_told_to_the_guest(kernel: Kernel, agent: bool) -> None:
    consoles = Consoles(kernel.directory, kernel.records, kernel.history, agent=agent)
    kernel.consoles = consoles
    async with kernel.running():
        viewer = await attached(kernel)
        await viewer.is_told(keyboard="yours")
        await viewer.connection.send(SIZE + b"[50, 132]")
        await viewer.is_told(size=agent)
        if agent:
            await kernel.hears(b"size tty0 50 132\n", "agent")
        for bad in (b"[0, 80]", b"[1e9, 80]", b"{}", b"[1,2,3]", b'["a", 1]'):
            await viewer.connection.send(SIZE + bad)
            await viewer.is_told(size=False)
    assert kernel.read("agent") == b""


@pytest.mark.parametrize(
    ("console", "asked"), [("con0", b""), ("con1", b"shell tty1\n"), ("ssl1", b"")]
)
def test_shell_is_asked_for_where_our_init_program_has_one(
    kernel: Kernel, console: str, asked: bytes
) -> None:
    module.Agent(kernel.directory, is_there=True).want_shell(console)
    assert kernel.read("agent") == asked
    module.Agent(kernel.directory, is_there=False).want_shell(console)
    assert kernel.read("agent") == b""


def test_serial_lines_have_a_size_too(kernel: Kernel) -> None:
    assert module.Agent(kernel.directory, is_there=True).resize("ssl2", b"[24,80]")
    assert kernel.read("agent") == b"size ttyS2 24 80\n"


def test_init_program_that_cannot_be_told_is_nobody_who_hears() -> None:
    assert not module.Agent("/nowhere", is_there=True).resize("con0", b"[24,80]")
