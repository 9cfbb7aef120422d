from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from umlctl import exitcodes
from umlctl.checks import guest, table
from umlctl.checks.findings import FATAL, NOTE, WARNING, Check, Finding

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.umlctl.conftest import Run

KEYS = ["usable", "guest", "findings", "checked", "facts", "confined"]


def finds(*severities: str) -> tuple[Check, ...]:
    def of(severity: str) -> Check:
        made = Finding(severity, f"{severity} \x1b thing", "it matters", f"mend {severity}")  # type: ignore[arg-type]
        return Check(f"of {severity}", "host", lambda: [made])

    return (*map(of, severities), Check("well", "kernel", list))


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has this host have findings of some severities, and guests that are confined somehow."""

    def have(*severities: str, confined: dict[str, str] | None = None) -> None:
        facts: dict[str, object] = dict.fromkeys(("umlctl", "python", "host_kernel", "kernel"), "1")
        facts |= {"kernel_version": "6.1", "landlock": 6 if confined is not None else None}
        monkeypatch.setattr(table, "CHECKS", finds(*severities))
        monkeypatch.setattr(table, "facts", lambda: facts)
        monkeypatch.setattr(table, "confined", lambda: confined or {})

    return have


def test_host_with_nothing_wrong_says_what_was_looked_at(
    shot: Callable[..., Run], host: Callable[..., None]
) -> None:
    host(confined={"web": "strict", "db": "off"})
    done = shot("doctor")
    assert done.code == exitcodes.OK
    first, versions, confined = done.out.decode().splitlines()
    assert first == "nothing is wrong with kernel (1 checks)"
    assert "guests run Linux 6.1" in versions
    assert confined == (
        "guests can be confined here by Landlock 6; those that run: web strict, db off"
    )


def test_each_finding_has_two_lines_and_the_worst_comes_first(
    shot: Callable[..., Run], host: Callable[..., None]
) -> None:
    host(NOTE, WARNING, NOTE)
    done = shot("doctor")
    assert done.code == exitcodes.OK
    assert done.out.decode().splitlines()[:5] == [
        "warning  warning \\x1b thing; it matters",
        "         mend it: mend warning",
        "note     note \\x1b thing; it matters",
        "         mend it: mend note",
        "note     note \\x1b thing; it matters",
    ]
    assert "nothing is fatal; 1 warning and 2 notes of host, kernel (4 checks)" in done.out.decode()
    assert "no guest can be confined here" in done.out.decode()


def test_what_is_fatal_has_an_exit_code(
    shot: Callable[..., Run], host: Callable[..., None]
) -> None:
    host(WARNING, FATAL)
    done = shot("doctor")
    assert done.code == exitcodes.FAILED
    assert done.out.startswith(b"fatal ")
    assert b"no guest starts here until what is fatal is mended" in done.out


def test_json_has_one_shape(shot: Callable[..., Run], host: Callable[..., None]) -> None:
    host()
    well = shot("doctor", "--json")
    assert (list(well.json), well.code) == (KEYS, exitcodes.OK)
    assert (well.json["usable"], well.json["findings"], well.json["guest"]) == (True, [], None)
    host(NOTE, FATAL)
    ill = shot("doctor", "--json")
    assert (list(ill.json), ill.code) == (KEYS, exitcodes.FAILED)
    assert ill.json["findings"][0] == {
        "subject": "host",
        "check": "of fatal",
        "severity": "fatal",
        "what": "fatal \x1b thing",
        "why": "it matters",
        "remedy": "mend fatal",
    }
    assert ill.json["checked"][-1] == {"subject": "kernel", "check": "well"}


def test_terminal_has_colours(
    shot: Callable[..., Run], host: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    host(FATAL)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    said = shot("doctor").out.decode()
    assert "\x1b[1;31mfatal" in said
    assert "\x1b[32mmend fatal" in said
    assert "fatal \\x1b thing" in said


def test_guest_is_looked_at_alone(
    shot: Callable[..., Run], host: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    host(FATAL)
    monkeypatch.setattr(guest, "checks", lambda name: finds(WARNING) if name == "web" else ())
    done = shot("doctor", "web", "--json")
    assert (done.code, done.json["guest"]) == (exitcodes.OK, "web")
    assert [each["severity"] for each in done.json["findings"]] == ["warning"]
    done = shot("doctor", "web", "--net")
    assert (done.code, "--net" in done.err) == (exitcodes.USAGE, True)


def test_guest_that_nobody_knows_is_none(shot: Callable[..., Run]) -> None:
    done = shot("doctor", "nobody")
    assert (done.code, "there is no guest nobody" in done.err) == (exitcodes.NO_GUEST, True)


@pytest.mark.parametrize(
    ("options", "subjects"),
    [
        (["--net"], {table.NETWORK}),
        (["--exec"], set(table.OF_EXEC)),
        (["--net", "--exec"], {table.NETWORK, *table.OF_EXEC}),
        ([], {check.subject for check in table.CHECKS}),
    ],
)
def test_what_is_looked_at_can_be_chosen(
    shot: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    subjects: set[str],
) -> None:
    monkeypatch.setattr(table, "run", lambda _checks: [])
    done = shot("doctor", "--json", *options)
    assert {each["subject"] for each in done.json["checked"]} == subjects
