from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.devices.eth import Eth
from umlctl.devices.families import KINDS
from umlctl.devices.lines import Line
from umlctl.devices.mem import Mem
from umlctl.devices.parse import parse, parse_name
from umlctl.devices.ubd import Ubd
from umlctl.devices.vec import Vec
from umlctl.errors import UsageError

anything = st.text(st.characters(), max_size=30)
devices = anything | st.tuples(st.sampled_from(sorted(KINDS)), anything).map("".join)


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("ubdd=/a", Ubd, "ubd3"),
        ("vec0:transport=tap,ifname=tap0", Vec, "vec0"),
        ("eth1=mcast", Eth, "eth1"),
        ("con2=pts", Line, "con2"),
        ("ssl63=null", Line, "ssl63"),
        ("mem=-64M", Mem, "mem"),
    ],
)
def test_device_is_of_the_family_that_it_begins_with(text: str, kind: type, name: str) -> None:
    device = parse(text)
    assert type(device) is kind
    assert device.name == parse_name(device.name) == name
    assert parse(str(device)) == device


@pytest.mark.parametrize("text", ["con1=xterm", "vec0:transport=tap,ifname=tap0,ifup=/bin/true"])
def test_insisting_reaches_the_family(text: str) -> None:
    with pytest.raises(UsageError, match="insist"):
        parse(text)
    assert str(parse(text, insist=True)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("udb0=/a", "did you mean `ubd`"),
        ("", "begins with one of ubd, vec, eth, con, ssl, mem, virtio_uml.device,"),
        ("xvda=/a", "not 'xvda=/a'"),
        ("UBD0=/a", "not 'UBD0=/a'"),
        ("memory=+1M", "such as mem=-64M, not by 'memory=\\+1M'"),
        ("console1=pts", "not 'sole1'"),
        ("vector0:transport=tap,ifname=tap0", "not 'tor0'"),
    ],
)
def test_prefix_of_a_family_is_not_enough(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        *(("ubda", "ubd0"), ("ubdp", "ubd15"), ("ubd3", "ubd3"), ("vec0", "vec0")),
        *(("eth12", "eth12"), ("con0", "con0"), ("ssl63", "ssl63"), ("mem", "mem")),
    ],
)
def test_name_has_one_form(text: str, name: str) -> None:
    assert parse_name(text) == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ubd7x", "not with 'x'"),
        ("ubd7r", "not with 'r'"),
        ("ubd7=/a", "not with '=/a'"),
        ("ubdab", "not with 'b'"),
        ("ubd16", "not 16"),
        ("ubd", "a disk has a number"),
        ("ubd07", "octal"),
        ("udb0", "did you mean `ubd`"),
        ("vec", "vec has a number"),
        ("vec0:", "not '0:'"),
        ("con16", "con has a number from 0 to 15"),
        ("ssl064", "not '064'"),
        ("console", "not 'sole'"),
        ("memory", "memory is `mem`"),
        ("mem\0", "NUL"),
        ("sda", "not 'sda'"),
        ("", "not ''"),
    ],
)
def test_junk_is_no_name(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_name(text)


@given(devices, st.booleans())
def test_any_text_is_a_device_or_a_usage_error(text: str, insist: bool) -> None:
    try:
        device = parse(text, insist=insist)
    except UsageError:
        return
    assert parse(str(device), insist=True) == device
    assert parse_name(device.name) == device.name


@given(devices)
def test_any_text_is_a_name_or_a_usage_error(text: str) -> None:
    try:
        name = parse_name(text)
    except UsageError:
        return
    assert parse_name(name) == name
