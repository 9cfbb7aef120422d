"""The modules of a kernel, which are not where the host has its own."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from umlctl.kernels.find import ProbedKernel

INSTALLED_VARIABLE: Final = "INSTALL_MOD_PATH"
"""Names the directory below which `make modules_install` has put them."""

_OVERLAY: Final = "fs/overlayfs/overlay.ko"


def directory(kernel: str, release: str) -> str:
    """Where the modules of a kernel are, by version; empty: nowhere.

    They came in a package with it, or were installed by INSTALL_MOD_PATH, or into the tree where it
    was built, or are where they were built. From those of the last a directory of links is made.

    kernel: its path; release: its version

    Raises: HostError: that directory cannot be made
    """
    path = installed(kernel, release)
    tree = os.path.dirname(os.path.realpath(kernel))
    if path or not _are_built_in(tree):
        return path
    from umlctl.kernels import tree_modules

    return tree_modules.prepare(tree, release)


def are_there(kernel: ProbedKernel) -> bool:
    """Whether there are modules of this very release: a look, which makes nothing."""
    path = installed(kernel.path, kernel.version)
    if path:
        return os.path.isdir(f"{path}/{kernel.version}")
    return _are_built_in(os.path.dirname(os.path.realpath(kernel.path)))


def _are_built_in(tree: str) -> bool:
    """Whether modules were built in a directory, and may be installed nowhere."""
    return os.path.exists(f"{tree}/modules.order")


def installed(kernel: str, release: str) -> str:
    """Where modules of a kernel are that were installed; empty: nowhere."""
    of_package, *others = places(kernel)
    if os.path.isdir(of_package):
        return of_package
    found = (path for path in others if os.path.isdir(f"{path}/{release}"))
    return next(found, "")


def places(kernel: str) -> list[str]:
    """Where modules of a kernel may have been installed, by version: in its package, or by
    INSTALL_MOD_PATH, or beside it."""
    beside = os.path.dirname(os.path.realpath(kernel))
    bases = filter(None, (os.environ.get(INSTALLED_VARIABLE, ""), beside))
    of_package = f"{os.path.dirname(beside)}/lib/uml/modules"
    return [of_package, *(os.path.abspath(f"{base}/lib/modules") for base in bases)]


def of_release(kernel: ProbedKernel) -> str:
    """Where those of this very release are; empty: nowhere.

    Raises: HostError
    """
    path = f"{directory(kernel.path, kernel.version)}/{kernel.version}"
    return path if os.path.isdir(path) else ""


def overlay(kernel: ProbedKernel) -> tuple[str, str]:
    """The module that has a kernel's overlay file system, empty if that is built in; and why the
    kernel has none, empty if it has one.

    Raises: HostError: the directory of its modules cannot be made
    """
    why = overlay_flaw(kernel)
    if why or kernel.config.get("OVERLAY_FS") == "y":
        return "", why
    return f"{of_release(kernel)}/kernel/{_OVERLAY}", ""


def overlay_flaw(kernel: ProbedKernel) -> str:
    """Why a kernel has no overlay file system; empty if it has one: a look, which makes nothing."""
    has = kernel.config.get("OVERLAY_FS", "")
    if has == "y":
        return ""
    if has != "m":
        return "it is built without"
    path = installed(kernel.path, kernel.version)
    module = f"{path}/{kernel.version}/kernel/{_OVERLAY}"
    if not path:
        module = f"{os.path.dirname(os.path.realpath(kernel.path))}/{_OVERLAY}"
    return "" if os.path.exists(module) else "its module overlay.ko is not there"
