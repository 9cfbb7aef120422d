from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from umlctl.errors import HostError
from umlctl.storage.converted import convert, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Program = Callable[..., None]

QCOW2 = b"QFI\xfb\0\0\0\3"


@pytest.fixture
def qemu_img(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """A qemu-img that says of an image what it is told, and writes its words as what is made."""
    program = tmp_path / "qemu-img"

    def say(found: object, then: str = 'echo "$*" >"$7"') -> None:
        (tmp_path / "said").write_text(json.dumps(found))
        read = f'if [ "$1" = info ]; then cat {tmp_path}/said'
        program.write_text(f"#!/bin/sh\n{read}\nelse {then}; fi\n")
        program.chmod(0o755)

    monkeypatch.setattr(shutil, "which", lambda _name: str(program) if program.exists() else None)
    return say


def made_of(path: Path, wanted: str) -> bytes:
    target = os.memfd_create("target")
    try:
        convert(str(path), kind_of(str(path)), target, wanted, lambda _count: None)
        return os.pread(target, 1 << 20, 0)
    finally:
        os.close(target)


@pytest.mark.parametrize(
    ("begin", "kind"), [(QCOW2, "qcow2"), (b"KDMV", "vmdk"), (b"", "raw"), (b"XFSB", "raw")]
)
def test_format_is_told_by_the_first_bytes_alone(tmp_path: Path, begin: bytes, kind: str) -> None:
    (tmp_path / "a.vmdk").write_bytes(begin.ljust(8192, b"\0"))
    assert kind_of(f"{tmp_path}/a.vmdk") == kind


@pytest.mark.parametrize("begin", [b"# Disk DescriptorFile\n", b"\x1f\x8b\x08", b"PK\3\4"])
def test_what_is_no_image_by_itself_is_refused(tmp_path: Path, begin: bytes) -> None:
    (tmp_path / "a").write_bytes(begin.ljust(8192, b"\0"))
    with pytest.raises(HostError, match="and no image"):
        kind_of(f"{tmp_path}/a")


def test_raw_image_is_copied_without_any_program(tmp_path: Path, qemu_img: Program) -> None:
    (tmp_path / "a").write_bytes(b"x" * 5000)
    assert made_of(tmp_path / "a", "raw") == b"x" * 5000
    with pytest.raises(HostError, match="apt install qemu-utils"):
        made_of(tmp_path / "a", "qcow2")


def test_program_is_told_both_formats(tmp_path: Path, qemu_img: Program) -> None:
    (tmp_path / "a").write_bytes(QCOW2.ljust(8192, b"\0"))
    qemu_img({"format": "qcow2", "format-specific": {"data": {}}})
    assert made_of(tmp_path / "a", "vmdk").startswith(b"convert -f qcow2 -O vmdk ")


@pytest.mark.parametrize(
    "found",
    [
        {"backing-filename": "/etc/passwd"},
        {"format-specific": {"data": {"data-file": "/etc/passwd"}}},
        {"format-specific": {"data": {"extents": [{"filename": "/etc/passwd"}]}}},
    ],
)
def test_image_that_leads_to_other_files_is_refused(
    tmp_path: Path, qemu_img: Program, found: dict[str, Any]
) -> None:
    (tmp_path / "a").write_bytes(QCOW2.ljust(8192, b"\0"))
    qemu_img(found)
    with pytest.raises(HostError, match="is over another file, /etc/passwd"):
        made_of(tmp_path / "a", "raw")


def test_what_the_program_says_is_passed_on(tmp_path: Path, qemu_img: Program) -> None:
    (tmp_path / "a").write_bytes(b"x" * 5000)
    qemu_img({}, 'echo "qemu-img: $7: No space" >&2; exit 1')
    with pytest.raises(HostError, match=r"^qemu-img: the new file: No space$"):
        made_of(tmp_path / "a", "qcow2")
    qemu_img([])
    (tmp_path / "a").write_bytes(QCOW2.ljust(8192, b"\0"))
    with pytest.raises(HostError, match="what cannot be read"):
        made_of(tmp_path / "a", "raw")
