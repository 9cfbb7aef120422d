from __future__ import annotations

import itertools
import os
import select
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from socketproto.wire import Reply
from tests.trial_shells import shells
from umlctl import exitcodes
from umlctl.host import paths
from umlctl.testing import guest_process
from umlctl.testing.guest_process import GuestProcess, show_stacks
from umlctl.testing.trial import EXITED, NOT_BEGUN, Ended, Trial
from umlctl.testing.trial_server import TrialServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    import pytest

    from tests.conftest import Address, Bare

TRIAL = Trial(name="t", kernel="/k", words=("t",), options={"user": "", "timeout": None})
KILLED = Ended(kind=NOT_BEGUN, code=exitcodes.FAILED, text="its process has ended without a word")
WRITE_ENDED = 'echo \'{"kind": "exited", "code": 3}\' >"$1/ended.json"'
"""What a trial's process does in the end."""


@asynccontextmanager
async def a_process(
    house: str, monkeypatch: pytest.MonkeyPatch, script: str
) -> AsyncIterator[GuestProcess]:
    """A process that does what a shell script says in place of a trial: $1 is its directory."""
    with shells(house, monkeypatch, script), TrialServer() as server:
        process = await GuestProcess.start(TRIAL, f"{house}/1", server)
        try:
            yield process
            assert has_ended(process)
        finally:
            process.remove()


def has_ended(process: GuestProcess) -> bool:
    return bool(select.select([process._forked.descriptor], [], [], 0)[0])


def write(path: str, data: bytes) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data)


class Heard:
    """What a process has said.

    Fields:
        output, error: as which
    """

    def __init__(self) -> None:
        self.output = self.error = b""

    async def __call__(self, data: bytes, is_output: bool) -> None:
        if is_output:
            self.output += data
        else:
            self.error += data


async def test_what_it_says_is_heard_and_how_it_ended(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard()
    script = f"echo out; echo err >&2; {WRITE_ENDED}"
    async with a_process(house, monkeypatch, script) as process:
        assert await process.run(heard, None, 60) == Ended(kind=EXITED, code=3)
    assert (heard.output, heard.error) == (b"out\n", b"err\n")
    assert not process.hung
    assert "1" not in os.listdir(house)


async def test_process_that_says_nothing_of_its_end_has_not_begun(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_process(house, monkeypatch, "exit 5") as process:
        ended = await process.run(Heard(), None, 60)
    assert ended == KILLED


async def test_process_that_takes_too_long_is_killed(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_process(house, monkeypatch, "exec sleep 600") as process:
        ended = await process.run(Heard(), None, 0.1)
    assert ended == KILLED


async def test_process_that_is_silent_is_told_to_end(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard()
    end = f"end() {{ {WRITE_ENDED}; kill $!; exit; }}"
    script = f"{end}; trap 'end $1' ALRM; sleep 600 & echo begun; wait"
    async with a_process(house, monkeypatch, script) as process:
        ended = await process.run(heard, 0.3, 60)
    assert (process.hung, ended.kind, heard.output) == (True, EXITED, b"begun\n")


async def test_silent_process_that_does_not_heed_is_killed(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_process, "STOP_TIMEOUT", 0.1)
    async with a_process(house, monkeypatch, "trap '' ALRM; exec sleep 600") as process:
        write(f"{paths.record_dir(f'exec-{process._forked.pid}')}/console.log", b"stacks\n")
        assert await process.run(Heard(), 0.1, 60) == KILLED
        assert process.hung
        assert process.kernel_log() == b"stacks\n", "though the guest's own is gone by then"


async def test_kernel_that_speaks_is_not_silent(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = itertools.count()
    monkeypatch.setattr(GuestProcess, "_log_size", lambda _self: next(sizes))
    async with a_process(house, monkeypatch, "exec sleep 600") as process:
        await process.run(Heard(), 0.1, 0.6)
    assert not process.hung


async def test_copied_log_goes_on_where_the_first_was_left(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_process(house, monkeypatch, "exit") as process:
        write(f"{paths.record_dir(f'exec-{process._forked.pid}')}/console.log", b"one\n")
        assert process.kernel_log() == b"one\n"
        write(f"{process.directory}/kernel.log", b"one\ntwo\n")
        assert process.kernel_log() == b"two\n"
        await process.run(Heard(), None, 60)


def test_stacks_of_all_tasks_are_asked_for(bare: Callable[..., Bare]) -> None:
    def answer(server: Bare, data: bytes, _address: Address) -> Iterable[bytes]:
        text = {b"proc loadavg": b"0.00 0.00 0.00 1/3 4\n"}.get(data, b"")
        return [Reply(0, more=False, data=text).encode()]

    server = bare(answer)
    show_stacks(server.path)
    asked = [data for data in server.commands if data != b"k"]
    assert asked == [b"sysrq w", b"proc loadavg", *(b"stack %d" % n for n in (4, 3, 2, 1))]


def test_kernel_that_does_not_answer_is_not_waited_for(
    bare: Callable[..., Bare], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_process, "STACKS_TIMEOUT", 0.05)
    server = bare(lambda *_: [])
    show_stacks(server.path)
    show_stacks("/no/such/socket")
    assert b"sysrq t" in server.commands
