from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.errors import NeverStarted, UsageError
from umlctl.testing import kunit

LISTED = b"""\
[    0.010000] Kernel command line: kunit.action=list
[    0.100000] net.ipv4: no test
[    0.120000] TAP version 14
[    0.120000] example.example_simple_test
[    0.120000] example.example_skip_test\r
[    0.120000][    T1] list-kunit-test.list_test_list_init
[    0.130000] # list.speed: slow
[    0.130000] reboot: System halted
[    0.140000] later.said
"""


LISTED_BY_7_3 = b"""\
[    0.120000] KTAP version 1
[    0.120000] example
[    0.120000] example.example_simple_test
[    0.120000] kunit_fault
[    0.120000] util_macros.h
[    0.120000] util_macros.h.test_find_closest
[    0.120000] Handshake API tests
[    0.120000] Handshake API tests.req_alloc
[    0.130000] a line of the kernel.s
[    0.130000] reboot: Power down
"""


def test_kernel_without_kunit_is_told() -> None:
    kunit.check_kernel("/k", {"KUNIT": "y"})
    with pytest.raises(NeverStarted, match="built without KUnit"):
        kunit.check_kernel("/k", {})
    with pytest.raises(NeverStarted, match="as a module"):
        kunit.check_kernel("/k", {"KUNIT": "m"})


def test_kernel_is_told_what_to_run() -> None:
    assert kunit.arguments("*") == ("kunit.enable=1", "kunit_shutdown=poweroff")
    assert "kunit.filter_glob=list*" in kunit.arguments("list*")
    assert "kunit.action=list" in kunit.arguments("list*", listing=True)


def test_pattern_is_one_word() -> None:
    assert kunit.check_glob("a.b*") == "a.b*"
    for glob in ("a b", 'a"', "a\n"):
        with pytest.raises(UsageError):
            kunit.check_glob(glob)


def test_what_a_kernel_lists_is_read() -> None:
    assert names(LISTED, kunit.SUITE) == ["example", "list-kunit-test"]
    assert names(LISTED, kunit.TEST) == [
        "example.example_simple_test",
        "example.example_skip_test",
        "list-kunit-test.list_test_list_init",
    ]
    assert kunit.listed(b"\xff.x\nnothing.here\n", kunit.SUITE) == []


def names(log: bytes, isolate: str) -> list[str]:
    """What is listed, where each is its own pattern."""
    found = kunit.listed(log, isolate)
    assert all(name == pattern for name, pattern in found)
    return [name for name, _ in found]


def test_names_of_suites_that_no_pattern_can_have_are_run_too() -> None:
    """As of Linux 7.3, with a suite of a dot, one of blanks, and one without tests."""
    log = LISTED_BY_7_3
    assert kunit.listed(log, kunit.SUITE) == [
        ("example", "example"),
        ("util_macros.h", "util_macros?h"),
        ("Handshake API tests", "Handshake?API?tests"),
    ]
    assert kunit.listed(log, kunit.TEST)[1:] == [
        ("util_macros.h.test_find_closest", "util_macros?h.test_find_closest"),
        ("Handshake API tests.req_alloc", "Handshake?API?tests.req_alloc"),
    ]


WORDS = st.sampled_from(
    ["KTAP version 1", "a", "a.b", "a.b.c", "a b", "a b.c", "[  1.0] a.h", "reboot: x", "", "\xff."]
)


@given(st.lists(WORDS).map("\n".join), st.sampled_from([kunit.SUITE, kunit.TEST]))
def test_pattern_is_one_that_a_kernel_can_be_told(log: str, isolate: str) -> None:
    for name, pattern in kunit.listed(log.encode("latin-1"), isolate):
        assert name
        assert kunit.check_glob(pattern) == pattern
        assert pattern.count(".") == (isolate == kunit.TEST)
