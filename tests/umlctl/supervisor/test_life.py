from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from umlctl.protocol.console_socket import config
from umlctl.state import records
from umlctl.supervisor.devices import restoring
from umlctl.supervisor.guest import Guest
from umlctl.supervisor.life import HELD_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.supervisor.devices.table import DeviceTable
    from umlctl.supervisor.launch.launched import Launched
    from umlctl.supervisor.life import Life

DEADLINE = 30.0


async def test_record_that_cannot_be_written_is_told_and_the_guest_goes_on(
    launched: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = Guest(launched).life

    def fail(_record: records.Record) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(records, "save", fail)
        await life.save()
    assert life.unwritten
    assert [event["event"] for event in life.history] == ["not recorded"]
    await life.save()
    assert not life.unwritten


async def test_guest_that_is_adopted_has_its_consoles_before_it_answers(launched: Launched) -> None:
    words = config("con1")
    launched.record.devices.append(records.DeviceEntry(name="con1", asked=words, kernel=words))
    assert [console.name for console in Guest(launched).status().consoles] == ["con0"]
    launched.adopted = True
    status = Guest(launched).status()
    assert [console.name for console in status.consoles] == ["con0", "con1"]
    assert [device.kernel for device in status.devices if device.name == "con1"] == [
        f"con1=unix:{launched.claim.directory}/con1"
    ]


async def test_kernel_in_trouble_is_asked_until_it_answers_again(
    launched: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = Guest(launched).life
    tries: list[int] = []
    settled = trio.Event()

    async def recover() -> bool:
        tries.append(1)
        return len(tries) == 3

    async def settle(_table: DeviceTable) -> None:
        settled.set()

    monkeypatch.setattr("umlctl.supervisor.life.FIRST_RECOVER_INTERVAL", 0.001)
    monkeypatch.setattr(life.kernel, "recover", recover)
    monkeypatch.setattr(restoring, "remove_unsettled", settle)
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(life.recover_kernel)
            life.kernel.mark_stuck("it does not answer")
            await settled.wait()
            nursery.cancel_scope.cancel()
    assert len(tries) == 3
    assert [event["event"] for event in life.history] == ["wedged"]


async def test_guest_that_somebody_holds_is_not_waited_for(
    launched: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = Guest(launched).life
    with trio.move_on_after(3 * HELD_INTERVAL) as patience:
        await life.answers()
    assert patience.cancelled_caught
    monkeypatch.setattr(life.process, "held", lambda: "a debugger")
    with trio.fail_after(DEADLINE):
        await life.answers()


@pytest.mark.parametrize(
    ("change", "reboots"),
    [
        (lambda _life: None, True),
        (lambda life: Path(life.log).write_text("[  1.0] Linux version 6.1\n"), False),
        (lambda life: Path(life.kernel.path).touch(), False),
        (lambda life: life.launched.command.append("noreboot"), False),
        (lambda life: setattr(life.launched.record, "own_line", True), False),
        (lambda life: setattr(life.lifecycle, "unwanted", True), False),
        (lambda life: setattr(life.lifecycle, "asked_to_end", "shutdown"), False),
        (lambda life: setattr(life.lifecycle, "state", "booting"), False),
    ],
)
async def test_kernel_was_about_to_reboot_if_it_had_said_so_and_was_to_come_back(
    launched: Launched, change: Callable[[Life], None], reboots: bool
) -> None:
    life = Guest(launched).life
    life.lifecycle.state = "running"
    _say_that_it_reboots(life)
    change(life)
    assert life.was_rebooting() == reboots


def _say_that_it_reboots(life: Life) -> None:
    Path(life.log).write_text("[  3.1] reboot: Restarting system\n")
    with contextlib.suppress(FileExistsError):  # it may be a link, to where nothing is yet
        Path(life.kernel.path).parent.mkdir(parents=True)
    Path(life.kernel.path).parent.resolve().mkdir(parents=True, exist_ok=True)
    Path(life.kernel.path).unlink(missing_ok=True)
