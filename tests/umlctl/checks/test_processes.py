from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import pytest

from umlctl.checks import processes as checks
from umlctl.checks.findings import FATAL
from umlctl.host import trials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from umlctl.checks.findings import Finding


@pytest.fixture(autouse=True)
def _is_unfiltered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "is_filtered", lambda: False)


def fails(monkeypatch: pytest.MonkeyPatch, trial: str, problem: str) -> None:
    monkeypatch.setattr(trials, trial, lambda: problem)


def test_host_that_is_too_old_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for release, count in (("4.19.0-27-amd64", 1), ("5.3.0", 0), ("6.18.44-fc", 0)):
        monkeypatch.setattr(platform, "release", lambda release=release: release)
        assert len(list(checks.host_is_new_enough())) == count


@pytest.mark.parametrize(
    ("trial", "look"),
    [
        ("ptrace", checks.tracing),
        ("fixed_addresses", checks.addresses),
        ("calls", checks.programs_in_memory),
    ],
)
def test_what_is_forbidden_is_fatal(
    monkeypatch: pytest.MonkeyPatch,
    sysctl: dict[str, int],
    trial: str,
    look: Callable[[], Iterable[Finding]],
) -> None:
    fails(monkeypatch, trial, "")
    assert list(look()) == []
    fails(monkeypatch, trial, "Operation not permitted")
    (found,) = look()
    assert found.severity == FATAL
    assert found.what.endswith("Operation not permitted")
    assert "security module" in found.remedy
    monkeypatch.setattr(trials, "is_filtered", lambda: True)
    (found,) = look()
    assert "seccomp=unconfined" in found.remedy


@pytest.mark.parametrize(("scope", "remedy"), [(2, "ptrace_scope=1"), (3, "boot this host again")])
def test_yama_that_forbids_ptrace_is_named(
    monkeypatch: pytest.MonkeyPatch, sysctl: dict[str, int], scope: int, remedy: str
) -> None:
    fails(monkeypatch, "ptrace", "Operation not permitted")
    sysctl["kernel.yama.ptrace_scope"] = scope
    (found,) = checks.tracing()
    assert f"kernel.yama.ptrace_scope is {scope}" in found.what
    assert remedy in found.remedy


def test_program_that_is_missing_can_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    fails(monkeypatch, "fixed_addresses", "there is no program setarch")
    (found,) = checks.addresses()
    assert found.remedy.endswith("apt install util-linux")


def test_setting_that_forbids_programs_in_memory_is_named(
    monkeypatch: pytest.MonkeyPatch, sysctl: dict[str, int]
) -> None:
    fails(monkeypatch, "calls", "Permission denied")
    sysctl["vm.memfd_noexec"] = 2
    (found,) = checks.programs_in_memory()
    assert "sysctl -w vm.memfd_noexec=0" in found.remedy
