"""The runner, with processes that are shells in place of trials: $1 is the directory of one."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.trial_shells import shells
from umlctl.testing import expected, runner
from umlctl.testing.kept_output import KeptOutput
from umlctl.testing.kept_runs import a_run
from umlctl.testing.ktap import FAILED, PASSED, Leaf
from umlctl.testing.result import FLAKY, KNOWN, tally
from umlctl.testing.runner import Limits, Runner
from umlctl.testing.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umlctl.testing.result import Result

KTAP = 'printf "TAP version 13\\n1..2\\nok 1 a\\n%s 2 b\\n"'


def read(path: str) -> str:
    """What is in a file that must be there."""
    return Path(path).read_text()


def count(house: str) -> int:
    """How many processes have begun."""
    return len(list(Path(house).glob("runs-*")))


class Told:
    """What the runner has told.

    Fields:
        leaves, done: of what
    """

    def __init__(self) -> None:
        self.leaves: list[str] = []
        self.done_with: list[tuple[int, bool]] = []

    def ended(self, leaf: Leaf) -> None:
        self.leaves.append(leaf.name)

    def done(self, trial: Trial, results: Sequence[Result], *, again: bool) -> None:
        assert results
        self.done_with.append((trial.repetition, again))


def trials(count: int, **facts: Any) -> list[Trial]:
    return [
        Trial(
            **{
                "name": "t",
                "kernel": "/k",
                "words": ("t",),
                "options": {"user": ""},
                "repetition": number + 1,
                **facts,
            }
        )
        for number in range(count)
    ]


async def run(
    house: str,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    asked: list[Trial],
    known: str = "",
    **limits: Any,
) -> tuple[list[Result], Told]:
    ended = 'echo "{\\"kind\\": \\"exited\\", \\"code\\": $1}" >"$directory/ended.json"; exit'
    script = f"directory=$1\nend() {{ {ended}; }}\n{script}\n"
    told = Told()
    with a_run() as place, shells(house, monkeypatch, script):
        made = Runner(place, Limits(**{"jobs": 2, **limits}), expected.read(known), told)
        found = await made.run(asked)
        assert os.listdir(place.scratch) == []
    return found, told


async def test_all_are_run_and_accounted_for(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found, told = await run(house, monkeypatch, "end 0", trials(7))
    assert [(each.repetition, each.status) for each in found] == [
        (number, PASSED) for number in range(1, 8)
    ]
    assert sorted(told.done_with) == [(number, False) for number in range(1, 8)]
    assert os.listdir(f"{house}/u/state/tests") == []


async def test_log_of_what_failed_is_kept(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'echo "it is $$"; echo Linux >"$directory/kernel.log"; end 3'
    (found,), _ = await run(house, monkeypatch, script, trials(1))
    assert (found.status, found.reason) == (FAILED, "exit status 3")
    assert found.log.startswith("it is ")
    kept = read(found.log_file)
    assert kept.startswith("it is ")
    assert kept.endswith("[what its kernel has said]\nLinux\n")


async def test_cases_are_told_and_counted(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found, told = await run(house, monkeypatch, f"{KTAP} 'not ok'; end 1", trials(2), known="b")
    assert [(each.name, each.status) for each in found] == 2 * [("a", PASSED), ("b", KNOWN)]
    assert sorted(told.leaves) == ["a", "a", "b", "b"]
    assert all(not each.log_file for each in found)


async def test_what_is_bad_is_run_again(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"""
        if mkdir {house}/first 2>/dev/null; then {KTAP} 'not ok'; end 1; fi
        {KTAP} ok; end 0
    """
    (a, b), told = await run(house, monkeypatch, script, trials(1), reruns=3)
    assert (a.status, a.attempts) == (PASSED, 1)
    assert (b.status, b.attempts) == (FLAKY, 2)
    assert read(b.log_file)
    assert told.done_with == [(1, True), (1, False)]


async def test_what_stays_bad_is_not_run_for_ever(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,), told = await run(house, monkeypatch, "end 1", trials(1), reruns=2)
    assert (found.status, found.attempts) == (FAILED, 3)
    assert told.done_with == [(1, True), (1, True), (1, False)]


async def test_logs_of_many_are_bounded(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MAX_LOGS_LETTERS", 25)
    found, _ = await run(house, monkeypatch, "echo it fails; end 1", trials(5), jobs=1)
    assert [each.log for each in found] == ["it fails\n"] * 2 + [""] * 3
    assert all(each.log_file for each in found)


async def test_as_many_run_at_a_time_as_may(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits until all that may run are there, so fewer would never end."""
    script = f"""
        touch {house}/here-$$
        until set -- {house}/here-*; [ $# -ge 3 ]; do sleep 0.02; done
        [ $# -le 3 ] || end 1
        end 0
    """
    found, _ = await run(house, monkeypatch, script, trials(3), jobs=3)
    assert tally(found)[PASSED] == 3


async def test_words_and_limits_reach_the_process(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f'cp "$directory/asked.json" {house}/asked; end 0'
    await run(house, monkeypatch, script, trials(1, words=("a", "\udcff")), timeout=7.5)
    asked = json.loads(read(f"{house}/asked"))
    assert asked["words"] == ["a", "\udcff"]
    assert asked["options"]["timeout"] == 7.5
    assert asked["options"]["log"].endswith("/kernel.log")


async def test_kernels_log_counts_where_that_is_asked(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f'{KTAP} ok | sed "s/^/[    0.5] /" >"$directory/kernel.log"; echo ok 1 no; end 0'
    found, told = await run(house, monkeypatch, script, trials(1, from_log=True))
    assert [(each.name, each.status) for each in found] == [("a", PASSED), ("b", PASSED)]
    assert told.leaves == ["a", "b"]


async def test_run_that_is_stopped_has_what_has_ended(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"trap 'kill $!; exit' ALRM\nsleep 600 &\ntouch {house}/runs-$$; wait\n"
    told = Told()
    with a_run() as place, shells(house, monkeypatch, script):
        made = Runner(place, Limits(jobs=2), expected.Expected(), told)
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                while count(house) < 2:  # noqa: ASYNC110
                    await trio.sleep(0.02)
                made.stop()

            nursery.start_soon(stop)
            found = await made.run(trials(9))
    assert found == []
    assert told.done_with == []
    assert count(house) == 2


async def test_log_of_one_guest_is_had(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'echo listed >"$1/kernel.log"'
    with a_run() as place, shells(house, monkeypatch, script):
        assert await runner.log_of(trials(1)[0], place, 60.0) == b"listed\n"


async def test_error_of_this_host_is_one_error(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(KeptOutput, "add", fail)
    with pytest.raises(OSError, match="No space left"):
        await run(house, monkeypatch, "echo said; exec sleep 600", trials(3))
