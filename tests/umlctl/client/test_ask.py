from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from socketproto.blocking import Unreachable
from socketproto.exchange import ANSWERED, GONE, REFUSED, TIMED_OUT, TRUNCATED, Outcome, pieces
from umlctl import exitcodes
from umlctl.client import ask as module
from umlctl.client.ask import (
    ADOPT,
    MAX_SUPERVISOR_DEATHS,
    SEND,
    Deadline,
    GuestClient,
    conversation,
    is_repeatable,
)
from umlctl.errors import InDoubt, NoGuest, NotOnBareKernel, Refusal, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.conftest import Address, Bare

    MakeBare = Callable[..., Bare]

ANSWER = Outcome(ANSWERED, data=b"Linux")
DIED = Outcome(GONE, reason="it ended before it answered")
NOBODY = Unreachable("/g/demo/mconsole", "nobody listens")


End = Outcome | Unreachable | bool


def told(text: str, *ends: End, served: bool = True) -> tuple[list[str], Outcome]:
    """What a client does, and how its request ends, that hears these in turn."""
    link: Any = SimpleNamespace(served=served)
    steps = conversation("demo", text, link, Deadline())
    done = [next(steps)]
    try:
        for end in ends:
            done.append(steps.send(end))  # noqa: PERF401 - the last one raises
    except StopIteration as stop:
        return done, stop.value
    raise AssertionError(f"it goes on with {done}")


@pytest.mark.parametrize(
    "outcome", [ANSWER, Outcome(REFUSED, 1), Outcome(TRUNCATED), Outcome(TIMED_OUT)]
)
def test_outcome_stands(outcome: Outcome) -> None:
    assert told("version", outcome) == ([SEND], outcome)


def test_bare_kernel_that_ends_under_a_request_is_gone() -> None:
    assert told("version", DIED, served=False) == ([SEND], DIED)


def test_next_supervisor_is_asked_what_does_no_harm_twice() -> None:
    assert told("proc stat", DIED, True, ANSWER) == ([SEND, ADOPT, SEND], ANSWER)


def test_next_supervisor_is_asked_whatever_the_last_one_never_had() -> None:
    assert told("config ubd1=/a", NOBODY, True, ANSWER) == ([SEND, ADOPT, SEND], ANSWER)


def test_guest_that_nobody_takes_over_has_ended() -> None:
    assert told("version", DIED, False) == ([SEND, ADOPT], DIED)
    assert told("config ubd1=/a", DIED, False) == ([SEND, ADOPT], DIED)
    with pytest.raises(Unreachable):
        told("version", NOBODY, False)


def test_what_may_have_been_done_is_not_asked_twice() -> None:
    with pytest.raises(InDoubt, match="is not known: see `umlctl events demo`"):
        told("config ubd1=/a", DIED, True)


@pytest.mark.parametrize("end", [DIED, NOBODY])
def test_supervisors_that_die_one_after_another_are_given_up(end: End) -> None:
    ends: list[End] = [end, True] * (MAX_SUPERVISOR_DEATHS - 1)
    if isinstance(end, Unreachable):
        with pytest.raises(Unreachable):
            told("version", *ends, end)
    else:
        assert told("version", *ends, end) == (
            [SEND, ADOPT] * (MAX_SUPERVISOR_DEATHS - 1) + [SEND],
            end,
        )


def test_nothing_is_sent_for_which_there_is_no_time_left() -> None:
    link: Any = SimpleNamespace(served=True)
    with pytest.raises(StopIteration) as caught:
        next(conversation("demo", "version", link, Deadline(0.0)))
    assert (caught.value.value.kind, caught.value.value.reason) == (
        TIMED_OUT,
        "not done within 0 seconds",
    )


def test_deadline_of_all_is_not_renewed_and_that_of_each_answer_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    deadline = Deadline(60.0, renewed=True)
    now += 20
    assert deadline.left() == (40.0, 0.0)
    assert Deadline(None, 7.0).left() == (7.0, 0.0)
    assert Deadline(None, 7.0, renewed=True).left() == (7.0, 7.0)
    assert not Deadline(None, 0.0).is_over


@pytest.mark.parametrize(
    ("text", "repeatable"),
    [
        ("version", True),
        ("proc 1/stat", True),
        ("config ubd1", True),
        ("config ubd1=/a", False),
        ("devices", True),
        ("wait", True),
        ("!remove ubd1", False),
        ("sysrq b", False),
        ("nonsense", False),
        ("", False),
    ],
)
def test_what_asks_alone_may_be_asked_twice(text: str, repeatable: bool) -> None:
    assert is_repeatable(text) == repeatable


# A guest


def reply(data: bytes, error: int = 0) -> list[bytes]:
    return [each.encode() for each in pieces(data, error)]


def answered(_server: Bare, data: bytes, _address: Address) -> Iterable[bytes]:
    return [] if data == b"k" else reply(data)


@pytest.mark.parametrize(("mode", "sent"), [(0o600, "!config ubd1=/a"), (0o755, "config ubd1=/a")])
def test_force_is_said_to_a_supervisor_alone(bare: MakeBare, mode: int, sent: str) -> None:
    with GuestClient(bare(answered, mode=mode).path) as guest:
        assert guest.ask("config ubd1=/a", force=True).text == sent


def test_errors_are_of_one_tree(bare: MakeBare, house: str) -> None:
    with GuestClient(bare(answered).path) as guest:
        assert guest.is_bare()
        with pytest.raises(NotOnBareKernel, match="a bare kernel has no `status`") as caught:
            guest.ask("status")
        assert caught.value.code == exitcodes.REFUSED
        with pytest.raises(Refusal, match="panics the kernel"):
            guest.ask("sysrq t")
        with pytest.raises(UsageError):
            guest.ask("log " + "x" * 5000)
    with GuestClient("nobody") as guest:
        assert not guest.is_bare()
        with pytest.raises(NoGuest, match="no guest 'nobody'; `umlctl list` shows the guests"):
            guest.ask("version")


def test_guest_is_asked_again_when_it_has_another_supervisor(
    bare: MakeBare, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(server: Bare, data: bytes, _address: Address) -> Iterable[bytes]:
        if data != b"k":
            server.unbind()
        return []

    server = bare(die, mode=0o600)

    def adopt(name: str) -> bool:
        assert name == server.path
        bare(answered, mode=0o600)  # stands at the same path
        return True

    monkeypatch.setattr(module, "adopt", adopt)
    with GuestClient(server.path) as guest:
        assert guest.ask("version").text == "version"


def test_supervisors_put_off_no_deadline(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def adopt(_name: str) -> bool:
        time.sleep(0.02)
        return True

    monkeypatch.setattr(module, "adopt", adopt)
    with GuestClient("demo") as guest:
        assert guest.ask("version", Deadline(0.01)).kind == TIMED_OUT


def test_who_only_looks_has_nobody_adopted(
    bare: MakeBare, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def adopt(name: str) -> bool:
        raise AssertionError(name)

    def die(server: Bare, data: bytes, _address: Address) -> Iterable[bytes]:
        if data != b"k":
            server.unbind()
        return []

    monkeypatch.setattr(module, "adopt", adopt)
    with GuestClient(bare(die, mode=0o600).path, looks=True) as guest:
        assert guest.ask("version").kind == GONE
    with GuestClient("demo", looks=True) as guest, pytest.raises(NoGuest):
        guest.ask("version")
