from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import UsageError
from umlctl.guest import policy, specs
from umlctl.guest.profile import Profile, has_nic, parse


def test_lab_is_a_guest_behind_nat() -> None:
    assert parse("lab") == Profile(("user",), policy.NO)


def test_server_is_on_a_bridge_and_comes_back() -> None:
    assert parse("server") == Profile(("tap=auto,bridge=br0",), policy.ON_FAILURE)
    assert parse("server:lan.7") == Profile(("tap=auto,bridge=lan.7",), policy.ON_FAILURE)


@pytest.mark.parametrize(
    "text",
    ["", "lab:", "lab:br0", "Server", "server:", "server:a b", "server:a/b", "server:a,host=1"],
)
def test_what_is_no_profile_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


@given(st.one_of(st.text(), st.text().map("server:{}".format)))
def test_any_text_is_a_profile_or_an_error(text: str) -> None:
    try:
        profile = parse(text)
    except UsageError:
        return
    (nic,) = specs.number_nics(profile.nics)
    bridge = specs.parse_nic(nic).bridge
    assert text in ("lab", "server", f"server:{bridge}")


@pytest.mark.parametrize(
    ("words", "found"),
    [(["quiet", "vec0:transport=bess,dst=/s"], True), (["eth0=mcast"], True), (["ubd1=/a"], False)],
)
def test_nic_among_kernel_arguments_is_found(words: list[str], found: bool) -> None:
    assert has_nic(words) == found
