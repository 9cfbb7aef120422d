from __future__ import annotations

import io
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from umlctl.host import confine, landlock

if TYPE_CHECKING:
    from collections.abc import Callable

SHARED = b"27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
SLAVE = b"27 1 254:0 / / rw,relatime master:1 - ext4 /dev/vda rw\n"
PRIVATE = b"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
OTHER = b"29 27 0:5 / /dev rw shared:2 - devtmpfs none rw\n"


@pytest.fixture
def mounts(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Has this host have other mounts."""

    def set_them(text: bytes) -> None:
        monkeypatch.setattr("builtins.open", lambda *_: io.BytesIO(text))

    return set_them


@pytest.mark.parametrize(
    ("text", "propagate"),
    [
        (SHARED, True),
        (SLAVE + OTHER, True),
        (PRIVATE + OTHER, False),
        (SHARED + PRIVATE, False),  # the last covers it
        (PRIVATE + SHARED, True),
        (b"", False),
        (b"rubbish\n", False),
    ],
)
def test_mounts_propagate_where_those_of_the_root_do(
    mounts: Callable[[bytes], None], text: bytes, propagate: bool
) -> None:
    mounts(text)
    assert confine.mounts_propagate() == propagate


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("capable", [False, True])
def test_scopes_get_less_until_one_that_always_can_be_had(
    monkeypatch: pytest.MonkeyPatch, uid: int, capable: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(confine, "has_capabilities", lambda _kernel: capable)
    for propagate in (False, True):
        monkeypatch.setattr(confine, "mounts_propagate", lambda propagate=propagate: propagate)
        found = confine.scopes("/linux")
        assert found[-1] == "group"
        assert all("--pid" in scope for scope in found[:-1])
        assert any("--mount" in scope for scope in found) == (propagate and bool(found[:-1]))
        assert any("--user" in scope for scope in found) != capable
        assert any("--user" not in scope for scope in found[:-1]) == (uid == 0)
        lasts = [scope for scope in found[:-1] if "--mount" not in scope]
        assert bool(lasts) == bool(found[:-1]), "without mounts of its own, if they cannot be had"


def test_scopes_are_options_that_unshare_has() -> None:
    told = subprocess.run(["unshare", "--help"], capture_output=True, text=True, check=True).stdout
    words = {word for scope in confine.scopes("/linux")[:-1] for word in scope.split()}
    assert all(word in told for word in words if word.startswith("--"))


def test_kernel_that_was_given_capabilities_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confine, "has_capabilities", lambda _kernel: True)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(landlock, "unable", lambda: "")
    assert "capabilities" in confine.unable("/linux")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert confine.unable("/linux") == "", "root's has them anyway"
