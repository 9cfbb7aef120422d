from __future__ import annotations

from typing import TYPE_CHECKING

from umlctl.checks import confining, kernel, table
from umlctl.checks.findings import FATAL, NOTE, WARNING, Check, Finding
from umlctl.errors import HostError
from umlctl.recovery import discover

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

NAMES = [(check.subject, check.name) for check in table.CHECKS]


def finds(name: str, *severities: str) -> Check:
    def look() -> Iterator[Finding]:
        for severity in severities:
            yield Finding(severity, name, "", "")  # type: ignore[arg-type]

    return Check(name, "host", look)


def fails(problem: Exception) -> Check:
    def look() -> list[Finding]:
        raise problem

    return Check("bad", "host", look)


def test_each_check_is_there_once() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert len({check.look for check in table.CHECKS}) == len(NAMES)


def test_worst_comes_first_and_of_the_same_weight_the_first_of_the_table() -> None:
    found = table.run([finds("a", NOTE, WARNING), finds("b", FATAL), finds("c", WARNING)])
    assert [each.finding.what for each in found] == ["b", "a", "c", "a"]
    assert not table.is_usable(found)
    assert table.is_usable(found[1:])


def test_check_that_cannot_look_says_so_and_spoils_no_other() -> None:
    found = table.run(
        [fails(OSError(13, "Permission denied")), fails(HostError("no")), finds("c", NOTE)]
    )
    assert [each.finding.severity for each in found] == [WARNING, WARNING, NOTE]
    assert "host, bad: it cannot be seen: [Errno 13]" in found[0].finding.what


def test_checks_are_chosen_by_subject() -> None:
    assert table.of_subjects(None) == table.CHECKS
    assert {check.subject for check in table.of_subjects([table.NETWORK])} == {table.NETWORK}
    subjects = {check.subject for check in table.of_subjects(table.OF_EXEC)}
    assert subjects == table.OF_EXEC
    assert {"network", "guests"} | subjects == {subject for subject, _ in NAMES}


def test_host_that_shows_nothing_is_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(24, "Too many open files")

    for module, name in ((kernel, "usual"), (confining, "scope"), (discover, "running")):
        monkeypatch.setattr(module, name, fail)
    facts = table.facts()
    assert (facts["kernel"], facts["scope"]) == (None, None)
    assert table.confined() == {}


def test_hints_are_among_the_checks() -> None:
    assert len(table.HINTS) == 7


def test_facts_explain_what_is_found(house: str) -> None:
    facts = table.facts()
    assert {"umlctl", "python", "host_kernel", "kernel", "landlock", "scope"} <= facts.keys()
    assert table.confined() == {}
