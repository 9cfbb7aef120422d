from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.umlctl.backends.conftest import entry
from umlctl.backends import share
from umlctl.backends.share import NOT_YET, SHARE
from umlctl.errors import HostError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.umlctl.backends.conftest import Answers

MOUNTS = (
    "root / hostfs ro,relatime,/ 0 0\n"
    "none /mnt hostfs rw,relatime,/srv/a\\040b 0 0\n"
    "none /opt hostfs rw,relatime,/srv/b 0 0\n"
    "tmpfs /opt tmpfs rw 0 0\n"
    "short\n"
)


def test_mounts_are_read_and_the_last_one_at_a_place_counts() -> None:
    assert share.mounted(MOUNTS) == {("/", "/"), ("/mnt", "/srv/a b"), ("/opt", "")}


async def test_share_is_there_if_that_very_directory_is_mounted(kernel: Answers) -> None:
    kernel["proc 1/mounts"] = MOUNTS
    there = entry("share0")
    there.asked, there.told = "/x:/mnt", "/srv/a b"
    assert await SHARE.observe(there, kernel) == {"path": "/mnt"}
    there.told = "/srv/other"
    assert await SHARE.observe(there, kernel) is None
    there.asked = "/srv/b:/opt"
    assert await SHARE.observe(there, kernel) is None


def test_shares_of_a_start_are_numbered_and_yet_to_be_mounted(tmp_path: Path) -> None:
    found = share.entries_of((f"{tmp_path}", f"{tmp_path}:/mnt,ro"))
    assert [each.name for each in found] == ["share0", "share1"]
    assert {each.problem for each in found} == {NOT_YET}
    assert share.late([*found, entry("ubd0", "x")]) == found
    SHARE.renew(found[0], 1)


def test_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="is no directory of this host"):
        share.entries_of((f"{tmp_path}/none",))
