from __future__ import annotations

import errno
import os
import shutil

import pytest

from umlctl.checks import network as checks
from umlctl.checks.findings import NOTE, WARNING
from umlctl.errors import HostError
from umlctl.host import processes, programs
from umlctl.networks import definitions, interfaces


def test_missing_program_of_user_networks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    (found,) = checks.user()
    assert (found.severity, found.what) == (WARNING, "there is no slirp4netns")
    assert found.remedy == "sudo apt install slirp4netns"
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert list(checks.user()) == []


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOENT, "modprobe tun"), (errno.ENODEV, "--device"), (errno.EACCES, "chmod 666")],
)
def test_tun_that_cannot_be_opened_is_told(
    monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    (found,) = checks.tun()
    assert (found.severity, remedy in found.remedy) == (WARNING, True)
    assert os.strerror(number) in found.what
    assert "take no privilege" in found.why


def test_each_kind_of_nic_is_told_with_the_privilege_that_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interfaces, "may_configure", lambda: False)
    monkeypatch.setattr(processes, "has_capability", lambda _name: False)
    (taps,), (own,) = checks.taps(), checks.kernels_own()
    assert (taps.severity, own.severity) == (NOTE, NOTE)
    assert "`tap=auto`" in taps.why
    assert "ip tuntap add" in taps.remedy
    assert own.what == "this process has no CAP_NET_RAW"
    assert "raw, hybrid, gre, l2tpv3 are refused" in own.why
    monkeypatch.setattr(interfaces, "may_configure", lambda: True)
    monkeypatch.setattr(processes, "has_capability", lambda _name: True)
    assert [*checks.taps(), *checks.kernels_own()] == []


def test_what_else_networks_lack_is_told(
    monkeypatch: pytest.MonkeyPatch, sysctl: dict[str, int]
) -> None:
    def blind() -> None:
        raise HostError("there is no /sys/class/net, where interfaces are seen; mount it")

    monkeypatch.setattr(interfaces, "bridges", list)
    monkeypatch.setattr(programs, "init_lacks", lambda _name: False)
    monkeypatch.setattr(definitions, "unreadable", list)
    looks = (checks.sysfs, checks.ip, checks.bridged_frames, checks.written_down)
    assert [found for look in looks for found in look()] == []
    monkeypatch.setattr(interfaces, "bridges", blind)
    monkeypatch.setattr(programs, "init_lacks", lambda _name: True)
    monkeypatch.setattr(definitions, "unreadable", lambda: [HostError("lan cannot be read")])
    sysctl["net.bridge.bridge-nf-call-iptables"] = 1
    found = [each for look in looks for each in look()]
    assert [each.severity for each in found] == [WARNING, WARNING, NOTE, WARNING]
    wanted = ("no /sys/class/net", "lacks `ip`", "bridge-nf-call-iptables is 1", "lan cannot")
    assert all(word in each.what for word, each in zip(wanted, found, strict=True))
