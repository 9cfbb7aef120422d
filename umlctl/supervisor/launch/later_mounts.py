"""What a confined kernel does not have yet, and its supervisor brings in when it is wanted.

The device of taps: a directory of ours stands in the place of the device's, and the device appears
in it with the first NIC on a tap. And what the supervisor makes in the guest's records, COW files
to discard.

Root's supervisor takes them from the mounts of this host. Another one can mount only what is to be
found in the namespace of the kernel: there both are in a directory that is closed to the kernel,
which has no privileges, and not to who enters its user namespace.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from umlctl.backends.device_access import TUN, is_below
from umlctl.host import binds, paths
from umlctl.state.umid_lock import ASIDE_DIRECTORY
from umlctl.supervisor.launch import masks

if TYPE_CHECKING:
    from umlctl.host.call_list import CallList
    from umlctl.state.records import Record

_DEVICES, _NAME = os.path.split(TUN)
_RECORDS: Final = "records"
_MASKS: Final = "masks"


def tun_directory(umid: str) -> str:
    """What stands in the place of the directory of the device of taps."""
    return f"{paths.own_dir(umid)}/net"


def directory(umid: str) -> str:
    """The closed one."""
    return f"{paths.own_dir(umid)}/{ASIDE_DIRECTORY}"


def make(umid: str) -> None:
    """Make the closed one, with what things are mounted on.

    Raises: OSError
    """
    closed = directory(umid)
    os.makedirs(f"{closed}/{_RECORDS}", 0o700)
    os.mkdir(f"{closed}/{_MASKS}", 0o700)
    os.close(os.open(f"{closed}/{_NAME}", os.O_CREAT | os.O_CLOEXEC, 0o600))
    os.chmod(closed, 0)


def put(umid: str, calls: CallList, *, tun: bool) -> None:
    """Have calls put aside what the kernel is not to find.

    tun: the device of taps, too

    Raises: OSError
    """
    closed, instead = directory(umid), tun_directory(umid)
    tun = tun and os.path.exists(TUN)
    if os.geteuid():
        masks.bind(calls, paths.record_dir(umid), f"{closed}/{_RECORDS}")
        if tun:
            masks.bind(calls, TUN, f"{closed}/{_NAME}")
    if tun:
        os.makedirs(instead, 0o700, exist_ok=True)
        os.close(os.open(f"{instead}/{_NAME}", os.O_CREAT | os.O_CLOEXEC, 0o600))
        masks.bind(calls, instead, _DEVICES)


def masks_directory(umid: str) -> str:
    """What has what covers for a kernel what it is not to see."""
    return f"{paths.own_dir(umid)}/{_MASKS}"


def put_masks(umid: str, calls: CallList) -> None:
    """Have calls put that aside, too: something may have to be covered later."""
    masks.bind(calls, masks_directory(umid), f"{directory(umid)}/{_MASKS}")


def seen_mask(umid: str, path: str) -> str:
    """Where who enters the namespaces of the kernel finds something of that."""
    return f"{directory(umid)}/{_MASKS}/{os.path.relpath(path, masks_directory(umid))}"


def seen(umid: str, path: str) -> str:
    """Where who enters the namespaces of the kernel finds a file of this host."""
    records = paths.record_dir(umid)
    if path == TUN:
        return f"{directory(umid)}/{_NAME}"
    if is_below(path, records):
        return f"{directory(umid)}/{_RECORDS}/{os.path.relpath(path, records)}"
    return ""


def has_tun(record: Record) -> bool:
    """The device of taps can be brought in."""
    return record.binds and os.path.isdir(tun_directory(record.definition.umid))


def bring_tun(record: Record) -> None:
    """Have the device of taps be where the kernel looks for it, from now on.

    Raises: OSError
    """
    if not os.path.samefile(f"/proc/{record.pid}/root{TUN}", TUN):
        there = seen(record.definition.umid, TUN)
        binds.bind(record.pid, record.started, TUN, TUN, seen=there)
