from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.umlctl.checks.conftest import ABLE
from umlctl.checks import kernel as checks
from umlctl.checks.findings import FATAL, NOTE, WARNING
from umlctl.errors import NoKernel
from umlctl.kernels import find, modules, probes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_kernel_that_is_well_is_nothing_to_be_told(
    kernel: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "ask", lambda *_: "6.12.1\n")
    looks = (checks.is_there, checks.runs, checks.abilities, checks.has_modules, checks.contains)
    assert [found for look in looks for found in look()] == []


def test_no_kernel_is_told_once_with_what_brings_one(
    kernel: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel("")
    monkeypatch.setenv(find.KERNEL_VARIABLE, "/k")
    assert next(checks.is_there()).remedy == "unset UMLCTL_KERNEL; umlctl setup"
    monkeypatch.delenv(find.KERNEL_VARIABLE)
    (found,) = checks.is_there()
    assert (found.severity, found.what) == (FATAL, "no kernel: there is none")
    assert found.remedy == "umlctl setup"
    others = (checks.runs, checks.abilities, checks.has_modules, checks.contains)
    assert [each for look in others for each in look()] == []


def test_kernel_that_is_none_is_told_as_that(
    kernel: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: str) -> None:
        raise NoKernel(f"/k/linux is not a UML kernel: it is empty; {find.ADVICE}")

    monkeypatch.setattr(find, "probe", refuse)
    (found,) = checks.runs()
    assert (found.severity, found.what) == (FATAL, "/k/linux is not a UML kernel: it is empty")


def test_kernel_that_has_run_once_is_asked_again(
    kernel: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "ask", lambda *_: "libc.so.6: not found")
    (found,) = checks.runs()
    assert (found.severity, "libc.so.6: not found" in found.why) == (FATAL, True)

    def hang(*_: object) -> str:
        raise NoKernel("it did not end within 5 s")

    monkeypatch.setattr(probes, "ask", hang)
    (found,) = checks.runs()
    assert found.why == "it did not end within 5 s"


@pytest.mark.parametrize(
    ("symbol", "severity", "effect"),
    [
        ("MCONSOLE", FATAL, "can ask its guests nothing"),
        ("HOSTFS", WARNING, "--root IMAGE"),
        ("BLK_DEV_UBD", WARNING, "no disks"),
        ("UML_NET_VECTOR", WARNING, "no NIC"),
        ("MAGIC_SYSRQ", NOTE, "sysrq"),
    ],
)
def test_what_a_kernel_lacks_is_told_with_what_does_not_work(
    kernel: Callable[..., None], symbol: str, severity: str, effect: str
) -> None:
    kernel(config={name: value for name, value in ABLE.items() if name != symbol})
    (found,) = checks.abilities()
    assert (found.severity, effect in found.why) == (severity, True)
    assert "umlctl run --kernel" in found.remedy


def test_modules_that_are_not_there_are_told(
    kernel: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel(config={**ABLE, "MODULES": "y", "BTRFS_FS": "m", "XFS_FS": "m"})
    (found,) = checks.has_modules()
    assert (found.severity, "the 2 parts" in found.why) == (WARNING, True)
    monkeypatch.setattr(modules, "are_there", lambda _kernel: True)
    assert list(checks.has_modules()) == []


def test_kernel_that_lets_processes_go_is_told(kernel: Callable[..., None]) -> None:
    kernel("6.1.176")
    (found,) = checks.contains()
    assert (found.severity, "6.12 or newer" in found.remedy) == (NOTE, True)
