from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from socketproto.exchange import (
    ANSWERED,
    GONE,
    REFUSED,
    TIMED_OUT,
    TRUNCATED,
    Outcome,
    pieces,
)
from socketproto.wire import Reply
from umlctl.supervisor import kernel as module
from umlctl.supervisor.kernel import FRAGILE_REASON, SURE_PIECES, KernelClient, Unsent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.conftest import Address, Bare

    MakeBare = Callable[..., Bare]

DEADLINE = 30.0
SOON = 0.05
"""A deadline that is meant to pass, seconds."""


def reply(data: bytes, error: int = 0) -> list[bytes]:
    return [each.encode() for each in pieces(data, error)]


def unknown(server: Bare, data: bytes, address: Address) -> Iterable[bytes]:
    """What a kernel answers to kicks."""
    return reply(b"Unknown command", 1) if data == b"k" else reply(data)


def mute(_server: Bare, data: bytes, _address: Address) -> Iterable[bytes]:
    """Answers only what the kernel does in interrupt context."""
    return reply(b"Unknown command", 1) if data in (b"k", b"go") else []


async def commands(server: Bare, count: int) -> list[bytes]:
    """What it has got, once that is so many commands: who asked has given up before perhaps."""
    await trio.to_thread.run_sync(server.wait_commands, count)
    return server.commands


async def recovers(kernel: KernelClient) -> None:
    """It is asked until it answers in time."""
    with trio.fail_after(DEADLINE):
        while not await kernel.recover():
            pass


class Watched(KernelClient):
    """With what it said of its trouble."""

    def __init__(self, path: str) -> None:
        self.told: list[str] = []
        super().__init__(path, self.told.append)


async def test_request_is_answered(bare: MakeBare) -> None:
    kernel = Watched(bare(unknown).path)
    assert await kernel.ask("version") == Outcome(ANSWERED, data=b"version", pieces=1)
    assert (await kernel.ask("k")).kind == REFUSED
    assert not kernel.told


async def test_kernel_whose_time_another_program_has_is_asked_nothing_that_kills_it(
    bare: MakeBare, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = bare(unknown)
    kernel = Watched(server.path)
    kernel.fragile = FRAGILE_REASON
    for text in ("version", "proc uptime", "config ubd0", "stop", "halt", "reboot", "remove ubd1"):
        outcome = await kernel.ask(text)
        assert (outcome.kind, outcome.error) == (REFUSED, -errno.EOPNOTSUPP)
        assert b"time-travel=ext" in outcome.data
        assert kernel.ask_at_once(text) is None
    assert (await kernel.read_file("proc uptime", may_stop=True)).kind == REFUSED
    kernel.mark_stuck("it does not answer")
    monkeypatch.setattr(module, "PROBE_TIMEOUT", DEADLINE)
    assert await kernel.recover()
    for text in ("help", "log x", "sysrq h", "stack 1", "cad", "go"):
        assert (await kernel.ask(text)).ok
    assert b"version" not in server.seen
    assert not [seen for seen in server.seen if seen.startswith((b"proc", b"config", b"stop"))]


async def test_kernel_that_goes_down_for_a_reboot_is_asked_nothing_more(bare: MakeBare) -> None:
    """Not even by who has waited while it was asked to reboot."""
    server = bare(unknown)
    kernel = Watched(server.path)
    outcomes: dict[str, Outcome] = {}

    async def ask(text: str) -> None:
        outcomes[text] = await kernel.ask(text)

    for text in ("proc uptime", "config ubd1=/a", "version"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "reboot")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ask, text)
        assert outcomes["reboot"].ok
        assert isinstance(outcomes[text], Unsent)
        kernel.mark_back()
    assert set(server.commands) == {b"reboot"}
    assert (await kernel.ask("version")).ok


async def test_every_request_has_a_socket_of_its_own(bare: MakeBare) -> None:
    server = bare(unknown)
    kernel = Watched(server.path)
    for _ in range(3):
        assert (await kernel.ask("version")).ok
    assert len(set(server.clients)) == 3


async def test_one_request_is_in_flight_and_the_others_wait_in_order(bare: MakeBare) -> None:
    most = waiting = 0

    def answer(_server: Bare, data: bytes, _address: Address) -> Iterable[bytes]:
        nonlocal most, waiting
        waiting += 1
        most = max(most, waiting)
        waiting -= 1
        return reply(data)

    server = bare(answer)
    kernel = Watched(server.path)
    order: list[str] = []

    async def ask(text: str) -> None:
        assert (await kernel.ask(text)).text == text
        order.append(text)

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(ask, f"stack {number}")
            await trio.testing.wait_all_tasks_blocked()
    assert most == 1
    assert order == [f"stack {number}" for number in range(10)]


async def test_lost_kernel_ends_every_wait_at_once_with_the_reason(bare: MakeBare) -> None:
    server = bare(mute)
    kernel = Watched(server.path)
    outcomes: list[Outcome] = []

    async def ask(text: str) -> None:
        outcomes.append(await kernel.ask(text))

    async with trio.open_nursery() as nursery:
        for text in ("version", "help", "stack 1"):
            nursery.start_soon(ask, text)
        await trio.to_thread.run_sync(server.wait_seen, 1)
        kernel.mark_gone("the guest panicked: Oops")
    outcomes.append(await kernel.ask("version"))
    outcomes.append(await kernel.read_file("proc stat", may_stop=True))
    assert [str(each) for each in outcomes] == ["guest gone: the guest panicked: Oops"] * 5
    assert [isinstance(each, Unsent) for each in outcomes] == [False, True, True, True, True]
    assert not kernel.told


async def test_kernel_that_ends_under_a_request_is_gone_with_the_reason(
    bare: MakeBare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its notification may be read only after its socket was seen to be closed."""

    def end(server: Bare, _data: bytes, _address: Address) -> list[bytes]:
        server.unbind()
        return []

    monkeypatch.setattr(module, "REASON_TIMEOUT", 60.0)
    kernel = Watched(bare(end).path)
    outcomes: list[Outcome] = []

    async def ask() -> None:
        outcomes.append(await kernel.ask("sysrq c"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(0.3)
        kernel.mark_gone("the guest panicked: sysrq triggered crash")
    assert [str(each) for each in outcomes] == [
        "guest gone: the guest panicked: sysrq triggered crash"
    ]


async def test_kernel_that_came_back_is_asked_again(bare: MakeBare) -> None:
    kernel = Watched(bare(unknown).path)
    kernel.mark_gone("it reboots")
    assert not (await kernel.ask("version")).ok
    kernel.mark_back()
    assert (await kernel.ask("version")).ok


async def test_socket_that_is_not_there_is_a_guest_gone(short: str) -> None:
    kernel = Watched(f"{short}/none")
    outcome = await kernel.ask("version")
    assert outcome.kind == GONE
    assert "socket is gone (No such file" in outcome.reason
    assert not kernel.trouble


async def test_silence_is_trouble_for_those_behind_at_once(bare: MakeBare) -> None:
    server = bare(mute)
    kernel = Watched(server.path)
    outcomes: list[Outcome] = []

    async def ask(text: str) -> None:
        outcomes.append(await kernel.ask(text, SOON))

    async with trio.open_nursery() as nursery:
        for text in ("version", "proc uptime", "config con0"):
            nursery.start_soon(ask, text)
            await trio.testing.wait_all_tasks_blocked()
    assert sorted(outcome.kind for outcome in outcomes) == [TIMED_OUT] * 3
    assert "`version` within 0.05 seconds" in kernel.trouble
    assert [outcome.reason for outcome in outcomes[1:]] == [kernel.trouble] * 2
    assert kernel.told == [kernel.trouble]
    assert await commands(server, 1) == [b"version"]


def keeping(times: int) -> Callable[..., Iterable[bytes]]:
    """Keeps the first requests, as a stopped kernel can."""
    left = [times]

    def answer(server: Bare, data: bytes, address: Address) -> Iterable[bytes]:
        if data != b"k" and left[0]:
            left[0] -= 1
            return []
        return unknown(server, data, address)

    return answer


@pytest.mark.parametrize("question", ["version", "proc uptime", "config con0", "stack 1", "help"])
async def test_question_that_a_stopped_kernel_keeps_is_put_again(
    bare: MakeBare, question: str
) -> None:
    server = bare(keeping(2))
    kernel = KernelClient(server.path, lambda _trouble: None, stopped=lambda: True)
    assert (await kernel.ask(question)).data == question.encode()
    assert len(server.commands) >= 3, "more often if it is slow besides"
    assert set(server.commands) == {question.encode()}
    assert (await kernel.read_file("proc uptime", may_stop=False)).data == b"proc uptime"


async def test_question_is_put_once_to_a_kernel_that_runs(bare: MakeBare) -> None:
    server = bare(keeping(1))
    kernel = KernelClient(server.path, lambda _trouble: None)
    assert (await kernel.ask("version", 5 * SOON)).kind == TIMED_OUT
    assert await commands(server, 1) == [b"version"]


@pytest.mark.parametrize("request_", ["config vec0:transport=tap", "remove vec0", "halt", "log x"])
async def test_what_changes_something_is_put_once(bare: MakeBare, request_: str) -> None:
    server = bare(keeping(1))
    kernel = KernelClient(server.path, lambda _trouble: None, stopped=lambda: True)
    assert (await kernel.ask(request_, 5 * SOON)).kind == TIMED_OUT
    assert await commands(server, 1) == [request_.encode()]


async def test_silence_of_a_stopped_kernel_ends_in_time(bare: MakeBare) -> None:
    kernel = KernelClient(bare(mute).path, lambda _trouble: None, stopped=lambda: True)
    assert (await kernel.ask("version", 5 * SOON)).kind == TIMED_OUT
    assert "`version` within 0.25 seconds" in kernel.trouble


async def test_what_needs_no_worker_is_asked_of_a_kernel_in_trouble(bare: MakeBare) -> None:
    server = bare(mute)
    kernel = Watched(server.path)
    await kernel.ask("version", SOON)
    assert (await kernel.ask("sysrq s", SOON)).kind == TIMED_OUT
    assert await commands(server, 2) == [b"version", b"sysrq s"]


async def test_kernel_that_answers_again_is_out_of_trouble(
    bare: MakeBare, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = bare(mute)
    kernel = Watched(server.path)
    assert (await kernel.ask("version", SOON)).kind == TIMED_OUT
    server.answer = unknown
    monkeypatch.setattr(module, "PROBE_TIMEOUT", DEADLINE)
    assert await kernel.recover()
    assert not kernel.trouble
    assert kernel.told[1:] == [""]
    assert (await kernel.ask("version")).ok
    assert b"go" not in server.seen


async def test_kernel_without_trouble_has_nothing_to_recover_from(bare: MakeBare) -> None:
    server = bare(unknown)
    kernel = Watched(server.path)
    assert await kernel.recover()
    assert not server.seen


async def test_wedged_kernel_is_freed_by_an_unknown_command_and_go(
    bare: MakeBare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`go` frees it only after the unknown command was answered."""

    def wedged(server: Bare, data: bytes, address: Address) -> Iterable[bytes]:
        if data == b"go":
            assert b"k" in server.seen
            server.answer = unknown
            return reply(b"Not stopped", 1)
        return mute(server, data, address)

    real = trio.sleep

    async def nap(seconds: float) -> None:
        await real(0 if seconds == 0.1 else seconds)

    server = bare(wedged)
    kernel = Watched(server.path)
    assert (await kernel.ask("version", SOON)).kind == TIMED_OUT
    monkeypatch.setattr(trio, "sleep", nap)
    await recovers(kernel)
    assert server.commands[-1] == b"version"
    assert not kernel.trouble


# Long files


class Stoppable:
    """A kernel that drops what its send buffer cannot hold, unless it is stopped."""

    def __init__(self, size: int) -> None:
        self.text = b"".join(b"%07d\n" % number for number in range(size // 8))
        self.stopped = False
        self.reads = 0
        self.silent_when_stopped = False

    def __call__(self, _server: Bare, data: bytes, _address: Address) -> Iterable[bytes]:
        if data in (b"stop", b"go"):
            self.stopped = data == b"stop"
            return reply(b"")
        if data == b"k":
            return reply(b"Unknown command", 1)
        self.reads += 1
        if self.stopped and self.silent_when_stopped:
            return []
        whole = reply(self.text)
        return whole if self.stopped else [*whole[:100], *whole[101:]]


async def test_short_file_is_read_once(bare: MakeBare) -> None:
    server = bare(unknown)
    kernel = Watched(server.path)
    outcome = await kernel.read_file("proc meminfo", may_stop=True)
    assert outcome.data == b"proc meminfo"
    assert server.commands == [b"proc meminfo"]


@pytest.mark.parametrize("name", ["1/root/a", "kallsyms", "1/root/proc/stat"])
async def test_file_of_the_guest_with_a_zero_byte_is_truncated(bare: MakeBare, name: str) -> None:
    """A file that the kernel makes up may come in any pieces."""

    def answer(_server: Bare, data: bytes, _address: Address) -> Iterable[bytes]:
        if data == b"k":
            return reply(b"Unknown command", 1)
        parts = (b"\n", b"before", b"behind")
        return [*(Reply(0, True, part).encode() for part in parts), Reply(0, False, b"").encode()]

    kernel = Watched(bare(answer).path)
    outcome = await kernel.read_file(f"proc {name}", may_stop=True)
    assert outcome.data == b"\nbeforebehind"
    assert outcome.kind == (TRUNCATED if name == "1/root/a" else ANSWERED)


async def test_long_file_is_read_again_while_the_guest_is_stopped(bare: MakeBare) -> None:
    guest = Stoppable(160 * 511)
    server = bare(guest)
    kernel = Watched(server.path)
    outcome = await kernel.read_file("proc kallsyms", may_stop=True)
    assert outcome.pieces > SURE_PIECES
    assert outcome.data == guest.text
    assert server.commands == [
        b"proc kallsyms",
        b"stop",
        b"proc kallsyms",
        b"go",
    ]
    assert not guest.stopped


async def test_kernel_is_busy_as_long_as_it_is_stopped_for_a_read(bare: MakeBare) -> None:
    guest = Stoppable(160 * 511)
    busy: dict[bytes, bool] = {}

    def answer(server: Bare, data: bytes, address: Address) -> Iterable[bytes]:
        busy[data] = kernel.busy
        return guest(server, data, address)

    kernel = Watched(bare(answer).path)
    assert not kernel.busy
    await kernel.read_file("proc kallsyms", may_stop=True)
    assert busy[b"stop"]
    assert busy[b"go"]
    assert not kernel.busy


async def test_guest_that_may_not_be_stopped_is_not(bare: MakeBare) -> None:
    guest = Stoppable(160 * 511)
    server = bare(guest)
    kernel = Watched(server.path)
    outcome = await kernel.read_file("proc kallsyms", may_stop=False)
    assert len(outcome.data) < len(guest.text)
    assert guest.reads == 1
    assert b"stop" not in server.seen


async def test_guest_runs_again_though_the_read_while_stopped_failed(
    bare: MakeBare, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = Stoppable(160 * 511)
    guest.silent_when_stopped = True
    server = bare(guest)
    kernel = Watched(server.path)
    real = kernel._ask

    async def ask(text: str, timeout: float = DEADLINE, **how: Any) -> Outcome:
        return await real(text, SOON if guest.stopped and text != "go" else timeout, **how)

    monkeypatch.setattr(kernel, "_ask", ask)
    outcome = await kernel.read_file("proc kallsyms", may_stop=True)
    assert outcome.kind == TIMED_OUT
    assert kernel.trouble
    assert (await commands(server, 4))[-1] == b"go"
    await goes(guest)


async def test_guest_runs_again_though_the_reader_was_cancelled(bare: MakeBare) -> None:
    guest = Stoppable(160 * 511)
    guest.silent_when_stopped = True
    server = bare(guest)
    kernel = Watched(server.path)
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            await kernel.read_file("proc kallsyms", may_stop=True)

        nursery.start_soon(read)
        await trio.to_thread.run_sync(wait_reads, server, guest)
        nursery.cancel_scope.cancel()
    await goes(guest)


async def goes(guest: Stoppable) -> None:
    """It has been told to, and takes its time."""
    with trio.fail_after(DEADLINE):
        while guest.stopped:  # noqa: ASYNC110 - the fake has nobody to tell
            await trio.sleep(0.002)


def wait_reads(server: Bare, guest: Stoppable) -> None:
    """Until the second read of the file has come."""
    count = 0
    while guest.reads < 2:
        count += 1
        server.wait_seen(count)
