"""Questions that the supervisor asks without giving way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from socketproto.exchange import pieces
from umlctl.supervisor import kernel as module
from umlctl.supervisor.kernel import SURE_PIECES, KernelClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.conftest import Address, Bare

    MakeBare = Callable[..., Bare]


def answer(_server: Bare, data: bytes, _address: Address) -> Iterable[bytes]:
    if data == b"proc slow":
        return []
    long = b"x" * 511 * (SURE_PIECES + 1)
    return [each.encode() for each in pieces(long if data == b"proc long" else data)]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE_TIMEOUT", 5.0)


def asked(kernel: KernelClient, question: str) -> bytes | None:
    outcome = kernel.ask_at_once(question)
    return outcome.data if outcome is not None else None


@pytest.mark.usefixtures("patient")
async def test_question_is_answered_at_once(bare: MakeBare) -> None:
    kernel = KernelClient(bare(answer).path, lambda _trouble: None)
    assert [asked(kernel, "version") for _ in range(3)] == [b"version"] * 3
    assert kernel.exchanges == 3
    kernel.mark_gone("over")


@pytest.mark.usefixtures("patient")
async def test_answer_that_may_lack_pieces_is_none(bare: MakeBare) -> None:
    kernel = KernelClient(bare(answer).path, lambda _trouble: None)
    assert asked(kernel, "proc long") is None
    kernel.mark_gone("over")


@pytest.mark.usefixtures("patient")
async def test_kernel_that_is_lost_or_in_trouble_is_not_asked(bare: MakeBare) -> None:
    server = bare(answer)
    kernel = KernelClient(server.path, lambda _trouble: None)
    kernel.mark_gone("it rebooted")
    assert asked(kernel, "version") is None
    kernel.mark_back()
    kernel.trouble = "wedged"
    assert asked(kernel, "version") is None
    kernel.mark_back()
    assert asked(kernel, "version") == b"version"
    kernel.mark_gone("over")


async def test_the_more_slow_ones_the_more_go_the_usual_way(
    bare: MakeBare, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = KernelClient(bare(answer).path, lambda _trouble: None)
    skipped = []
    for _ in range(6):
        monkeypatch.setattr(module, "AT_ONCE_TIMEOUT", 0.001)
        before = kernel.exchanges
        assert asked(kernel, "proc slow") is None
        assert kernel.exchanges == before + 1
        monkeypatch.setattr(module, "AT_ONCE_TIMEOUT", 0.0)
        skipped.append(kernel._skip)
        while kernel._skip:
            assert asked(kernel, "version") is None
        assert kernel.exchanges == before + 1
    assert skipped == [0, 1, 3, 7, 15, 15]
    monkeypatch.setattr(module, "AT_ONCE_TIMEOUT", 5.0)
    assert asked(kernel, "version") == b"version"
    monkeypatch.setattr(module, "AT_ONCE_TIMEOUT", 0.001)
    assert asked(kernel, "proc slow") is None
    assert kernel._skip == 0
    kernel.mark_gone("over")


async def test_kernel_that_is_not_there_is_none(short: str) -> None:
    kernel = KernelClient(f"{short}/mconsole", lambda _trouble: None)
    assert asked(kernel, "version") is None
