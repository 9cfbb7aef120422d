from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from typing import TYPE_CHECKING

from umlctl import exitcodes
from umlctl.client import background
from umlctl.errors import SEE_DOCTOR
from umlctl.host import paths

if TYPE_CHECKING:
    import pytest

    from socketproto.exchange import Outcome
    from tests.umlctl.cli.conftest import Started


def test_who_starts_a_server_is_told_how_it_comes_back(started: Started) -> None:
    assert started.main("start", "demo", "--profile", "server") == 0
    assert "`umlctl enable demo`, and `umlctl setup --systemd" in started.err
    assert started.main("start", "demo", "--profile", "lab") == 0
    assert "umlctl enable" not in started.err


def test_guest_that_started_is_told(started: Started) -> None:
    assert started.main("start", "demo") == 0
    assert started.out == "demo is running, kernel pid 4711\n"


def test_guest_that_did_not_start_is_told_with_its_code(started: Started) -> None:
    started.answer = {"code": 125, "text": "demo never started: it has no root"}
    assert started.main("start", "demo") == 125
    assert started.err.endswith("umlctl: demo never started: it has no root\n")


def test_start_tells_programs_how_it_went(started: Started) -> None:
    assert started.main("start", "demo", "--json") == 0
    told = {"umid": "demo", "status": 0, "text": "", "state": "running", "pid": 4711}
    assert json.loads(started.out) == told
    started.answer = {"code": 125, "text": "demo never started: it has no root"}
    assert started.main("start", "demo", "--json") == 125
    result = json.loads(started.out)
    assert result == told | {"status": 125, "state": None, "pid": None} | {
        "text": "demo never started: it has no root"
    }
    for words, said in ((["--mem", "much"], "much"), (["--console"], "--json and --console")):
        assert started.main("start", "demo", "--json", *words) == 2
        result = json.loads(started.out)
        assert (result["status"], result["pid"]) == (2, None)
        assert said in result["text"]
        assert said in started.err


def test_definition_that_cannot_be_written_down_is_told_with_its_place(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> tuple[int, str]:
        raise OSError(errno.ENOSPC, "No space left on device", "/run/start-x")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    assert started.main("start", "demo", "--json") == exitcodes.FAILED
    text = json.loads(started.out)["text"]
    assert text.startswith("demo cannot be started: ")
    assert text.endswith(f"/run/start-x: No space left on device; {SEE_DOCTOR}")


def test_guest_is_started_though_the_run_directory_goes_meanwhile(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask_and_remove(command: str) -> Outcome:
        outcome = started.ask_supervisor(command)
        shutil.rmtree(paths.run_dir())
        return outcome

    monkeypatch.setattr(background, "ask_supervisor", ask_and_remove)
    assert started.main("start", "demo") == 0, started.err
    assert started.out == "demo is running, kernel pid 4711\n"


def test_start_that_does_not_wait_asks_for_that(started: Started) -> None:
    started.answer["status"]["state"] = "booting"
    assert started.main("start", "demo", "--no-wait") == 0
    assert started.out == "demo is booting, kernel pid 4711\n"
    assert started.main("start", "demo") == 0
    assert [command.startswith("start no-wait /") for command in started.commands] == [True, False]
    assert started.main("start", "demo", "--no-wait", "--console") == exitcodes.USAGE
    assert "--no-wait does not" in started.err


def test_definition_handed_over_leaves_no_file(started: Started) -> None:
    before = set(os.listdir(paths.make_run_dir()))
    assert started.main("start", "demo") == 0
    assert set(os.listdir(paths.run_dir())) == before


def test_guest_that_is_refused_forgets_nothing(started: Started) -> None:
    started.answer = {"code": 1, "text": "no"}
    assert started.main("start", "demo", "--disk", "/d.img,discard") == 1
    assert "umlctl: no\n" in started.err
    assert "is lost when it ends" not in started.err
