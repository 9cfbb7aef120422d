"""The kernel's source is a Makefile of a few lines here: nothing is compiled."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import pytest

from tests import kernel_sources
from umlctl.cli import kernel_build, main
from umlctl.kernels import build, registry, source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.umlctl.conftest import Run


@pytest.fixture
def tree(house: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}/cache")
    monkeypatch.setattr(build, "check_tools", lambda: None)
    return kernel_sources.make(tmp_path)


def test_kernel_is_built_and_kept_by_its_version_and_features(
    tree: Path, shot: Callable[..., Run]
) -> None:
    done = shot("kernel", "build", str(tree), "--with", "kunit", "--with", "wireguard,kunit")
    assert done.code == 0, done.err
    found = registry.load("6.1.0-kunit-wireguard")
    assert done.out.decode() == f"{found.name} is Linux 6.1.0, {found.path}\n"
    assert found.origin == "linux with kunit, wireguard"
    assert f"umlctl kernel build: building linux in {source.place()}/objects/" in done.err
    again = shot("kernel", "build", str(tree), "--name", "mine", "--default", "--json")
    assert again.json["name"] == "mine"
    assert again.json["is_default"]


def test_own_settings_that_are_not_taken_are_said(
    tree: Path, tmp_path: Path, shot: Callable[..., Run]
) -> None:
    own = tmp_path / "own"
    own.write_text("".join(f"CONFIG_A{number}=y\n" for number in range(10)) + "CONFIG_B=y\n")
    (tree / "absent").write_text("CONFIG_A\n")
    done = shot("kernel", "build", str(tree), "--config", str(own))
    assert done.code == 0
    assert "did not take CONFIG_A0, CONFIG_A1" in done.err
    assert "CONFIG_A7 and 2 more: it has no such" in done.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--with", "kunti"), 2, "did you mean kunit?"),
        (("--name", "a b"), 2, "no name for a kernel: 'a b'"),
        (("--release", "sid"), 2, "--release is for Debian's package of the source"),
        (("--config", "absent"), 2, "does not exist"),
        (("--config", "/etc/hostname"), 2, "/etc/hostname, line 1: a setting is"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_built(
    tree: Path, shot: Callable[..., Run], words: tuple[str, ...], code: int, said: str
) -> None:
    done = shot("kernel", "build", str(tree), *words)
    assert (done.code, said in done.err) == (code, True), done.err
    assert kernel_sources.made(tree) == []


def test_build_that_fails_says_why_and_keeps_no_kernel(
    tree: Path, shot: Callable[..., Run]
) -> None:
    (tree / "fails").touch()
    done = shot("kernel", "build", str(tree))
    assert done.code == 7
    assert "error: unknown type name 'itn'" in done.err
    assert registry.load_all() == []


def test_interrupt_says_how_it_goes_on(
    tree: Path, shot: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_words: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "compile_all", interrupt)
    done = shot("kernel", "build", str(tree))
    assert done.code == 130
    assert "interrupted; the same command goes on with it" in done.err


def test_how_far_it_is_is_said_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_build, "SPOKEN_INTERVAL", 0.0)
    with kernel_build._progress(2) as advance:
        advance(1, "kernel/fork.o")
        advance(3, "kernel/\x1bexit.o")
    with kernel_build._progress(None) as advance:
        advance(3, "x.o")
    assert capsys.readouterr().err.splitlines() == [
        "umlctl kernel build: 1 of about 2 files, kernel/fork.o",
        "umlctl kernel build: 2 of about 2 files, kernel/\\x1bexit.o",
        "umlctl kernel build: 3 files, x.o",
    ]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("ku", ["kunit"]), ("kunit,w", ["kunit,wireguard"]), ("kunit,ku", []), ("x", [])],
)
def test_features_are_offered_one_behind_the_other(typed: str, offered: list[str]) -> None:
    command = kernel_build.build_kernel
    option = next(each for each in command.params if each.name == "features")
    found = option.shell_complete(click.Context(command), typed)
    assert [item.value for item in found] == offered


def test_help_names_all_features(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["kernel", "build", "--help"]) == 0
    said = capsys.readouterr().out
    assert "time-travel   a clock that does not wait" in said


def test_result_is_an_object(tree: Path, shot: Callable[..., Run]) -> None:
    done = shot("kernel", "build", str(tree), "--json")
    assert set(json.loads(done.out)) > {"name", "path", "origin"}
