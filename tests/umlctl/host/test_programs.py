from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from umlctl.errors import HostError
from umlctl.host.programs import check_init

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("#!/bin/sh\n", 0o644, "not executable: chmod +x"),
        ("#!/bin/sh\r\necho\r\n", 0o755, "end in CR LF"),
        ("echo hello\n", 0o755, "neither a binary nor a script that begins with #!"),
        ("", 0o755, "neither a binary"),
        ("#!/no/shell\n", 0o755, "'/no/shell', is not there"),
        ("#!\n", 0o755, "'', is not there"),
    ],
)
def test_program_that_no_kernel_could_run_is_refused(
    tmp_path: Path, text: str, mode: int, said: str
) -> None:
    (tmp_path / "init").write_text(text, newline="")
    (tmp_path / "init").chmod(mode)
    with pytest.raises(HostError, match=re.escape(said)):
        check_init(f"{tmp_path}/init", "/")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no such file"):
        check_init(f"{tmp_path}/init", "/")
    with pytest.raises(HostError, match="is a directory"):
        check_init(str(tmp_path), "/")


@pytest.mark.parametrize("begin", [b"#!/bin/sh\n", b"#! /bin/sh -e\nset", b"\x7fELF\x02"])
def test_what_can_be_run_is_taken(tmp_path: Path, begin: bytes) -> None:
    (tmp_path / "init").write_bytes(begin)
    (tmp_path / "init").chmod(0o755)
    check_init(f"{tmp_path}/init", "/")


def test_programs_of_a_directory_are_looked_for_there(tmp_path: Path) -> None:
    os.makedirs(tmp_path / "usr/bin")
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "bin/init").write_text("#!/bin/own\n")
    (tmp_path / "bin/init").chmod(0o755)
    with pytest.raises(HostError, match="'/bin/own', is not there"):
        check_init("/bin/init", str(tmp_path))
    (tmp_path / "usr/bin/own").touch()
    check_init("/bin/init", f"{tmp_path}/")
    with pytest.raises(HostError, match="no such file"):
        check_init("/sbin/init", str(tmp_path))


def test_link_that_means_another_file_in_the_guest_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "init").symlink_to("/nowhere/systemd")
    check_init("/init", str(tmp_path))
