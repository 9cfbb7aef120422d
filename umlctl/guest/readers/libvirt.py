"""What a domain of libvirt's UML driver says of a guest. Pure.

Source: docs/drvuml.html.in, docs/formatdomain and src/uml/uml_conf.c of libvirt, while it had the
driver
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from umlctl.errors import UsageError
from umlctl.guest import specs
from umlctl.guest.readers import counterparts, elements, linux
from umlctl.guest.readers.reading import Reading, kernel_words, shown
from umlctl.guest.words import key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from umlctl.guest.readers.elements import Element

KIND: Final = "uml"
UNITS: Final = {
    **dict.fromkeys(("b", "bytes"), 0),
    **dict.fromkeys(("", "k", "KiB"), 10),
    **dict.fromkeys(("M", "MiB"), 20),
    **dict.fromkeys(("G", "GiB"), 30),
    **dict.fromkeys(("T", "TiB"), 40),
}
"""Units of memory, as powers of two; without one it is in KiB."""
DECIMAL_UNITS: Final = {"KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
IS_CONSOLE: Final = "`umlctl console` is a terminal on tty0, and `umlctl logs` has what it showed"
WITHOUT: Final[Mapping[str, tuple[str, str]]] = {
    "uuid": ("a guest is known by its name", ""),
    **dict.fromkeys(
        ("title", "description", "metadata"),
        ("a definition has comments for that", "a comment begins with #"),
    ),
    **dict.fromkeys(
        ("features", "clock", "cpu", "sysinfo", "idmap", "iothreads", "pm"),
        ("UML emulates no hardware", ""),
    ),
    **dict.fromkeys(("seclabel", "keywrap"), ("it is libvirt's own", "`confine` is what confines")),
    "memoryBacking": ("the memory is a file of the host", 'mem-dir = "DIR" says where'),
    "numatune": (
        "a guest has no nodes",
        "`numa` has it on one of the host's, and `cpus` on some CPUs",
    ),
    "memtune": ("its units are libvirt's", 'memory-limit = "512M" is the most it may use'),
    "blkiotune": ("umlctl limits no disks", ""),
    "cputune": ("its units are libvirt's", "`cpus` and `cpu-limit` are there"),
    "resource": ("control groups are umlctl's own", ""),
}
"""Elements without a counterpart: why, and what to use."""
WITHOUT_DEVICE: Final[Mapping[str, tuple[str, str]]] = {
    **dict.fromkeys(("graphics", "video", "input", "sound"), ("UML has no screen", IS_CONSOLE)),
    "emulator": ("the kernel itself is run", ""),
    "filesystem": (
        "libvirt's UML had none",
        "hostfs: `umlctl exec --share`, or `mount -t hostfs` in the guest",
    ),
    "hostdev": ("the hardware of this host is not given to guests", ""),
    "memballoon": ("`umlctl mem GUEST` takes memory and gives it back", ""),
    "watchdog": ("`hang-after` and `on-hang` watch over a guest", ""),
    "channel": ("`umlctl exec GUEST` runs a command in a guest", ""),
    "rng": ("the kernel has the host's randomness", ""),
}
_SLOT: Final = re.compile(r"ubd([a-p]|1[0-5]|[0-9])")


def read(text: str, path: str, base: str) -> Reading:
    """Read a domain.

    path: of the file, for messages
    base: the directory that relative paths are taken from

    Raises: UsageError: it is none, with file and line
    """
    domain = elements.read(text, path)
    where = f"{shown(path)}:{domain.line}"
    if domain.name != "domain":
        raise UsageError(f"{where}: {domain}: this is no domain of libvirt: <domain type='uml'>")
    if domain.get("type") != KIND:
        raise UsageError(
            f"{where}: {domain}: a domain of type {KIND} is read, and no other: what it runs is "
            "no UML kernel"
        )
    reader = _Reader(path, base)
    for each in domain.children:
        reader.take(each)
    reader.finish()
    return reader.result


class _Reader:
    """Takes one element after the other.

    Fields:
        path: of the file
        result: what was read
        disks: by their slots, each with its element
        root: what the kernel is told of its root, with the element
        nics: how many there are
    """

    def __init__(self, path: str, base: str) -> None:
        self.path = shown(path)
        self.result = Reading(base)
        self.disks: list[tuple[specs.Disk, Element]] = []
        self.root: tuple[str, Element] | None = None
        self.nics = 0

    def at(self, found: Element) -> str:
        return f"{self.path}:{found.line}"

    def take(self, found: Element) -> None:
        take = _TAKES.get(found.name)
        if take is not None:
            take(self, found)
        elif found.name in WITHOUT:
            self._leave(found, *WITHOUT[found.name])
        else:
            self._leave(found, "no counterpart of it is known")

    def _leave(self, found: Element, why: str, instead: str = "", *, changed: bool = False) -> None:
        self.result.leave(self.at(found), str(found), why, instead, changed=changed)

    def _carry(self, found: Element, name: str, value: str | int | bool) -> None:
        self.result.carry(name, value, self.at(found), str(found))

    # The domain

    def take_name(self, found: Element) -> None:
        self.result.name = found.text.strip()

    def take_memory(self, found: Element) -> None:
        number, unit = found.text.strip(), found.get("unit")
        if not (number.isascii() and number.isdigit() and len(number) < 16):
            self._leave(found, "it is no number")
            return
        if unit in UNITS:
            size = int(number) << UNITS[unit]
        elif unit in DECIMAL_UNITS:
            size = int(number) * DECIMAL_UNITS[unit]
        else:
            self._leave(found, f"{shown(unit)!r} is no unit of memory")
            return
        self._carry(found, "mem", f"{size >> 10}K" if size % (1 << 20) else f"{size >> 20}M")

    def take_balloon(self, found: Element) -> None:
        """What the guest begins with: libvirt gave the kernel that."""
        earlier = [each for each in self.result.items if each.key == "mem"]
        before = earlier[0].value if earlier else ""
        for each in earlier:
            self.result.items.remove(each)
        self.take_memory(found)
        now = next((each.value for each in self.result.items if each.key == "mem"), before)
        if earlier and now != before:
            self.result.leave(
                earlier[0].at,
                earlier[0].given,
                "a guest has no more memory than it boots with",
                f'mem = "{before}", and `umlctl mem GUEST` takes some of it and gives it back',
            )

    def take_cpus(self, found: Element) -> None:
        number = found.text.strip()
        if number.isascii() and number.isdigit() and len(number) < 6:
            if int(number) > 1:
                self._carry(found, "ncpus", int(number))
        else:
            self._leave(found, "it is no number")
        if found.get("cpuset"):
            cpus = counterparts.cpu_list(found.get("cpuset"))
            if cpus:
                self._carry(found, "cpus", cpus)
            else:
                self._leave(found, "its cpuset is no list of numbers", 'cpus = "0-3,5" is one')

    def take_os(self, found: Element) -> None:
        for each in found.children:
            text = each.text.strip()
            if each.name == "kernel" and text:
                self._carry(each, "kernel", self.result.path(text))
            elif each.name == "initrd" and text:
                self._carry(each, *counterparts.initrd(self.result.path(text)))
            elif each.name == "root" and text:
                self.root = text, each
            elif each.name == "cmdline":
                words = kernel_words(text)
                for root in (word for word in words if key(word) == "root"):
                    self.root = root.removeprefix("root="), each
                others = [word for word in words if key(word) != "root"]
                linux.take_words(self.result, others, self.at(each))
            elif each.name == "type" and text == KIND:
                continue
            else:
                self._leave(each, "UML starts a kernel, and nothing before it")

    def take_action(self, found: Element) -> None:
        event, action = found.name, found.text.strip()
        if action not in counterparts.ACTIONS:
            self._leave(found, "it is no action that is known", "on-panic and on-exit have four")
        elif event == "on_reboot":
            if action == "destroy":
                self._carry(found, "append", "noreboot")
            elif action != "restart":
                why = "a kernel that reboots starts anew by itself, and is the same guest"
                self._leave(found, why, 'append = ["noreboot"] ends it there')
        else:
            if "-" in action:
                why = "no core is written, and a guest keeps its name"
                self._leave(found, why, changed=True)
            if not (event == "on_poweroff" and action == "destroy"):
                name = "on-panic" if event == "on_crash" else "on-exit"
                self._carry(found, name, counterparts.ACTIONS[action])

    # Devices

    def take_devices(self, found: Element) -> None:
        for each in found.children:
            if each.name == "disk":
                self._disk(each)
            elif each.name == "interface":
                self._nic(each)
            elif each.name in ("console", "serial"):
                self._line(each)
            elif each.name in WITHOUT_DEVICE:
                self._leave(each, *WITHOUT_DEVICE[each.name])
            else:
                self._leave(each, "no counterpart of it is known")

    def _disk(self, found: Element) -> None:
        file = found.attribute("source", "file") or found.attribute("source", "dev")
        slot = _SLOT.fullmatch(found.attribute("target", "dev"))
        kind = found.attribute("driver", "type") or "raw"
        if not file:
            self._leave(found, "no file of this host is its source", "`umlctl disk add` plugs one")
            return
        if kind not in ("raw", "file", "aio"):
            made = "`qemu-img convert -O raw` makes one"
            self._leave(found, f"its format is {shown(kind)}, and UML has raw images", made)
            return
        if slot is None:
            target = shown(found.attribute("target", "dev"))
            self._leave(found, f"{target!r} is no disk of UML: ubd0 to ubd15", changed=True)
        serial = found.child("serial")
        number = slot[1] if slot else ""
        disk = specs.Disk(
            file=self.result.path(file),
            slot=None if not number else int(number) if number.isdigit() else ord(number) - 97,
            readonly=found.child("readonly") is not None or found.get("device") == "cdrom",
            shared=found.child("shareable") is not None,
            serial=serial.text.strip() if serial is not None else "",
        )
        self.disks.append((disk, found))
        for name in ("boot", "geometry", "iotune", "encryption", "transient", "auth"):
            strange = found.child(name)
            if strange is not None:
                self._leave(strange, "disks of UML have no such thing")

    def _nic(self, found: Element) -> None:
        number, self.nics = self.nics, self.nics + 1
        mac = found.attribute("mac", "address").lower()
        for each in found.children:
            if each.name not in ("mac", "source", "target", "address", "alias"):
                self._leave(each, *_of_nic(each.name))
        kind = found.get("type")
        source = found.child("source")
        tap = found.attribute("target", "dev")
        nic = specs.Nic(kind=specs.USER, mac=mac)
        if kind == "bridge" and source is not None:
            bridge = source.get("bridge")
            nic = specs.Nic(kind=specs.TAP, name=specs.AUTO, bridge=bridge, mac=mac)
        elif kind == "ethernet" and tap:
            nic = specs.Nic(kind=specs.TAP, name=tap, mac=mac)
        elif kind == "network":
            self._leave(
                found,
                "networks of libvirt are not umlctl's: it is `user`, NAT of its own",
                "tap=auto,bridge=virbr0 joins a network of libvirt by its bridge",
                changed=True,
            )
        elif kind == "mcast" and source is not None:
            text = f"eth{number}=mcast,{mac},{source.get('address')},{source.get('port')}"
            nic = specs.Nic(kind=specs.KERNEL, number=number, mac=mac, text=text)
        elif kind != "user":
            why = "libvirt's UML knew no such interface, or it lacks its source"
            self._leave(found, why, "`umlctl nic add --help` has what there is")
            return
        self.result.carry_nic(nic, self.at(found), str(found))

    def _line(self, found: Element) -> None:
        family = "con" if found.name == "console" else "ssl"
        port = found.attribute("target", "port") or "0"
        kind = found.get("type")
        path = found.attribute("source", "path")
        is_number = port.isascii() and port.isdigit() and len(port) < 3
        if family == "con" and port == "0":
            if kind != "pty":
                why = "the first console is the supervisor's, which loses nothing of it"
                self._leave(found, why, IS_CONSOLE)
        elif kind == "pty" and is_number:
            self._carry(found, "append", f"{family}{port}=pts")
        elif kind == "null" and is_number:
            self._carry(found, "append", f"{family}{port}=null")
        elif kind == "dev" and is_number and path:
            self._carry(found, "append", f"{family}{port}=tty:{path}")
        else:
            self._leave(found, "such a line is not opened for a guest", IS_CONSOLE)

    # The whole

    def finish(self) -> None:
        """Settle the root: the first disk, unless the kernel is told another."""
        root, said = self.root or ("", None)
        is_first = root.removeprefix("/dev/") in ("", "ubd0", "ubda")
        for disk, found in self.disks:
            is_root = is_first and disk.slot == 0
            placed = msgspec.structs.replace(disk, slot=None) if is_root else disk
            self.result.carry_disk(placed, self.at(found), str(found), is_root=is_root)
        has_root = any(each.key == "root" for each in self.result.items)
        if said is not None and not (has_root and is_first):
            self.result.carry("append", f"root={root}", self.at(said), f"root={root}")


def _of_nic(name: str) -> tuple[str, str]:
    """Why an element of an interface is left, and what to use."""
    if name == "model":
        return "all NICs of UML are the kernel's own", ""
    if name == "script":
        return "libvirt's UML ran none", "a network's hooks do, see umlctl-network(1)"
    if name == "bandwidth":
        return "it is set while a guest runs", "`umlctl nic set --rate` on a switch, `tc` on a tap"
    if name == "ip":
        return "the guest's own network setup does that", "addr= of `nic` is a hint to it"
    return "NICs of UML have no such thing", ""


_TAKES: Final[Mapping[str, Callable[[_Reader, Element], None]]] = {
    "name": _Reader.take_name,
    "memory": _Reader.take_memory,
    "currentMemory": _Reader.take_balloon,
    "vcpu": _Reader.take_cpus,
    "os": _Reader.take_os,
    "on_poweroff": _Reader.take_action,
    "on_reboot": _Reader.take_action,
    "on_crash": _Reader.take_action,
    "devices": _Reader.take_devices,
}
