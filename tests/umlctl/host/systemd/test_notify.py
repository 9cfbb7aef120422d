from __future__ import annotations

import contextlib
import itertools
import os
import socket
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from umlctl.host.systemd import notify

if TYPE_CHECKING:
    from collections.abc import Iterator

_names = itertools.count()


class Listening:
    """A service manager's socket."""

    def __init__(self, address: str | bytes, variable: str) -> None:
        self.variable = variable
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[list[str]]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return found


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, short: str) -> Iterator[Listening]:
    if request.param == "path":
        made = Listening(f"{short}/notify", f"{short}/notify")
    else:
        name = f"umlctl-test-{os.getpid()}-{next(_names)}"
        made = Listening(f"\0{name}", f"@{name}")
    yield made
    made.socket.close()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in notify.VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def told(manager: Listening, monkeypatch: pytest.MonkeyPatch, **more: str) -> notify.Manager:
    for name, value in {"NOTIFY_SOCKET": manager.variable, **more}.items():
        monkeypatch.setenv(name, value)
    return notify.from_environment()


def test_ready_and_stopping_are_said_once(
    manager: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = told(manager, monkeypatch)
    for _ in range(2):
        found.ready("3 guests,\nall up")
        found.stopping()
    lines = [line for lines in manager.heard() for line in lines]
    assert lines == ["READY=1", "STATUS=3 guests, all up", "STOPPING=1", "STATUS=3 guests, all up"]


def test_what_was_told_is_not_left_in_the_environment(
    manager: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(manager, monkeypatch, WATCHDOG_USEC="1000000", WATCHDOG_PID=str(os.getpid()))
    assert not set(notify.VARIABLES) & os.environ.keys()


def test_signs_of_life_come_twice_as_often_as_they_must(
    manager: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = told(manager, monkeypatch, WATCHDOG_USEC="30000000", WATCHDOG_PID=str(os.getpid()))
    found.ready("")
    manager.heard()
    assert found.sign_of_life() == 15.0
    assert manager.heard() == [["WATCHDOG=1"]]


def test_who_starts_or_ends_asks_for_time(
    manager: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = told(manager, monkeypatch)
    assert found.sign_of_life() == notify.EXTENSION_INTERVAL
    assert manager.heard() == [["EXTEND_TIMEOUT_USEC=30000000"]]
    found.ready("")
    manager.heard()
    found.sign_of_life()
    assert manager.heard() == []
    found.stopping()
    manager.heard()
    found.sign_of_life()
    assert manager.heard() == [["EXTEND_TIMEOUT_USEC=30000000"]]


@pytest.mark.parametrize(
    ("microseconds", "pid"), [("30000000", "1"), ("", ""), ("-1", ""), ("soon", ""), ("0", "")]
)
def test_watchdog_that_is_not_ours_is_not_fed(
    manager: Listening, monkeypatch: pytest.MonkeyPatch, microseconds: str, pid: str
) -> None:
    found = told(manager, monkeypatch, WATCHDOG_USEC=microseconds, WATCHDOG_PID=pid)
    assert found.watchdog == 0


def test_what_a_busy_manager_could_not_take_is_said_later(
    manager: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = told(manager, monkeypatch, WATCHDOG_USEC="30000000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        other.connect(manager.socket.getsockname())
        with contextlib.suppress(BlockingIOError):
            while True:
                other.send(b"x")
    found.ready("up")
    assert found.sign_of_life() == notify.RETRY_INTERVAL
    manager.heard()
    assert found.sign_of_life() == 15.0
    assert manager.heard() == [["READY=1", "STATUS=up", "WATCHDOG=1"]]


def test_manager_that_is_gone_harms_nobody(
    manager: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = told(manager, monkeypatch, WATCHDOG_USEC="30000000")
    manager.socket.close()
    found.ready("up")
    assert found.sign_of_life() == notify.EXTENSION_INTERVAL * 3


async def test_signs_of_life_are_given_as_long_as_the_loop_turns(
    manager: Listening, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    found = told(manager, monkeypatch, WATCHDOG_USEC="30000000")
    found.ready("up")
    manager.heard()
    with trio.move_on_after(59):
        await found.beat()
    assert manager.heard() == [["WATCHDOG=1"]] * 4


async def test_without_a_manager_nothing_is_said(autojump_clock: trio.testing.MockClock) -> None:
    found = notify.from_environment()
    assert not found.address
    found.ready("up")
    with trio.fail_after(1):
        await found.beat()


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])))
def test_address_is_a_path_or_a_name_or_nobodys(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOTIFY_SOCKET", text)
        address = notify.from_environment().address
    if text.startswith("/"):
        assert address == text
    elif text.startswith("@"):
        assert address == b"\0" + text[1:].encode()
    else:
        assert not address


@given(st.text())
def test_status_is_one_line(text: str) -> None:
    name = f"\0umlctl-test-{os.getpid()}-{next(_names)}"
    made = Listening(name, "")
    try:
        notify.Manager(name).status(text)
        (lines,) = made.heard()
    finally:
        made.socket.close()
    assert len(lines) == 1
    assert lines[0].startswith("STATUS=")
