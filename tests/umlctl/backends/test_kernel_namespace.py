"""Which NICs a kernel can have in the namespace of its user's bridges."""

from __future__ import annotations

import pytest

from umlctl.backends.kernel_namespace import needs_host, networks
from umlctl.guest.specs import parse_disk, parse_nic


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("switch=lan", False),
        ("user", False),
        ("transport=bess,dst=/run/port", False),
        ("vec1:transport=fd,fd=9", False),
        ("tap=auto", True),
        ("tap=mine,bridge=br0", True),
        ("transport=raw,ifname=eth0", True),
        ("transport=gre,src=10.0.0.1,dst=10.0.0.2", True),
        ("vec0:transport=hybrid,ifname=eth0", True),
        ("eth0=daemon,,unix,/run/ctl", True),
    ],
)
def test_nic_needs_the_host_if_it_leads_to_its_interfaces(text: str, needs: bool) -> None:
    assert needs_host(parse_nic(text, insist=True)) is needs


def test_networks_are_those_of_a_guest_that_needs_nothing_else() -> None:
    lan, other, tap = (parse_nic(text) for text in ("switch=lan", "switch=other", "tap=auto"))
    disk = parse_disk("/a")
    assert networks([disk, lan, other, lan]) == ["lan", "other"]
    assert networks([lan, tap]) == []
    assert networks([disk, parse_nic("user")]) == []
