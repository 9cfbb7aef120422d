from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from umlctl.errors import UsageError
from umlctl.testing import kselftest
from umlctl.testing.kselftest import Selftest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / kselftest.LIST).write_text("timers:posix_timers\nnet/forwarding:a.sh\n\nbroken\n")
    (tmp_path / kselftest.SCRIPT).write_text("#!/bin/sh\n")
    return tmp_path


def test_tests_are_those_that_are_listed(tree: Path) -> None:
    found = kselftest.installed(str(tree))
    assert found == [Selftest("timers", "posix_timers"), Selftest("net/forwarding", "a.sh")]
    assert found[1].words == ("./run_kselftest.sh", "-t", "net/forwarding:a.sh")
    assert found[1].name == "net/forwarding.a.sh"


def test_collections_and_single_tests_are_chosen(tree: Path) -> None:
    assert len(kselftest.installed(str(tree), ("timers",))) == 1
    assert len(kselftest.installed(str(tree), ("net/forwarding:a.sh", "timers"))) == 2
    with pytest.raises(UsageError, match="no net, x:y; there is net/forwarding, timers"):
        kselftest.installed(str(tree), ("net", "x:y"))


def test_directory_that_is_none_is_told(tree: Path) -> None:
    (tree / kselftest.LIST).write_text("")
    with pytest.raises(UsageError, match="lists no test"):
        kselftest.installed(str(tree))
    (tree / kselftest.SCRIPT).unlink()
    with pytest.raises(UsageError, match="no installed kselftest"):
        kselftest.installed(str(tree))
