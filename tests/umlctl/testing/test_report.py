from __future__ import annotations

import json

from tests.results import a
from umlctl.testing import report
from umlctl.testing.ktap import FAILED, PASSED


def test_report_has_all_as_json() -> None:
    found = [a("s.x", PASSED, seconds=0.5), a("s.y", FAILED, reason="\udcff", log="why")]
    read = json.loads(report.write(found, "./t", 1, 2.0005, interrupted=False))
    assert (read["title"], read["code"], read["interrupted"]) == ("./t", 1, False)
    assert (read["counts"]["passed"], read["counts"]["failed"]) == (1, 1)
    first, second = read["results"]
    assert first == {
        "path": ["s", "x"],
        "kernel": "/k",
        "repetition": 1,
        "status": "passed",
        "seconds": 0.5,
    }
    assert second["reason"] == "\\udcff"
