from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from umlctl.guest import command
from umlctl.guest.definition import Definition
from umlctl.state.umid_lock import kernel_socket, own_directory, own_place
from umlctl.supervisor.launch.place import _HELPS, INIT, make_again, remove_place

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from umlctl.supervisor.launch.launched import Launched


def test_kernel_of_another_user_has_a_place_of_its_own() -> None:
    ours = Definition(umid="demo", kernel="/linux")
    theirs = Definition(umid="demo", kernel="/linux", user="nobody")
    assert own_place(ours, "/run/g/demo") == "/run/g/demo"
    assert own_place(theirs, "/run/g/demo") != "/run/g/demo"
    for definition in (ours, theirs):
        assert kernel_socket(definition) == f"{own_directory(definition)}/demo/mconsole"


def test_what_a_reboot_needs_is_made_anew(launched: Launched) -> None:
    definition, directory = launched.definition, launched.claim.directory
    own = own_directory(definition)
    shutil.rmtree(own)
    os.unlink(f"{directory}/init")
    make_again(launched.record, directory)
    assert os.path.isdir(own)
    with open(f"{directory}/init", "rb") as made, open(INIT, "rb") as ours:
        assert made.read() == ours.read()
    assert os.access(f"{directory}/init", os.X_OK)


def test_place_of_our_own_user_is_not_removed(launched: Launched) -> None:
    remove_place(launched.definition)
    assert os.path.exists(f"{launched.claim.directory}/init")


def test_program_that_helps_init_is_there_if_it_is_of_this_source(
    launched: Launched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = launched.claim.directory
    built = tmp_path / "agent"
    monkeypatch.setattr(command, "AGENT", str(built))
    for program, helps in ((None, False), (b"umlctl init 0\0", False), (_HELPS, True)):
        os.unlink(os.path.realpath(f"{directory}/init"))
        if program:
            built.write_bytes(program)
        make_again(launched.record, directory)
        assert os.path.exists(f"{directory}/init")
        assert os.access(f"{directory}/agent", os.X_OK) == helps


def test_program_that_helps_init_stays_where_it_is_if_it_cannot_be_executed_in_the_place(
    launched: Launched, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    directory = launched.claim.directory
    built = tmp_path / "agent"
    built.write_bytes(_HELPS)
    monkeypatch.setattr(command, "AGENT", str(built))
    real = os.statvfs(directory)
    noexec = os.statvfs_result((*real[:8], os.ST_NOEXEC, real[9]))
    monkeypatch.setattr(os, "statvfs", lambda _path: noexec)
    os.unlink(os.path.realpath(f"{directory}/init"))
    make_again(launched.record, directory)
    assert os.path.realpath(f"{directory}/agent") == str(built)
