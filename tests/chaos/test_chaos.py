"""A small dose; `./dev chaos` has the whole."""

from __future__ import annotations

import pytest

from tests.chaos.kills import kill_supervisors
from tests.chaos.merges import kill_merges
from tests.chaos.torment import torment


@pytest.mark.timeout(300)
def test_nothing_breaks_what_must_be_true() -> None:
    said: list[str] = []
    assert torment(1, 12, 2, said.append) > 0, said


@pytest.mark.timeout(300)
def test_supervisors_that_are_killed_cost_nothing() -> None:
    said: list[str] = []
    assert kill_supervisors(2, 3, said.append) > 0, said


@pytest.mark.timeout(300)
def test_merges_that_are_killed_cost_nothing() -> None:
    said: list[str] = []
    assert kill_merges(6, said.append) >= 6, said
