"""apt-get is a script here; see test_fetch and test_source for what is fetched by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from umlctl.errors import HostError, UsageError
from umlctl.kernels import apt

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}/cache")
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def write(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("name", ["a b", "", "Trixie", "../x", "trixie main\ndeb", "-o"])
def test_release_is_a_word(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--release takes a release of Debian"):
        apt.Release(name, tmp_path, print)


def test_release_that_the_mirror_does_not_have_leaves_nothing(
    programs: Path, tmp_path: Path
) -> None:
    write(
        programs / "apt-get", "echo \"E: The repository 'x' does not have a Release file.\"; exit 1"
    )
    with pytest.raises(UsageError, match="--release trixi: Debian's mirror has no such release"):
        apt.Release("trixi", tmp_path, lambda _text: None)
    assert not (tmp_path / "cache/umlctl/apt/trixi").exists()


def test_what_a_package_needs_is_read_of_the_release(programs: Path, tmp_path: Path) -> None:
    write(programs / "apt-get", "exit 0")
    write(programs / "apt-cache", "echo Package: x; echo 'Depends: libc6 (>= 2.38), y'; echo z")
    release = apt.Release("sid", tmp_path, lambda _text: None)
    assert release.needs("x") == "Depends: libc6 (>= 2.38), y"
    write(programs / "apt-cache", "exit 0")
    with pytest.raises(HostError, match="sid has no package x for this machine"):
        release.needs("x")
    with pytest.raises(HostError, match="apt-get download x left no package"):
        release.download("x", tmp_path)


def test_program_that_fails_is_quoted(programs: Path) -> None:
    write(programs / "noisy", "echo 'W: first'; echo chatter; echo 'E: second' >&2; exit 3")
    problem, lines = apt.run("noisy")
    assert problem == "first; second"
    assert "chatter" in lines
    write(programs / "silent", "exit 3")
    assert apt.run("silent") == ("exit status 3", [""])
    assert apt.run(f"{programs}/none")[0] == "No such file or directory"


def test_needs_of_an_unknown_package_are_empty(programs: Path) -> None:
    write(programs / "apt-cache", "echo 'E: No packages found'; exit 100")
    assert apt.needs("x") == ""
