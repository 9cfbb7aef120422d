from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import UsageError
from umlctl.networks.macs import mac_of, normal


def test_mac_stays_what_it_is() -> None:
    """Guests have leases and rules for them: another release must not change them."""
    assert mac_of("demo", 0) == "32:2e:e0:77:f1:2f"
    assert mac_of("demo", 1) == "92:2b:9e:b6:cf:d7"
    assert mac_of("demo", 0, "eth") == "b2:7d:c1:69:68:8a"


@given(st.text(max_size=80), st.integers(min_value=0, max_value=10**6))
def test_mac_is_of_one_local_station(umid: str, index: int) -> None:
    mac = mac_of(umid, index)
    first = int(mac[:2], 16)
    assert first & 0b0001 == 0, "multicast"
    assert first & 0b1111 == 0b0010, "not assigned by an administrator"
    assert normal(mac) == mac


def test_every_device_has_its_own() -> None:
    umids = ("a", "a1", "b", "vec", "avec1", "A")
    asked = [(u, n, k) for u in umids for n in (0, 1, 10, 11, 110) for k in ("vec", "eth")]
    assert len({mac_of(*each) for each in asked}) == len(asked)


def test_ten_thousand_devices_do_not_meet() -> None:
    assert len({mac_of(f"guest{n}", i) for n in range(2500) for i in range(4)}) == 10_000


@pytest.mark.parametrize(
    ("mac", "expected"),
    [
        ("FE:FD:0A:0B:0C:0D", "fe:fd:0a:0b:0c:0d"),
        ("00:16:3e:00:00:01", "00:16:3e:00:00:01"),
        ("00:00:00:00:00:01", "00:00:00:00:00:01"),
    ],
)
def test_normal_is_lower_case(mac: str, expected: str) -> None:
    assert normal(mac) == expected


@pytest.mark.parametrize(
    "mac",
    [
        *("", ":::::", "02:00:00:12:34", "02:00:00:12:34:56:78", "02-00-00-12-34-56"),
        *("2:0:0:12:34:56", "02:00:00:12:34:5g", " 02:00:00:12:34:56", "02:00:00:12:34:56\n"),
        *(
            "02:00:00:12:34:+5",
            "02:00:00:12:34:0x",
            "020000123456",
            "02:00:00:12:34:\u0660\u0661",
            "random",
        ),
    ],
)
def test_junk_is_named(mac: str) -> None:
    with pytest.raises(UsageError) as caught:
        normal(mac)
    assert repr(mac) in str(caught.value)


@pytest.mark.parametrize("mac", ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "03:00:00:00:00:00"])
def test_address_of_many_is_refused(mac: str) -> None:
    with pytest.raises(UsageError, match=f"{mac}.*multicast"):
        normal(mac)


def test_address_of_nobody_is_refused() -> None:
    with pytest.raises(UsageError, match="00:00:00:00:00:00"):
        normal("00:00:00:00:00:00")
