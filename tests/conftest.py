"""What every test may use: short directories, a home of its own, bounded property tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

settings.register_profile("umlctl", deadline=None, max_examples=80, derandomize=True, database=None)
settings.load_profile("umlctl")


@pytest.fixture
def short() -> Iterator[str]:
    """A directory whose name leaves room for a socket: tmp_path is too long for one."""
    path = tempfile.mkdtemp(prefix="u-", dir="/tmp")
    try:
        yield path
    finally:
        shutil.rmtree(path)


@pytest.fixture
def house(short: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """HOME and the XDG directories in a place of their own."""
    for name, place in (
        ("HOME", "h"),
        ("XDG_RUNTIME_DIR", "r"),
        ("XDG_STATE_HOME", "s"),
        ("XDG_CACHE_HOME", "c"),
    ):
        os.mkdir(f"{short}/{place}", 0o700)
        monkeypatch.setenv(name, f"{short}/{place}")
    return short
