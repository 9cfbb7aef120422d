from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.devices import values
from umlctl.errors import UsageError


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (values.FLAG, ["0", "1"], ["", "2", "yes", "01"]),
        (values.PORT, ["1", "65535"], ["0", "65536", "080", "-1", "http", "²"]),
        (values.MAC, ["02:00:00:00:00:01", "FE:ff:ff:ff:ff:ff"], ["ff:ff:ff:ff:ff:ff"]),
        (values.MAC, [], ["00:00:00:00:00:00", "01:00:5e:00:00:01", "2:0:0:0:0:1"]),
        (values.MAC, [], ["02:00:00:00:00", "02-00-00-00-00-01", "02:00:00:00:00:0g"]),
        (values.IFNAME, ["tap0", "a" * 15, "é" * 7], ["", "a" * 16, "é" * 8, "a b", "a/b", ".."]),
        (values.IFNAME, ["br0.7", "a-b_c"], ["tap%d", "a:0", "a\n", "."]),
        (values.HOST, ["10.0.0.1", "::1", "fe80::1%eth0", "host.example"], ["", "a b", "a/b"]),
        (values.IPV4, ["0.0.0.0", "255.255.255.255"], ["1.2.3", "1.2.3.256", "1.2.3.04", "::1"]),
        (values.MULTICAST, ["224.0.0.1", "239.192.168.1"], ["223.0.0.1", "240.0.0.1", "x"]),
        (values.PATH, ["/", "/a b", "/\udcff"], ["", "a", "./a", "/a ", "/a\n", "/a\nb"]),
        (values.SOCKET, ["/" + "a" * 106], ["/" + "a" * 107, "/" + "é" * 54, "a"]),
        (values.integer(-1, 10), ["-1", "0", "0xa", "0Xa", "10"], ["-2", "11", "010", "+1", "a"]),
    ],
)
def test_value_keeps_to_its_rule(rule: values.Rule, good: list[str], bad: list[str]) -> None:
    for value in good:
        rule.check("it", value, "text")
    for value in bad:
        with pytest.raises(UsageError) as caught:
            rule.check("it", value, "text")
        assert str(caught.value) == f"it is {rule.says}, not {value!r}: 'text'"


@given(st.integers(0, 10**10 - 1))
def test_number_is_decimal(number: int) -> None:
    assert values.decimal(str(number)) == number


@pytest.mark.parametrize("text", ["", "-1", "+1", "00", "07", "1 ", "٣", "²", "1" * 5000])
def test_what_the_kernel_may_read_otherwise_is_no_number(text: str) -> None:
    assert values.decimal(text) == -1


@pytest.mark.parametrize("digits", ["", "64", "007", "x", "1x", " 1", "9" * 5000])
def test_device_has_a_number_within_its_family(digits: str) -> None:
    assert values.unit("63", "ssl", 64, "ssl63=pts") == 63
    with pytest.raises(UsageError, match="ssl has a number from 0 to 63"):
        values.unit(digits, "ssl", 64, f"ssl{digits}=pts")
