"""The plugin in runs of pytest of their own, with guests that are none."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import umlctl
from umlctl.errors import NoGuest
from umlctl.protocol.status import Ending, Status

if TYPE_CHECKING:
    from typing import Self

pytest_plugins = ("pytester",)
PLUGIN = ("-p", "umlctl.pytest_plugin", "-p", "no:cacheprovider")
PANIC = Ending(cause="panicked", code=255, text="by hand")


class Guest:
    """What stands for a guest.

    Fields:
        asked: how it was started
    """

    def __init__(self, name: str | None, asked: dict[str, Any]) -> None:
        self.name = name or "py-1-1"
        self.asked = asked
        self.is_kept = self.is_removed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.is_removed = not self.is_kept

    def keep(self) -> None:
        self.is_kept = True

    def status(self) -> Status:
        return Status(state="running")

    def console_tail(self) -> str:
        return f"the console of {self.name}"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Guest]:
    """Guests that tests have started."""
    made: list[Guest] = []

    def start(name: str | None, **asked: Any) -> Guest:
        made.append(Guest(name, asked))
        return made[-1]

    monkeypatch.setattr(umlctl, "start", start)
    return made


def test_each_test_has_guests_of_its_own_that_are_removed(
    pytester: pytest.Pytester, started: list[Guest]
) -> None:
    pytester.makepyfile(
        """
        def test_one(guest):
            assert guest.name == "py-1-1"

        def test_several(uml):
            assert uml("a", mem="64M").name == "a"
            assert uml("b", arguments=["quiet"]).name == "b"
        """
    )
    result = pytester.runpytest_inprocess(*PLUGIN, "-W", "error", "--strict-markers")
    result.assert_outcomes(passed=2)
    assert [guest.asked for guest in started] == [
        {"arguments": ()},
        {"arguments": (), "mem": "64M"},
        {"arguments": ["quiet"]},
    ]
    assert all(guest.is_removed for guest in started)
    assert "the console of" not in result.stdout.str()


def test_test_that_failed_shows_its_guests(
    pytester: pytest.Pytester, started: list[Guest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def become(guest: Guest) -> Status:
        if guest.name == "gone":
            return Status(state="dead", ending=PANIC)
        if guest.name == "strange":
            raise NoGuest("nobody knows")
        return Status(state="running", last_panic="earlier")

    monkeypatch.setattr(Guest, "status", become)
    pytester.makepyfile(
        """
        def test_fails(uml):
            for name in ("gone", "lives", "strange"):
                uml(name)
            assert False
        """
    )
    result = pytester.runpytest_inprocess(*PLUGIN)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- guest gone: panicked: by hand -*",
            "the console of gone",
            "*- guest lives: running, it panicked before: earlier -*",
            "the console of lives",
            "*- guest strange: nobody knows -*",
        ]
    )
    assert all(guest.is_removed for guest in started)


def test_guests_of_a_test_that_failed_are_kept_if_that_is_asked_for(
    pytester: pytest.Pytester, started: list[Guest]
) -> None:
    pytester.makepyfile(
        """
        def test_passes(guest):
            pass

        def test_fails(uml):
            uml("bad")
            assert False
        """
    )
    result = pytester.runpytest_inprocess(*PLUGIN, "--uml-keep-failed")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*guest bad: running; it is kept for `umlctl logs bad`*"])
    assert [(guest.name, guest.is_removed) for guest in started] == [
        ("py-1-1", True),
        ("bad", False),
    ]


def test_kernel_is_that_of_all_guests_but_those_that_name_one(
    pytester: pytest.Pytester, started: list[Guest]
) -> None:
    pytester.makepyfile(
        """
        def test_passes(uml):
            uml()
            uml(kernel="/own")
        """
    )
    result = pytester.runpytest_inprocess(*PLUGIN, "--uml-kernel", "/linux")
    result.assert_outcomes(passed=1)
    assert [guest.asked["kernel"] for guest in started] == ["/linux", "/own"]


def test_guest_that_cannot_be_started_is_an_error_with_the_reason(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: object, **__: object) -> None:
        raise umlctl.NeverStarted("its init has ended")

    monkeypatch.setattr(umlctl, "start", start)
    pytester.makepyfile("def test_it(guest): pass")
    result = pytester.runpytest_inprocess(*PLUGIN)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*NeverStarted: its init has ended"])


def test_options_are_shown_where_the_others_are(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(*PLUGIN, "--help")
    result.stdout.fnmatch_lines(["guests of User Mode Linux:", "*--uml-kernel=FILE*"])


def test_runs_without_guests_import_next_to_nothing() -> None:
    program = (
        "import pytest, sys; before = set(sys.modules); import umlctl.pytest_plugin;"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == "['umlctl', 'umlctl.pytest_plugin']\n"
