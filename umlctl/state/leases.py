"""What the guests of this user hold of the host: one look, under one lock.

Two kernels that write one image destroy it. The kernel's own locks are taken late, at the first
mount, and lost by accident. So a supervisor that starts a guest or plugs a device looks at the
recorded devices of all live guests first, and writes down its own before it lets the lock go.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.errors import HostError
from umlctl.host import paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from umlctl.state.records import DeviceEntry, Record

LOCK_TIMEOUT: Final = 20.0
"""How long another supervisor may hold the lock, seconds."""
LOCK_INTERVAL: Final = 0.005


class Use(NamedTuple):
    """One device of one live guest."""

    umid: str
    entry: DeviceEntry


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Keep all other supervisors of this user from plugging anything.

    Raises: HostError
    """
    try:
        path = f"{paths.make_run_dir()}/devices.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise HostError(f"the devices cannot be locked: {problem}") from problem
    try:
        end = time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise HostError(
                        f"another supervisor has held {path} for {LOCK_TIMEOUT:g} seconds"
                    ) from None
                time.sleep(LOCK_INTERVAL)
        yield
    finally:
        os.close(descriptor)


def devices_of(guests: Iterable[Record]) -> list[Use]:
    """The devices of guests that run, as `umlctl.recovery.discover.running` finds them."""
    return [Use(record.definition.umid, entry) for record in guests for entry in record.devices]


def directories_of(guests: Iterable[Record]) -> list[tuple[str, str]]:
    """The directories that running guests have as roots to write, with the umids of these
    guests."""
    return [
        (record.definition.umid, record.definition.root)
        for record in guests
        if record.definition.root.endswith("/") and not record.definition.overlay
    ]
