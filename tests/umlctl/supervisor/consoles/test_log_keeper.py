from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio
import trio.testing

from tests.umlctl.supervisor.consoles.conftest import (
    Kernel,
    attached,
    size_of,
    until,
)
from umlctl.host import limits
from umlctl.host.inotify import Watch
from umlctl.state import console_log
from umlctl.supervisor.consoles import console
from umlctl.supervisor.consoles import log_keeper as module

if TYPE_CHECKING:
    import pytest


async def test_viewer_without_inotify_sees_all_the_same(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> None:
        raise OSError(24, "no more inotify")

    monkeypatch.setattr(module, "Watch", none)
    async with kernel.running():
        viewer = await attached(kernel)
        await viewer.is_told(offset=0)
        kernel.write("hello\n")
        await viewer.sees(b"hello\n")


async def test_last_descriptors_do_not_wake_viewers(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def watch() -> Watch:
        opened.append(Watch())
        return opened[-1]

    monkeypatch.setattr(module, "Watch", watch)
    async with kernel.running():
        monkeypatch.setattr(limits, "most_for_clients", lambda: 0)
        kernel.consoles._keeper.look_at(kernel.consoles.by_name["con0"])
        assert [each.fileno() for each in opened] == [-1]


async def test_viewers_are_woken_though_a_log_cannot_be_watched(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more watches, or somebody has removed the file."""
    async with kernel.running():
        first = await attached(kernel)
        await first.is_told(keyboard="yours")
        await trio.testing.wait_all_tasks_blocked()

        def none(_watch: object, path: str) -> None:
            raise OSError(28, "no more watches", path)

        monkeypatch.setattr(Watch, "add", none)
        second = await attached(kernel, keyboard=False)
        await second.is_told(offset=0)
        kernel.write("to both\n")
        for viewer in (first, second):
            await viewer.sees(b"to both\n")


async def test_log_is_kept_within_its_bound_with_its_times(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = console_log.trim
    monkeypatch.setattr(console_log, "trim", lambda log, _bound: real(log, 50_000))
    monkeypatch.setattr(console_log, "KEPT_BYTES", 0)
    monkeypatch.setattr(console, "MOMENT_INTERVAL", 0.0)
    log = f"{kernel.records}/console.log"
    async with kernel.running():
        for _ in range(10):
            kernel.write(b"y" * 20_000)
            size = size_of(log)
            await until(
                lambda size=size: any(  # type: ignore[misc]
                    size - 20_000 <= entry.offset
                    for entry in console_log.read_index(console_log.index_of(log))
                )
            )
        await until(lambda: os.stat(log).st_blocks * 512 < 80_000)
    assert size_of(log) == 200_000


async def test_log_that_cannot_be_cut_is_told_of_once(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def trim(log: str, _bound: int) -> None:
        tries.append(log)
        raise OSError(95, "Operation not supported", log)

    monkeypatch.setattr(console_log, "trim", trim)
    monkeypatch.setattr(console_log, "KEPT_BYTES", 0)
    monkeypatch.setattr(module, "KEEP_INTERVAL", 0.001)
    async with kernel.running():
        for _ in range(3):
            before = len(tries)
            kernel.write("more\n")
            await until(lambda before=before: len(tries) > before)  # type: ignore[misc]
    assert [event["event"] for event in kernel.history] == ["log not kept"]


async def test_boot_is_noted_where_its_first_words_are(kernel: Kernel) -> None:
    kernel.write(b"before\n" + console_log.BANNER + b"\nafter\n")
    kernel.consoles.note_boot()
    index = console_log.index_of(f"{kernel.records}/console.log")
    assert [entry.offset for entry in console_log.boots(index)] == [7]
