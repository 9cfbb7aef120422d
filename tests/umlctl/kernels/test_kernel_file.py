from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import fake_kernel
from umlctl.kernels import find, kernel_file

if TYPE_CHECKING:
    from pathlib import Path

ELF = fake_kernel.elf("/none")
SCRIPT = b"#!/bin/sh\n# User Mode Linux v6.1 uml_dir=\n"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (ELF, ""),
        (b"", "it is empty"),
        (SCRIPT, "it is a script"),
        (b"User Mode Linux v uml_dir=", "it is no program"),
        (ELF[:60], "it is cut short"),
        (ELF[:-1], "it is cut short"),
        (ELF.replace(b"Mode", b"Node"), "it is another program"),
        (ELF[:18] + b"\x02\0" + ELF[20:], "it is no program for this machine"),
        (ELF[:16] + b"\x01\0" + ELF[18:], "it is no program for this machine"),
    ],
)
def test_file_is_a_kernel_by_what_is_in_it(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "linux"
    path.write_bytes(data)
    path.chmod(0o755)
    assert kernel_file.flaw(str(path)).startswith(said)
    assert bool(said) == bool(kernel_file.flaw(str(path)))


def test_what_is_no_file_or_cannot_be_executed_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "linux").write_bytes(ELF)
    assert "not executable" in kernel_file.flaw(str(tmp_path / "linux"))
    assert kernel_file.flaw(str(tmp_path / "fifo")) == "it is not a file"
    assert kernel_file.flaw(str(tmp_path)) == "it cannot be read: Is a directory"
    assert kernel_file.flaw(str(tmp_path / "none")) == "there is no such file"
    assert kernel_file.flaw("/dev/null") == "it is not a file"


def test_programs_of_this_host_are_no_kernels() -> None:
    found = [path for name in ("ls", "sh", "unshare") if (path := shutil.which(name))]
    assert all(kernel_file.flaw(path) == "it is another program" for path in found)


def test_real_kernel_is_one() -> None:
    assert kernel_file.flaw(find.find()) == ""


@given(st.binary(max_size=80), st.integers(0, 200))
def test_damaged_header_is_never_an_error(data: bytes, at: int) -> None:
    path = "/dev/shm/.kernelfile-test-" + str(os.getpid())
    damaged = ELF[:at] + data + ELF[at + len(data) :]
    with open(path, "wb") as file:
        file.write(damaged)
    os.chmod(path, 0o755)
    try:
        assert isinstance(kernel_file.flaw(path), str)
    finally:
        os.unlink(path)
