"""A small dose; `./dev chaos` has the whole."""

from __future__ import annotations

import pytest

from tests.chaos.torment import torment


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_breaks_what_must_be_true(seed: int) -> None:
    said: list[str] = []
    assert torment(seed, 25, 2, said.append) > 0, said
