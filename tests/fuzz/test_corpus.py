"""Every input that is kept is replayed: what was found once is not to come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fuzz.targets import CORPUS, LONGEST, MODULES, corpus, harness

if TYPE_CHECKING:
    from pathlib import Path

KEPT = [(target, path) for target in MODULES for path in corpus(target)]


@pytest.mark.parametrize(
    ("target", "path"), KEPT, ids=[f"{target}-{path.name}" for target, path in KEPT]
)
def test_input_that_is_kept_breaks_nothing(house: str, target: str, path: Path) -> None:
    data = path.read_bytes()
    tested = harness(target)
    tested(data)
    for length in range(0, len(data), max(1, len(data) // 20)):
        tested(data[:length])


def test_corpus_is_small_and_of_targets_that_there_are() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(MODULES)
    sizes = [path.stat().st_size for _, path in KEPT]
    assert max(sizes) <= LONGEST
    assert sum(sizes) < 100_000
