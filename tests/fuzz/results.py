"""What tests in guests say, and what people write of them."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

from umlctl.testing import expected, junit, kselftest, kunit, report, trial
from umlctl.testing.ktap import MAX_DEPTH, Reader
from umlctl.testing.result import STATUSES
from umlctl.testing.trial import EXITED, Ended, Trial

ASKED = Trial(name="t", kernel="/k", words=("t",), options={})


def ktap(data: bytes) -> None:
    """A stream of KTAP, whole and byte by byte; its results can be written."""
    reader, again = Reader(), Reader()
    told = len(reader.feed(data)) + len(reader.close())
    for index in range(len(data)):
        again.feed(data[index : index + 1])
    again.close()
    leaves = list(reader.leaves())
    assert leaves == list(again.leaves())
    assert reader.problems == again.problems
    assert told <= data.count(b"\n") + 1 + MAX_DEPTH
    assert len({leaf.path for leaf in leaves}) == len(leaves)
    assert all(len(leaf.path) <= MAX_DEPTH + 1 for leaf in leaves)
    found = trial.results(ASKED, Ended(kind=EXITED, code=1), reader, "log", 1.0)
    assert found
    assert {result.status for result in found} <= set(STATUSES)
    ET.fromstring(junit.write(found, data.decode("utf-8", "surrogateescape")))
    json.loads(report.write(found, "t", 0, 0.0, interrupted=False))
    kunit.listed(data, kunit.SUITE)


def known_failures(data: bytes) -> None:
    """A file of known failures, and a list of kselftests."""
    text = data.decode("utf-8", "surrogateescape")
    found = expected.read(text)
    assert all(name.strip() == name and name for name in found.names)
    for ended in (Ended(kind=EXITED), Ended(kind=EXITED, code=1)):
        for result in trial.results(ASKED, ended, Reader(), "", 0.0):
            assert found.judge(result).path == result.path
    assert all(test.program for test in kselftest.read_list(text))
