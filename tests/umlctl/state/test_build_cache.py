from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from umlctl.host import paths
from umlctl.state import build_cache

if TYPE_CHECKING:
    import pytest


def test_archive_is_found_by_all_that_it_is_of(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", f"{house}/cache")
    Path(f"{house}/a.tar").write_text("a")
    assert build_cache.find(["a", "b"]) == ""
    build_cache.keep(["a", "b"], f"{house}/a.tar")
    assert Path(build_cache.find(["a", "b"])).read_text() == "a"
    assert build_cache.find(["ab"]) == build_cache.find(["a,b"]) == ""
    build_cache.keep(["a", "b"], f"{house}/a.tar")


def test_only_the_newest_stay(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", f"{house}/cache")
    Path(f"{house}/a.tar").write_text("a")
    for number in range(4):
        for name, age in zip("dcba", range(4), strict=True):
            if path := build_cache.find([name]):
                os.utime(path, (age, age))
        build_cache.keep(["abcd"[number]], f"{house}/a.tar")
    assert build_cache.find(["d"])
    assert len(os.listdir(f"{paths.cache_dir()}/images")) == build_cache.MAX_KEPT


def test_cache_that_cannot_be_written_is_no_error(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    Path(f"{house}/a.tar").write_text("a")
    build_cache.keep(["a"], f"{house}/a.tar")
    assert build_cache.find(["a"]) == ""
