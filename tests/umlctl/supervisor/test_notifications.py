from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio

from socketproto.wire import HANG, PANIC, SOCKET, USER, Notification
from umlctl.supervisor.history import History
from umlctl.supervisor.lifecycle import Event, HasSocket, KillWanted, Panicked, RebootLost
from umlctl.supervisor.notifications import EXIT_TIMEOUT, Notifications
from umlctl.supervisor.readiness import Milestones

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio.testing import MockClock

PATH = "/k/demo/mconsole"


class Made:
    """A guest whose kernel notifies what a test says."""

    def __init__(self, ours: socket.socket, kernel: socket.socket) -> None:
        ours.setblocking(False)
        self.reboots = False
        self.life = cast("Any", SimpleNamespace)(
            launched=SimpleNamespace(notify=ours, record=SimpleNamespace(last_panic="", relay="")),
            history=History("demo"),
            milestones=Milestones(),
            lifecycle=SimpleNamespace(had_socket=False),
            kernel=SimpleNamespace(path=PATH),
            kernel_socket=SimpleNamespace(look_at_new=lambda: None),
            watchdog=SimpleNamespace(mark_unfed=lambda: self.unfed.append(True)),
            log="/nowhere",
            heard=False,
            was_rebooting=lambda: self.reboots,
        )
        self.unfed: list[bool] = []
        self.events: list[Event] = []
        self.kernel = kernel
        self.notifications = Notifications(self.life, self.events.append)

    def notify(self, kind: int, data: bytes = b"") -> None:
        self.kernel.send(Notification(kind, data).encode())

    async def hears(self, seconds: float = 0.0) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.notifications.hear, nursery)
            await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(seconds)
            nursery.cancel_scope.cancel()


@pytest.fixture
def guest() -> Iterator[Made]:
    ours, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, kernel:
        yield Made(ours, kernel)


async def test_socket_is_an_event_and_one_of_another_name_ends_the_guest(guest: Made) -> None:
    guest.notify(SOCKET, PATH.encode())
    guest.notify(SOCKET, b"/k/random/mconsole")
    await guest.hears()
    first, second = guest.events
    assert first == HasSocket()
    assert isinstance(second, KillWanted)
    assert second.by_policy
    assert "/k/random/mconsole" in second.why


async def test_panic_is_an_event_and_a_kernel_that_does_not_exit_then_is_ended(
    guest: Made, autojump_clock: MockClock
) -> None:
    guest.notify(PANIC, b"oops")
    await guest.hears(EXIT_TIMEOUT + 1)
    panicked, killed = guest.events
    assert isinstance(panicked, Panicked)
    assert panicked.text == guest.life.launched.record.last_panic == "oops"
    assert killed == KillWanted(why="panicked and did not exit", by_policy=True)


@pytest.mark.parametrize(
    ("reboots", "text", "kind"),
    [
        (True, "Segfault with no mm", RebootLost),
        (False, "Segfault with no mm", Panicked),
        (True, "oops", Panicked),
    ],
)
async def test_panic_at_the_last_moment_of_a_reboot_is_none(
    guest: Made, reboots: bool, text: str, kind: type[Event]
) -> None:
    guest.reboots = reboots
    guest.notify(PANIC, text.encode())
    guest.notifications.take_rest()
    assert [type(event) for event in guest.events] == [kind]
    assert bool(guest.life.launched.record.last_panic) == (kind is Panicked)


async def test_userspace_that_is_up_is_a_milestone(guest: Made) -> None:
    guest.notify(USER, b"hello\n")
    await guest.hears()
    assert not guest.life.milestones.up.is_set()
    guest.notify(USER, b"userspace is up\n")
    await guest.hears()
    assert guest.life.milestones.up.is_set()
    assert [event["text"] for event in guest.life.history] == ["hello", "userspace is up"]
    assert guest.life.heard


async def test_watchdog_hears_that_it_is_not_fed_and_rubbish_is_passed_over(guest: Made) -> None:
    guest.kernel.send(b"rubbish")
    guest.notify(HANG)
    await guest.hears()
    assert guest.unfed == [True]
    assert guest.events == []


async def test_rest_is_taken_after_the_end_and_nothing_follows_of_it(guest: Made) -> None:
    guest.notify(SOCKET, PATH.encode())
    guest.notify(PANIC, b"oops")
    guest.notify(USER, b"userspace is up")
    guest.notifications.take_rest()
    assert [type(event) for event in guest.events] == [Panicked]
    assert guest.life.lifecycle.had_socket
    assert guest.life.milestones.up.is_set()
