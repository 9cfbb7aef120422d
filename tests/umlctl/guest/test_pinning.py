from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from umlctl.errors import HostError, UsageError
from umlctl.guest import pinning

HERE = frozenset({0, 1, 2, 5, 6})
SETS = some.frozensets(some.integers(0, 300), min_size=1, max_size=20)


@pytest.mark.parametrize("text", ["", "any", "map", "map,0", "map,12", "0", "0,2-3", "7-7"])
def test_words_of_vkernel_and_lists_are_taken(text: str) -> None:
    pinning.check(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("all", "cpus are a list such as 0 or 0,2-3, any, or map"),
        ("map,", "not 'map,'"),
        ("map,a", "not 'map,a'"),
        ("map 1", "not 'map 1'"),
        ("3-2", "3-2 is no range"),
        ("0-99999", "no host has a CPU 99999"),
        ("1,,2", "not '1,,2'"),
        ("1-2-3", "not '1-2-3'"),
        ("\u0661", "not '\u0661'"),
        (" 1", "not ' 1'"),
    ],
)
def test_what_is_no_such_word_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        pinning.check(text)


@pytest.mark.parametrize(
    ("text", "ncpus", "found"),
    [
        ("", 1, None),
        ("any", 1, None),
        ("1", 1, {1}),
        ("0-2,5", 1, {0, 1, 2, 5}),
        ("map", 1, {0}),
        ("map", 3, {0, 1, 2}),
        ("map,1", 1, {1}),
        ("map,2", 2, {2, 5}),
        ("map,3", 2, {5, 6}),
    ],
)
def test_guest_has_what_it_asks_for(text: str, ncpus: int, found: set[int] | None) -> None:
    assert pinning.chosen(text, ncpus, HERE, "this host") == found


@pytest.mark.parametrize(
    ("text", "ncpus", "said"),
    [
        ("3", 1, "--cpus 3: this host has no CPU 3 for guests; there is 0-2,5-6"),
        ("1-4", 1, "has no CPU 3-4 for guests"),
        (
            "map,7",
            1,
            "with 1 processor takes 1 of the host's from 7 on, and this host has none there",
        ),
        ("map", 6, "takes 6 of the host's from 0 on, and this host has 0-2,5-6 there"),
    ],
)
def test_what_the_host_has_not_is_refused(text: str, ncpus: int, said: str) -> None:
    with pytest.raises(HostError, match=said):
        pinning.chosen(text, ncpus, HERE, "this host")


@given(SETS)
def test_list_is_read_as_it_is_written(cpus: frozenset[int]) -> None:
    assert pinning.numbers(pinning.listed(cpus)) == cpus
    assert pinning.chosen(pinning.listed(cpus), 1, cpus, "this host") == cpus


@given(SETS, some.integers(0, 300), some.integers(1, 20))
def test_map_takes_as_many_as_the_guest_has_or_none(
    cpus: frozenset[int], start: int, ncpus: int
) -> None:
    left = {cpu for cpu in cpus if cpu >= start}
    if len(left) < ncpus:
        with pytest.raises(HostError):
            pinning.chosen(f"map,{start}", ncpus, cpus, "this host")
    else:
        found = pinning.chosen(f"map,{start}", ncpus, cpus, "this host")
        assert found is not None
        assert len(found) == ncpus
        assert found <= left
        assert max(found) <= min(left - found, default=1 << 20)


@given(some.text("any map,0123-", max_size=9))
def test_any_text_is_taken_or_refused(text: str) -> None:
    try:
        pinning.check(text)
    except UsageError:
        return
    assert text in ("", "any") or text.startswith("map") or pinning.numbers(text)
