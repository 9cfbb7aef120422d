"""What `umlctl kernel add` and `kernel build` have in common: a kernel that is kept by a name."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from umlctl import exitcodes
from umlctl.cli.cow_merge import progress
from umlctl.definitions import files
from umlctl.errors import UmlctlError
from umlctl.kernels import registered, registry
from umlctl.state import enabled, records

if TYPE_CHECKING:
    from umlctl.kernels.find import ProbedKernel
    from umlctl.kernels.registry import Registered


def keep(
    probed: ProbedKernel, name: str | None, *, usual: bool, in_json: bool, origin: str = ""
) -> int:
    """Keep a copy of a kernel, and say so; the exit code.

    name: its version unless given
    usual: it is taken where no kernel is named
    origin: as registry.add() takes it

    Raises: UsageError, HostError
    """
    called = name or registry.name_for(probed)
    with progress(f"kernel {called}", registry.size_of(probed)) as advance:
        found = registry.add(probed, called, in_use(), advance, origin)
    if usual:
        registry.set_default(called)
        found = registry.load(called)
    said = f"{called} is Linux {probed.version}, {found.path}"
    show(found, in_json, f"{said}; taken where none is named" if found.is_default else said)
    return exitcodes.OK


def show(found: Registered, in_json: bool, text: str) -> None:
    print(json.dumps(found._asdict(), indent=2) if in_json else text)


def in_use() -> set[str]:
    """The kernels of guests, those that have ended, are enabled or are only defined among them:
    they may be started again."""
    found = {record.definition.kernel for record in records.load_all()}
    found |= {each.definition.kernel for each in enabled.load_all() if each.definition}
    for name in files.names():
        with suppress(UmlctlError):  # one that cannot be read has none
            written = files.find(name)
            if written is not None and "kernel" in written.values:
                found.add(registered.path_of(str(written.values["kernel"].value)))
    return found
