from __future__ import annotations

import os

import trio
import trio.testing

from tests.umlctl.supervisor.consoles.conftest import (
    Kernel,
    attached,
    until,
)
from umlctl.state import console_log
from umlctl.supervisor.consoles import console as module


async def test_viewer_sees_the_past_that_it_asks_for_and_what_comes(kernel: Kernel) -> None:
    kernel.write("one\ntwo\nthree\n")
    async with kernel.running():
        viewer = await attached(kernel, lines=2)
        assert (await viewer.is_told(offset=4))["replay"] == 10
        await viewer.sees(b"two\nthree\n")
        kernel.write("four\n")
        await viewer.sees(b"four\n")
        assert viewer.output == b"two\nthree\nfour\n"
        later = await attached(kernel)
        await later.is_told(offset=19)
        from_the_start = await attached(kernel, offset=0)
        await from_the_start.sees(b"four\n")
        assert from_the_start.output == b"one\ntwo\nthree\nfour\n"


async def test_more_is_kept_for_a_viewer_that_is_behind_and_reading(kernel: Kernel) -> None:
    async with kernel.running():
        viewer = await attached(kernel)
        await viewer.is_told(offset=0)
        console = kernel.consoles.by_name["con0"]
        (known,) = console.viewers
        for behind, since, kept in (
            (0, 0, console_log.KEPT_BYTES),
            (2 * console_log.KEPT_BYTES, 0, 2 * console_log.KEPT_BYTES),
            (2 * console_log.KEPT_BYTES, 10, console_log.KEPT_BYTES),
            (100 * console_log.KEPT_BYTES, 0, module.MAX_KEPT_BYTES),
        ):
            known.moved = trio.current_time() - since
            assert console._bound(known.offset + behind) == kept


async def test_one_viewer_has_the_keyboard_and_the_next_gets_it(kernel: Kernel) -> None:
    async with kernel.running():
        first = await attached(kernel)
        await first.is_told(keyboard="yours")
        second = await attached(kernel)
        await second.is_told(keyboard="waiting", by=os.getpid())
        reader = await attached(kernel, keyboard=False)
        await reader.is_told(offset=0)
        await second.type(b"nobody hears this")
        await first.type(b"hello")
        await kernel.hears(b"hello")
        listed = kernel.consoles.listing()[0].viewers
        assert [viewer.keyboard for viewer in listed] == [True, False, False]
        assert {viewer.pid for viewer in listed} == {os.getpid()}
        first.close()
        await second.is_told(keyboard="yours")
        await second.type(b"mine")
        await kernel.hears(b"mine")
        second.close()
        await until(lambda: len(kernel.consoles.by_name["con0"].viewers) == 1)
        assert kernel.consoles.by_name["con0"].typist is None


async def test_keyboard_can_be_taken(kernel: Kernel) -> None:
    async with kernel.running():
        first = await attached(kernel)
        await first.is_told(keyboard="yours")
        second = await attached(kernel, force=True)
        await second.is_told(keyboard="yours")
        await first.is_told(keyboard="taken", by=os.getpid())
        await first.type(b"lost")
        await second.type(b"kept")
        await kernel.hears(b"kept")


async def test_input_waits_for_a_guest_that_takes_none(kernel: Kernel) -> None:
    """Nothing of it is lost, though a FIFO holds 64 KiB."""
    data = os.urandom(200_000)
    async with kernel.running():
        viewer = await attached(kernel)
        await viewer.is_told(keyboard="yours")
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                for start in range(0, len(data), 4096):
                    await viewer.type(data[start : start + 4096])

            nursery.start_soon(send)
            await kernel.hears(data)


async def test_viewer_that_dies_with_its_input_pending_lets_others_type(kernel: Kernel) -> None:
    async with kernel.running():
        first = await attached(kernel)
        await first.is_told(keyboard="yours")
        for _ in range(40):  # more than a FIFO holds, to a guest that takes none
            with trio.move_on_after(0.2):
                await first.type(b"x" * 4096)
        first.close()
        second = await attached(kernel)
        await second.is_told(keyboard="yours")
        while kernel.read():
            pass
        await second.type(b"mine")
        await kernel.hears(b"mine")
