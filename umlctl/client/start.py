"""Having the background supervisor start a guest."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from umlctl.client import background
from umlctl.errors import HostError
from umlctl.guest import definition as definitions
from umlctl.host import paths
from umlctl.host.starting import starting
from umlctl.protocol.starting import read_started

if TYPE_CHECKING:
    from umlctl.guest.definition import Definition
    from umlctl.protocol.starting import Started


def start(definition: Definition, *, wait: bool = True) -> Started:
    """Start a guest; return the supervisor's answer: code, 0 if it is up, and text or status.

    wait: until the guest is ready; else until its kernel is launched

    Raises: HostError
    """
    umid = definition.umid
    with starting(umid):
        path = _hand_over(definition)
        try:
            request = f"start {path}" if wait else f"start no-wait {path}"
            outcome = background.ask_supervisor(request)
        finally:
            with suppress(OSError):  # the run directory may be gone by now, and the file with it
                os.unlink(path)
    try:
        answer = read_started(outcome.data)
    except msgspec.DecodeError:
        raise HostError(f"start {umid}: {outcome}") from None
    if not answer.code and answer.status is None:
        raise HostError(f"start {umid}: it is up, and nothing more is said of it: {outcome}")
    return answer


def _hand_over(definition: Definition) -> str:
    """Write a definition into a file for the supervisor; its path.

    Raises: OSError
    """
    descriptor, path = tempfile.mkstemp(prefix="start-", dir=paths.make_run_dir())
    try:
        with open(descriptor, "wb") as file:
            file.write(definitions.encode(definition))
    except OSError as problem:
        with suppress(OSError):
            os.unlink(path)
        problem.filename = path
        raise
    return path
