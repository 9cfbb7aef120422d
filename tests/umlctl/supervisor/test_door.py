from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio
import trio.testing

from socketproto.client import Client
from umlctl.supervisor.door import Door

if TYPE_CHECKING:
    from socketproto.listener import Call

DEADLINE = 30.0


async def test_socket_that_was_removed_is_there_again_and_nobody_waits_in_vain(short: str) -> None:
    path = f"{short}/mconsole"
    asked, go = trio.Event(), trio.Event()
    answers: list[bytes] = []

    async def handle(call: Call) -> None:
        if call.data == b"slow":
            asked.set()
            await go.wait()
        await call.answer(call.data)

    async def ask(text: str) -> None:
        with Client(path) as client:
            answers.append((await client.request(text, DEADLINE)).data)

    door = Door(path, 0o640)
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(door.serve, handle)
            nursery.start_soon(ask, "slow")
            await asked.wait()
            assert not door.restore()
            os.unlink(path)
            assert door.restore()
            assert os.stat(path).st_mode & 0o777 == 0o640
            await ask("quick")
            go.set()
            while b"slow" not in answers:
                await trio.lowlevel.checkpoint()
            await door.idle()
            nursery.cancel_scope.cancel()
    door.close()
    assert answers == [b"quick", b"slow"]
    assert os.listdir(short) == []


async def test_socket_that_somebody_puts_in_its_place_is_replaced(short: str) -> None:
    path = f"{short}/mconsole"
    door = Door(path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(door.serve, lambda call: call.answer(call.data))
        await trio.testing.wait_all_tasks_blocked()
        os.unlink(path)
        os.close(os.open(path, os.O_CREAT))
        assert door.restore()
        with Client(path) as client:
            assert (await client.request("x", DEADLINE)).ok
        nursery.cancel_scope.cancel()
    door.close()
