from __future__ import annotations

from typing import TYPE_CHECKING

from socketproto.exchange import ANSWERED, REFUSED, Outcome
from umlctl.supervisor.emergency import REMOUNT, SYNC, SYNC_TIMEOUT, emergency

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock


async def test_kernels_word_is_waited_for_and_an_earlier_one_does_not_count(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"[ 1.0] Emergency Sync complete\n")
    asked = []

    async def ask(text: str) -> Outcome:
        asked.append(text)
        if text == "sysrq u":
            with log.open("ab") as file:
                file.write(b"Emergency Remount complete\n")
        return Outcome(ANSWERED)

    assert await emergency(REMOUNT, ask, str(log)) == ""
    said = await emergency(SYNC, ask, str(log))
    assert f"did not say so within {SYNC_TIMEOUT:g} seconds" in said
    assert asked == ["sysrq u", "sysrq s"]


async def test_console_that_nobody_here_has_is_not_blamed(autojump_clock: MockClock) -> None:
    async def ask(_text: str) -> Outcome:
        return Outcome(ANSWERED)

    said = await emergency(SYNC, ask, "")
    assert said == (
        "not seen to sync: its console, which would say so, is that of who started it as `linux`"
    )
    assert autojump_clock.current_time() >= SYNC_TIMEOUT, "the kernel has had its time"


async def test_kernel_that_refuses_or_has_no_log_is_said(tmp_path: Path) -> None:
    async def refuses(_text: str) -> Outcome:
        return Outcome(REFUSED, 1, b"no")

    async def answers(_text: str) -> Outcome:
        return Outcome(ANSWERED)

    assert "no" in await emergency(SYNC, refuses, f"{tmp_path}/none")
    assert "log is gone" in await emergency(SYNC, answers, f"{tmp_path}/none")
