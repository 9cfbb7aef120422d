"""Which backend a device has, so that no other module has to ask for its family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from umlctl.backends import disk, nic, nic_address
from umlctl.backends.disk import DISK
from umlctl.backends.interface import Backend
from umlctl.backends.lent import VFIO, VIRTIO
from umlctl.backends.line import CONSOLE, SERIAL
from umlctl.backends.memory import MEMORY
from umlctl.backends.nic import LEGACY, VECTOR, NicBackend
from umlctl.backends.share import SHARE
from umlctl.devices import eth, ubd, vec
from umlctl.devices.families import family_of
from umlctl.errors import HostError
from umlctl.guest import words
from umlctl.guest.specs import USER_RESOLVER, Disk
from umlctl.state.leases import Use

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.backends.interface import Owner
    from umlctl.devices.parse import Device
    from umlctl.guest.specs import Nic
    from umlctl.state.records import DeviceEntry

BEING_PLUGGED: Final = "it is being plugged"
"""The problem of an entry that is written down, and that the guest does not have yet."""
MAX_RESOLVERS: Final = 3
"""How many name servers a system asks. Source: MAXNS of resolv.h"""
BACKENDS: Final[tuple[Backend, ...]] = (
    *(DISK, VECTOR, LEGACY),
    *(CONSOLE, SERIAL, MEMORY, VIRTIO, VFIO, SHARE),
)
_BY_FAMILY: Final = {backend.family: backend for backend in BACKENDS}
_UNKNOWN: Final = Backend("")


def of(name: str) -> Backend:
    """The backend of a device, by its name, as `ubd3`. A newer umlctl may have plugged a device of
    a family that this one does not know: its kernel alone answers for that.
    """
    return _BY_FAMILY.get(family_of(name), _UNKNOWN)


def of_asked(asked: Disk | Nic) -> Backend:
    """The backend of what is to be plugged, which may have no number yet."""
    if isinstance(asked, Disk):
        return DISK
    return LEGACY if family_of(asked.text) == LEGACY.family else VECTOR


def entry_of(umid: str, device: Device) -> DeviceEntry | None:
    """The entry in a guest's table for a device that its kernel was told of; None if that cannot be
    known.
    """
    if isinstance(device, ubd.Ubd):
        return disk.entry_of(umid, device)
    if isinstance(device, (vec.Vec, eth.Eth)):
        return nic.entry_of(umid, device)
    return None


def plan_all(asked: Iterable[Disk | Nic], owner: Owner) -> list[DeviceEntry]:
    """What a kernel would be told of these devices, whose numbers have been given.

    Raises: HostError, UsageError
    """
    entries = []
    for each in asked:
        number = each.slot if isinstance(each, Disk) else each.number
        assert number is not None
        entries.append(of_asked(each).plan(each, number, owner))
    return entries


def prepare_all(asked: Iterable[Disk | Nic], owner: Owner, users: list[Use]) -> list[DeviceEntry]:
    """Have the host's side ready of all devices on a kernel's command line; their numbers have been
    given. The caller holds `leases.lock`.

    users: the devices of all other guests

    Raises: HostError, UsageError; nothing is left behind then
    """
    entries: list[DeviceEntry] = []
    try:
        for each in asked:
            number = each.slot if isinstance(each, Disk) else each.number
            assert number is not None
            if isinstance(each, Disk) and each.discard and not words.can_be_given(owner.directory):
                raise HostError(
                    f"ubd{number}: a COW file to discard would be in {owner.directory}, and a "
                    "kernel argument can have no blank and no quote; set UMLCTL_DIR to a "
                    "directory without"
                )
            others = users + [Use(owner.umid, entry) for entry in entries]
            entry = of_asked(each).prepare(each, number, owner, others)
            entry.boot = True
            entries.append(entry)
        nic_address.keep_only(owner.umid, entries)
    except BaseException:
        undo_all(entries, owner)
        raise
    return entries


def undo_all(entries: Iterable[DeviceEntry], owner: Owner) -> None:
    for entry in entries:
        of(entry.name).undo(entry, owner)


def release_all(entries: Iterable[DeviceEntry], owner: Owner) -> list[str]:
    """Release all devices of a guest that has ended, the last first; return what failed."""
    said = []
    for entry in reversed(list(entries)):
        try:
            backend = of(entry.name)
            let_go = backend.undo if entry.problem == BEING_PLUGGED else backend.release
            said.append(let_go(entry, owner))
        except Exception as problem:  # noqa: BLE001 - one that fails must not keep the others
            said.append(f"{entry.name}: {problem!r}")
    return [each for each in said if each]


def for_init(entries: Iterable[DeviceEntry]) -> str:
    """What umlctl's init program is to make of the NICs, see `cmdline.build`.

    Raises: HostError
    """
    told: list[list[str]] = []
    resolvers: list[str] = []
    last: list[str] = []
    for entry in entries:
        is_nic = entry.addr and isinstance(of(entry.name), NicBackend)
        if is_nic and not nic_address.asks_itself(entry.asked):
            told.append([entry.name, entry.addr])
            gateway, *known = nic_address.way_out(entry.asked, entry.network, entry.addr) or ("",)
            if known:
                last = told[-1]
                last.append(gateway)
                resolvers += known
    # Those of guests first: slirp4netns's says of all other names that there are none.
    stations = [each for each in dict.fromkeys(resolvers) if each != USER_RESOLVER]
    outside = [USER_RESOLVER] if USER_RESOLVER in resolvers else []
    last += stations[: MAX_RESOLVERS - len(outside)] + outside
    return ";".join(",".join(words) for words in told)
