"""The kernel's source is a Makefile of a few lines here: nothing is compiled."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from tests import kernel_sources
from umlctl.errors import HostError, UsageError
from umlctl.kernels import build, source

if TYPE_CHECKING:
    from pathlib import Path

    from umlctl.kernels.build import Build


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}/cache")
    monkeypatch.setenv("MAKEFLAGS", "--no-such-option")
    monkeypatch.setenv("KBUILD_OUTPUT", "/nowhere")
    return kernel_sources.make(tmp_path)


def planned(tree: Path, *features: str, **own: str) -> Build:
    return build.plan(source.of_tree(str(tree)), features, own)


def built(plan: Build) -> list[tuple[int, str]]:
    """Build; the steps that were told."""
    steps: list[tuple[int, str]] = []
    with build.alone(plan) as lock:
        build.configure(plan, lock)
        kernel = build.compile_all(plan, 3, lock, lambda done, name: steps.append((done, name)))
    assert os.access(kernel, os.X_OK)
    return steps


def test_kernel_is_built_beside_its_tree(tree: Path) -> None:
    before = sorted(os.listdir(tree))
    plan = planned(tree, "kunit", A="m")
    assert build.is_first(plan)
    assert built(plan) == [(1, "kernel/fork.o"), (2, "fs/overlayfs/error.o"), (3, "linux")]
    assert not build.is_first(plan)
    assert plan.objects.startswith(f"{source.place()}/objects/linux-")
    assert sorted({*os.listdir(tree)} - {"made.log"}) == before
    with open(f"{plan.objects}/.config") as file:
        config = file.read()
    assert "CONFIG_KUNIT=y" in config
    assert "CONFIG_A=m" in config


def test_what_is_configured_as_asked_for_stays(tree: Path) -> None:
    built(planned(tree))
    built(planned(tree))
    assert [line.split()[0] for line in kernel_sources.made(tree)] == ["defconfig", "all", "all"]
    assert kernel_sources.made(tree)[0] == "defconfig um"
    built(planned(tree, NET="n"))
    built(planned(tree, NET="y"))  # the same place, configured anew
    assert len(kernel_sources.made(tree)) == 7
    assert planned(tree, NET="y").objects == planned(tree, NET="n").objects
    assert planned(tree, "kunit").objects != planned(tree).objects


def test_compiler_that_fails_is_quoted_and_the_build_goes_on_then(tree: Path) -> None:
    (tree / "fails").touch()
    plan = planned(tree)
    with pytest.raises(HostError, match=r"has failed, with status 2") as caught:
        built(plan)
    said = str(caught.value).splitlines()
    assert said[1] == "kernel/x.c:7:1: error: unknown type name 'itn'"
    assert f"{plan.notes}/{build.LOG}" in said[0]
    (tree / "fails").unlink()
    assert [done for done, _ in built(plan)] == [3, 4, 5], "the steps before count"


def test_feature_that_the_source_does_not_have_is_refused_before_anything_is_compiled(
    tree: Path,
) -> None:
    (tree / "absent").write_text("UML_TIME_TRAVEL\n")
    with pytest.raises(
        HostError, match=r"with time-travel \(a clock .*\): it has no CONFIG_UML_TIME_"
    ):
        built(planned(tree, "time-travel"))
    (tree / "absent").write_text("KUNIT=\n")
    with pytest.raises(HostError, match=r"CONFIG_KUNIT is not as it must be, since something else"):
        built(planned(tree, "kunit"))
    assert not [line for line in kernel_sources.made(tree) if line.startswith("all")]


def test_own_settings_that_are_not_taken_are_told(tree: Path) -> None:
    (tree / "absent").write_text("XYZZY\n")
    plan = planned(tree, XYZZY="y", NET="n")
    with build.alone(plan) as lock:
        assert build.configure(plan, lock) == ["XYZZY"]


def test_tree_that_is_configured_is_built_in_place(tree: Path) -> None:
    (tree / ".config").write_text("CONFIG_UML=y\n")
    plan = planned(tree)
    assert plan.in_place
    built(plan)
    assert (tree / "linux").exists()
    assert [line.split()[0] for line in kernel_sources.made(tree)] == ["all"]
    assert not [name for name in os.listdir(tree) if name.startswith("umlctl")]
    with pytest.raises(UsageError, match=r"is configured, and is built as it is"):
        planned(tree, "kunit")
    (tree / ".config").write_text("CONFIG_X86_64=y\n")
    with pytest.raises(HostError, match=r"for another architecture than um"):
        planned(tree)


@pytest.mark.parametrize("tool", ["make", "flex", "gcc"])
def test_tools_that_are_not_there_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    for name in {"make", "flex", "bison", "bc", "gcc", "ld"} - {tool}:
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("LLVM", raising=False)
    with pytest.raises(HostError, match=f"there is no {tool} here; `apt install {tool}`"):
        build.check_tools()
    (tmp_path / tool).symlink_to("/bin/true")
    build.check_tools()


def test_two_builds_in_one_place_exclude_each_other(tree: Path) -> None:
    plan = planned(tree)
    with build.alone(plan), pytest.raises(HostError, match="another `umlctl kernel build`"):
        built(plan)


def test_make_that_has_built_nothing_is_an_error(tree: Path) -> None:
    (tree / "Makefile").write_text("defconfig:\n\techo >$(O)/.config\nolddefconfig all:\n")
    with pytest.raises(HostError, match="make has built no "):
        built(planned(tree))


def test_source_that_cannot_be_written_beside_is_an_error(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(HostError, match="cannot build in "):
        built(planned(tree))


def test_interrupt_keeps_what_was_done(tree: Path) -> None:
    os.mkfifo(tree / "waits")
    plan = planned(tree)

    def interrupt(_done: int, _name: str) -> None:
        with open(tree / "waits", "w") as file:
            file.write("\n")
        (tree / "waits").unlink()
        signal.raise_signal(signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    with build.alone(plan) as lock:
        build.configure(plan, lock)
        with pytest.raises(KeyboardInterrupt):
            build.compile_all(plan, 1, lock, interrupt)
    assert built(plan)[0] == (2, "kernel/fork.o")
