from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING

import pytest

from umlctl import exitcodes
from umlctl.cli.mconsole import MAX_LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.umlctl.cli.conftest import Supervisor

    Batch = Callable[..., list[str]]


@pytest.fixture
def batch(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> Batch:
    """Sends what is on standard input; the lines that are printed."""

    def send(text: bytes, *options: str) -> list[str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        supervisor.main("mconsole", "demo", "-", *options)
        return supervisor.out.splitlines()

    return send


def test_each_line_is_answered_in_order(supervisor: Supervisor, batch: Batch) -> None:
    supervisor.answers |= {"version": (b"Linux\n", 0), "config ubd1": (b"#file", 0)}
    supervisor.refuse("remove ubd7", "no such device", -19)
    said = batch(b"version\n# a remark\n\n  \nremove ubd7\nconfig ubd1")
    assert said == ["OK Linux", "ERR no such device", "OK #file"]
    assert supervisor.asked == ["version", "remove ubd7", "config ubd1"]
    assert supervisor.code == exitcodes.of_error(-19), "of the first that failed"


def test_outcomes_are_objects_for_programs(supervisor: Supervisor, batch: Batch) -> None:
    supervisor.refuse("remove ubd7", "no such device", -19)
    done, failed = map(json.loads, batch(b"version\nremove ubd7\n", "--json"))
    assert (done["command"], done["outcome"]) == ("version", "answered")
    assert (failed["command"], failed["outcome"]) == ("remove ubd7", "refused")


def test_line_that_is_too_long_is_refused_and_the_next_is_sent(
    supervisor: Supervisor, batch: Batch
) -> None:
    supervisor.answers["version"] = (b"Linux", 0)
    first, second = batch(b"log " + b"x" * 3 * MAX_LINE_BYTES + b"\nversion\n")
    assert first.startswith("ERR ")
    assert second == "OK Linux"
    assert supervisor.asked == ["version"]
    assert supervisor.code == exitcodes.USAGE


def test_guest_that_is_gone_is_an_answer_to_each_line(supervisor: Supervisor, batch: Batch) -> None:
    supervisor.server.stop()
    supervisor.server.unbind()
    said = batch(b"version\nstop\n")
    assert [each.startswith("ERR ") for each in said] == [True, True]
    assert supervisor.code == exitcodes.NO_GUEST
    supervisor.server.start()


def test_text_is_sent_as_it_stands(supervisor: Supervisor) -> None:
    assert supervisor.main("mconsole", "demo", "plug", "disk", "a  b") == exitcodes.OK
    assert supervisor.asked[-1].startswith("plug disk ")
    for words in ([""], [" ", ""]):
        assert supervisor.main("mconsole", "demo", *words) == exitcodes.USAGE
