from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.umlctl.supervisor.consoles.conftest import (
    Kernel,
    Viewer,
    attached,
)
from umlctl.host import limits
from umlctl.protocol import console_socket
from umlctl.state.records import DeviceEntry

if TYPE_CHECKING:
    from pathlib import Path


async def test_consoles_are_those_of_the_table(kernel: Kernel) -> None:
    def line(name: str, kernel_text: str = "") -> DeviceEntry:
        return DeviceEntry(name=name, asked="", kernel=kernel_text or console_socket.config(name))

    async with kernel.running():
        kernel.consoles.sync(
            [line("con1"), line("con2", "con2=pts"), line("ssl0"), line("ubd1", "ubd1=/a")]
        )
        assert sorted(kernel.consoles.by_name) == ["con0", "con1", "ssl0"]
        kernel.write("on ssl0\n", "ssl0")
        viewer = await attached(kernel, "ssl0", offset=0)
        await viewer.sees(b"on ssl0\n")
        await viewer.type(b"for ssl0")
        await kernel.hears(b"for ssl0", "ssl0")
        stream = await trio.open_unix_socket(f"{kernel.directory}/con1")
        kernel.consoles.sync([line("con1")])
        await viewer.until(lambda: viewer.over)
        sockets = set(os.listdir(kernel.directory))
        assert "con1" in sockets
        assert "ssl0" not in sockets
        await stream.aclose()
        gone = await attached(kernel, "ssl0")
        await gone.is_told(problem="the guest has no console ssl0")


async def test_viewer_for_which_the_last_descriptor_is_taken_is_told(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "descriptors", lambda: 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as viewer:
        async with kernel.running():
            viewer.connect(f"{kernel.directory}/attach")
            await trio.lowlevel.wait_readable(viewer)
            said = viewer.recv(console_socket.MAX_PACKET_BYTES)
    assert said[:1] == console_socket.NOTICE
    assert json.loads(said[1:]) == {"problem": limits.few_descriptors()}


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"h",
        b"h{}",
        b"hnull",
        b"x",
        b'h{"console": 1}',
        b'h{"console": "../"}',
        b'h{"console": "\xff"}',
        b'h{"console": "con0", "x": ' + b"[" * 60_000,
        b"\xff" * 9000,
    ],
)
async def test_rubbish_is_let_go_and_nobody_else(kernel: Kernel, packet: bytes) -> None:
    async with kernel.running():
        bad = Viewer(kernel)
        await bad.connection.connect(bad.path)
        if packet:
            await bad.connection.send(packet)
            await bad.until(lambda: bad.over)
        bad.close()
        good = await attached(kernel)
        await good.is_told(keyboard="yours")


async def test_console_that_goes_as_somebody_comes_harms_nobody(kernel: Kernel) -> None:
    line = DeviceEntry(name="con1", asked="", kernel=console_socket.config("con1"))
    async with kernel.running():
        for _ in range(30):
            kernel.consoles.sync([line])
            plain = await trio.open_unix_socket(f"{kernel.directory}/con1")
            viewer = await attached(kernel, "con1")
            kernel.consoles.sync([])
            await plain.aclose()
            viewer.close()
        good = await attached(kernel)
        await good.is_told(keyboard="yours")
    assert not [event for event in kernel.history if event["event"] == "internal error"]


async def test_place_without_room_for_sockets_is_no_end(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    kernel = Kernel(deep)
    async with kernel.running():
        pass
    kernel.close()
    assert {event["event"] for event in kernel.history} == {"failed"}
