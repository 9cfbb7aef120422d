from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from umlctl.errors import NeverStarted
from umlctl.kernels import needed_modules
from umlctl.kernels.find import ProbedKernel

if TYPE_CHECKING:
    from pathlib import Path

DEPENDENCIES = """\
kernel/fs/fat/vfat.ko: kernel/fs/fat/fat.ko
kernel/fs/fat/fat.ko:
kernel/net/a-b.ko: kernel/net/c.ko kernel/fs/fat/fat.ko
kernel/net/c.ko: kernel/fs/fat/fat.ko
kernel/packed.ko.xz:
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the modules of `kernel` are."""
    found = tmp_path / "lib/uml/modules/6.1.0"
    found.mkdir(parents=True)
    return found


@pytest.fixture
def kernel(tmp_path: Path) -> ProbedKernel:
    return ProbedKernel(f"{tmp_path}/bin/linux", "6.1.0", frozenset(), {})


def test_what_is_needed_comes_first_and_once(place: Path, kernel: ProbedKernel) -> None:
    (place / "modules.dep").write_text(DEPENDENCIES)
    assert needed_modules.files(kernel, ["vfat"]) == [
        "kernel/fs/fat/fat.ko",
        "kernel/fs/fat/vfat.ko",
    ]
    assert needed_modules.files(kernel, ["a_b", "vfat", "a-b"]) == [
        "kernel/fs/fat/fat.ko",
        "kernel/net/c.ko",
        "kernel/net/a-b.ko",
        "kernel/fs/fat/vfat.ko",
    ]
    assert needed_modules.files(kernel, []) == []


def test_what_is_built_in_need_not_be_loaded(place: Path, kernel: ProbedKernel) -> None:
    (place / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    assert needed_modules.files(kernel, ["ext4"]) == []


def test_module_is_found_where_depmod_has_not_been(place: Path, kernel: ProbedKernel) -> None:
    (place / "kernel/fs").mkdir(parents=True)
    (place / "kernel/fs/own.ko").touch()
    assert needed_modules.files(kernel, ["own"]) == ["kernel/fs/own.ko"]


def test_module_that_is_not_there_is_an_error_with_the_place(
    place: Path, kernel: ProbedKernel
) -> None:
    (place / "modules.dep").write_text(DEPENDENCIES)
    with pytest.raises(NeverStarted, match=f"no module vfatt in {place}.*there is vfat"):
        needed_modules.files(kernel, ["vfatt"])
    with pytest.raises(NeverStarted, match=r"packed\.ko\.xz is compressed"):
        needed_modules.files(kernel, ["packed"])


def test_kernel_without_modules_is_told_with_where_they_could_be(
    tmp_path: Path, kernel: ProbedKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSTALL_MOD_PATH", "/inst")
    with pytest.raises(NeverStarted, match="came with no modules") as caught:
        needed_modules.files(kernel, ["vfat"])
    for path in (f"{tmp_path}/lib/uml/modules", "/inst/lib/modules", f"{tmp_path}/bin/lib/modules"):
        assert f"{path}/6.1.0" in str(caught.value)
