from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from umlctl.cli import foreground, main
from umlctl.cli.alongside import Copy
from umlctl.errors import UsageError
from umlctl.guest.definition import Definition
from umlctl.host.systemd import notify
from umlctl.kernels import find
from umlctl.protocol.status import Ending
from umlctl.state import console_log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    """The reader's and the writer's end of a pipe."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def event(name: str, **facts: object) -> dict[str, Any]:
    return {"time": 1.0, "umid": "demo", "event": name, **facts}


async def written(log: foreground.Log, *events: dict[str, Any]) -> None:
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            for each in events:
                log.put(each)
            await log.close()


async def test_words_are_for_people(capfd: pytest.CaptureFixture[str]) -> None:
    log = foreground.Log("demo", in_json=False)
    await written(
        log,
        event("started", pid=7),
        event("ready", after=1.234, pid=7),
        event("panicked", text="\udcff"),
        event("rebooting"),
    )
    assert capfd.readouterr().err == (
        "umlctl: demo: ready: after 1.23s, kernel pid 7; `umlctl console demo` is its console\n"
        "umlctl: demo: panicked: \\udcff\n"
        "umlctl: demo: rebooting\n"
    )


async def test_console_is_named_where_it_is_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    log = foreground.Log("demo", in_json=False)
    log.attached = True
    await written(log, event("ready", after=1.234, pid=7))
    assert capfd.readouterr().err == "umlctl: demo: ready: after 1.23s, kernel pid 7\n"


@pytest.mark.parametrize("console", [False, True])
def test_console_is_shown_here_if_the_terminal_is_on_it(
    monkeypatch: pytest.MonkeyPatch, *, console: bool
) -> None:
    monkeypatch.setattr(foreground, "_boot", lambda *_given: Ending(cause="exited", code=0))
    log = foreground.Log("demo", in_json=False)
    demo = Definition(umid="demo", kernel="/k")
    foreground.supervise(demo, log, foreground.ForegroundOptions(console=console))
    assert log.attached == console


async def test_json_is_every_event_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    events = [event("started", pid=7), event("user", text="a\nb"), event("ended", code=3)]
    await written(foreground.Log("demo", in_json=True), *events)
    said = capfd.readouterr()
    assert [json.loads(line) for line in said.err.splitlines()] == events
    assert said.out == ""


async def test_screen_that_is_the_guests_is_left_alone(capfd: pytest.CaptureFixture[str]) -> None:
    log = foreground.Log("demo", in_json=False)
    log.quiet = lambda: True
    await written(log, event("panicked"))
    assert capfd.readouterr().err == ""


async def test_reader_that_stalls_holds_up_nobody_and_hears_how_much_it_missed(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = trio.Event()
    log = foreground.Log("demo", in_json=True)
    aside = log._write_aside

    async def stalled(each: dict[str, Any]) -> None:
        await held.wait()
        await aside(each)

    monkeypatch.setattr(log, "_write_aside", stalled)
    count = foreground.MAX_EVENTS_BEHIND + 10
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            for number in range(count):
                log.put(event("user", number=number))
            await trio.testing.wait_all_tasks_blocked()
            held.set()
            await log.close()
    found = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    numbers = [each["number"] for each in found if each["event"] == "user"]
    (missed,) = (each["count"] for each in found if each["event"] == "missed")
    assert numbers == list(range(len(numbers)))
    assert len(numbers) + missed == count
    assert missed > 0


async def test_log_that_is_read_no_more_is_given_up(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stalled(_event: dict[str, Any]) -> None:
        await trio.sleep_forever()

    log = foreground.Log("demo", in_json=True)
    monkeypatch.setattr(log, "_write_aside", stalled)
    async with trio.open_nursery() as nursery:
        await nursery.start(log.run)
        log.put(event("ended"))
        await log.close()
        nursery.cancel_scope.cancel()
    assert trio.current_time() < 60


def test_descriptor_to_be_told_on_is_taken_and_not_passed_on(ends: tuple[int, int]) -> None:
    os.set_inheritable(ends[1], True)
    foreground.check_ready_descriptor(ends[1])
    assert not os.get_inheritable(ends[1])


@pytest.mark.parametrize("descriptor", [-1, 9999, 1 << 40])
def test_descriptor_that_is_not_open_is_a_usage_error(descriptor: int) -> None:
    with pytest.raises(UsageError, match=f"--ready-fd {descriptor}: no such descriptor is open"):
        foreground.check_ready_descriptor(descriptor)


def test_descriptor_that_cannot_be_told_on_is_a_usage_error(ends: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="not open for writing"):
        foreground.check_ready_descriptor(ends[0])
    with pytest.raises(UsageError, match="a standard descriptor"):
        foreground.check_ready_descriptor(2)


def test_error_is_told_in_the_format_of_the_log(
    house: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(find, "find", lambda _name: "/nowhere/linux")
    words = ["run", "demo", "--ready-fd", "9999"]
    assert main.run(words) == 2
    assert capfd.readouterr().err.startswith("umlctl: --ready-fd 9999: no such")
    assert main.run([*words, "--log-format", "json"]) == 2
    found = json.loads(capfd.readouterr().err)
    assert (found["umid"], found["event"], found["code"]) == ("demo", "error", 2)
    assert "--ready-fd 9999" in found["text"]
    assert main.run(["run", "demo", "--log-format", "json"]) == 7
    found = json.loads(capfd.readouterr().err.splitlines()[-1])  # root is warned before
    assert "/nowhere/linux is not a UML kernel: there is no such file" in found["text"]


def test_log_of_each_life_is_held_as_soon_as_it_has_begun(tmp_path: Path) -> None:
    place, console = tmp_path / "copy", tmp_path / "console.log"
    copy = Copy(str(place))
    console.write_text("one\n")
    copy.begin(str(console))
    wishes = foreground.ForegroundOptions(copy=copy)
    log = foreground.Log("demo", in_json=False)
    watch = foreground.Foreground(log, notify.from_environment(), [], wishes)
    for said, what in (("two\n", "started"), ("three\n", "failed"), ("four\n", "started")):
        console_log.begin(str(console))
        console.write_text(said)
        watch._tell(event(what))
    copy.finish()
    copy.close()
    assert place.read_text() == "one\ntwo\nthree\nfour\n"
    assert not copy.problem
