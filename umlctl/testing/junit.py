"""Results as JUnit has them, in XML. Pure.

There is no standard; what is written is what the readers of Jenkins, GitLab and GitHub have in
common: suites with counts, and cases with a flat class name, a time, and a failure, an error or a
skip.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from umlctl.testing.ktap import FAILED, SKIPPED, TIMED_OUT
from umlctl.testing.result import GOOD, HUNG, KNOWN, UNEXPECTED

if TYPE_CHECKING:
    from collections.abc import Iterable
    from xml.etree.ElementTree import Element

    from umlctl.testing.result import Result

_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Letters that XML 1.0 cannot have, however they are written."""
_FAILURES: Final = frozenset({FAILED, HUNG, TIMED_OUT, UNEXPECTED})
"""What is a failure; what else is bad is an error."""


def write(results: Iterable[Result], title: str, repeats: int = 1) -> bytes:
    """A document of all results, a suite a kernel.

    title: what was run
    repeats: how often each case was run; a name says which time, if that is more than once
    """
    root = ET.Element("testsuites", name=_safe(title))
    for kernel, group in groupby(
        sorted(results, key=lambda each: each.kernel), lambda each: each.kernel
    ):
        suite = ET.SubElement(root, "testsuite", name=_safe(f"{title} on {kernel}"))
        each = list(group)
        for result in each:
            suite.append(_case(result, title, repeats))
        _count(suite, each)
    ET.indent(root)
    body: bytes = ET.tostring(root, "utf-8", xml_declaration=True)
    return body + b"\n"


def _count(suite: Element, results: list[Result]) -> None:
    failures = sum(result.status in _FAILURES for result in results)
    bad = sum(result.is_bad for result in results)
    suite.set("tests", str(len(results)))
    suite.set("failures", str(failures))
    suite.set("errors", str(bad - failures))
    suite.set("skipped", str(sum(result.status in (SKIPPED, KNOWN) for result in results)))
    suite.set("time", f"{sum(result.seconds for result in results):.3f}")


def _case(result: Result, title: str, repeats: int) -> Element:
    *above, name = result.path
    case = ET.Element(
        "testcase",
        classname=_safe(".".join(above) or title),
        name=_safe(name + (f" [{result.repetition}]" if repeats > 1 else "")),
        time=f"{result.seconds:.3f}",
    )
    said = _safe(f"{result.status}: {result.reason}" if result.reason else result.status)
    if result.status in (SKIPPED, KNOWN):
        ET.SubElement(case, "skipped", message=said)
    elif result.status not in GOOD:
        kind = "failure" if result.status in _FAILURES else "error"
        found = ET.SubElement(case, kind, message=said, type=result.status)
        found.text = _safe(result.log)
    if result.log and result.status in GOOD:
        ET.SubElement(case, "system-out").text = _safe(result.log)
    return case


def _safe(text: str) -> str:
    """Text without what XML cannot have."""
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
