from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.umlctl.supervisor.launch.test_jail import running
from umlctl.backends.device_access import TUN
from umlctl.host import landlock, paths
from umlctl.state.records import DeviceEntry, Hold
from umlctl.supervisor.devices import bringing
from umlctl.supervisor.launch import later_mounts

pytestmark = [
    pytest.mark.skipif(bool(landlock.unable()), reason="this host confines no kernel"),
    pytest.mark.skipif(not os.path.exists(TUN), reason="this host has no taps"),
]
TAP = "vec0:transport=tap,ifname=t0"


def test_device_of_taps_appears_when_it_is_wanted(house: str, tmp_path: Path) -> None:
    with running(tmp_path, f"cat {TUN}; ls -l {TUN}") as (launched, said):
        record = launched.record
        if not record.binds:
            pytest.skip("this host gives no mounts of its own to a kernel")
        assert said.startswith("-rw-------"), "a file of nothing stands there"
        there = f"/proc/{launched.pid}/root{TUN}"
        assert later_mounts.has_tun(record)
        for _ in range(2):
            bringing.bring_in(record, DeviceEntry(name="vec0", asked=TAP, kernel=TAP))
            assert stat.S_ISCHR(os.stat(there).st_mode)
            assert os.path.samefile(there, TUN)
    assert os.listdir(paths.kept_dir()) == [], house


def test_kernel_that_was_given_the_device_has_it_from_the_start(house: str, tmp_path: Path) -> None:
    with running(tmp_path, f"ls -l {TUN}", rw=(TUN,)) as (launched, said):
        assert said.startswith("c")
        assert not later_mounts.has_tun(launched.record), house


def test_what_the_supervisor_makes_of_records_is_found_where_the_kernel_has_no_way(
    house: str, tmp_path: Path
) -> None:
    umid = "demo"
    made = f"{paths.record_dir(umid)}/ubd1.cow"
    assert later_mounts.seen(umid, made) == f"{later_mounts.directory(umid)}/records/ubd1.cow"
    assert later_mounts.seen(umid, f"{house}/other") == ""
    with running(tmp_path, f"ls {paths.record_dir(umid)}") as (launched, said):
        if launched.record.binds:
            assert "record.json" not in said
            Path(made).write_text("cow")
            entry = DeviceEntry(
                name="ubd1",
                asked=made,
                kernel=f"ubd1={made}",
                holds=[Hold(path=made, device=1, inode=1, write=True)],
            )
            bringing.bring_in(launched.record, entry)
            told = entry.told.partition("=")[2]
            assert os.path.samefile(f"/proc/{launched.pid}/root{told}", made)
