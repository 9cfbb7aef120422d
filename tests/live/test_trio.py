"""Guests of a program of trio."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio

import umlctl.trio
from tests.live.conftest import DEADLINE, House, a_house

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = "64M"


@pytest.fixture(scope="module")
def place() -> Iterator[House]:
    """Where these tests' process has its guests."""
    with a_house() as house, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", house.home)
        for name in [name for name in os.environ if name.startswith("XDG_")]:
            patch.delenv(name)
        patch.setenv("UMLCTL_DIR", house.env["UMLCTL_DIR"])
        yield house


def recorded(place: House) -> list[str]:
    """Guests of which something is written down."""
    return os.listdir(f"{place.state}/guests")


async def test_all_that_there_is(place: House, tmp_path: Path) -> None:
    async with await umlctl.trio.start(mem=SMALL) as guest:
        done = await guest.exec(["sh", "-c", "cat; exit 3"], input=b"through")
        assert (done.returncode, done.stdout) == (3, b"through")
        with pytest.raises(umlctl.CommandFailed):
            await guest.exec(["false"], check=True)
        (tmp_path / "a").write_text("here\n")
        await guest.copy_in(tmp_path / "a", "/tmp/b")
        assert await guest.copy_out("/tmp/b", tmp_path) == f"{tmp_path}/b"
        with open(tmp_path / "disk", "wb") as file:
            file.truncate(1 << 20)
        device = await guest.add_disk(tmp_path / "disk")
        assert device.name in [each.name for each in await guest.devices()]
        await guest.remove_device(device.name)
        async with await guest.console() as console:
            await console.expect("# ", timeout=DEADLINE)
            await console.sendline("echo $((6*7)) is it")
            assert (await console.expect(r"(\d+) is it\n", timeout=DEADLINE))[1] == "42"
            with pytest.raises(umlctl.TimedOut):
                await console.expect("never", timeout=0.3)
        assert [event["event"] async for event in guest.events()][:1] == ["started"]
        assert (await guest.wait_for("ready", timeout=DEADLINE))["umid"] == guest.name
        with pytest.raises(umlctl.TimedOut):
            await guest.wait_for("panicked", timeout=0.3)
        assert (await guest.status()).state == "running"
        other = await umlctl.trio.attach(guest.name)
        assert (await other.shutdown()).cause == "shut down"
        assert (await guest.wait()).code == 0
        assert (await guest.status()).state == "dead"
        with pytest.raises(umlctl.GuestEnded):
            await guest.wait_for("panicked")
    assert place.leftovers(guest.name) == []
    assert recorded(place) == []


async def test_what_is_cancelled_ends(place: House) -> None:
    async with await umlctl.trio.start(mem=SMALL) as guest:
        with trio.move_on_after(1) as scope:
            await guest.exec(["sleep", "7788"])
        assert scope.cancelled_caught
        found = await guest.exec(["sh", "-c", "cat /proc/[0-9]*/comm"], text=True)
        assert "sleep" not in found.stdout
        for wait in (guest.wait, lambda: guest.wait_for("panicked")):
            with trio.move_on_after(0.3) as scope:
                await wait()
            assert scope.cancelled_caught
    assert place.leftovers(guest.name) == []


async def test_commands_run_side_by_side(place: House) -> None:
    found: list[bytes] = []

    async with await umlctl.trio.start(mem=SMALL) as guest:

        async def run(number: int) -> None:
            found.append((await guest.exec(["echo", str(number)])).stdout)

        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(run, number)
    assert sorted(found) == [b"%d\n" % number for number in range(6)]


async def test_guest_of_a_task_that_is_cancelled_is_gone(place: House) -> None:
    with trio.CancelScope() as scope:
        async with await umlctl.trio.start("cancelled", mem=SMALL):
            scope.cancel()
            await trio.sleep(DEADLINE)
    assert place.leftovers("cancelled") == []


async def test_runner_runs_many(place: House) -> None:
    runner = umlctl.trio.Runner(mem=SMALL, jobs=2, timeout=DEADLINE)
    found = await runner.run(["true"], repeat=2)
    assert [each.status for each in found] == ["passed", "passed"]
