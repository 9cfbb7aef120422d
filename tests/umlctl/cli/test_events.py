from __future__ import annotations

import json
import os
import subprocess
import threading
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from tests.umlctl.recovery.test_discover import running
from tests.umlctl.state.test_records import write_record
from umlctl import exitcodes, streams
from umlctl.cli import main
from umlctl.cli.events import events
from umlctl.client import unsupervised
from umlctl.client.history import LOOK_INTERVAL
from umlctl.host import paths
from umlctl.state import event_log

if TYPE_CHECKING:
    import pytest

    from tests.umlctl.cli.conftest import Supervisor


def happens(umid: str, moment: float, name: str, **facts: Any) -> None:
    os.makedirs(paths.record_dir(umid), exist_ok=True)
    event = {"time": moment, "umid": umid, "event": name, **facts}
    event_log.append(umid, event_log.encode(event))


def shown(*arguments: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(events, [*arguments, "--json"])
    assert result.exception is None, result
    return [json.loads(line) for line in result.stdout.splitlines()]


def names(found: list[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in found]


def test_history_of_a_guest_is_shown(house: str) -> None:
    happens("demo", 1.0, "started")
    happens("demo", 2.0, "ended", text="well")
    assert names(shown("demo")) == ["started", "ended"]
    assert names(shown("demo", "-n", "1")) == ["ended"]
    assert shown("demo", "-n", "0") == []
    result = CliRunner().invoke(events, ["demo"])
    assert result.stdout.splitlines()[1].endswith("demo ended: well")


def test_histories_of_all_guests_are_one(house: str) -> None:
    happens("a", 1.0, "one")
    happens("b", 2.0, "two")
    happens("a", 3.0, "three")
    assert names(shown("--all")) == ["one", "two", "three"]
    assert names(shown("--all", "-n", "2")) == ["two", "three"]
    assert names(shown("--all", "--since", "1970-01-01T00:00:02+00:00")) == ["two", "three"]


def test_guest_or_all_has_to_be_said(house: str) -> None:
    for words in ([], ["demo", "--all"]):
        result = CliRunner().invoke(events, words)
        assert "needs a guest, or --all" in str(result.exception)


def test_history_of_a_guest_that_runs_is_followed_though_its_directory_is_out_of_sight(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsupervised, "ask_to_adopt", lambda _guest: False)
    happens("demo", 1.0, "started")
    with running() as pid:
        write_record(pid=pid)
        found: list[dict[str, Any]] = []
        thread = threading.Thread(target=lambda: found.extend(shown("demo", "-f")))
        thread.start()
        thread.join(3 * LOOK_INTERVAL)  # it may have looked whether the guest is there
        assert thread.is_alive()
        happens("demo", 2.0, "ready")
    thread.join()
    assert names(found) == ["started", "ready"]


def test_what_happens_is_followed_until_the_guest_is_gone(house: str) -> None:
    happens("demo", 1.0, "started")
    paths.make_run_dir()
    os.makedirs(paths.guest_dir("demo"))
    found: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: found.extend(shown("demo", "-f")))
    thread.start()
    happens("demo", 2.0, "ready")
    happens("demo", 3.0, "ended")
    os.rmdir(paths.guest_dir("demo"))
    thread.join(20)
    assert names(found) == ["started", "ready", "ended"]


FOLLOWING = """
import os, sys
from umlctl.cli import events
from umlctl.client import unsupervised
from umlctl.client.history import LOOK_INTERVAL
from umlctl.host import paths
found = []
def shown(line):
    if not found:
        os.rmdir(paths.guest_dir("demo"))
    found.append(set(sys.modules))
    return line.decode()
events.event_line = shown
unsupervised.ask_to_adopt = lambda guest: False
events.events(["demo", "-f"], standalone_mode=False)
print(*sorted(set(sys.modules) - found[0]))
"""


def test_all_is_imported_before_what_is_followed_is_shown(house: str) -> None:
    """An interrupt can be lost in an import."""
    happens("demo", 1.0, "started")
    paths.make_run_dir()
    os.makedirs(paths.guest_dir("demo"))
    done = subprocess.run(
        [*streams.PYTHON[:-1], "-c", FOLLOWING], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "", done.stdout


def test_guest_of_somebody_else_is_asked(supervisor: Supervisor) -> None:
    path = paths.public_socket("demo")
    past = b'{"time":1.0,"umid":"demo","event":"ready"}\nrubbish\n'
    supervisor.answers["events past"] = (past, 0)
    assert supervisor.main("events", path, "--json") == 0
    assert json.loads(supervisor.out)["event"] == "ready"
    assert "no event: b'rubbish'" in supervisor.err
    supervisor.answers["events"] = (past, 0)
    assert supervisor.main("events", path, "-f", "-n", "1", "--json") == 0
    assert json.loads(supervisor.out)["event"] == "ready"
    supervisor.refuse("events past", "not for you", -1)
    assert supervisor.main("events", path) == 1
    assert "not for you" in supervisor.err


def test_no_such_guest_is_said(house: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(["events", "nobody"]) == exitcodes.NO_GUEST
    assert "no guest 'nobody'" in capfd.readouterr().err
