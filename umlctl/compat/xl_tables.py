"""The tables that xl prints, of domains: scripts take them apart by their columns. Pure."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from umlctl.devices import families

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umlctl.compat.xl_domains import Domain
    from umlctl.protocol.status import Device

FIRST_DISK: Final = 202 << 8
"""The number of xvda. Each further disk is 16 more: the last four bits are of partitions."""
DISK_FAMILIES: Final = ("xvd", "hd", "sd", "ubd")
MAX_DISKS: Final = 16
_WHOLE_DISK: Final = re.compile(r"(?:xvd|hd|sd|ubd)([a-z])|(?:xbd|ubd|wd)(\d{1,3})", re.ASCII)
CONNECTED: Final = 4
"""The state of a device that works."""
CLOSED: Final = 6
UNKNOWN: Final = -1


def domains(found: Iterable[Domain]) -> str:
    """`xl list`."""
    lines = ["Name                                        ID   Mem VCPUs\tState\tTime(s)"]
    lines += [
        f"{each.name:<40} {each.number:5d} {each.mem >> 20:5d} {each.vcpus:5d}     "
        f"{each.state}  {each.cpu:8.1f}"
        for each in found
    ]
    return "\n".join(lines)


def domains_at_length(found: Iterable[Domain]) -> str:
    """`xl list -l`: JSON."""
    return json.dumps([_at_length(each) for each in found], indent=4)


def _at_length(domain: Domain) -> dict[str, Any]:
    config: dict[str, Any] = {
        "c_info": {"type": "uml", "name": domain.name},
        "b_info": {
            "max_vcpus": domain.vcpus,
            "max_memkb": domain.mem >> 10,
            "target_memkb": domain.mem >> 10,
        },
    }
    if domain.status is not None:
        devices = domain.status.devices
        config["b_info"] |= {"kernel": domain.status.kernel, "cmdline": domain.status.command[1:]}
        config["disks"] = [
            {
                "pdev_path": _files(each),
                "vdev": vdev_name(each.name),
                "readwrite": int(any(hold.get("write") for hold in each.holds)),
            }
            for each in devices
            if families.kind_of(each.name) == families.DISK
        ]
        config["nics"] = [
            {"devid": number, "mac": each.mac, "bridge": each.bridge or each.network}
            for number, each in _nics(devices)
        ]
    return {"domid": domain.number, "config": config}


def processors(found: Iterable[tuple[Domain, str, str]]) -> str:
    """`xl vcpu-list`, of domains with the processor of this host that each ran on last, and those
    that it may run on."""
    lines = [_row_of_processor("Name", "ID", "VCPU", "CPU", "State", "Time(s)")]
    lines[0] += " Affinity (Hard / Soft)"
    for domain, last, allowed in found:
        for number in range(domain.vcpus):
            state = "r--" if domain.state.startswith("r") else "-b-"
            row = _row_of_processor(
                domain.name,
                str(domain.number),
                str(number),
                last or "-",
                state,
                f"{domain.cpu / domain.vcpus:.1f}",
            )
            lines.append(f"{row}  {allowed} / all")
    return "\n".join(lines)


def _row_of_processor(name: str, number: str, vcpu: str, cpu: str, state: str, time: str) -> str:
    return f"{name:<32} {number:>5} {vcpu:>5} {cpu:>5} {state:>5} {time:>9}"


def disks(domain: Domain) -> str:
    """`xl block-list`. In place of a path in Xen's store stands the file of this host."""
    lines = [_row_of_disk("Vdev", "BE", "handle", "state", "evt-ch", "ring-ref", "BE-path")]
    for each in _devices(domain, families.DISK):
        state = CONNECTED if each.observed is not None else CLOSED
        cells = (vdev(each.name), 0, domain.number, state, UNKNOWN, UNKNOWN, _files(each))
        lines.append(_row_of_disk(*cells))
    return "\n".join(lines)


def _row_of_disk(*cells: object) -> str:
    widths = (5, 3, 6, 5, 6, 8, 30)
    return " ".join(f"{cell!s:<{width}}" for cell, width in zip(cells, widths, strict=True))


def nics(domain: Domain) -> str:
    """`xl network-list`. In place of a path in Xen's store stands what the NIC is on."""
    head = f"{'Idx':<3} {'BE':<2} {'Mac Addr.':<17} {'handle':<6} {'state':<5} {'evt-ch':<6} "
    lines = [head + f"{'tx-':>5}/{'rx-ring-ref':<11} {'BE-path':<30}"]
    found = [] if domain.status is None else domain.status.devices
    for number, each in _nics(found):
        state = CONNECTED if each.observed is not None else CLOSED
        where = each.bridge or each.tap or each.network or each.asked
        lines.append(
            f"{number:<3} {0:<2} {each.mac:<17} {number:6d} {state:5d} {UNKNOWN:6d} "
            f"{UNKNOWN:5d}/{UNKNOWN:<11d} {where:<30}"
        )
    return "\n".join(lines)


def uptimes(found: Iterable[Domain], *, short: bool = False) -> str:
    """`xl uptime`."""
    lines = [] if short else [f"{'Name':<33} {'ID':>4} Uptime"]
    for each in found:
        time = _duration(int(each.uptime), short=short)
        lines.append(
            f" up {time}, {each.name} ({each.number})"
            if short
            else f"{each.name:<33} {each.number:4d} {time}"
        )
    return "\n".join(lines)


def _duration(seconds: int, *, short: bool) -> str:
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    clock = f"{hours:2d}:{minutes:02d}" + ("" if short else f":{rest:02d}")
    if not days:
        return clock
    return f"{days} day{'s' if days > 1 else ''}, {clock}"


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """`xl info`."""
    return "\n".join(f"{name:<23}: {value}" for name, value in pairs)


# Devices


def vdev(name: str) -> int:
    """The number of a disk: of xvda for ubd0, and so on."""
    return FIRST_DISK + 16 * int(name[3:])


def vdev_name(name: str) -> str:
    return "xvd" + chr(ord("a") + int(name[3:]))


def disk_name(domain: Domain, text: str) -> str:
    """The disk that xl's user means: by its number, decimal or in hexadecimal digits, or by a name
    as xvdb, hdb, sdb, or ubdb and ubd1; empty if there is none."""
    for each in _devices(domain, families.DISK):
        letter = vdev_name(each.name)[-1]
        names = (each.name, *(f"{family}{letter}" for family in DISK_FAMILIES))
        if text in names or text in (str(vdev(each.name)), hex(vdev(each.name))):
            return each.name
    return ""


def slot_of(text: str) -> int | None:
    """The slot of a disk that is to be there as xvdb, hdb, or xbd1; -1 if that is left open, None
    if it is no whole disk, or beyond the last."""
    found = _WHOLE_DISK.fullmatch(text)
    if not text:
        return -1
    if found is None:
        return None
    slot = ord(found[1]) - ord("a") if found[1] else int(found[2])
    return slot if slot < MAX_DISKS else None


def nic_name(domain: Domain, text: str) -> str:
    """The NIC that xl's user means: by its number or its address; empty if there is none."""
    found = [] if domain.status is None else domain.status.devices
    for number, each in _nics(found):
        if text in (str(number), each.name) or text.lower() == each.mac.lower() != "":
            return each.name
    return ""


def _devices(domain: Domain, kind: str) -> list[Device]:
    found = [] if domain.status is None else domain.status.devices
    return [each for each in found if families.kind_of(each.name) == kind]


def _nics(devices: Iterable[Device]) -> list[tuple[int, Device]]:
    return [
        (int(each.name[3:]), each)
        for each in devices
        if families.kind_of(each.name) == families.NIC and each.name[3:].isdigit()
    ]


def _files(device: Device) -> str:
    """The files of a disk; of a COW file with its backing file the former alone."""
    paths = [str(hold.get("path", "")) for hold in device.holds]
    return paths[0] if paths else device.asked
