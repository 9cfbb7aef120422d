from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests import fake_kernel
from tests.umlctl.kernels.test_find import FLOOD
from umlctl.errors import NoKernel
from umlctl.kernels import probes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def program(tmp_path: Path, house: str) -> Callable[[str], str]:
    """Makes a program of these lines of sh, that can be asked."""

    def make(lines: str) -> str:
        path = str(tmp_path / "linux")
        fake_kernel.write(path, lines, answers="")
        return path

    return make


def test_what_a_program_says_is_all_that_it_prints(program: Callable[[str], str]) -> None:
    path = program("echo out $1\necho err >&2")
    assert probes.ask(path, "--help", 30.0) == "out --help\nerr\n"


def test_program_that_hangs_is_given_up(program: Callable[[str], str]) -> None:
    with pytest.raises(NoKernel, match=r"it did not end within 0\.3 s"):
        probes.ask(program("exec sleep 1000"), "--help", 0.3)


def test_program_that_floods_is_given_up(program: Callable[[str], str]) -> None:
    with pytest.raises(NoKernel, match="it printed more than 4 MiB"):
        probes.ask(program(FLOOD), "x", 60.0)


def test_what_was_said_is_kept_for_that_content_alone(program: Callable[[str], str]) -> None:
    path = program("true")
    known = probes.identity(path)
    assert probes.kept(path, known) == []
    probes.keep(path, known, ["a", "caf\udce9"])
    assert probes.kept(path, known) == ["a", "caf\udce9"]
    os.utime(path, (1, 1))
    assert probes.identity(path) != known
    assert probes.kept(path, probes.identity(path)) == []
    probes.keep(path, probes.identity(path), ["b"])
    assert probes.kept(path, known) == [], "one is kept for each path"


def test_what_somebody_put_in_its_place_is_not_followed(
    program: Callable[[str], str], tmp_path: Path
) -> None:
    path = program("true")
    known = probes.identity(path)
    probes.keep(path, known, ["a"])
    place = probes._place(path)
    os.rename(place, tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", place)
    assert probes.kept(path, known) == []


def test_file_that_is_not_there_has_no_identity(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        probes.identity(str(tmp_path / "none"))
