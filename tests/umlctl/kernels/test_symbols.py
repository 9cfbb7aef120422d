from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.umlctl.kernels.elves import elf
from umlctl.errors import HostError
from umlctl.kernels import symbols
from umlctl.kernels.symbols import LINES, SYMBOLS, Elf

if TYPE_CHECKING:
    from pathlib import Path

STRIPPED = elf(build_id=b"\x01\x02\x03")
WHOLE = elf(SYMBOLS, LINES, build_id=b"\x01\x02\x03")


def test_elf_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(WHOLE)
    found = symbols.read(str(path))
    assert found is not None
    assert found.build_id == "010203"
    assert {SYMBOLS, LINES} < found.sections
    path.write_bytes(elf())
    assert symbols.read(str(path)) == Elf("", frozenset({"", ".shstrtab"}))


@given(st.binary(max_size=400), st.integers(0, len(WHOLE)))
def test_file_that_is_damaged_is_read_as_far_as_it_goes(data: bytes, kept: int) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(WHOLE[:kept] + data)
        file.flush()
        symbols.read(file.name)
    assert symbols.read("/none") is None


def test_symbols_are_those_of_the_kernel_or_of_its_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(symbols, "DEBUG_DIRECTORY", f"{tmp_path}/debug")
    kernel = tmp_path / "linux"
    kernel.write_bytes(STRIPPED)
    with pytest.raises(HostError, match=f"there are no symbols of {kernel}.*CONFIG_|vmlinux"):
        symbols.find(str(kernel), "7.3")
    debug = tmp_path / "debug/.build-id/01/0203.debug"
    debug.parent.mkdir(parents=True)
    debug.write_bytes(WHOLE)
    assert symbols.find(str(kernel), "7.3", LINES) == str(debug)
    vmlinux = tmp_path / "vmlinux"
    vmlinux.write_bytes(elf(SYMBOLS, build_id=b"\x01\x02\x03"))
    assert symbols.find(str(kernel), "") == str(vmlinux)
    assert symbols.find(str(kernel), "7.3", LINES) == str(debug)
    kernel.write_bytes(WHOLE)
    assert symbols.find(str(kernel), "7.3", LINES) == str(kernel)


def test_symbols_of_another_build_are_not_taken(tmp_path: Path) -> None:
    kernel = tmp_path / "linux"
    kernel.write_bytes(STRIPPED)
    (tmp_path / "vmlinux").write_bytes(elf(SYMBOLS, build_id=b"\x09"))
    with pytest.raises(HostError, match="vmlinux is of another build than"):
        symbols.find(str(kernel), "7.3")
    kernel.write_bytes(elf())  # nobody says which build it is of
    assert symbols.find(str(kernel), "7.3") == f"{tmp_path}/vmlinux"


def test_tree_is_known_of_a_copy_and_of_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, tree = tmp_path / "copy", tmp_path / "tree"
    copy.mkdir()
    tree.mkdir()
    (copy / "origin.json").write_text(json.dumps({"origin": f"{tree}/linux"}))
    assert list(symbols.trees(f"{copy}/linux", "")) == [str(copy), str(tree)]
    there = tmp_path / "inst/lib/modules/7.3"
    there.mkdir(parents=True)
    (there / "build").symlink_to(tree)
    monkeypatch.setenv("INSTALL_MOD_PATH", f"{tmp_path}/inst")
    assert list(symbols.trees("/none/linux", "7.3")) == ["/none", str(tree)]
