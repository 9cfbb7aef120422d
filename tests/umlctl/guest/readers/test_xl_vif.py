from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.guest.readers import xl_vif
from umlctl.guest.specs import Nic


@pytest.mark.parametrize(
    ("text", "nic"),
    [
        # The NetBSD Xen HOWTO, and xl-network-configuration(5)
        (
            "mac=aa:00:00:50:02:f0, bridge=bridge0",
            Nic(kind="tap", name="auto", bridge="bridge0", mac="aa:00:00:50:02:f0"),
        ),
        ("bridge=bridge0", Nic(kind="tap", name="auto", bridge="bridge0")),
        ("mac=00:16:3E:74:34:32", Nic(kind="user", mac="00:16:3e:74:34:32")),
        ("", Nic(kind="user")),
        ("ip=10.0.0.1,bridge=b", Nic(kind="tap", name="auto", bridge="b", addr="10.0.0.1")),
    ],
)
def test_nic_is_read(text: str, nic: Nic) -> None:
    assert xl_vif.parse(text) == (nic, ())


def test_options_without_a_counterpart_have_their_reasons() -> None:
    found = xl_vif.parse("bridge=b,script=vif-bridge,model=e1000,vifname=v,rate=1Mb/s,x")
    assert [word for word, _, _ in found.left] == [
        *("script=vif-bridge", "model=e1000", "vifname=v", "rate=1Mb/s", "x")
    ]
    assert all(why for _, why, _ in found.left)


@given(
    st.one_of(st.text(), st.lists(st.sampled_from(["mac=", "bridge=b", "=", "a=b"])).map(",".join))
)
def test_any_text_is_a_nic(text: str) -> None:
    assert xl_vif.parse(text).nic.kind in ("tap", "user")
