from __future__ import annotations

import os
import pwd
import subprocess
from typing import TYPE_CHECKING

import pytest

from umlctl.errors import HostError
from umlctl.host import users
from umlctl.host.users import User

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = pwd.getpwnam("nobody")
ROOT = os.geteuid() == 0


def test_user_is_found_by_name_and_number() -> None:
    nobody = User("nobody", NOBODY.pw_uid, NOBODY.pw_gid, NOBODY.pw_dir)
    assert users.find("nobody") == users.find(str(NOBODY.pw_uid)) == nobody


@pytest.mark.parametrize("name", ["no-such-user", "4294967294000", "", "-1", "٣"])
def test_user_that_is_not_there_is_an_error(name: str) -> None:
    with pytest.raises(HostError, match=r"this host has no user"):
        users.find(name)


def test_only_root_can_become_somebody(tmp_path: Path) -> None:
    somebody = users.find("nobody")
    if ROOT:
        users.check_reach(somebody, [("x", "/"), ("r", "/etc/passwd")])
    else:
        with pytest.raises(HostError, match=r"cannot become nobody"):
            users.check_reach(somebody, [("x", "/")])


if ROOT:

    def test_process_becomes_the_user_for_good() -> None:
        words = [*users.become(users.find("nobody")), "cat", "/proc/self/status"]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        status = dict(line.split(":\t", 1) for line in said.splitlines())
        assert status["Uid"].split() == [str(NOBODY.pw_uid)] * 4
        assert status["Gid"].split() == [str(NOBODY.pw_gid)] * 4
        assert "0" not in status["Groups"].split()
        assert {int(status[f"Cap{which}"], 16) for which in ("Inh", "Prm", "Eff", "Bnd")} == {0}
        assert status["NoNewPrivs"] == "1"

    @pytest.mark.parametrize(("letter", "word"), [("r", "read"), ("w", "write")])
    def test_what_the_user_cannot_open_is_said(letter: str, word: str, tmp_path: Path) -> None:
        secret = tmp_path / "a b"
        secret.touch(0o600)
        with pytest.raises(HostError, match=rf"^nobody, .*, cannot {word} {secret}; mind"):
            users.check_reach(users.find("nobody"), [("r", "/etc/passwd"), (letter, str(secret))])

    def test_what_is_given_is_the_users(tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.touch()
        link = tmp_path / "link"
        link.symlink_to(file)
        users.give(users.find("nobody"), [str(link)])
        assert (file.stat().st_uid, link.lstat().st_uid) == (0, NOBODY.pw_uid)
