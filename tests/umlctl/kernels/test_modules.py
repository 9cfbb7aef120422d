from __future__ import annotations

from typing import TYPE_CHECKING

from umlctl.kernels import modules
from umlctl.kernels.find import ProbedKernel

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_modules_of_a_package_are_beside_its_kernel(tmp_path: Path) -> None:
    kernel = tmp_path / "bin" / "linux.uml"
    assert modules.directory(str(kernel), "6.1.176") == ""
    place = tmp_path / "lib" / "uml" / "modules"
    (place / "6.1.176").mkdir(parents=True)
    assert modules.directory(str(kernel), "6.1.176") == str(place)
    known = ProbedKernel(str(kernel), "6.1.176", frozenset(), {})
    assert modules.of_release(known) == f"{place}/6.1.176"
    assert modules.of_release(known._replace(version="7.2.7")) == ""
    assert modules.are_there(known)
    assert not modules.are_there(known._replace(version="7.2.7"))


def test_modules_are_found_where_they_were_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By INSTALL_MOD_PATH, or into the tree."""
    kernel = tmp_path / "tree" / "linux"
    inside = tmp_path / "tree" / "lib" / "modules"
    (inside / "7.2.7").mkdir(parents=True)
    assert modules.directory(str(kernel), "7.2.7") == str(inside)
    assert modules.directory(str(kernel), "7.2.8") == ""
    elsewhere = tmp_path / "else" / "lib" / "modules"
    (elsewhere / "7.2.7").mkdir(parents=True)
    monkeypatch.setenv("INSTALL_MOD_PATH", str(tmp_path / "else"))
    assert modules.directory(str(kernel), "7.2.7") == str(elsewhere)


def test_overlay_is_built_in_or_a_module_that_is_there(tmp_path: Path) -> None:
    kernel = ProbedKernel(str(tmp_path / "bin" / "linux.uml"), "6.1.176", frozenset(), {})
    assert modules.overlay(kernel) == ("", "it is built without")
    assert modules.overlay(kernel._replace(config={"OVERLAY_FS": "y"})) == ("", "")
    modular = kernel._replace(config={"OVERLAY_FS": "m"})
    assert modules.overlay(modular)[1] == "its module overlay.ko is not there"
    place = tmp_path / "lib/uml/modules/6.1.176/kernel/fs/overlayfs"
    place.mkdir(parents=True)
    (place / "overlay.ko").touch()
    assert modules.overlay(modular) == (f"{place}/overlay.ko", "")
