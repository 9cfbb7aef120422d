"""The UML kernel: whether there is one, whether it runs, and what it lacks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from umlctl.checks.findings import FATAL, NOTE, WARNING, Finding
from umlctl.errors import NoKernel
from umlctl.kernels import find, modules, probes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umlctl.kernels.find import ProbedKernel

CONTAINED_SINCE: Final = (6, 12)
"""Since this version of Linux, a guest's processes end with its kernel, however that ends. Of 14
kernels that were killed, 14 of 6.1 let a process go, which ran on as a process of the host. None of
6.12 or 7.2 did."""
TAKE_ANOTHER: Final = "umlctl run --kernel FILE takes another, `umlctl kernel list` shows them"
_NEEDED: Final = {
    "mconsole": (FATAL, "umlctl can ask its guests nothing, nor end them"),
    "hostfs": (WARNING, "guests cannot have this host's files: give each --root IMAGE"),
    "ubd": (WARNING, "guests can have no disks"),
    "sysrq": (NOTE, "`umlctl sysrq` does nothing"),
}
"""What a kernel should be able to do, and what becomes of it if it is not."""


def usual() -> ProbedKernel | None:
    """The kernel that guests have if they ask for no other; None if none runs."""
    try:
        return find.probe(find.find())
    except NoKernel:
        return None


def is_there() -> Iterator[Finding]:
    """A kernel is found."""
    try:
        find.find()
    except NoKernel as problem:
        told = f"unset {find.KERNEL_VARIABLE}; " if find.KERNEL_VARIABLE in os.environ else ""
        yield _none(problem, f"{told}umlctl setup")


def runs() -> Iterator[Finding]:
    """It runs, now and here: what it said of itself once is kept, and proves nothing."""
    try:
        path = find.find()
    except NoKernel:
        return  # that was told
    try:
        kernel = find.probe(path)
    except NoKernel as problem:
        yield _none(problem, f"umlctl setup, or {TAKE_ANOTHER}")
        return
    try:
        said = probes.ask(path, "--version", find.PROBE_TIMEOUT).strip()
        why = "" if kernel.version in said else f"asked for --version it said {said[:200]!r}"
    except NoKernel as problem:
        why = problem.problem
    if why:
        yield Finding(FATAL, f"the kernel {path} does not run", why, TAKE_ANOTHER)


def abilities() -> Iterator[Finding]:
    """It can do what umlctl needs."""
    kernel = usual()
    if kernel is None:
        return
    for name, (severity, effect) in _NEEDED.items():
        if name not in kernel.capabilities:
            what = f"the kernel {kernel.path} is built without {find.CAPABILITIES[name].help}"
            yield Finding(severity, what, effect, TAKE_ANOTHER)
    if not {"vec", "eth"} & kernel.capabilities.keys():
        what = f"the kernel {kernel.path} is built without network devices"
        yield Finding(WARNING, what, "guests can have no NIC", TAKE_ANOTHER)


def has_modules() -> Iterator[Finding]:
    """Its modules are there, if it has any."""
    kernel = usual()
    if kernel is None or "modules" not in kernel.capabilities or modules.are_there(kernel):
        return
    count = sum(value == "m" for value in kernel.config.values())
    if count:
        where = modules.installed(kernel.path, kernel.version) or "lib/uml/modules beside it"
        yield Finding(
            WARNING,
            f"the modules of Linux {kernel.version} are not in {where}",
            f"guests go without the {count} parts that the kernel has as modules",
            "apt install --reinstall user-mode-linux, or `make modules_install` where you built it",
        )


def contains() -> Iterator[Finding]:
    """Its guests' processes end with it."""
    kernel = usual()
    if kernel is not None and kernel.release < CONTAINED_SINCE:
        yield Finding(
            NOTE,
            f"the kernel is Linux {kernel.version}",
            "its guests' processes do not always end with it, should somebody kill it",
            "for guests that you do not trust take 6.12 or newer, whose processes end with it "
            "whatever kills it",
        )


def _none(problem: NoKernel, remedy: str) -> Finding:
    what = problem.problem.removesuffix(f"; {find.ADVICE}")
    return Finding(FATAL, what, "without a UML kernel no guest starts", remedy)
