from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from umlctl.checks import confining as checks
from umlctl.checks.findings import NOTE, WARNING
from umlctl.host import confine, landlock, trials

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("kernel")
BEST, LESS = "--user --mount --pid", "--user --pid"


@pytest.fixture(autouse=True)
def scopes(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is wrong with each scope."""
    found = {BEST: "", LESS: ""}
    monkeypatch.setattr(confine, "scopes", lambda *_, **__: [BEST, LESS, "group"])
    monkeypatch.setattr(trials, "scope", lambda options: found[options])
    monkeypatch.setattr(landlock, "unable", lambda: "")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return found


def test_best_scope_that_can_be_had_is_taken(scopes: dict[str, str]) -> None:
    assert checks.scope() == BEST
    scopes[BEST] = "unshare failed"
    assert checks.scope() == LESS
    assert list(checks.namespaces()) == []


@pytest.mark.parametrize(
    ("setting", "value", "mended"),
    [
        ("user.max_user_namespaces", 0, 10000),
        ("kernel.unprivileged_userns_clone", 0, 1),
        ("kernel.apparmor_restrict_unprivileged_userns", 1, 0),
    ],
)
def test_setting_that_forbids_namespaces_is_named(
    scopes: dict[str, str], sysctl: dict[str, int], setting: str, value: int, mended: int
) -> None:
    scopes |= {BEST: "unshare failed: No space left on device", LESS: "and again"}
    sysctl[setting] = value
    (found,) = checks.namespaces()
    assert (found.severity, checks.scope()) == (WARNING, "group")
    assert found.what.startswith(f"{setting} forbids user namespaces: unshare failed")
    assert f"sudo sysctl -w {setting}={mended}" in found.remedy


def test_container_that_forbids_namespaces_is_thought_of(
    scopes: dict[str, str], sysctl: dict[str, int]
) -> None:
    scopes |= {BEST: "Operation not permitted", LESS: "Operation not permitted"}
    (found,) = checks.namespaces()
    assert "seccomp=unconfined" in found.remedy
    assert "secrets and sockets are not hidden" in found.why


def test_machine_for_which_there_are_no_scopes_is_not_at_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(confine, "scopes", lambda *_, **__: ["group"])
    assert list(checks.namespaces()) == []


def test_private_mounts_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for propagate, count in ((True, 0), (False, 1)):
        monkeypatch.setattr(confine, "mounts_propagate", lambda propagate=propagate: propagate)
        assert len(list(checks.own_mounts())) == count


def test_what_the_host_can_confine_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version, wanted in ((6, []), (5, ["send signals"]), (1, ["moved", "send signals"])):
        monkeypatch.setattr(landlock, "version", lambda version=version: version)
        found = list(checks.confinement())
        assert [each.severity for each in found] == [NOTE] * bool(wanted)
        assert all(word in each.why for each in found for word in wanted)
    (tmp_path / "lsm").write_text("lockdown,capability")
    monkeypatch.setattr(checks, "_LSM", str(tmp_path / "lsm"))
    monkeypatch.setattr(landlock, "unable", lambda: "it has none")
    (finding,) = checks.confinement()
    assert (finding.severity, "it has none" in finding.what) == (WARNING, True)
    assert "lsm=landlock,lockdown,capability" in finding.remedy


def test_kernel_need_not_be_there(kernel: Callable[..., None]) -> None:
    kernel("")
    assert checks.scope() == BEST
