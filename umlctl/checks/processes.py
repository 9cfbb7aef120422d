"""What kernels do with the processes of their guests, and what forbids it."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final

from umlctl.checks.findings import FATAL, Finding, by_root, set_to
from umlctl.host import settings, trials

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST_HOST: Final = (5, 3)
"""The first Linux with pidfd_open(2)."""
_YAMA: Final = "kernel.yama.ptrace_scope"
_NO_PROGRAM: Final = "there is no program "
_OF_CONTAINER: Final = (
    "have the container allow it: --security-opt seccomp=unconfined of docker and podman, "
    "SystemCallFilter= of a systemd unit"
)


def host_is_new_enough() -> Iterator[Finding]:
    """The host's kernel has the system calls that umlctl makes."""
    release = platform.release()
    numbers = tuple(int(word) for word in release.split(".")[:2] if word.isdigit())
    if numbers < OLDEST_HOST:
        yield Finding(
            FATAL,
            f"this host runs Linux {release}",
            "umlctl watches guests by pidfd_open(2), which Linux has since 5.3",
            "boot this host with a newer kernel",
        )


def tracing() -> Iterator[Finding]:
    """A process can trace its child."""
    problem = trials.ptrace()
    if not problem:
        return
    why = "kernels run the processes of their guests by ptrace(2), and none starts"
    scope = settings.number(_YAMA, 0)
    if scope > 1:
        remedy = set_to(_YAMA, 1)
        if scope > 2:  # it can be set to no other any more
            remedy = f"set {_YAMA} to 1 in /etc/sysctl.d, and boot this host again"
        yield Finding(FATAL, f"{_YAMA} is {scope}, which forbids ptrace: {problem}", why, remedy)
    else:
        yield Finding(FATAL, f"ptrace is forbidden here: {problem}", why, _allowed())


def addresses() -> Iterator[Finding]:
    """A program can be started with addresses that are not random."""
    problem = trials.fixed_addresses()
    if problem:
        remedy = _package(problem) or f"give --aslr to each guest, or {_allowed()}"
        yield Finding(
            FATAL,
            f"addresses that are not random are not to be had: {problem}",
            "kernels are started by `setarch -R`, as some do not boot otherwise",
            remedy,
        )


def programs_in_memory() -> Iterator[Finding]:
    """A program that is in memory can be executed."""
    problem = trials.calls()
    if problem:
        setting = "vm.memfd_noexec"
        forbidden = settings.number(setting, 0) > 1
        yield Finding(
            FATAL,
            f"no program can be executed that is in memory: {problem}",
            "such a program confines a kernel before it starts",
            f"{set_to(setting, 0) if forbidden else _allowed()}; or give --confine off to each "
            "guest",
        )


def _allowed() -> str:
    """What to do where it is not known who forbids something."""
    if trials.is_filtered():
        return _OF_CONTAINER
    return (
        "see what forbids it: a security module (SELinux: `ausearch -m avc`, AppArmor: "
        "`journalctl -k`), or a container"
    )


def _package(problem: str) -> str:
    """What brings a program that a trial has not found; empty if it is not for want of one."""
    return by_root("apt install util-linux") if problem.startswith(_NO_PROGRAM) else ""
