from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from umlctl.testing import ktap
from umlctl.testing.ktap import CRASHED, FAILED, PASSED, SKIPPED, TIMED_OUT, Case, Reader

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

RECORDED = Path(__file__).parent / "ktap"
"""Streams as kernels and kselftest write them."""


def read(data: bytes | str, *, step: int = 0, close: bool = True) -> Reader:
    """A stream, read at once or in steps of so many bytes."""
    raw = data.encode() if isinstance(data, str) else data
    reader = Reader()
    for begin in range(0, len(raw), step or max(1, len(raw))):
        reader.feed(raw[begin : begin + (step or len(raw))])
    if close:
        reader.close()
    return reader


def recorded(name: str) -> Reader:
    return read((RECORDED / f"{name}.txt").read_bytes())


def found(reader: Reader) -> dict[str, str]:
    return {leaf.name: leaf.status for leaf in reader.leaves()}


def log(reader: Reader, name: str) -> str:
    return next(leaf.log for leaf in reader.leaves() if leaf.name == name)


# Recorded


def test_kunit_of_linux_6_1_up_to_its_panic() -> None:
    reader = recorded("kunit-6.1")
    assert found(reader) == {
        "example.example_simple_test": PASSED,
        "example.example_skip_test": SKIPPED,
        "example.example_params_test.example value 2": PASSED,
        "example.example_params_test.example value 0": SKIPPED,
        "example.example_fail_test": FAILED,
        "list-kunit-test.list_test_list_init": PASSED,
        "list-kunit-test.list_test_list_add": PASSED,
        "crashing.before": PASSED,
        "crashing": CRASHED,
    }
    assert "1 + 1 == 2 (0x2)" in log(reader, "example.example_fail_test")
    assert "NULL pointer dereference" in log(reader, "crashing")
    times = {leaf.name: round(leaf.seconds, 3) for leaf in reader.leaves()}
    assert times["list-kunit-test.list_test_list_add"] == 0.01
    assert reader.problems == []
    reasons = {leaf.name: leaf.reason for leaf in reader.leaves()}
    assert reasons["crashing"] == "the plan was 3 cases, and 1 have come"
    assert reasons["example.example_skip_test"] == "this test should be skipped"


def test_kunit_of_linux_7_3() -> None:
    reader = recorded("kunit-7.3")
    assert found(reader) == {
        "time_test_cases.time64_to_tm_test_date_range": PASSED,
        "hash.test_params.a.b": PASSED,
        "hash.test_params.c": FAILED,
        "hash.plain": PASSED,
    }
    assert reader.problems == []


def test_kunit_of_linux_7_3_with_an_empty_suite_up_to_its_panic() -> None:
    reader = recorded("kunit-7.3-panic")
    assert found(reader) == {
        "kunit_fault": SKIPPED,
        "util_macros.h.test_find_closest": PASSED,
        "util_macros.h.test_find_closest_descending": PASSED,
        "fault_fails.passes": PASSED,
        "fault_fails.fails": FAILED,
        "fault_fails.left_out": SKIPPED,
        "fault_crashes.passes": PASSED,
        "fault_crashes": CRASHED,
    }
    assert "Expected 1 == 2, but" in log(reader, "fault_fails.fails")
    assert "RIP: 0033:crashes+0x0" in log(reader, "fault_crashes")
    assert reader.problems == ["the plan was 101 cases, and 4 have come"]


def test_kselftest_has_what_tests_say_themselves() -> None:
    reader = recorded("kselftest")
    assert found(reader) == {
        "breakpoints.step_after_suspend_test": FAILED,
        "seccomp.seccomp_bpf.global.kcmp": PASSED,
        "seccomp.seccomp_bpf.global.mode_strict_support": FAILED,
        "seccomp.seccomp_bpf.CONFIG_UPROBES is not set": SKIPPED,
        "seccomp.seccomp_bpf.known to be broken": FAILED,
        "net/forwarding.slow.sh": TIMED_OUT,
        "timers.posix_timers": SKIPPED,
        "x86.sigreturn_64": CRASHED,
    }
    assert [leaf.name for leaf in reader.leaves() if leaf.known] == [
        "seccomp.seccomp_bpf.known to be broken"
    ]
    assert reader.problems == []
    said = log(reader, "seccomp.seccomp_bpf.global.mode_strict_support")
    assert "Expected 0 (0) == ret (-1)" in said
    assert "kcmp" not in said


def test_tap_14_has_subtests_explanations_and_its_plan_last() -> None:
    reader = recorded("tap14")
    assert found(reader) == {
        "foo.tap.test 1": PASSED,
        "foo.tap.this # fails": FAILED,
        "bar": FAILED,
        "without a number": PASSED,
    }
    assert reader.problems == []
    assert [leaf.known for leaf in reader.leaves()] == [False, True, False, False]
    assert 'message: "it is 3"' in log(reader, "bar")


def test_nested_as_the_kernels_documentation_has_it() -> None:
    reader = recorded("nested")
    assert found(reader) == {
        "main_test.example_test_1.test_1": PASSED,
        "main_test.example_test_2.test_1": SKIPPED,
        "main_test.example_test_2.test_2": PASSED,
        "main_test.example_test_3.test_1": PASSED,
        "main_test.example_test_3.test_2": FAILED,
        "main_test.example_test_3.test_3": SKIPPED,
    }


# What goes wrong


def test_what_is_no_ktap_has_no_cases() -> None:
    reader = read("ok 1 name\n1..3\nhello\n")
    assert not reader.began
    assert found(reader) == {}
    assert reader.problems == []


def test_plan_that_is_not_met_is_said() -> None:
    assert read("TAP version 13\n1..3\nok 1 a\n").problems == [
        "the plan was 3 cases, and 1 have come"
    ]
    assert read("TAP version 13\nok 1 a\n").problems == []
    assert read("TAP version 13\nok 1 a\n1..1\n").problems == []
    assert read("TAP version 13\n1..1\nok 1 a\nok 2 b\n").problems != []


def test_several_streams_follow_each_other() -> None:
    reader = read("TAP version 13\n1..1\nok 1 a\nTAP version 13\n1..2\nok 1 b\n")
    assert found(reader) == {"a": PASSED, "b": PASSED}
    assert reader.problems == ["the plan was 2 cases, and 1 have come"]


def test_everything_may_be_skipped() -> None:
    reader = read("TAP version 13\n1..0 # SKIP not as root\n")
    assert (reader.skipped, reader.problems) == ("not as root", [])
    assert read("TAP version 13\n1..0\n").skipped == ""


def test_test_that_gave_up_is_said() -> None:
    reader = read("TAP version 13\n1..2\nok 1 a\nBail out! no room\n")
    assert reader.problems == ["Bail out! no room"]
    assert found(reader) == {"a": PASSED}


def test_suite_without_a_result_has_crashed_though_others_follow() -> None:
    reader = read(
        "KTAP version 1\n1..2\n"
        "    KTAP version 1\n    # Subtest: first\n    1..2\n    ok 1 a\n"
        "    KTAP version 1\n    # Subtest: second\n    1..1\n    ok 1 b\nok 2 second\n"
    )
    assert found(reader) == {"first.a": PASSED, "first": CRASHED, "second.b": PASSED}


def test_suite_that_says_ok_with_cases_missing_has_crashed() -> None:
    reader = read("KTAP version 1\n1..1\n  KTAP version 1\n  1..2\n  ok 1 a\nok 1 suite\n")
    assert found(reader) == {"suite.a": PASSED, "suite": CRASHED}


def test_suite_that_failed_by_itself_counts() -> None:
    reader = read("KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  ok 1 a\nnot ok 1 suite\n")
    assert found(reader) == {"suite.a": PASSED, "suite": FAILED}


def test_suite_that_crashed_counts_though_one_of_its_cases_failed() -> None:
    head = "KTAP version 1\n1..2\n  KTAP version 1\n  # Subtest: suite\n  1..3\n  not ok 1 a\n"
    assert found(read(head)) == {"suite.a": FAILED, "suite": CRASHED}
    late = head + "not ok 1 suite # TIMEOUT 45 seconds\nok 2 b\n"
    assert found(read(late)) == {"suite.a": FAILED, "suite": TIMED_OUT, "b": PASSED}


def test_names_that_come_twice_are_told_apart() -> None:
    reader = read("TAP version 13\nok 1 a\nok 2 a\nnot ok 3 a\n")
    assert found(reader) == {"a": PASSED, "a (2)": PASSED, "a (3)": FAILED}


def test_cases_are_told_as_they_end() -> None:
    reader = Reader()
    assert reader.feed(b"TAP version 13\n1..2\nok 1 fir") == []
    (leaf,) = reader.feed(b"st\nnot ok 2 second")
    assert (leaf.name, leaf.status) == ("first", PASSED)
    (leaf,) = reader.close()
    assert (leaf.name, leaf.status) == ("second", FAILED)


def test_time_is_the_clocks_where_the_kernel_says_none() -> None:
    reader = Reader()
    reader.feed(b"TAP version 13\n", 100.0)
    reader.feed(b"ok 1 a\n", 102.5)
    reader.feed(b"ok 2 b\n", 103.0)
    reader.close(104.0)
    assert [leaf.seconds for leaf in reader.leaves()] == [2.5, 0.5]


# What is hostile


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ktap, "MAX_CASES", 10)
    monkeypatch.setattr(ktap, "MAX_LOG_LETTERS", 1000)
    monkeypatch.setattr(ktap, "MAX_LOGS_LETTERS", 5000)
    noise = "# noise\n" * 1000
    reader = read("TAP version 13\n" + "".join(f"{noise}ok {n} c{n}\n" for n in range(20)))
    leaves = list(reader.leaves())
    assert len(leaves) == 10
    assert reader.problems == ["10 cases more than can be kept have come"]
    assert all(len(leaf.log) < 1100 for leaf in leaves)
    assert sum(len(leaf.log) for leaf in leaves) <= 5000
    assert "lines before are left out" in leaves[0].log


def test_long_lines_and_deep_levels_are_cut() -> None:
    reader = read(b"TAP version 13\nok 1 " + b"x" * 10_000_000 + b"\nok 2 b\n")
    first, second = reader.leaves()
    assert len(first.name) == 512
    assert second.name == "b"
    deep = "".join(f"{' ' * n}KTAP version 1\n{' ' * n}# Subtest: s\n" for n in range(1000))
    assert len(next(read(deep).leaves()).path) <= ktap.MAX_DEPTH


LINES = st.sampled_from(
    [
        *("KTAP version 1", "TAP version 13", "# TAP version 13", "1..2", "1..0 # SKIP x", "1..1"),
        *("ok 1 a", "not ok 2 b", "ok 3 - c # SKIP", "not ok 1 d # TODO", "ok 1", "not ok"),
        *("# Subtest: s", "Bail out!", "---", "...", "# selftests: a: b", "# ok 1 q", "noise"),
        *("not ok 1 selftests: a: b # exit=139", "# # ok 2 r", "# 1..4", ""),
    ]
)
STREAMS = st.lists(
    st.tuples(st.sampled_from(["", "  ", "    ", "        ", "[    1.5] ", "[ 2.5]     "]), LINES),
    max_size=40,
).map(lambda rows: "\n".join(indent + line for indent, line in rows).encode())


def tree(cases: Iterable[Case]) -> list[object]:
    return [
        (case.name, case.status, case.reason, case.known, case.log, tree(case.cases))
        for case in cases
    ]


@given(STREAMS | st.binary(max_size=400), st.integers(1, 50))
def test_stream_is_the_same_in_whatever_pieces_it_comes(data: bytes, step: int) -> None:
    once, in_steps = read(data), read(data, step=step)
    assert tree(once.cases) == tree(in_steps.cases)
    assert once.problems == in_steps.problems
    assert list(once.leaves()) == list(in_steps.leaves())


@given(STREAMS)
def test_every_case_counts_once_and_has_a_name_of_its_own(data: bytes) -> None:
    reader = read(b"KTAP version 1\n" + data)
    leaves = list(reader.leaves())
    assert len({leaf.path for leaf in leaves}) == len(leaves)
    assert {leaf.status for leaf in leaves} <= {PASSED, FAILED, SKIPPED, CRASHED, TIMED_OUT}
    assert all(all(leaf.path) and leaf.seconds >= 0 for leaf in leaves)


@given(st.lists(st.tuples(st.booleans(), st.text("abc ", min_size=1).map(str.strip)), max_size=9))
def test_what_is_written_is_read(cases: list[tuple[bool, str]]) -> None:
    lines = [
        f"{'' if passed else 'not '}ok {n} - {name}" for n, (passed, name) in enumerate(cases, 1)
    ]
    reader = read("\n".join(["TAP version 13", f"1..{len(cases)}", *lines]))
    assert reader.problems == []
    assert [(case.status == PASSED, case.name) for case in reader.cases] == [
        (passed, name or f"test {n}") for n, (passed, name) in enumerate(cases, 1)
    ]
