"""A host as tests of checks want it: nothing of this one is found wrong by accident."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.umlctl.cli.conftest import started
from umlctl.errors import NoKernel
from umlctl.host import settings
from umlctl.kernels import find
from umlctl.kernels.find import ProbedKernel

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["started"]

ABLE = {
    **dict.fromkeys(("MCONSOLE", "BLK_DEV_UBD", "HOSTFS", "UML_NET_VECTOR", "MAGIC_SYSRQ"), "y"),
    **dict.fromkeys(("OVERLAY_FS", "EXT4_FS"), "y"),
}
"""The configuration of a kernel that lacks nothing."""
ADVISED = "no kernel: there is none; " + find.ADVICE


@pytest.fixture
def sysctl(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What this host is set to; without a value, it has no such setting."""
    found: dict[str, int] = {}
    monkeypatch.setattr(settings, "number", found.get)
    return found


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has this host have a kernel of some version and configuration, or none."""

    def have(version: str = "6.12.1", config: dict[str, str] | None = None) -> None:
        made = ProbedKernel("/k/linux", version, frozenset(), ABLE if config is None else config)

        def found() -> str:
            if not version:
                raise NoKernel(ADVISED)
            return made.path

        monkeypatch.setattr(find, "find", found)
        monkeypatch.setattr(find, "probe", lambda _path: made)

    have()
    return have
