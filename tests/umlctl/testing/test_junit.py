from __future__ import annotations

from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from tests.results import a
from umlctl.testing import junit
from umlctl.testing.ktap import CRASHED, FAILED, PASSED, SKIPPED
from umlctl.testing.result import FLAKY, KNOWN, STATUSES


def test_results_are_cases_of_a_flat_class() -> None:
    found = [
        a("suite.sub.x", PASSED, seconds=1.5),
        a("suite.y", FAILED, reason="exit=1", log="the log\n"),
        a("alone", CRASHED),
        a("suite.z", SKIPPED, reason="no"),
        a("suite.k", KNOWN),
        a("suite.f", FLAKY, log="was bad"),
        a("suite.y", PASSED, kernel="/other"),
    ]
    root = ET.fromstring(junit.write(found, "./all --of it"))
    first, second = root.findall("testsuite")
    assert first.attrib == {
        "name": "./all --of it on /k",
        "tests": "6",
        "failures": "1",
        "errors": "1",
        "skipped": "2",
        "time": "1.500",
    }
    assert second.get("name") == "./all --of it on /other"
    cases = {case.get("name"): case for case in first}
    assert (cases["x"].get("classname"), cases["x"].get("time")) == ("suite.sub", "1.500")
    assert cases["alone"].get("classname") == "./all --of it"
    failure = cases["y"].find("failure")
    assert failure is not None
    assert (failure.get("message"), failure.get("type")) == ("failed: exit=1", "failed")
    assert failure.text == "the log\n"
    assert cases["alone"].find("error") is not None
    assert cases["z"].find("skipped") is not None
    assert cases["k"].find("skipped") is not None
    output = cases["f"].find("system-out")
    assert output is not None
    assert output.text == "was bad"


def test_repetitions_have_names_of_their_own() -> None:
    found = [a("x", PASSED, repetition=number) for number in (1, 2)]
    root = ET.fromstring(junit.write(found, "t", 2))
    assert [case.get("name") for case in root.iter("testcase")] == ["x [1]", "x [2]"]


@given(
    st.lists(st.tuples(st.text(st.characters(), min_size=1), st.sampled_from(STATUSES), st.text())),
    st.text(st.characters(categories=["Cs", "Cc", "L"])),
)
def test_any_text_is_sound_xml(rows: list[tuple[str, str, str]], title: str) -> None:
    found = [
        a("x", status, log=text + title, reason=text, path=(name,)) for name, status, text in rows
    ]
    root = ET.fromstring(junit.write(found, title))
    assert len(list(root.iter("testcase"))) == len(rows)
