from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketproto.exchange import ANSWERED, GONE, REFUSED, TIMED_OUT, Outcome, pieces
from umlctl import exitcodes
from umlctl.client.oneshot import ask
from umlctl.output import views
from umlctl.protocol.commands import BY_NAME
from umlctl.protocol.status import STATUS_LOST, Ending, Status, read_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.conftest import Bare

STATUS: dict[str, Any] = {
    "umid": "demo",
    "state": "running",
    "since": 1000.0,
    "pid": 20,
    "supervisor_pid": 10,
    "kernel": "/usr/bin/linux.uml",
    "memory": 50 << 20,
    "memory_limit": 256 << 20,
    "cpu": 1.234,
    "reboots": 2,
    "last_panic": None,
    "sockets": {"mconsole": "/h/.uml/demo/mconsole"},
    "command": ["/usr/bin/linux.uml", "mem=64M"],
}


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1065.0)
    monkeypatch.setattr(time, "localtime", time.gmtime)


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (None, "-"),
        (0, "0"),
        (1023, "1023"),
        (1024, "1.0K"),
        (53 << 20, "53.0M"),
        (1536 << 20, "1.5G"),
        (1 << 40, "1024.0G"),
    ],
)
def test_size_is_shown_in_its_unit(count: int | None, shown: str) -> None:
    assert views.size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0s"),
        (5.12, "5.1s"),
        (59.9, "59.9s"),
        (60, "1m00s"),
        (192, "3m12s"),
        (3600, "1h00m"),
        (7500, "2h05m"),
        (86400, "1d00h"),
        (273600, "3d04h"),
    ],
)
def test_duration_is_shown_in_two_units(seconds: float, shown: str) -> None:
    assert views.duration(seconds) == shown


@given(st.floats(0, 1e9))
def test_any_duration_is_short(seconds: float) -> None:
    assert len(views.duration(seconds)) <= 9


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (
            {"time": 45296, "umid": "demo", "event": "ready", "after": 0.2},
            "12:34:56 demo ready after=0.2",
        ),
        (
            {"time": 45296.9, "umid": "demo", "event": "panicked", "text": "Oops"},
            "12:34:56 demo panicked: Oops",
        ),
        (
            {"time": 45296, "event": "refused", "text": "refused: not this", "uid": 1},
            "12:34:56 refused: not this uid=1",
        ),
        ({}, "00:00:00 ?"),
    ],
)
def test_event_is_one_line_for_a_person(event: dict[str, Any], shown: str) -> None:
    assert views.event_line(json.dumps(event).encode()) == shown


def test_event_that_is_no_json_is_shown_as_it_is() -> None:
    assert views.event_line(b"ERR \xff") == "ERR \ufffd"


@pytest.mark.parametrize(
    ("ending", "shown"),
    [
        (None, "ended; nobody saw how"),
        (Ending(cause="exited", code=3), "exited with status 3"),
        (Ending(cause="panicked", code=255, text="Oops"), "panicked: Oops"),
        (Ending(cause="shut down", code=0), "shut down"),
    ],
)
def test_ending_is_told(ending: Ending | None, shown: str) -> None:
    assert views.ending_text(ending) == shown


def lines_of(status: dict[str, Any]) -> list[str]:
    return views.status_lines(msgspec.convert(status, Status))


def test_status_of_a_running_guest_for_a_person() -> None:
    assert lines_of(STATUS) == [
        "guest             demo",
        "state             running for 1m05s",
        "pid               20, supervisor 10",
        "memory            50.0M of 256.0M used",
        "cpu               1.23s",
        "reboots           2",
        "kernel            /usr/bin/linux.uml",
        "socket, mconsole  /h/.uml/demo/mconsole",
        "command           /usr/bin/linux.uml mem=64M",
    ]


def test_status_says_what_is_wrong() -> None:
    wrong = STATUS | {"trouble": "wedged", "last_panic": "Oops", "cpu": None, "memory": None}
    lines = lines_of(wrong)
    for line in ("trouble           wedged", "last panic        Oops", "cpu               -"):
        assert line in lines


def test_status_of_a_dead_guest_says_how_it_ended() -> None:
    ending = {"cause": "killed", "code": 137, "text": "by uid 0"}
    dead = STATUS | {"state": "dead", "pid": None, "ending": ending, "sockets": {}, "command": []}
    assert lines_of(dead) == [
        "guest   demo",
        "state   dead for 1m05s",
        "ended   killed: by uid 0",
        "kernel  /usr/bin/linux.uml",
    ]


def test_status_of_a_guest_without_a_supervisor_lacks_what_only_that_knows() -> None:
    unsupervised = {key: value for key, value in STATUS.items() if key != "memory_limit"}
    unsupervised |= {"state": "unsupervised", "reboots": None, "supervisor_pid": None}
    lines = [line.split() for line in lines_of(unsupervised)]
    for line in ("pid 20, supervisor gone", "memory 50.0M used", "reboots -"):
        assert line.split() in lines


# Outcomes


def capture(capfdbinary: pytest.CaptureFixture[bytes]) -> tuple[bytes, str]:
    sys.stdout.flush()
    out, err = capfdbinary.readouterr()
    return out, err.decode()


def test_outcome_as_json_is_one_line() -> None:
    text = views.outcome_json("demo", "version", Outcome(REFUSED, -22, b"a\n\xff", "", 1))
    assert "\n" not in text
    assert json.loads(text) == {
        "guest": "demo",
        "command": "version",
        "outcome": "refused",
        "error": -22,
        "text": "a\n\ufffd",
        "reason": "",
    }


def test_status_is_shown_as_json_or_for_a_person(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    outcome = Outcome(ANSWERED, data=json.dumps(STATUS).encode())
    assert views.show_outcome("demo", "status", outcome, json=True) == 0
    found = json.loads(capture(capfdbinary)[0])
    assert found == dict.fromkeys(found) | {"devices": [], "consoles": []} | STATUS
    assert views.show_outcome("demo", "status", outcome, json=False) == 0
    assert capture(capfdbinary)[0].startswith(b"guest ")


def test_status_that_is_no_json_is_an_error(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    code = views.show_outcome("demo", "status", Outcome(ANSWERED, data=b"{"), json=True)
    assert code == exitcodes.TRUNCATED
    out, err = capture(capfdbinary)
    assert out == b""
    assert err.startswith("umlctl: status demo: the answer is no status: ")


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome(ANSWERED), exitcodes.OK),
        (Outcome(REFUSED, -22, b"no"), exitcodes.REFUSED),
        (Outcome(REFUSED, -104, b"gone"), exitcodes.GONE),
        (Outcome(TIMED_OUT, reason="late"), exitcodes.TIMED_OUT),
        (Outcome(GONE, reason="dead"), exitcodes.GONE),
    ],
)
def test_code_is_the_same_with_and_without_json(
    capfdbinary: pytest.CaptureFixture[bytes], outcome: Outcome, code: int
) -> None:
    for name in ("version", "status"):
        if name == "status" and outcome.ok:
            continue
        for in_json in (False, True):
            assert views.show_outcome("demo", name, outcome, json=in_json) == code
    capture(capfdbinary)


# Following


def follow(server: Bare, name: str, *, in_json: bool = False) -> int:
    return ask(BY_NAME[name], server.path, [], in_json, 20.0, force=False)


def answering(*parts: bytes, error: int = 0) -> Callable[..., Iterable[bytes]]:
    """Each part a piece of its own, then the end."""

    def answer(*_: object) -> list[bytes]:
        replies = [reply.encode() for part in parts for reply in pieces(part, more=True)]
        return [*replies, *[reply.encode() for reply in pieces(b"", error)]]

    return answer


def test_wait_ends_with_the_code_of_the_guest(
    bare: Callable[..., Bare], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    ending = b'{"cause":"panicked","code":255,"text":"Oops","time":1.0}'
    server = bare(answering(b"", b"", ending), mode=0o600)
    assert follow(server, "wait") == 255
    assert capture(capfdbinary)[0] == f"{server.path} panicked: Oops\n".encode()
    assert follow(server, "wait", in_json=True) == 255
    assert capture(capfdbinary)[0] == ending + b"\n"
    assert follow(server, "kill") == exitcodes.OK


@pytest.mark.parametrize(
    ("cause", "code"),
    [("shut down", 0), ("exited", 0), ("never started", 0), ("killed", 7), ("panicked", 7)],
)
def test_shutdown_that_was_none_is_a_failure(
    bare: Callable[..., Bare], cause: str, code: int
) -> None:
    ending = b'{"cause":"%s","code":1,"text":"","time":1.0}' % cause.encode()
    assert follow(bare(answering(ending), mode=0o600), "shutdown") == code


def test_kernel_that_panics_when_it_has_powered_down_was_shut_down(
    bare: Callable[..., Bare],
) -> None:
    ending = Ending(cause="panicked", code=255, text=f"Segfault with no mm; {STATUS_LOST}")
    server = bare(answering(msgspec.json.encode(ending)), mode=0o600)
    assert follow(server, "shutdown") == exitcodes.OK
    assert follow(server, "wait") == 255


def test_following_that_is_refused_says_why(
    bare: Callable[..., Bare], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    server = bare(answering(error=-16), mode=0o600)
    for name in ("shutdown", "wait"):
        assert follow(server, name) == exitcodes.REFUSED
        assert capture(capfdbinary) == (b"", f"umlctl: {name} {server.path}: error -16\n")


# Columns


def test_columns_are_as_wide_as_their_widest_cell(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    views.columns([("UMID", "STATE", "NOTE"), ("a", "running", ""), ("longer", "dead", "x y")])
    assert capture(capfdbinary)[0].decode().splitlines() == [
        "UMID    STATE    NOTE",
        "a       running",
        "longer  dead     x y",
    ]


def test_terminal_gets_every_cell_too(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    views.columns([("UMID", "NOTE"), ("demo", "[bold] is no markup"), ("92:ab:a1", "no emoji")])
    out = capture(capfdbinary)[0].decode()
    for cell in ("UMID", "NOTE", "demo", "[bold] is no markup", "92:ab:a1"):
        assert cell in out


def test_terminal_folds_the_last_column_first(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    views.columns([("NAME", "MEMORY", "NOTE"), ("demo", "14.9M/256.0M", "it hangs " * 5)])
    first, *rest = capture(capfdbinary)[0].decode().splitlines()[1:]
    assert first.split()[:3] == ["demo", "14.9M/256.0M", "it"]
    assert rest
    assert not {word for line in rest for word in line.split()} - {"it", "hangs"}


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"3",
        b'{"time": "noon"}',
        b'{"time": 1e300}',
        b'{"time": -1e18}',
        b'{"event": "a\xff"}',
        b'{"a":' + b"[" * 100_000,
    ],
)
def test_line_that_is_no_event_is_shown_as_it_is(line: bytes) -> None:
    assert views.event_line(line) == line.decode("utf-8", "replace")


def test_event_of_strange_values_is_shown_all_the_same() -> None:
    said = views.event_line(b'{"time": 0, "umid": 3, "event": null, "text": ["a"], "x": {}}')
    assert "3 None: ['a'] x={}" in said


def test_status_of_an_older_supervisor_is_shown_with_what_it_has() -> None:
    found = read_status(b'{"umid": "a", "state": "running", "pid": 3, "new": 1}')
    assert any(row.startswith("pid") for row in views.status_lines(found))


def test_what_only_a_newer_supervisor_says_is_in_the_json(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    said = b'{"umid": "a", "state": "dancing", "pid": 3, "new": 1}'
    assert views.show_outcome("a", "status", Outcome(ANSWERED, data=said), json=True) == 0
    found = json.loads(capture(capfdbinary)[0])
    assert (found["state"], found["new"], found["reboots"]) == ("dancing", 1, None)


def test_what_a_guest_says_has_no_power_over_the_terminal() -> None:
    said = "RED \x1b[31m\x1b[2J\r\n\x07 ü 日本 \u202e"
    line = json.dumps({"time": 0, "umid": "demo", "event": "user", "text": said}).encode()
    shown = views.event_line(line)
    assert shown.isprintable()
    assert "RED" in shown
    assert "ü 日本" in shown
    assert views.printable("plain") == "plain"
    assert views.ending_text(Ending(cause="panicked", code=255, text="a\x1b[2J")).isprintable()
