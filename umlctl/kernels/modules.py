"""The modules of a kernel, which are not where the host has its own."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from umlctl.kernels.find import ProbedKernel


def directory(kernel: str) -> str:
    """Where the modules of a kernel are that came in a package, by version; empty: nowhere.

    kernel: its path
    """
    prefix = os.path.dirname(os.path.dirname(os.path.realpath(kernel)))
    path = f"{prefix}/lib/uml/modules"
    return path if os.path.isdir(path) else ""


def of_release(kernel: ProbedKernel) -> str:
    """Where those of this very release are; empty: nowhere."""
    path = f"{directory(kernel.path)}/{kernel.version}"
    return path if os.path.isdir(path) else ""
