from __future__ import annotations

import pytest

from umlctl.guest import overlay
from umlctl.guest.definition import Definition, devices
from umlctl.guest.specs import Disk


def test_what_is_kept_is_a_disk_of_the_guest() -> None:
    assert overlay.disk("/kept") == Disk(file="/kept/overlay.img", slot=15)
    guest = Definition(umid="demo", kernel="/k", overlay="/kept", disks=("/a,slot=1",))
    assert [str(each) for each in devices(guest)] == ["/kept/overlay.img,slot=15", "/a,slot=1"]


@pytest.mark.parametrize("where", ["", overlay.IN_MEMORY])
def test_memory_is_no_disk(where: str) -> None:
    assert overlay.disk(where) is None
    assert devices(Definition(umid="demo", kernel="/k", overlay=where)) == []
