from __future__ import annotations

import pytest

from umlctl.devices import families
from umlctl.devices.families import DISK, KINDS, LENT, LINE, MEMORY, NIC, family_of, kind_of


@pytest.mark.parametrize(
    ("text", "family", "kind"),
    [
        ("ubd3", "ubd", DISK),
        ("ubdbrs=/a", "ubd", DISK),
        ("vec0:transport=tap,ifname=t", "vec", NIC),
        ("eth0=mcast", "eth", NIC),
        ("con1", "con", LINE),
        ("ssl63=null", "ssl", LINE),
        ("mem=-8M", "mem", MEMORY),
        ("virtio_uml.device=/s:26", "virtio", LENT),
        ("vfio0", "vfio", LENT),
        *((text, "", "") for text in ("", "ub", "UBD0", "sda", "0ubd")),
    ],
)
def test_device_is_of_the_family_that_its_name_begins_with(
    text: str, family: str, kind: str
) -> None:
    assert (family_of(text), kind_of(text)) == (family, kind)


def test_no_family_begins_as_another_does() -> None:
    for family in KINDS:
        assert [other for other in KINDS if other.startswith(family)] == [family]
    assert {getattr(families, family.upper()) for family in KINDS} == set(KINDS)
