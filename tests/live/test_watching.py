"""Guests that panic, hang or end, and what is done about it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from socketproto.blocking import Connection
from tests.live.conftest import DEADLINE, processes_of, to_hang, wait_for

if TYPE_CHECKING:
    from tests.live.conftest import House


def story(house: House, umid: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in house.ok("events", umid, "--json").splitlines()]


def hangs(house: House, umid: str) -> bool:
    """Its kernel does, which may have no supervisor: it runs, as what an interrupt answers tells,
    and answers nothing else, neither before nor after.
    """

    def answers(question: str, seconds: float) -> bool:
        with Connection(house.kernel_socket(umid)) as connection:
            return connection.request(question, seconds).ok

    return not answers("version", 0.5) and answers("help", DEADLINE) and not answers("version", 1)


def names(house: House, umid: str) -> list[str]:
    return [event["event"] for event in story(house, umid)]


def is_back(house: House, umid: str, restarts: int) -> None:
    def back() -> bool:
        status = house.listed(umid)
        return (status["state"], status.get("restarts")) == ("running", restarts)

    wait_for(back, f"{umid} is started again")


def has_come_back(house: House, umid: str) -> bool:
    """The next supervisor has started a guest again that has died without one."""
    house.umlctl("adopt", umid)
    return bool(house.listed(umid)["state"] == "running")


def test_guest_is_started_again_until_a_user_ends_it(house: House, umid: str) -> None:
    house.start(umid, "--restart", "on-failure")
    house.umlctl("sysrq", umid, "c")
    is_back(house, umid, 1)
    os.kill(house.status(umid)["pid"], signal.SIGKILL)
    is_back(house, umid, 2)
    assert house.ok("version", umid).startswith("Linux")
    house.ok("shutdown", umid)
    assert house.listed(umid)["state"] == "dead"
    panic = next(event for event in story(house, umid) if event["event"] == "panicked")
    assert panic["text"] == "sysrq triggered crash"
    assert 10 < len(panic["console"]) <= 200
    assert any("sysrq triggered crash" in line for line in panic["console"])
    assert names(house, umid).count("restarting") == 2


def test_guest_that_is_to_be_started_again_can_be_ended(house: House, umid: str) -> None:
    house.start(umid, "--restart", "always")
    for tries in range(1, 4):  # each pause is twice as long: the last is long enough to look at
        house.ask(umid, "sysrq c")
        is_back(house, umid, tries)
    house.ask(umid, "sysrq c")
    # Without a process for each: on a busy host these would take as long as the pause.
    wait_for(
        lambda: json.loads(house.ask(umid, "status").data)["state"] == "restarting",
        "it is dead for the moment",
    )
    assert "started again" in house.ask(umid, "version").text
    assert house.ask(umid, "kill").ok
    assert house.umlctl("wait", umid).returncode == 255
    assert house.listed(umid)["state"] == "dead"


def test_guest_that_ends_well_is_started_again_only_if_always(house: House, umid: str) -> None:
    house.start(umid, "--restart", "on-failure")
    house.has_shell(umid)
    house.ok("console", umid, stdin="exit\n")
    assert house.umlctl("wait", umid).returncode == 0
    house.start(umid, "--on-exit", "restart")
    house.has_shell(umid)
    house.ok("console", umid, stdin="exit\n")
    is_back(house, umid, 1)


def test_guest_that_hangs_is_seen_and_started_again(house: House, umid: str) -> None:
    house.start(umid, "--on-hang", "restart", "--hang-after", "2")
    house.has_shell(umid)
    to_hang(house, umid)()
    is_back(house, umid, 1)
    hung = next(event for event in story(house, umid) if event["event"] == "hung")
    assert hung["action"] == "restart"
    assert "has not answered" in hung["text"]


def test_guest_that_hangs_while_nobody_looks_is_seen_by_who_adopts_it(
    house: House, umid: str
) -> None:
    house.start(umid, "--on-hang", "restart", "--hang-after", "2")
    house.has_shell(umid)
    hang = to_hang(house, umid)
    os.kill(house.status(umid)["supervisor_pid"], signal.SIGKILL)
    hang()
    wait_for(lambda: hangs(house, umid), "it hangs")
    house.ok("adopt")
    is_back(house, umid, 1)
    hung = next(event for event in story(house, umid) if event["event"] == "hung")
    assert "has not answered since it was adopted" in hung["text"]


@pytest.mark.parametrize("way", [("halt",), ("sysrq", "o")])
def test_guest_that_a_user_halts_is_not_started_again(
    house: House, umid: str, way: tuple[str, ...]
) -> None:
    house.start(umid, "--restart", "always")
    house.has_shell(umid)
    command, *argument = way
    house.ok(command, umid, *argument)
    assert house.umlctl("wait", umid).returncode == 0
    assert house.listed(umid)["state"] == "dead"
    assert "restarting" not in names(house, umid)


def test_guest_that_somebody_stops_past_us_is_seen_to_be_stopped(house: House, umid: str) -> None:
    # On a busy host a kernel may stand still for a second or two.
    house.start(umid, "--on-hang", "kill", "--hang-after", "6")
    assert house.stock(os.path.relpath(house.kernel_socket(umid)), "stop").returncode == 0
    wait_for(lambda: "stopped" in names(house, umid), "it is seen to be stopped")
    house.ok("go", umid)
    assert "hung" not in names(house, umid)


def test_reset_is_not_done_in_an_interrupt(house: House, umid: str) -> None:
    """There a busy kernel can hang on its way up."""
    house.start(umid)
    house.has_shell(umid)
    house.ok("sysrq", umid, "b")
    wait_for(lambda: house.listed(umid)["reboots"] == 1, "it reboots")
    house.has_shell(umid)
    assert "from IRQ context" not in house.ok("logs", umid)


def test_guest_that_is_stopped_or_held_is_not_hung(house: House, umid: str) -> None:
    house.start(umid, "--on-hang", "kill", "--hang-after", "2")  # on a busy host one is not much
    house.ok("stop", umid, "3")
    wait_for(lambda: house.status(umid)["state"] == "running", "the pause is over")
    pid = house.status(umid)["pid"]
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: "suspended" in names(house, umid), "it is seen to be held")
    house.umlctl("version", umid, "--timeout", "3")
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: "released" in names(house, umid), "it is seen to go on")
    assert house.ok("proc", umid, "uptime")
    assert "hung" not in names(house, umid)


def test_one_guest_can_take_the_others_with_it(house: House, umid: str) -> None:
    """In a home of its own, since other tests have guests too."""
    from tests.live.conftest import House

    other = House(f"{house.path}/others")
    try:
        other.start("a", "--on-panic", "stop-others")
        other.start("b")
        other.umlctl("sysrq", "a", "c")
        assert other.umlctl("wait", "b").returncode == 0
        assert other.listed("b")["ending"]["cause"] == "shut down"
        assert "a panicked" in str(story(other, "b"))
    finally:
        other.umlctl("quit")


def test_foreground_guest_is_started_again_too(house: House, umid: str) -> None:
    with house.running(umid, "--restart", "on-failure") as process:
        house.umlctl("sysrq", umid, "c")
        is_back(house, umid, 1)
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM


def test_guest_that_died_unseen_is_started_again(house: House, umid: str) -> None:
    """And so is one whose supervisor was killed while it was to be started again."""
    house.start(umid, "--restart", "on-failure")
    for _ in range(2):
        status = house.status(umid)
        os.kill(status["supervisor_pid"], signal.SIGKILL)
        os.kill(status["pid"], signal.SIGKILL)
        wait_for(lambda: has_come_back(house, umid), "it is back")
    supervisor = house.status(umid)["supervisor_pid"]
    house.ask(umid, "sysrq c")
    # The pause before a restart may be over before a command of ours has begun.
    history = Path(f"{house.path}/u/state/guests/{umid}/events.jsonl")
    wait_for(lambda: b'"restarting"' in history.read_bytes(), "it is to be started again")
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: has_come_back(house, umid), "it is back")
    house.ok("shutdown", umid)
    assert house.listed(umid)["state"] == "dead"
    assert names(house, umid).count("started") == 4


def test_guest_that_panicked_unseen_has_its_policy_for_that(house: House, umid: str) -> None:
    house.start(umid, "--on-panic", "restart")
    house.has_shell(umid)
    os.kill(house.status(umid)["supervisor_pid"], signal.SIGKILL)
    with open(f"{house.run}/g/{umid}/con0.in", "w") as console:
        console.write("echo c >/proc/sysrq-trigger\n")
    wait_for(lambda: not processes_of(f"umid={umid}"), "it has panicked")
    wait_for(lambda: has_come_back(house, umid), "it is back")
    assert names(house, umid).count("started") == 2
