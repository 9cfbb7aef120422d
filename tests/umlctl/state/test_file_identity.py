from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from umlctl.state import file_identity
from umlctl.state.records import Hold

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_loop_device_is_its_file_and_a_partition_a_part_of_its_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hold(device: int, inode: int = 0) -> Hold:
        return Hold(path=f"/{device}:{inode}", device=device, inode=inode, write=True)

    sda, sda1, sdb1 = os.makedev(8, 0), os.makedev(8, 1), os.makedev(8, 17)
    monkeypatch.setattr(file_identity, "_whole", {sda: sda, sda1: sda, sdb1: os.makedev(8, 16)}.get)
    for one, other, same in (
        (sda, sda, True),
        (sda, sda1, True),
        (sda1, sda, True),
        (sda1, sdb1, False),
    ):
        assert file_identity._same(hold(one), hold(other)) is same
    assert not file_identity._same(hold(5, 7), hold(5, 8))
    for name in ("a.img", "b.img"):
        (tmp_path / name).touch()
    monkeypatch.setattr(file_identity, "_behind", lambda _block: os.stat(tmp_path / "b.img"))
    monkeypatch.setattr(stat, "S_ISBLK", lambda _mode: True)
    found = file_identity.hold_of(f"{tmp_path}/a.img", write=True)
    assert found.inode == os.stat(tmp_path / "b.img").st_ino


def test_file_is_itself_under_another_name_and_not_once_it_is_made_anew(tmp_path: Path) -> None:
    one, other = f"{tmp_path}/a.img", f"{tmp_path}/b.img"
    for path in (one, other):
        with open(path, "w"):
            pass
    os.link(one, f"{tmp_path}/c.img")
    found = file_identity.hold_of(one, write=True)
    assert (found.path, found.write) == (one, True)
    assert file_identity.is_file(found, file_identity.hold_of(f"{tmp_path}/c.img", write=False))
    assert not file_identity.is_file(found, file_identity.hold_of(other, write=False))
    os.replace(other, one)
    assert not file_identity.is_file(found, file_identity.hold_of(one, write=True))
