"""What confines guests' kernels on this host: namespaces, mounts of their own, Landlock."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from umlctl.checks import kernel
from umlctl.checks.findings import NOTE, WARNING, Finding, by_root, set_to
from umlctl.host import confine, landlock, settings, trials

if TYPE_CHECKING:
    from collections.abc import Iterator

BOUND_SINCE: Final = {
    2: "no file is moved to another directory, be both given (Linux 5.19)",
    4: "with a NIC that needs sockets of the internet TCP goes anywhere (6.7)",
    5: "devices that it reads take commands from it (6.10)",
    6: "without namespaces it can send signals to processes of its user (6.12)",
}
"""What a confined kernel is left before each version of Landlock, or cannot do."""
NO_NAMESPACE: Final = "group"
NO_MOUNTS: Final = "/ is mounted private here"
_ALLOWS: Final = {
    "user.max_user_namespaces": 10000,
    "user.max_pid_namespaces": 10000,
    "kernel.unprivileged_userns_clone": 1,
    "kernel.apparmor_restrict_unprivileged_userns": 0,
}
"""Settings that may forbid namespaces to users, and what allows them again."""
_LSM: Final = "/sys/kernel/security/lsm"


def scope() -> str:
    """What a kernel is confined to here, as options of unshare(1); `group` if it is nothing."""
    return _best()[0]


def lacking(version: int) -> list[str]:
    """What a confined kernel is left under this version of Landlock."""
    return [what for since, what in BOUND_SINCE.items() if version < since]


def namespaces() -> Iterator[Finding]:
    """A kernel can have namespaces of its own."""
    found, problem = _best()
    if found != NO_NAMESPACE or not problem:
        return
    why = "were a kernel killed, its guest's processes would be let go for a moment"
    if not landlock.unable():
        why += "; and secrets and sockets are not hidden from it"
    setting = _forbidding()
    if setting:
        what = f"{setting} forbids user namespaces: {problem}"
        remedy = f"{set_to(setting, _ALLOWS[setting])}; or end guests by `umlctl kill` alone"
    else:
        what = f"no namespace can be had here: {problem}"
        remedy = (
            "allow them: where this is a container, by --security-opt seccomp=unconfined of docker "
            "and podman; or end guests by `umlctl kill` alone"
        )
    yield Finding(WARNING, what, why, remedy)


def own_mounts() -> Iterator[Finding]:
    """A kernel that has mounts of its own sees what is mounted later."""
    if not confine.mounts_propagate():
        yield Finding(
            NOTE,
            NO_MOUNTS,
            "kernels do not see what is mounted or unmounted later",
            by_root("mount --make-rshared /"),
        )


def confinement() -> Iterator[Finding]:
    """Kernels are confined by Landlock, and by all of it."""
    problem = landlock.unable()
    if problem:
        yield Finding(
            WARNING,
            f"no guest is confined here: {problem}",
            "root in a guest reaches every file of the user who runs it",
            f"boot this host with {_boot_argument()}; or run guests as a user who may lose "
            "everything (--user)",
        )
        return
    version = landlock.version()
    left = lacking(version)
    if left:
        yield Finding(
            NOTE,
            f"this host has Landlock {version}",
            f"of confined kernels this is so: {'; '.join(left)}",
            "a newer kernel of this host confines them further",
        )


def _best() -> tuple[str, str]:
    """What a kernel is confined to here, and why it is nothing better."""
    found = kernel.usual()
    told = ""
    for options in confine.scopes(found.path if found else "", mounts=not landlock.unable()):
        if options == NO_NAMESPACE:
            break
        problem = trials.scope(options)
        if not problem:
            return options, told
        told = told or problem
    return NO_NAMESPACE, told


def _forbidding() -> str:
    """The setting that forbids namespaces; empty if none does."""
    if not os.geteuid():
        return ""
    for name, allowed in _ALLOWS.items():
        if bool(settings.number(name, allowed)) != bool(allowed):
            return name
    return ""


def _boot_argument() -> str:
    try:
        with open(_LSM) as file:
            return f"lsm=landlock,{file.read().strip()}"
    except OSError:
        return "Linux 5.13 or newer, and `landlock` in lsm="
