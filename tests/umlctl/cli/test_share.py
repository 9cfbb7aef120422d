from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

from umlctl import exitcodes

if TYPE_CHECKING:
    from tests.umlctl.cli.conftest import Supervisor


def row(name: str, asked: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "asked": asked, "kernel": "", "boot": False, "observed": None, **fields}


TABLE = [
    row("ubd1", "/disk"),
    row("share0", "/srv/a:/mnt", observed={"path": "/mnt"}),
    row("share1", "/srv/b,ro", problem="not yet"),
]


def test_share_is_asked_for_by_its_whole_path(supervisor: Supervisor) -> None:
    text = f"plug share {os.getcwd()}/src:/mnt,ro"
    supervisor.answer(text, row("share0", "/src:/mnt,ro"))
    assert supervisor.main("share", "add", "demo", "src:/mnt,ro") == 0, supervisor.err
    assert supervisor.asked == [text]
    assert supervisor.out == "share0 is in demo, at /mnt\n"
    assert supervisor.main("share", "add", "demo", "src:/mnt,ro", "--json") == 0
    assert json.loads(supervisor.out)["name"] == "share0"


def test_what_is_no_share_is_a_usage_error_and_nothing_is_sent(supervisor: Supervisor) -> None:
    assert supervisor.main("share", "add", "demo", "src:mnt") == exitcodes.USAGE
    assert supervisor.asked == []


def test_shares_alone_are_listed(supervisor: Supervisor) -> None:
    supervisor.table = TABLE
    assert supervisor.main("share", "list", "demo") == 0
    assert [re.split("  +", line.strip()) for line in supervisor.out.splitlines()] == [
        ["SHARE", "GUEST", "HOST", "ACCESS", "NOTE"],
        ["share0", "/mnt", "/srv/a", "write"],
        ["share1", "/srv/b", "/srv/b", "read", "not yet"],
    ]
    assert supervisor.main("share", "list", "demo", "--json") == 0
    assert [each["name"] for each in json.loads(supervisor.out)] == ["share0", "share1"]


def test_share_is_taken_away_by_its_name_or_by_where_the_guest_has_it(
    supervisor: Supervisor,
) -> None:
    supervisor.table = TABLE
    assert supervisor.main("share", "rm", "demo", "share1") == 0
    assert supervisor.out == "share1 is out of demo\n"
    assert supervisor.main("share", "rm", "demo", "/mnt/") == 0
    assert supervisor.asked == ["remove share1", "devices", "remove share0"]
    assert supervisor.main("share", "rm", "demo", "/none") == exitcodes.USAGE
    assert "umlctl share list demo" in supervisor.err
