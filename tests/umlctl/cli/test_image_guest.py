from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest

from umlctl.cli import exec as execs
from umlctl.cli import image_guest
from umlctl.errors import HostError

if TYPE_CHECKING:
    from pathlib import Path


class Guest:
    """Stands for `umlctl exec`: what it was told is kept, and its exit code is as given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.words: list[str] = []
        self.code = 0
        monkeypatch.setattr(execs.execute, "main", self._main)

    def _main(self, words: list[str], **_: object) -> int:
        self.words = words
        return self.code


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch) -> Guest:
    return Guest(monkeypatch)


def test_script_runs_in_a_guest_that_writes_to_one_directory(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("true")
    (tmp_path / "place").mkdir()
    image_guest.run_script("build", "/a.img", f"{tmp_path}/s", f"{tmp_path}/place")
    assert guest.words[0] == "--disk=/a.img,slot=1"
    assert f"--rw={tmp_path}/place" in guest.words
    assert (tmp_path / "place" / "script").read_text() == "true"
    guest.code = 3
    with pytest.raises(HostError, match=r"/s ended with 3 in the guest, and nothing was built"):
        image_guest.run_script("build", "/a.img", f"{tmp_path}/s", f"{tmp_path}/place")


def test_image_that_is_only_read_is_a_disk_that_is_only_read(guest: Guest) -> None:
    image_guest.archive("export", "/a.img", "/b/x.tar", 2)
    assert guest.words[0] == "--disk=/a.img,slot=1,ro"
    assert {"--env=partition=2", "--env=mode=ro", "--rw=/b"} <= set(guest.words)
    guest.code = 32
    with pytest.raises(HostError, match="export: the guest that reads it ended with 32"):
        image_guest.archive("export", "/a.img", "/b/x.tar")


def test_files_are_copied_from_one_disk_to_another(guest: Guest) -> None:
    image_guest.copy("build", "/a.img", "/b.img", "xfs")
    assert {"--disk=/a.img,slot=1,ro", "--disk=/b.img,slot=2", "--env=fs=xfs"} <= set(guest.words)
    guest.code = 1
    with pytest.raises(HostError, match="build: the guest that copies its files ended with 1"):
        image_guest.copy("build", "/a.img", "/b.img", "xfs")


def test_modules_are_put_in_by_their_own_kernel(guest: Guest) -> None:
    image_guest.put_modules_in("modules", "/a.img", "/k", "/m/6.1", "6.1")
    assert {"--kernel=/k", "--env=source=/m/6.1", "--env=release=6.1"} <= set(guest.words)
    guest.code = 1
    with pytest.raises(HostError, match="modules: the guest that copies them ended with 1"):
        image_guest.put_modules_in("modules", "/a.img", "/k", "/m/6.1", "6.1")


def test_shell_has_its_words_and_the_callers_streams(guest: Guest) -> None:
    guest.code = 5
    assert image_guest.shell("/a.img", ("ls", "-l"), 0, "rw", ("user",)) == 5
    assert guest.words[-3:] == ["sh", "ls", "-l"]
    assert "--nic=user" in guest.words
    assert not guest.words[guest.words.index("-c") + 1].startswith("exec <")


def test_interrupted_guest_interrupts_what_it_is_for(guest: Guest) -> None:
    guest.code = 130
    with pytest.raises(click.exceptions.Exit) as caught:
        image_guest.archive("export", "/a.img", "/b/x.tar")
    assert caught.value.exit_code == 130
    assert image_guest.shell("/a.img", (), 0, "rw", ()) == 130
