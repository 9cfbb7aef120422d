from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.guest.readers import xl_disk
from umlctl.guest.readers.xl_disk import XenDisk

VOLUME = XenDisk("/dev/vg/guest-volume", "hda", readonly=False)
CD = XenDisk("/root/image.iso", "hdc", readonly=True)


@pytest.mark.parametrize(
    ("text", "disk"),
    [
        # The examples of xl-disk-configuration(5)
        ("/dev/vg/guest-volume,,hda", VOLUME),
        ("/dev/vg/guest-volume,raw,hda,rw", VOLUME),
        ("format=raw, vdev=hda, access=rw, target=/dev/vg/guest-volume", VOLUME),
        ("raw:/dev/vg/guest-volume,hda,w", VOLUME),
        ("/root/image.iso,,hdc,cdrom", CD),
        ("/root/image.iso,,hdc,,cdrom", CD),
        ("/root/image.iso,raw,hdc,devtype=cdrom", CD),
        ("format=raw, vdev=hdc, access=ro, devtype=cdrom, target=/root/image.iso", CD),
        ("raw:/root/image.iso,hdc:cdrom,ro", CD),
        (",hdc:cdrom,r", XenDisk("", "hdc", readonly=True)),
        # Those of the NetBSD Xen HOWTO
        ("file:/n0/xen/foo-wd0,0x0,w", XenDisk("/n0/xen/foo-wd0", "xbd0", readonly=False)),
        ("phy:/dev/wd0e,0x1,w", XenDisk("/dev/wd0e", "xbd1", readonly=False)),
        ("phy:/dev/wd0e,0x300,w", XenDisk("/dev/wd0e", "hda", readonly=False)),
        ("file:/var/xen/nbsd-disk,0x301,w", XenDisk("/var/xen/nbsd-disk", "hda1", readonly=False)),
        ("phy:/dev/vnd0d,6:cdrom,r", XenDisk("/dev/vnd0d", "xbd6", readonly=True)),
        # Others
        ("tap:aio:/a,xvda1,w!", XenDisk("/a", "xvda1", readonly=False)),
        ("phy:vg/a,ioemu:hdb,r", XenDisk("/dev/vg/a", "hdb", readonly=True)),
        ("vg/a,,xvda", XenDisk("/dev/vg/a", "xvda", readonly=False)),
        ("/a,raw,xvda,rw,no-discard", XenDisk("/a", "xvda", readonly=False, trim=False)),
        ("vdev=xvda, target=/a,b c ", XenDisk("/a,b c ", "xvda", readonly=False)),
        (
            "/a,,xvda,backendtype=phy",
            XenDisk("/a", "xvda", readonly=False, strange=("backendtype=phy",)),
        ),
    ],
)
def test_disk_is_read_in_both_syntaxes(text: str, disk: XenDisk) -> None:
    assert xl_disk.parse(text) == disk


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/a,qcow2,xvda", "its format is qcow2"),
        ("tap:qcow2:/a,xvda,w", "its format is qcow2"),
        ("/a,zip,xvda", "'zip' is no format"),
        ("iscsi:iqn.2001,xvda,w", "a script of Xen's would find it"),
        ("/a,,xvda,rw,script=x", "the script x would find it"),
        ("/a,,xvda,x", "'x' is neither r nor w"),
        ("/a,,xvda,rw,more", "'more' is one word too many"),
        ("vdev=a,vdev=b,target=/a", "vdev is given twice"),
        ("/a,,0xff01", "no number of a disk"),
    ],
)
def test_disk_that_cannot_be_had_says_why(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        xl_disk.parse(text)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("0", "xbd0"),
        ("0x300", "hda"),
        ("0x340", "hdb"),
        ("0x1601", "hdc1"),
        ("2049", "sda1"),
        ("51712", "xvda"),
        ("0xca12", "xvdb2"),
        ("0x10000100", "xvdb"),
        ("hda1", "hda1"),
        ("/dev/sda", "sda"),
    ],
)
def test_number_of_a_device_is_its_name(number: str, name: str) -> None:
    assert xl_disk.device_name(number) == name


@pytest.mark.parametrize(
    ("text", "number"),
    [("10", 10), ("010", 8), ("0x10", 16), ("09", None), ("", None), ("a", None), ("²", None)],
)
def test_number_is_read_as_c_has_it(text: str, number: int | None) -> None:
    assert xl_disk.number_of(text) == number


PARTS = st.sampled_from(["/a", "raw", "xvda", "rw", "", "cdrom", "vdev=x", "target=", "0x301", ":"])


@given(st.one_of(st.text(), st.lists(PARTS).map(",".join)))
def test_any_text_is_a_disk_or_an_error(text: str) -> None:
    with suppress(ValueError):
        target = xl_disk.parse(text).target
        assert not target or target.startswith("/")
