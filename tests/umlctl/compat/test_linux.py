from __future__ import annotations

import os
import subprocess
import sys

import pytest

from umlctl.compat import linux
from umlctl.errors import NoKernel
from umlctl.host import paths


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `linux` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "umlctl.compat.linux", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_kernel_that_is_not_there_is_said(house: str) -> None:
    done = run("mem=64M", UMLCTL_KERNEL=f"{house}/none")
    assert (done.returncode, done.stdout) == (127, "")
    assert done.stderr.startswith(f"linux: $UMLCTL_KERNEL {house}/none: no such file")
    assert not os.path.exists(paths.guest_records())


def test_what_is_no_kernel_is_not_executed(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """This program above all, by the name `linux`."""
    path = f"{house}/linux"
    with open(path, "w") as file:
        file.write("#!/bin/sh\necho executed\n")
    os.chmod(path, 0o755)
    assert "executed" not in run("mem=64M", UMLCTL_KERNEL=path).stdout
    monkeypatch.setenv("UMLCTL_KERNEL", path)
    with pytest.raises(NoKernel, match="is not a UML kernel"):
        linux._find()
