from __future__ import annotations

import getpass
import os
import resource
from typing import TYPE_CHECKING

import pytest

from umlctl.checks import limits as checks
from umlctl.checks.findings import FATAL, NOTE, WARNING
from umlctl.host import cgroups, room
from umlctl.host import limits as host_limits
from umlctl.host.systemd import units
from umlctl.state import enabled

if TYPE_CHECKING:
    from pathlib import Path

ENDLESS = resource.RLIM_INFINITY, resource.RLIM_INFINITY


def limited(monkeypatch: pytest.MonkeyPatch, which: int, most: int) -> None:
    monkeypatch.setattr(
        resource, "getrlimit", lambda each: (most, most) if each == which else ENDLESS
    )


@pytest.mark.parametrize(
    ("most", "severities", "said"),
    [
        (64, [WARNING], "64 open files, which is enough for 6 guests"),
        (room.MIN_DESCRIPTORS - 1, [FATAL], f"{room.MIN_DESCRIPTORS - 1} open files"),
        (room.MIN_DESCRIPTORS, [WARNING], "enough for"),
        (1024, [], ""),
    ],
)
def test_few_descriptors_are_told(
    monkeypatch: pytest.MonkeyPatch, most: int, severities: list[str], said: str
) -> None:
    limited(monkeypatch, resource.RLIMIT_NOFILE, most)
    found = list(checks.descriptors())
    assert [each.severity for each in found] == severities
    assert all(said in each.what for each in found)


def test_few_processes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(room, "_running", lambda: 0)
    monkeypatch.setattr(host_limits, "threads_of", lambda _uid: 0)
    for most, severity in ((100_000, None), (100, WARNING), (20, FATAL)):
        limited(monkeypatch, resource.RLIMIT_NPROC, most)
        found = list(checks.processes())
        assert [each.severity for each in found] == ([severity] if severity else [])
        assert all("ulimit -u" in each.remedy for each in found)


def test_bounds_that_cannot_be_read_are_told(house: str) -> None:
    assert list(checks.written_down()) == []
    os.mkdir(f"{house}/u/config", 0o700)
    with open(f"{house}/u/config/umlctl.toml", "w") as file:
        file.write("[host]\nmax_gests = 2\n")
    (found,) = checks.written_down()
    assert (found.severity, found.remedy) == (FATAL, "did you mean max_guests?")
    assert found.what == f"{house}/u/config/umlctl.toml:2: max_gests: there is no such key"


def test_low_settings_are_told(sysctl: dict[str, int]) -> None:
    assert [*checks.queue(), *checks.maps()] == []
    sysctl |= {"net.unix.max_dgram_qlen": 2, "vm.max_map_count": 1000}
    (queue,), (maps,) = checks.queue(), checks.maps()
    assert (queue.severity, queue.what) == (WARNING, "net.unix.max_dgram_qlen is 2")
    assert queue.remedy.endswith("sysctl -w net.unix.max_dgram_qlen=512")
    assert "vm.max_map_count is 1000" in maps.what
    assert maps.remedy.endswith("sysctl -w vm.max_map_count=262144")


def test_lack_of_cgroups_is_no_more_than_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "unable", lambda: "it has none; mount them; or else")
    (found,) = checks.control_groups()
    assert found == (NOTE, "it has none", found.why, "mount them; or else")
    monkeypatch.setattr(cgroups, "unable", lambda: "")
    assert list(checks.control_groups()) == []


def test_user_whose_guests_end_at_logout_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_LINGER_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(getpass, "getuser", lambda: "me")
    monkeypatch.setattr(units, "booted", lambda: True)
    monkeypatch.setattr(enabled, "load_all", list)
    assert list(checks.linger()) == []
    monkeypatch.setattr(enabled, "load_all", lambda: [enabled.Enabled("a", None)])
    (found,) = checks.linger()
    assert found.remedy == "loginctl enable-linger me"
    (tmp_path / "me").touch()
    assert list(checks.linger()) == []
