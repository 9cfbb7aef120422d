"""What `umlctl exec` takes besides."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from umlctl.checks import kernel
from umlctl.checks.findings import FATAL, NOTE, WARNING, Finding, by_root
from umlctl.guest import command
from umlctl.kernels import modules

if TYPE_CHECKING:
    from collections.abc import Iterator


def overlay() -> Iterator[Finding]:
    """What a command writes can be kept from this host."""
    found = kernel.usual()
    if found is None:
        return
    why = modules.overlay_flaw(found)
    if why:
        yield Finding(
            WARNING,
            f"the kernel {found.path} has no overlay file system: {why}",
            "`umlctl exec` keeps by it from this host what a command writes",
            f"umlctl exec --ro does without; {kernel.TAKE_ANOTHER}",
        )
    elif found.config.get("EXT4_FS") != "y":
        yield Finding(
            NOTE,
            f"the kernel {found.path} has no ext4 built in",
            "`umlctl exec --overlay=DIR` is refused",
            kernel.TAKE_ANOTHER,
        )


def process_1() -> Iterator[Finding]:
    """The program that is process 1 of such a guest was built, or a shell takes its place."""
    if os.access(command.AGENT, os.X_OK):
        return
    if not os.access("/bin/sh", os.X_OK):
        what = f"there is neither {command.AGENT} nor /bin/sh"
        yield Finding(
            FATAL, what, "one of them is process 1 of a guest", by_root("apt install dash")
        )
        return
    yield Finding(
        NOTE,
        f"{command.AGENT} was not built",
        "a shell is process 1 of guests of `umlctl exec` instead, which takes longer",
        f"{by_root('apt install gcc')}, and install umlctl again",
    )
