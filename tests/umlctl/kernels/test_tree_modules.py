from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from umlctl.errors import HostError
from umlctl.kernels import modules, tree_modules
from umlctl.kernels.find import ProbedKernel


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with modules, which depmod need not understand."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    built = tmp_path / "tree"
    for name in ("fs/one/one.ko", "net/two.ko", "drivers/three.ko"):
        (built / name).parent.mkdir(parents=True, exist_ok=True)
        (built / name).write_text(name)
    order = "kernel/fs/one/one.ko\nnet/two.ko\ndrivers/three.o\n"
    (built / "modules.order").write_text(f"{order}/etc/passwd.ko\n../out.ko\nnot/built.ko\n")
    return built


def links(found: str, release: str) -> dict[str, str]:
    kernel = Path(found) / release / "kernel"
    return {
        str(path.relative_to(kernel)): os.readlink(path)
        for path in kernel.rglob("*")
        if path.is_symlink()
    }


def test_every_module_that_was_built_is_linked(tree: Path) -> None:
    found = modules.directory(str(tree / "linux"), "7.2.7")
    names = ("fs/one/one.ko", "net/two.ko", "drivers/three.ko")
    assert links(found, "7.2.7") == {name: f"{tree}/{name}" for name in names}


def test_look_at_them_makes_nothing(tree: Path, tmp_path: Path) -> None:
    kernel = ProbedKernel(str(tree / "linux"), "7.2.7", frozenset(), {"OVERLAY_FS": "m"})
    assert modules.are_there(kernel)
    assert modules.overlay_flaw(kernel) == "its module overlay.ko is not there"
    (tree / "fs/overlayfs").mkdir()
    (tree / "fs/overlayfs/overlay.ko").touch()
    assert modules.overlay_flaw(kernel) == ""
    assert not (tmp_path / "cache").exists()


def test_directory_is_made_anew_once_others_were_built(tree: Path) -> None:
    found = tree_modules.prepare(str(tree), "7.2.7")
    before = os.stat(found).st_ino
    assert tree_modules.prepare(str(tree), "7.2.7") == found
    assert os.stat(found).st_ino == before
    (tree / "modules.order").write_text("net/two.ko\n")
    assert tree_modules.prepare(str(tree), "7.2.7") == found
    assert list(links(found, "7.2.7")) == ["net/two.ko"]
    assert tree_modules.prepare(str(tree), "7.2.8") == found
    assert os.listdir(found) == ["7.2.8"]
    assert len(os.listdir(Path(found).parents[2])) == 1, "nothing is left beside it"


def test_index_is_made_as_soon_as_there_is_a_depmod(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree_modules.prepare(str(tree), "7.2.7")
    asked: list[list[str]] = []
    monkeypatch.setattr(shutil, "which", lambda *_, **__: "/sbin/depmod")
    monkeypatch.setattr(tree_modules, "_index", asked.append)
    found = tree_modules.prepare(str(tree), "7.2.7")
    ((program, _, base, release),) = asked
    assert (program, release) == ("/sbin/depmod", "7.2.7")
    assert base.startswith(str(Path(found).parents[1]))
    tree_modules.prepare(str(tree), "7.2.7")
    assert len(asked) == 1


def test_nothing_is_left_where_it_fails(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: "/bin/false")
    with pytest.raises(HostError, match="depmod: 1"):
        tree_modules.prepare(str(tree), "7.2.7")
    assert os.listdir(tree.parent / "cache" / "umlctl" / "modules") == []
