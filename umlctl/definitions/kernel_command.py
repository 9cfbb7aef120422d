"""The command of a guest's kernel: what is started, or would be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from umlctl.errors import NeverStarted, UsageError
from umlctl.guest import cmdline
from umlctl.host import limits, programs
from umlctl.kernels import modules
from umlctl.protocol import command_lines
from umlctl.state import umid_lock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.guest.definition import Definition
    from umlctl.kernels.find import ProbedKernel
    from umlctl.state.records import DeviceEntry


def of_guest(
    definition: Definition,
    kernel: ProbedKernel,
    directory: str,
    entries: Iterable[DeviceEntry],
    for_init: str,
    *,
    lines: Iterable[str],
    wrapped: bool,
) -> list[str]:
    """A kernel and its arguments.

    directory: of the guest
    entries: its disks and NICs
    for_init: NICs, as our init program takes them
    lines: whose other ends are somebody's of umlctl, in the kernel's words
    wrapped: see `cmdline.build`

    Raises: UsageError, HostError
    """
    place = umid_lock.own_place(definition, directory)
    line = cmdline.build(
        definition,
        uml_dir=umid_lock.own_directory(definition),
        notify=f"{place}/notify",
        init=f"{place}/init",
        devices=[*(entry.kernel for entry in entries), *lines],
        nics=for_init,
        wrapped=wrapped,
        traits=cmdline.Traits(
            kernel.release,
            seccomp="seccomp" in kernel.capabilities,
            modules=modules.directory(definition.kernel, kernel.version),
            load=_loaded(definition, kernel),
            overlay_module=_overlay_module(kernel) if definition.overlay else "",
            kunit=kernel.config.get("KUNIT") == "y",
        ),
    )
    return [definition.kernel, *line]


def _overlay_module(kernel: ProbedKernel) -> str:
    """The module that our init program loads to lay something over; empty if it loads none.

    Raises: NeverStarted: the guest has no program to load it by
    """
    module, _ = modules.overlay(kernel)
    if module:
        _check_loads("--overlay", module)
    return module


def _check_loads(what: str, module: str) -> None:
    """See that a guest has a program to load a module by: it has those of this host.

    Raises: NeverStarted
    """
    if programs.init_lacks("insmod") and programs.init_lacks("busybox"):
        raise NeverStarted(
            f"{what} takes insmod in the guest, for the kernel's {os.path.basename(module)}, "
            "and it has this host's programs: apt install kmod"
        )


def _loaded(definition: Definition, kernel: ProbedKernel) -> tuple[str, ...]:
    """The modules that our init program loads, see `cmdline.Traits`.

    Raises: UsageError, NeverStarted, HostError
    """
    if not definition.load:
        return ()
    if not cmdline.has_agent(definition):
        raise UsageError(
            f"module {definition.load[0]}: umlctl's init program loads modules, and this guest has "
            "another, which has ways of its own, such as /etc/modules"
        )
    from umlctl.kernels import needed_modules  # which few guests need

    found = tuple(needed_modules.files(kernel, definition.load))
    for module in found:
        _check_loads(f"module {definition.load[0]}", module)
    return found


def lines_of_commands(definition: Definition) -> list[str]:
    """The lines on which commands are run in a guest of a supervisor that this process starts."""
    if limits.hard_limit_of_descriptors() < command_lines.AMPLE_DESCRIPTORS:
        return []
    return command_lines.words(has_agent=cmdline.has_agent(definition))
