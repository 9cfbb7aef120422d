"""What a person asks to be plugged: disks and NICs, in the words of `--disk` and `--nic`.

    FILE[,slot=N][,ro][,sync][,cow=FILE|,discard][,serial=S][,no-trim][,shared][,raw]
    ubdN[FLAGS]=FILE[,BACKING[,SERIAL]]                          as the kernel takes it

    user|switch=NAME|tap=NAME|tap=auto|transport=...[,nic=N][,mac=M][,addr=A|auto|dhcp][,bridge=B][,host=A][,forward=F][,isolated]
    vecN:transport=...,...    ethN=TRANSPORT,...                 as the kernel takes it

The same text is an option, a line of a definition, the argument of the mconsole command `plug`,
and what the device table keeps; the host side is made from it, again after every reboot.
"""

from __future__ import annotations

from os.path import join, normpath
from typing import TYPE_CHECKING, Final

import msgspec

from umlctl.devices import eth, parse, ubd, values, vec
from umlctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_NICS: Final = 64
"""More NICs than this are a mistake: the kernel itself sets no limit."""
DISK_FLAGS: Final = {
    "ro": "readonly",
    "sync": "sync",
    "discard": "discard",
    "no-trim": "no_trim",
    "shared": "shared",
    "raw": "raw",
}
USER: Final = "user"
SWITCH: Final = "switch"
TAP: Final = "tap"
KERNEL: Final = "kernel"
USER_ADDRESS: Final = "10.0.2.15/24"
"""The address that DHCP gives the first guest behind slirp4netns."""
USER_GATEWAY: Final = "10.0.2.2"
USER_RESOLVER: Final = "10.0.2.3"
AUTO: Final = "auto"
DHCP: Final = "dhcp"
_OWN_ROUTES: Final = (
    "; the guest sets its own routes: `umlctl exec GUEST -- ip route add default via ADDRESS`"
)
_ROUTE_WORDS: Final = ("gw", "gateway", "route")
"""Options that other programs have for what only the system in a guest can set."""


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """A disk, as asked for.

    Fields:
        file: the image or block device; with a COW file, its backing file
        slot: 0-15; None: the first free one
        readonly, sync: of the kernel's device
        cow: the file that takes what is written; made if it is missing
        discard: the same with a file that ends with the guest
        serial: as the guest shows it
        no_trim: discards of the guest leave the file as it is
        shared: other uses of the file are the user's own business
        raw: a COW file is taken as it stands, header and all
    """

    file: str
    slot: int | None = None
    readonly: bool = False
    sync: bool = False
    cow: str = ""
    discard: bool = False
    serial: str = ""
    no_trim: bool = False
    shared: bool = False
    raw: bool = False

    def __str__(self) -> str:
        if self.readonly and self.cow and self.slot is not None:
            return str(self.device(self.slot, self.cow))  # the kernel's words alone can say it
        words = [self.file]
        words += [f"slot={self.slot}"] if self.slot is not None else []
        words += [word for word, field in DISK_FLAGS.items() if getattr(self, field)]
        words += [f"cow={self.cow}"] if self.cow else []
        words += [f"serial={self.serial}"] if self.serial else []
        return ",".join(words)

    def device(self, slot: int, cow: str) -> ubd.Ubd:
        """The kernel's device.

        cow: the COW file, given or made

        Raises: UsageError
        """
        return ubd.make(
            slot,
            self.file,
            cow=cow,
            readonly=self.readonly,
            sync=self.sync,
            shared=self.shared,
            trim=not self.no_trim,
            detect=not self.raw,
            serial=self.serial,
        )


class Nic(msgspec.Struct, frozen=True, kw_only=True):
    """A network interface, as asked for.

    Fields:
        kind: USER, SWITCH, TAP or KERNEL
        name: of the switch; of the tap, or "auto"
        number: the N of vecN; None: the first free one
        mac: empty: derived from the guest's name
        addr: the address that the guest is meant to take, with or without a prefix length: a hint;
            AUTO: one that umlctl gives it; DHCP: the same, for which the guest is to ask
        bridge: the bridge that a tap joins
        host: the host's own address on a tap made for it, with its prefix length
        forwards: with USER: HOSTPORT:GUESTPORT
        isolated: with USER: the guest cannot reach what listens on the host's loopback
        text: with KERNEL: the kernel's own words; without a number `transport=...`
    """

    kind: str
    name: str = ""
    number: int | None = None
    mac: str = ""
    addr: str = ""
    bridge: str = ""
    host: str = ""
    forwards: tuple[str, ...] = ()
    isolated: bool = False
    text: str = ""

    def __str__(self) -> str:
        if self.text and not self.text.startswith("transport="):
            return self.text
        words = [self.text or (f"{self.kind}={self.name}" if self.name else self.kind)]
        words += [f"nic={self.number}"] if self.number is not None else []
        words += [f"mac={self.mac}"] if self.mac else []
        words += [f"addr={self.addr}"] if self.addr else []
        words += [f"bridge={self.bridge}"] if self.bridge else []
        words += [f"host={self.host}"] if self.host else []
        words += [f"forward={forward}" for forward in self.forwards]
        words += ["isolated"] if self.isolated else []
        return ",".join(words)


def parse_disk(text: str, base: str = "") -> Disk:
    """Read a disk.

    base: the directory that relative paths are taken from; empty: there may be none

    Raises: UsageError
    """
    if names_slot(text):
        device = ubd.parse(text)
        disk = _absolute(of_device(device.absolute(base) if base else device), base)
        disk.device(device.slot, disk.cow)  # it can be said again, too
        return disk
    file, *words = text.split(",")
    if not file:
        raise UsageError(f"a disk begins with its file: {text!r}")
    found: dict[str, object] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key in DISK_FLAGS and not equals:
            new: dict[str, object] = {DISK_FLAGS[key]: True}
        elif key in ("cow", "serial") and value:
            new = {key: value}
        elif key == "slot":
            new = {"slot": _number(value, ubd.SLOTS, "a disk's slot")}
        else:
            raise UsageError(
                f"a disk takes slot=N, ro, sync, cow=FILE, discard, serial=S, no-trim, shared, "
                f"raw after its file, not {word!r}: {text!r}"
            )
        if found.keys() & new.keys():
            raise UsageError(f"{key} is given twice: {text!r}")
        found |= new
    disk = _absolute(Disk(file=file, **found), base)  # type: ignore[arg-type]
    _check_disk(disk, text)
    disk.device(disk.slot or 0, disk.cow)  # the kernel's own limits are told here
    return disk


def _absolute(disk: Disk, base: str) -> Disk:
    """The same disk with its paths taken from a directory.

    Raises: UsageError: there is none to take them from
    """
    paths = {}
    for field in ("file", "cow"):
        path = getattr(disk, field)
        if path and not path.startswith("/") and not base:
            raise UsageError(f"a disk's path begins with '/', as nobody knows from where: {path!r}")
        if path:
            paths[field] = normpath(join(base, path))
    return msgspec.structs.replace(disk, **paths)


def _check_disk(disk: Disk, text: str) -> None:
    """See that the options fit each other.

    Raises: UsageError
    """
    if disk.cow and disk.discard:
        raise UsageError(f"a disk has a COW file that stays or one to discard, not both: {text!r}")
    if disk.readonly and (disk.cow or disk.discard):
        raise UsageError(f"a disk with a COW file is there to be written: no `ro`: {text!r}")
    if disk.raw and (disk.cow or disk.discard):
        raise UsageError(f"`raw` is for a disk without a COW file: {text!r}")


def of_device(device: ubd.Ubd) -> Disk:
    """The same disk as the kernel's words name."""
    return Disk(
        file=device.backing or device.files[0],
        slot=device.slot,
        readonly=not device.writable,
        sync=device.sync,
        cow=device.cow,
        serial=device.serial,
        no_trim=not device.trim,
        shared=device.shared,
        raw=not device.detect,
    )


def names_slot(text: str) -> bool:
    """Whether a text is in the kernel's words, rather than a file's name."""
    name, equals, _ = text.partition("=")
    return name.startswith("ubd") and bool(equals) and not {"/", ","} & set(name)


def parse_nic(text: str, *, insist: bool = False) -> Nic:
    """Read a NIC.

    insist: take what is dangerous too, such as a BPF program

    Raises: UsageError
    """
    if text.startswith(("vec", "eth")) and text[3:4].isdigit():
        device = parse.parse(text, insist=insist)
        assert isinstance(device, (vec.Vec, eth.Eth))
        return Nic(kind=KERNEL, number=device.number, mac=device.mac, text=text)
    first, *words = text.split(",")
    kind, equals, value = first.partition("=")
    found, forwards, rest = _nic_options(words, text)
    nic = Nic(
        kind=KERNEL if kind == "transport" else kind,
        name="" if kind == "transport" else value,
        number=_number(found["nic"], MAX_NICS, "a NIC's number") if "nic" in found else None,
        mac=found.get("mac", ""),
        addr=found.get("addr", ""),
        bridge=found.get("bridge", ""),
        host=found.get("host", ""),
        forwards=tuple(forwards),
        isolated="isolated" in found,
        text=",".join([first, *rest]) if kind == "transport" else "",
    )
    if kind in (SWITCH, TAP, "transport") and not value:
        raise UsageError(f"{kind} needs a name: {kind}=NAME, in {text!r}")
    if kind not in (USER, SWITCH, TAP, "transport") or (kind == USER and equals):
        raise UsageError(
            f"a NIC is user, switch=NAME, tap=NAME, transport=..., vecN:... or ethN=..., "
            f"not {first!r}"
        )
    if rest and kind != "transport":
        key = rest[0].partition("=")[0]
        raise UsageError(
            f"a NIC takes nic=N, mac=M, addr=A and such, not {rest[0]!r}: {text!r}"
            f"{_OWN_ROUTES if key in _ROUTE_WORDS else ''}"
        )
    _check_nic(nic, text, insist=insist)
    return nic


def _nic_options(words: list[str], text: str) -> tuple[dict[str, str], list[str], list[str]]:
    """The words after the first: umlctl's own options, forwards, and the kernel's own words.

    Raises: UsageError
    """
    found: dict[str, str] = {}
    forwards = []
    rest = []
    for word in words:
        key, _, argument = word.partition("=")
        if word == "isolated":
            found[key] = word
        elif key not in ("nic", "mac", "addr", "bridge", "host", "forward"):
            rest.append(word)
        elif not argument:
            raise UsageError(f"{key} needs a value: {key}=..., in {text!r}")
        elif key == "forward":
            forwards.append(argument)
        elif key in found:
            raise UsageError(f"{key} is given twice: {text!r}")
        else:
            found[key] = argument
    return found, forwards, rest


def _check_nic(nic: Nic, text: str, *, insist: bool) -> None:
    if nic.bridge and nic.kind != TAP:
        raise UsageError(f"a bridge is joined by a tap: tap=auto,bridge={nic.bridge}, not {text!r}")
    if nic.host and (nic.kind != TAP or nic.name != AUTO or nic.bridge):
        raise UsageError(
            f"`host=` is the host's address on a tap made for the NIC, tap=auto without a bridge; "
            f"a bridge has its own, not {text!r}"
        )
    if (nic.forwards or nic.isolated) and nic.kind != USER:
        raise UsageError(f"`forward=` and `isolated` are for a NIC of kind user: {text!r}")
    planned = nic.addr in (AUTO, DHCP)
    if planned and nic.kind not in (USER, SWITCH):
        raise UsageError(
            f"`addr={nic.addr}` is for a NIC of kind user or switch=; of another network umlctl "
            f"does not know who has which address, so the guest takes addr=ADDRESS/N: {text!r}"
        )
    for address in filter(None, ("" if planned else nic.addr, nic.host)):
        import ipaddress  # costs as much as all the rest

        try:
            ipaddress.ip_interface(address)
        except ValueError:
            also = ", auto or dhcp" if address == nic.addr else ""
            raise UsageError(f"{address!r} is no address such as 10.0.0.5/24{also}") from None
    if nic.text:
        parse.parse(f"vec0:{nic.text}", insist=insist)
    if nic.mac:
        values.MAC.check("mac", nic.mac, text)


def _number(text: str, limit: int, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) < limit):
        raise UsageError(f"{what} is from 0 to {limit - 1}, not {text!r}")
    return int(text)


def number_disks(texts: Iterable[str], base: str, first: int) -> tuple[str, ...]:
    """Give each disk without one the next free slot from `first` on, and make paths absolute.

    Raises: UsageError
    """
    disks = [parse_disk(text, base) for text in texts]
    taken = {disk.slot for disk in disks}
    free = (slot for slot in range(first, ubd.SLOTS) if slot not in taken)
    numbered = []
    for disk in disks:
        slot = next(free, None) if disk.slot is None else disk.slot
        if slot is None:
            raise UsageError(
                f"there is no free slot for {disk.file}: {first} to {ubd.SLOTS - 1} are taken; "
                "slot=0 is free too where the root is no image"
            )
        numbered.append(str(msgspec.structs.replace(disk, slot=slot)))
    return tuple(numbered)


def number_nics(texts: Iterable[str], *, insist: bool = False) -> tuple[str, ...]:
    """Give each NIC without one the next free number.

    insist: take what is dangerous too

    Raises: UsageError
    """
    nics = [parse_nic(text, insist=insist) for text in texts]
    taken = {nic.number for nic in nics}
    free = (number for number in range(MAX_NICS) if number not in taken)
    numbered = []
    for nic in nics:
        number = next(free, None) if nic.number is None else nic.number
        if number is None:
            raise UsageError(f"there is no free number for {nic}: {MAX_NICS} are all")
        numbered.append(str(msgspec.structs.replace(nic, number=number)))
    return tuple(numbered)
