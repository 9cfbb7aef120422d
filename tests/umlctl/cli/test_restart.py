from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from socketproto.exchange import ANSWERED, Outcome
from tests.umlctl.state.test_records import write_record
from umlctl import exitcodes
from umlctl.client import background
from umlctl.definitions import files
from umlctl.guest.definition import Definition, decode
from umlctl.kernels import find
from umlctl.protocol.status import Ending
from umlctl.state import records

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Bare
    from tests.umlctl.cli.conftest import Supervisor

SHUT_DOWN = {"cause": "shut down", "code": 0, "text": ""}


def ends() -> None:
    """The guest is dead, and its record says so."""
    record = records.load("demo")
    assert record is not None
    record.ending = Ending(cause="shut down", code=0, time=2.0)
    records.save(record)


@pytest.fixture
def started(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> list[Definition]:
    """A guest of the background supervisor; what that is asked to start."""
    definitions: list[Definition] = []

    def start(command: str) -> Outcome:
        with open(command.removeprefix("start "), "rb") as file:
            definitions.append(decode(file.read()))
        answer = {"code": 0, "status": {"state": "running", "pid": 4711}, "text": ""}
        return Outcome(ANSWERED, data=msgspec.json.encode(answer))

    write_record(mem=77 << 20)
    supervisor.answer("status", {"state": "running", "supervisor_pid": 42})
    monkeypatch.setattr(background, "pid", lambda: 42)
    monkeypatch.setattr(background, "ask_supervisor", start)
    plain = find.ProbedKernel("/linux", "6.1.176", frozenset(), {"UML": "y"})
    monkeypatch.setattr(find, "probe", lambda _path, _user="": plain)
    return definitions


def shuts_down(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, text: str = "shutdown 30"
) -> None:
    supervisor.answer(text, SHUT_DOWN)
    server = supervisor.server
    real = server.answer

    def answer(server: Bare, data: bytes, address: Any) -> Any:
        if data == text.encode():
            ends()
        return real(server, data, address)

    monkeypatch.setattr(server, "answer", answer)


def test_guest_is_shut_down_and_started_as_it_was(
    supervisor: Supervisor, started: list[Definition], monkeypatch: pytest.MonkeyPatch
) -> None:
    shuts_down(supervisor, monkeypatch)
    assert supervisor.main("restart", "demo") == 0, supervisor.err
    assert supervisor.out == "demo shut down\ndemo is running, kernel pid 4711\n"
    assert [(each.umid, each.mem) for each in started] == [("demo", 77 << 20)]


def test_shutdown_can_be_followed_by_a_start(
    supervisor: Supervisor, started: list[Definition], monkeypatch: pytest.MonkeyPatch
) -> None:
    shuts_down(supervisor, monkeypatch, "shutdown 5")
    for words in (["-R", "demo", "5"], ["demo", "5", "-R"]):
        write_record(mem=77 << 20)
        assert supervisor.main("shutdown", *words) == 0, supervisor.err
        assert supervisor.out == "demo shut down\ndemo is running, kernel pid 4711\n"
    assert len(started) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-R"], "-R takes the names of guests"),
        (["-R", "5"], "-R takes the names of guests"),
        (["-R", "demo", "5", "6"], "a number of seconds behind them"),
        (["-R", "5", "demo"], "a number of seconds behind them"),
        (["-R", "-H", "demo"], "-R starts a guest again, and -H leaves it ended"),
        (["-R", "--all"], "no --all or --timeout"),
        (["-R", "demo", "--timeout", "5"], "no --all or --timeout"),
    ],
)
def test_what_cannot_be_followed_by_a_start_is_told(
    supervisor: Supervisor, started: list[Definition], words: list[str], said: str
) -> None:
    assert supervisor.main("shutdown", *words) == exitcodes.USAGE
    assert said in supervisor.err
    assert not started


def test_none_is_shut_down_if_one_is_nobodys(
    supervisor: Supervisor, started: list[Definition]
) -> None:
    assert supervisor.main("shutdown", "-R", "demo", "nobody") == exitcodes.NO_GUEST
    assert "no guest 'nobody', so none is shut down" in supervisor.err
    assert not started


def test_guest_that_may_not_be_started_again_is_not_ended(
    supervisor: Supervisor, started: list[Definition], house: str
) -> None:
    os.mkdir(f"{house}/u/config", 0o700)
    with open(f"{house}/u/config/umlctl.toml", "w") as file:
        file.write("[host]\nmax_guests = many\n")
    assert supervisor.main("restart", "demo") == exitcodes.USAGE
    assert "umlctl.toml:2: max_guests: " in supervisor.err
    assert b"shutdown 30" not in supervisor.server.commands
    assert not started


def test_guest_is_left_ended_where_that_is_asked_for(
    supervisor: Supervisor, started: list[Definition], monkeypatch: pytest.MonkeyPatch
) -> None:
    shuts_down(supervisor, monkeypatch, "shutdown")
    assert supervisor.main("shutdown", "-H", "demo") == 0, supervisor.err
    assert supervisor.out == "demo shut down\n"
    assert not started


def test_programs_are_told_of_the_start_alone(
    supervisor: Supervisor, started: list[Definition], monkeypatch: pytest.MonkeyPatch
) -> None:
    shuts_down(supervisor, monkeypatch, "shutdown 5")
    assert supervisor.main("restart", "demo", "5", "--json") == 0, supervisor.err
    told = json.loads(supervisor.out)
    assert (told["umid"], told["status"], told["pid"]) == ("demo", 0, 4711)


def test_guest_that_has_ended_is_started(
    supervisor: Supervisor, started: list[Definition], monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor.server.unbind()
    ends()
    assert supervisor.main("restart", "demo") == 0, supervisor.err
    assert supervisor.out == "demo is running, kernel pid 4711\n"
    assert len(started) == 1


def test_guest_that_does_not_end_is_not_started_twice(
    supervisor: Supervisor, started: list[Definition]
) -> None:
    supervisor.refuse("shutdown 30", "it does not end", -110)
    assert supervisor.main("restart", "demo") == exitcodes.TIMED_OUT
    assert "restart demo: it has not ended: it does not end" in supervisor.err
    assert not started


def test_guest_that_could_not_be_started_again_is_not_ended(
    supervisor: Supervisor, started: list[Definition], house: str
) -> None:
    write_record(disks=(f"{house}/gone.img",))
    assert supervisor.main("restart", "demo") == exitcodes.FAILED
    assert f"demo is left as it is: {house}/gone.img, which it was started with" in supervisor.err
    assert not supervisor.asked


@pytest.mark.parametrize(("key", "end"), [("cwd", ""), ("root", "/")])
def test_guest_whose_directory_is_gone_is_not_ended(
    key: str, end: str, supervisor: Supervisor, started: list[Definition], house: str
) -> None:
    asked: dict[str, Any] = {key: f"{house}/gone{end}"}
    write_record(**asked)
    assert supervisor.main("restart", "demo") == exitcodes.FAILED
    assert f"demo is left as it is: the directory {house}/gone{end}, which it" in supervisor.err
    assert not supervisor.asked


def test_process_of_somebody_is_not_started_again(
    supervisor: Supervisor, started: list[Definition]
) -> None:
    record = records.load("demo")
    assert record is not None
    record.own_line = True
    records.save(record)
    assert supervisor.main("restart", "demo") == exitcodes.REFUSED
    assert f"demo is the process {os.getpid()}, which somebody started as `linux`" in supervisor.err
    assert not supervisor.asked


def test_guest_of_a_run_is_left_to_who_runs_it(
    supervisor: Supervisor, started: list[Definition], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "pid", lambda: 0)
    assert supervisor.main("restart", "demo") == exitcodes.REFUSED
    assert "demo is supervised by `umlctl run`, pid 42" in supervisor.err
    assert supervisor.asked == ["status"]
    assert not started


def test_guest_that_nobody_knows_is_said(supervisor: Supervisor) -> None:
    assert supervisor.main("restart", "nobody") == exitcodes.NO_GUEST
    assert "no guest 'nobody'" in supervisor.err


def test_bare_kernel_is_left_alone(
    supervisor: Supervisor, bare: Callable[..., Bare], house: str
) -> None:
    os.makedirs(f"{house}/h/.uml/hand")
    server = bare(name="h/.uml/hand/mconsole")
    assert supervisor.main("restart", "hand") == exitcodes.REFUSED
    assert "nobody knows how it was started" in supervisor.err
    assert not server.commands


def test_path_is_no_name_of_ours(supervisor: Supervisor, started: list[Definition]) -> None:
    """Another user's guest may be called as one of ours is."""
    assert supervisor.main("restart", "/elsewhere/demo/mconsole") == exitcodes.USAGE
    assert "takes a guest's name" in supervisor.err
    assert not supervisor.asked


def test_guest_whose_status_is_none_is_left_alone(
    supervisor: Supervisor, started: list[Definition]
) -> None:
    supervisor.answers["status"] = (b"rubbish", 0)
    assert supervisor.main("restart", "demo") == exitcodes.FAILED
    assert "its status cannot be read" in supervisor.err
    assert supervisor.asked == ["status"]


def test_guest_is_started_as_its_definition_has_it_now(
    supervisor: Supervisor, started: list[Definition], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "find", lambda name=None: name or "/linux")
    assert supervisor.main("restart", "demo", "--reload") == exitcodes.NO_GUEST
    assert "no guest demo is defined" in supervisor.err
    path = files.save("demo", "\nmem = 99")
    assert supervisor.main("restart", "demo", "--reload") == exitcodes.USAGE
    assert f"{path}:2: mem: " in supervisor.err
    assert not supervisor.asked
    files.save("demo", 'disk = ["/nowhere/a.img"]')
    assert supervisor.main("restart", "demo", "--reload") == exitcodes.FAILED
    assert "/nowhere/a.img, which its definition has, is not there" in supervisor.err
    files.save("demo", 'mem = "99M"')
    shuts_down(supervisor, monkeypatch)
    assert supervisor.main("restart", "--reload", "demo") == 0, supervisor.err
    assert [each.mem for each in started] == [99 << 20]
    write_record(mem=77 << 20)
    with open("demo.toml", "w") as file:
        file.write('mem = "98M"')
    assert supervisor.main("restart", "--reload", "demo.toml") == 0, supervisor.err
    assert supervisor.err == "umlctl: demo: the guest of demo.toml\n"
    assert [each.mem for each in started] == [99 << 20, 98 << 20]
