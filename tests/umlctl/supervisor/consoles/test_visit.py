from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio
import trio.testing

from tests.umlctl.supervisor.consoles.conftest import (
    DEADLINE,
    Kernel,
    attached,
    until,
)
from umlctl.protocol.console_socket import SIZE
from umlctl.state import console_log
from umlctl.supervisor.consoles import visit as module
from umlctl.supervisor.consoles.packets import Notice, tell

if TYPE_CHECKING:
    import pytest


async def test_output_of_many_writes_is_whole_and_in_order(kernel: Kernel) -> None:
    lines = [b"%06d\n" % number for number in range(20_000)]
    async with kernel.running():
        viewers = [await attached(kernel) for _ in range(3)]
        for viewer in viewers:
            await viewer.is_told(offset=0)
        for start in range(0, len(lines), 100):
            kernel.write(b"".join(lines[start : start + 100]))
            await trio.lowlevel.checkpoint()
        for viewer in viewers:
            await viewer.sees(lines[-1])
            assert viewer.output == b"".join(lines)


async def test_viewer_that_never_reads_delays_nobody(kernel: Kernel) -> None:
    async with kernel.running():
        stuck = await attached(kernel)
        good = await attached(kernel)
        await good.is_told(offset=0)
        data = os.urandom(1 << 22)
        kernel.write(data)
        await good.until(lambda: len(good.output) == len(data))
        assert good.output == data
        stuck.close()
        await until(lambda: len(kernel.consoles.by_name["con0"].viewers) == 1)


async def test_viewer_that_is_too_slow_is_told_what_it_missed(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = console_log.trim
    monkeypatch.setattr(console_log, "trim", lambda log, _bound: real(log, 100_000))
    monkeypatch.setattr(console_log, "KEPT_BYTES", 0)
    kernel.write(b"x" * 300_000)
    async with kernel.running():
        console = kernel.consoles.by_name["con0"]
        await until(lambda: os.stat(console.log).st_blocks * 512 < 200_000)
        viewer = await attached(kernel, offset=0)
        await viewer.is_told(offset=0)
        (lost,) = [n["lost"] for n in [await viewer.is_told(lost=200_000 // 4096 * 4096)]]
        await viewer.until(lambda: len(viewer.output) == 300_000 - lost)
        assert set(viewer.output) == {ord("x")}, "no hole was shown"


async def test_end_of_the_guest_is_told_after_its_last_words(kernel: Kernel) -> None:
    async with kernel.running():
        viewer = await attached(kernel)
        await viewer.is_told(offset=0)
        kernel.write("last words\n")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.consoles.end, "exited with status 0")
            await viewer.is_told(ended="exited with status 0")
        assert viewer.output == b"last words\n"
        await viewer.until(lambda: viewer.over)


async def test_what_comes_while_a_viewer_is_told_something_is_told_too(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its window may change twice in the time that one notice takes."""

    async def tell_more(connection: trio.socket.SocketType, notice: Notice) -> None:
        if notice.size:
            console = kernel.consoles.by_name["con0"]
            console.say(console.viewers[0], Notice(size=False))
            console.say(console.viewers[0], Notice(keyboard="taken", by=7))
        await tell(connection, notice)

    monkeypatch.setattr(module, "tell", tell_more)
    async with kernel.running():
        viewer = await attached(kernel)
        await viewer.connection.send(SIZE + b"[24, 80]")
        await viewer.until(lambda: {"keyboard": "taken", "by": 7} in viewer.notices)
        sizes = [each["size"] for each in viewer.notices if "size" in each]
        assert sizes == [True, False]


async def test_stream_socket_is_the_bare_console(kernel: Kernel) -> None:
    kernel.write("the past\n")
    async with kernel.running():
        stream = await trio.open_unix_socket(f"{kernel.directory}/con0")
        await stream.send_all(b"input\n")
        await kernel.hears(b"input\n")
        kernel.write(b"out\xff\0put\n")
        received = b""
        with trio.fail_after(DEADLINE):
            while not received.endswith(b"put\n"):
                received += await stream.receive_some()
        assert received == b"out\xff\0put\n"
        await stream.aclose()
        await until(lambda: not kernel.consoles.by_name["con0"].viewers)


async def test_program_types_when_its_turn_comes(kernel: Kernel) -> None:
    async with kernel.running():
        viewer = await attached(kernel)
        await viewer.is_told(keyboard="yours")
        stream = await trio.open_unix_socket(f"{kernel.directory}/con0")
        await stream.send_all(b"later\n")
        await viewer.type(b"first\n")
        await kernel.hears(b"first\n")
        viewer.close()
        await kernel.hears(b"later\n")
        await stream.aclose()


async def test_program_that_only_listens_any_more_lets_others_type(kernel: Kernel) -> None:
    async with kernel.running():
        stream = await trio.open_unix_socket(f"{kernel.directory}/con0")
        await stream.send_all(b"all\n")
        await stream.send_eof()
        await kernel.hears(b"all\n")
        viewer = await attached(kernel)
        await viewer.is_told(keyboard="yours")
        kernel.write("answer\n")
        with trio.fail_after(DEADLINE):
            assert await stream.receive_some() == b"answer\n"
        await stream.aclose()
