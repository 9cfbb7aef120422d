from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlctl.testing import ktap_line
from umlctl.testing.ktap_line import BAIL, MAX_NAME_LETTERS, OTHER, PLAN, RESULT, SUBTEST, VERSION


@pytest.mark.parametrize(
    ("text", "kind", "column"),
    [
        ("KTAP version 1", VERSION, 0),
        ("    TAP version 14\r", VERSION, 4),
        ("TAP version 13 and more", OTHER, 0),
        ("1..0", PLAN, 0),
        ("  1..7 # SKIP no hardware", PLAN, 2),
        ("1..x", OTHER, 0),
        ("2..3", OTHER, 0),
        ("ok", RESULT, 0),
        ("ok 1", RESULT, 0),
        ("not ok 12 name", RESULT, 0),
        ("ok - name", RESULT, 0),
        ("ok then", OTHER, 0),
        ("okay", OTHER, 0),
        ("not okay", OTHER, 0),
        ("ok 1x", OTHER, 0),
        ("ok 12345678901", OTHER, 0),
        ("    # Subtest: suite", SUBTEST, 4),
        ("Bail out! no room", BAIL, 0),
        ("# TAP version 13", VERSION, 2),
        ("# # TAP version 13", VERSION, 4),
        ("# ok 1 name", OTHER, 0),
        ("# 1..3", OTHER, 0),
        ("", OTHER, 0),
    ],
)
def test_line_is_read(text: str, kind: str, column: int) -> None:
    found = ktap_line.read(text)
    assert (found.kind, found.column) == (kind, column)


def test_quoted_lines_say_something_where_they_may() -> None:
    found = ktap_line.read("#   not ok 3 name # TIMEOUT 45 seconds", quoted=True)
    assert (found.kind, found.column, found.quoted) == (RESULT, 4, True)
    assert (found.passed, found.number, found.name) == (False, 3, "name")
    assert (found.directive, found.reason) == ("TIMEOUT", "45 seconds")
    assert ktap_line.read("# plain", quoted=True).kind == OTHER


@pytest.mark.parametrize(
    ("text", "name", "directive", "reason"),
    [
        ("ok 1 - name", "name", "", ""),
        ("ok 1 name with words", "name with words", "", ""),
        ("ok 1", "test 1", "", ""),
        ("ok", "test", "", ""),
        ("ok 1 -", "test 1", "", ""),
        ("ok 1 name # rcode=0", "name", "", "rcode=0"),
        ("ok 1 name # skip: it is late", "name", "SKIP", "it is late"),
        ("ok 1 name # SKIPPED", "name", "SKIP", ""),
        ("ok 3 # SKIP no such call", "no such call", "SKIP", "no such call"),
        ("not ok 1 a # b # TODO c", "a", "", "b # TODO c"),
        ("ok 1 a#b", "a#b", "", ""),
        (r"ok 1 a \# b \\ c", r"a # b \ c", "", ""),
        ("ok 1 selftests: net/lib: a: b.sh", "net/lib.a.b.sh", "", ""),
        ("not ok 1 name # exit=1", "name", "", "exit=1"),
        ("not ok 1 name # Error: out of memory", "name", "ERROR", "out of memory"),
    ],
)
def test_result_is_taken_apart(text: str, name: str, directive: str, reason: str) -> None:
    found = ktap_line.read(text)
    assert (found.name, found.directive, found.reason) == (name, directive, reason)


@pytest.mark.parametrize(
    ("prefix", "stamp"),
    [
        ("", None),
        ("[    1.234567] ", 1.234567),
        ("[12345.000001] ", 12345.000001),
        ("<6>[    0.5] ", 0.5),
        ("[    0.500000][    T1] ", 0.5),
        ("[    0.500000][ C0] ", 0.5),
    ],
)
def test_what_the_log_has_before_a_line_is_no_part_of_it(prefix: str, stamp: float | None) -> None:
    found = ktap_line.read(f"{prefix}    ok 1 name")
    assert (found.kind, found.column, found.stamp) == (RESULT, 4, stamp)
    assert found.text == "    ok 1 name"


def test_selftest_is_named_before_its_result() -> None:
    assert ktap_line.selftest("# selftests: seccomp: seccomp_bpf") == "seccomp.seccomp_bpf"
    assert ktap_line.selftest("# something else") == ""


@given(st.text(), st.booleans())
def test_any_line_is_something(text: str, quoted: bool) -> None:
    found = ktap_line.read(text, quoted=quoted)
    assert found.kind in (VERSION, PLAN, RESULT, SUBTEST, BAIL, OTHER)
    assert found.column >= 0
    assert len(found.name) <= MAX_NAME_LETTERS
    assert len(found.reason) <= MAX_NAME_LETTERS
    assert bool(found.name) or found.kind != RESULT
