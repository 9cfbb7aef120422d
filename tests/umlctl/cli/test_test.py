from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from tests.results import a
from umlctl import exitcodes
from umlctl.cli import exec as execs
from umlctl.cli import main
from umlctl.cli import test as tests
from umlctl.errors import HostError, NeverStarted, UsageError
from umlctl.guest.command import Root
from umlctl.host import room
from umlctl.kernels import find
from umlctl.kernels.find import ProbedKernel
from umlctl.testing.ktap import FAILED, PASSED
from umlctl.testing.result import KNOWN

if TYPE_CHECKING:
    from pathlib import Path

    from umlctl.testing.result import Result
    from umlctl.testing.trial import Trial

KUNIT = {"KUNIT": "y"}


class Runs:
    """What would be run, in place of guests.

    Fields:
        trials: what was asked for, and with which limits
        results: what becomes of it; of each trial one that passed, if there are none
        config: of all kernels
        interrupted: the signal that ends it
    """

    def __init__(self) -> None:
        self.trials: list[Trial] = []
        self.options: dict[str, Any] = {}
        self.results: list[Result] = []
        self.config: dict[str, str] = {}
        self.interrupted = 0

    def run(self, trials: list[Trial], options: Any, known: Any) -> tuple[list[Result], int]:
        self.trials, self.options = trials, options
        passed = [
            a("x", PASSED, path=(each.name,), repetition=each.repetition, kernel=each.kernel)
            for each in trials
        ]
        return [known.judge(each) for each in self.results or passed], self.interrupted


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    found = Runs()
    monkeypatch.setattr(tests, "_run", found.run)
    monkeypatch.setattr(execs, "make_root", lambda *_: Root())
    monkeypatch.setattr(find, "find", lambda name: f"/k/{name or 'default'}")
    monkeypatch.setattr(
        find, "probe", lambda path, _user: ProbedKernel(path, "6.1", frozenset(), found.config)
    )
    return found


def run(*words: str) -> int:
    return main.run(["test", *words])


def test_command_is_run_in_each_kernel_as_often_as_is_asked(runs: Runs) -> None:
    code = run("--repeat", "2", "--matrix", "kernel=old,new", "--mem", "64M", "--", "./t", "-x")
    assert code == 0
    assert [(each.kernel, each.repetition) for each in runs.trials] == [
        ("/k/old", 1),
        ("/k/new", 1),
        ("/k/old", 2),
        ("/k/new", 2),
    ]
    assert all((each.name, each.words) == ("./t -x", ("./t", "-x")) for each in runs.trials)
    options = runs.trials[0].options
    assert (options["mem"], options["disks"], options["readonly"]) == ("64M", (), False)
    assert options["kernel"] == "/k/old"


def test_more_memory_than_is_free_is_told_once_before_the_guests(
    runs: Runs, house: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(room, "look", lambda _path: room.Space(200 << 30, 24 << 30))
    assert run("--mem", "100G", "--jobs", "1", "--repeat", "3", "--", "true") == 0
    (said,) = capfd.readouterr().err.splitlines()
    assert "each guest: it may have 102400M of memory, and 24576M are free" in said
    for jobs, is_told in (("2", False), ("3", True)):
        assert run("--mem", "10G", "--jobs", jobs, "--repeat", "9", "--", "true") == 0
        assert ("2 guests that run 20480M more than now" in capfd.readouterr().err) is is_told


def test_limits_are_passed_on(runs: Runs) -> None:
    words = ("--jobs", "3", "--timeout", "9", "--silence", "2", "--rerun-failed", "1")
    assert run(*words, "--", "true") == 0
    names = ("jobs", "timeout", "silence", "reruns")
    assert [runs.options[name] for name in names] == [3, 9.0, 2.0, 1]


def test_results_are_written_and_counted(
    runs: Runs, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "known").write_text("s.known\n")
    runs.results = [a("s.x", PASSED), a("s.known", FAILED), a("s.y", FAILED)]
    xml, results = tmp_path / "r.xml", tmp_path / "r.json"
    words = ("--junit", str(xml), "--results", str(results), "--expect", str(tmp_path / "known"))
    assert run(*words, "--", "./t") == exitcodes.NOT_PASSED
    assert len(list(ET.fromstring(xml.read_bytes()).iter("testcase"))) == 3
    found = json.loads(results.read_text())
    assert [each["status"] for each in found["results"]] == [PASSED, KNOWN, FAILED]
    assert (found["code"], found["title"], found["interrupted"]) == (1, "./t", False)
    assert "PASSED  FAILED  KNOWN" in capfd.readouterr().out


def test_interrupted_run_says_so(runs: Runs, tmp_path: Path) -> None:
    runs.interrupted = signal.SIGINT
    assert run("--results", str(tmp_path / "r"), "--", "true") == 130
    assert json.loads((tmp_path / "r").read_text())["interrupted"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "what to run"),
        (("--",), "what to run"),
        (("--", ""), "the command is empty"),
        (("--kunit", "--", "true"), "not several"),
        (("--isolate", "suite", "--", "true"), "--isolate is for --kunit"),
        (("-t", "net", "--", "true"), "-t is for --kselftest"),
        (("--matrix", "kernel=a", "--kernel", "b", "--", "true"), "leave --kernel out"),
        (("--matrix", "mem=1", "--", "true"), "--matrix takes kernel="),
        (("--matrix", "kernel=a,,b", "--", "true"), "a name is empty"),
        (("--overlay=/x", "--jobs", "2", "--", "true"), "give --jobs 1"),
        (("--kselftest", "/no/such"), "is no installed kselftest"),
        (("--kunit", "a b"), "--kunit takes SUITE"),
    ],
)
def test_what_makes_no_sense_is_refused(
    runs: Runs, capfd: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    runs.config = KUNIT
    assert run(*words) == exitcodes.USAGE
    assert said in capfd.readouterr().err
    assert runs.trials == []


def test_files_that_cannot_be_had_are_told(runs: Runs, tmp_path: Path) -> None:
    assert run("--expect", "/no/such", "--", "true") == exitcodes.FAILED
    assert run("--junit", f"{tmp_path}/no/such", "--", "true") == exitcodes.FAILED
    assert runs.trials == []


def test_kernel_without_kunit_is_skipped_by_a_bisection(
    runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("--kunit") == exitcodes.NEVER_STARTED
    assert "built without KUnit" in capfd.readouterr().err


def test_kunit_is_what_the_kernel_says_at_boot(runs: Runs) -> None:
    runs.config = KUNIT
    assert run("--kunit", "list*", "--append", "x=1") == 0
    (trial,) = runs.trials
    assert trial.from_log
    assert trial.options["append"] == (
        *("kunit.enable=1", "kunit_shutdown=poweroff", "kunit.filter_glob=list*"),
        "x=1",
    )
    assert trial.options["readonly"]
    assert trial.options["boot_timeout"] == tests.MAX_BOOT_SECONDS
    assert run("--kunit", "--timeout", "9") == 0
    assert runs.trials[0].options["boot_timeout"] == 9.0
    assert "filter_glob" not in str(runs.trials[0].options["append"])


def test_suites_and_tests_have_guests_of_their_own(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.config = KUNIT
    listed = [b"TAP version 14\na.x\na.y\nb.z\n"]
    asked = []

    def log_of(trial: Trial, _options: object) -> bytes:
        asked.append(trial)
        return listed[0]

    monkeypatch.setattr(tests, "_log_of", log_of)
    assert run("--kunit", "--isolate", "suite") == 0
    assert [each.name for each in runs.trials] == ["a", "b"]
    assert "kunit.filter_glob=a" in runs.trials[0].options["append"]
    assert "kunit.action=list" in asked[0].options["append"]
    assert run("--kunit", "--isolate", "test") == 0
    assert [each.name for each in runs.trials] == ["a.x", "a.y", "b.z"]
    listed[0] = b""
    assert run("--kunit", "--isolate", "test") == exitcodes.NEVER_STARTED


def test_kselftests_are_run_where_they_are(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "kselftest-list.txt").write_text("net:a.sh\ntimers:b\n")
    (tmp_path / "run_kselftest.sh").touch()
    assert run("--kselftest", str(tmp_path), "-t", "timers") == 0
    (trial,) = runs.trials
    assert (trial.name, trial.options["cwd"]) == ("timers.b", str(tmp_path))
    assert trial.words == ("./run_kselftest.sh", "-t", "timers:b")


@pytest.mark.parametrize("problem", [UsageError("u"), NeverStarted("n"), HostError("h")])
def test_guests_that_could_not_be_are_told_before_any_is(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def fail(*_: object) -> None:
        raise problem

    monkeypatch.setattr(execs, "make_root", fail)
    assert run("--", "true") == getattr(problem, "code", None)
    assert runs.trials == []
