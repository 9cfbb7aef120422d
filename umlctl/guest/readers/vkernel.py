"""What a command line of DragonFly's vkernel says of a guest. Pure.

Source: vkernel(7); how getopt(3) of BSD reads it: options end at the first word that is none
"""

from __future__ import annotations

import re
from os.path import basename
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from umlctl.errors import UsageError
from umlctl.guest import specs
from umlctl.guest.definition import LOCKED
from umlctl.guest.readers import counterparts
from umlctl.guest.readers.reading import Reading, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

OPTIONS: Final = "ceiIlmnprRhstUvz"
WITH_VALUE: Final = "ceiIlmnprR"
"""Options that take a value."""
SIZE: Final = re.compile(r"([0-9]{1,18})([kKmMgG]?)")
MAX_CPUS: Final = 16
"""The most that vkernel takes."""
NO_ADDRESS: Final = "0.0.0.0"  # noqa: S104 - it stands for none
PREFIX: Final = "boot.netif."
NFS: Final = "boot.nfsroot."


class Option(NamedTuple):
    """An option as it was given.

    Fields:
        letter: of it
        value: empty: it takes none
        at, given: where, and as what
    """

    letter: str
    value: str
    at: str
    given: str


class Disk(NamedTuple):
    """What -r, -R and -c have asked for."""

    disk: specs.Disk
    option: Option


def read(words: Sequence[str], base: str) -> Reading:
    """Read a command line, with the kernel's path before it or without.

    base: the directory that relative paths are taken from

    Raises: UsageError: an option is unknown, or has no value
    """
    reader = _Reader(base)
    first = 0
    if words and not words[0].startswith("-"):
        path = reader.result.path(words[0])
        reader.result.carry("kernel", path, "argument 1", words[0])
        first = 1
    options, rest = _options(words, first)
    for option in options:
        _TAKES[option.letter](reader, option)
    for index in range(rest, len(words)):
        reader.result.leave(f"argument {index + 1}", words[index], "vkernel takes options alone")
    reader.finish()
    return reader.result


def _options(words: Sequence[str], first: int) -> tuple[list[Option], int]:
    """The options, and where they end.

    Raises: UsageError
    """
    found = []
    index = first
    while index < len(words) and words[index].startswith("-") and words[index] != "-":
        at = f"argument {index + 1}"
        word = words[index]
        index += 1
        if word == "--":
            break
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter not in OPTIONS:
                raise UsageError(
                    f"{at}: {shown(word)}: vkernel has no option -{shown(letter)}; vkernel(7) has "
                    "those that are read"
                )
            if letter not in WITH_VALUE:
                found.append(Option(letter, "", at, f"-{letter}"))
                continue
            if not letters and index == len(words):
                raise UsageError(f"{at}: -{letter} takes a value, and none follows it")
            value = letters or words[index]
            index += not letters
            found.append(Option(letter, value, at, f"-{letter} {value}"))
            letters = ""
    return found, index


class _Reader:
    """Takes one option after the other.

    Fields:
        result: what was read
        disks: in their order; the first is the root
        nics: each with its option
        variables: of the kernel's environment, each with its option
        map_from: the first processor of `-l map`
        ncpus: processors of the guest
    """

    def __init__(self, base: str) -> None:
        self.result = Reading(base)
        self.disks: list[Disk] = []
        self.nics: list[tuple[specs.Nic, Option]] = []
        self.variables: dict[str, tuple[str, Option]] = {}
        self.map_from: tuple[int, Option] | None = None
        self.ncpus = 2
        self.unlocked = False

    def _carry(self, option: Option, key: str, value: str | int | bool) -> None:
        self.result.carry(key, value, option.at, option.given)

    def _leave(self, option: Option, why: str, instead: str = "", *, changed: bool = False) -> None:
        self.result.leave(option.at, option.given, why, instead, changed=changed)

    # Options

    def take_disk(self, option: Option) -> None:
        file, colon, serial = option.value.rpartition(":")
        if not colon or option.letter == "c":
            file, serial = option.value, ""
        self.disks.append(
            Disk(
                specs.Disk(
                    file=self.result.path(file),
                    readonly=option.letter == "c",
                    discard=option.letter == "R",
                    serial=serial,
                ),
                option,
            )
        )

    def take_environment(self, option: Option) -> None:
        for each in _split(option.value):
            name, equals, value = each.partition("=")
            one = option._replace(given=f"-e {each}")
            if not equals:
                self._leave(one, "it is no NAME=VALUE")
            elif name in self.variables:
                self._leave(one, f"{name} is given already, and the first counts")
            else:
                self.variables[name] = value, one

    def take_image(self, option: Option) -> None:
        self._leave(
            option,
            "the file of a guest's memory has no name, and ends with it",
            'mem-dir = "DIR" has it made there',
        )

    def take_interface(self, option: Option) -> None:
        text, equals, mac = option.value.partition("=")
        where, slash, mask = _netmask(text)
        name, *addresses = where.split(":")
        if len(addresses) > 2:
            self._leave(option, "it has more than two addresses")
            return
        host, guest = (*addresses, "", "")[:2]
        prefix = f"/{mask}" if slash else ""
        nic = specs.Nic(kind=specs.TAP, mac=mac.lower() if equals else "")
        if guest not in ("", NO_ADDRESS):
            nic = msgspec.structs.replace(nic, addr=guest + prefix)
        if "/" in name.removeprefix("/dev/"):
            self._by_socket(nic, name, host, option)
            return
        tap = name.removeprefix("/dev/") or specs.AUTO
        nic = msgspec.structs.replace(nic, name=tap)
        if tap == specs.AUTO and host and not _is_address(host):
            nic = msgspec.structs.replace(nic, bridge=host)
        elif host not in ("", NO_ADDRESS):
            if tap == specs.AUTO:
                nic = msgspec.structs.replace(nic, host=host + prefix)
            else:
                self._leave(
                    option,
                    f"{shown(tap)} is there already, and is left as it is",
                    f"`ip` gives it its address or bridge, {shown(host)}; tap=auto makes one",
                    changed=True,
                )
        self.nics.append((nic, option))

    def _by_socket(self, nic: specs.Nic, path: str, host: str, option: Option) -> None:
        """A NIC at the socket of vknetd: a switch takes its place."""
        nic = msgspec.structs.replace(nic, kind=specs.SWITCH, name=basename(path))
        more = f", {shown(host)} among them" if host not in ("", NO_ADDRESS) else ""
        self._leave(
            option,
            "there is no vknetd",
            f"a switch of that name is made with the first guest; `umlctl network create "
            f"{shown(nic.name)}` has its way out, and addresses of this host{more}",
            changed=True,
        )
        self.nics.append((nic, option))

    def take_lock(self, option: Option) -> None:
        word, comma, start = option.value.partition(",")
        number = word if word != "map" else (start if comma else "0")
        if word == "any":
            return
        if not (number.isascii() and number.isdigit() and len(number) < 5):
            self._leave(option, "it is any, map, map,CPU or a CPU")
        elif word == "map":
            self.map_from = int(number), option
        else:
            self._carry(option, "cpus", number)

    def take_memory(self, option: Option) -> None:
        found = SIZE.fullmatch(option.value)
        if found is None:
            self._leave(option, "it is no size", 'mem = "256M"')
        else:
            self._carry(option, "mem", f"{int(found[1])}{found[2].upper()}")

    def take_cpus(self, option: Option) -> None:
        number, *bits = option.value.split(":")
        if not (number.isascii() and number.isdigit() and 1 <= int(number[:5]) <= MAX_CPUS):
            self._leave(option, f"it is no number from 1 to {MAX_CPUS}", "ncpus = 2")
            return
        if bits:
            why = "UML fakes no threads and cores of its processors"
            self._leave(option, why, f"it has {int(number)} of them", changed=True)
        self.ncpus = int(number)
        if self.ncpus > 1:
            self._carry(option, "ncpus", self.ncpus)

    def take_pidfile(self, option: Option) -> None:
        self._carry(option, "pidfile", self.result.path(option.value))

    def take_flag(self, option: Option) -> None:
        self._carry(option, {"s": "single", "v": "verbose"}[option.letter], True)

    def take_unlocked(self, _option: Option) -> None:
        self.unlocked = True

    def take_timer(self, option: Option) -> None:
        self._leave(option, "UML always has the host's precise timers")

    def take_zero(self, option: Option) -> None:
        self._leave(option, "the pages of a guest's memory are zero when it first touches them")

    def take_help(self, option: Option) -> None:
        self._leave(option, "it asks for help", "`umlctl help run` has the options")

    # The whole

    def finish(self) -> None:
        """Read what depends on others."""
        self._environment()
        for index, (disk, option) in enumerate(self.disks):
            self.result.carry_disk(disk, option.at, option.given, is_root=index == 0)
        for nic, option in self.nics:
            self.result.carry_nic(nic, option.at, option.given)
        if self.map_from is not None:
            first, option = self.map_from
            if self.ncpus > 1:
                self._leave(
                    option,
                    "the guest's processors are not pinned one by one",
                    "it runs on all that they would have",
                    changed=True,
                )
            self._carry(option, "cpus", counterparts.cpu_map(first, self.ncpus))
        if not self.unlocked:
            self.result.carry("modules", LOCKED, "vkernel", "without -U")

    def _environment(self) -> None:
        """The kernel's environment: the address of a NIC, and what Linux has no use for."""
        address = self.variables.pop(f"{PREFIX}ip", None)
        mask = self.variables.pop(f"{PREFIX}netmask", None)
        name, about = self.variables.pop(f"{PREFIX}name", ("vke0", None))
        if address is not None:
            self._address(address, mask, name, about)
        elif mask is not None:
            self._leave(mask[1], f"there is no {PREFIX}ip")
        for key, (_, option) in self.variables.items():
            self._leave(option, *_of_variable(key))

    def _address(
        self,
        address: tuple[str, Option],
        mask: tuple[str, Option] | None,
        name: str,
        about: Option | None,
    ) -> None:
        """Give a NIC the address that the environment has for it."""
        number = name.removeprefix("vke")
        index = int(number) if number.isdigit() and number.isascii() and len(number) < 3 else -1
        if not 0 <= index < len(self.nics) or self.nics[index][0].addr:
            for option in filter(None, (address[1], mask and mask[1], about)):
                self._leave(option, f"there is no NIC {shown(name)} without an address")
            return
        prefix = _prefix(mask[0]) if mask else ""
        if mask and not prefix:
            self._leave(mask[1], "it is no netmask")
        nic, option = self.nics[index]
        self.nics[index] = msgspec.structs.replace(nic, addr=address[0] + prefix), option
        self._leave(
            address[1],
            "the guest's own network setup gives its NIC an address",
            "addr= of the NIC is a hint to it",
            changed=True,
        )


def _netmask(text: str) -> tuple[str, str, str]:
    """What stands before a netmask, the '/' and the netmask: a path has slashes, too."""
    found = re.fullmatch(r"(.*:[^:/]*)/([0-9.]+)", text, re.DOTALL)
    return (found[1], "/", found[2]) if found else (text, "", "")


def _is_address(text: str) -> bool:
    """Whether it is an address, rather than the name of a bridge."""
    import ipaddress  # costs as much as all the rest

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _prefix(mask: str) -> str:
    """/16 of 255.255.0.0; empty: it is no netmask."""
    import ipaddress  # costs as much as all the rest

    try:
        return f"/{ipaddress.ip_network(f'0.0.0.0/{mask}').prefixlen}"
    except ValueError:
        return ""


def _split(text: str) -> list[str]:
    """The variables of one -e, without quotes; a ':' between quotes ends none."""
    found = [""]
    quote = ""
    for c in text:
        if c in "\"'" and quote in ("", c):
            quote = "" if quote else c
        elif c == ":" and not quote:
            found.append("")
        else:
            found[-1] += c
    return [each for each in found if each]


def _of_variable(name: str) -> tuple[str, str]:
    """Why a variable of the kernel's environment is left, and what to use."""
    if name.startswith(NFS):
        return (
            "UML brings no network up before it has its root",
            'a directory of this host is a root for many: root = "DIR,ro"',
        )
    if name.startswith(PREFIX):
        return "the guest's own network setup has it", ""
    if name == "vfs.root.mountfrom":
        return (
            "the root is the first disk",
            "root=/dev/ubda1 and rootfstype=ext4 in `append` have it otherwise",
        )
    if name == "hw.vke.max_ringsize":
        return "a NIC has its own", "vec0:transport=tap,ifname=TAP,depth=64 in `nic`"
    if name == "hw.tsc_cputimer_enable":
        return "UML always has the host's precise timers", ""
    return "it is a variable of DragonFly's kernel", "`append` takes arguments of Linux"


_TAKES: Final[Mapping[str, Callable[[_Reader, Option], None]]] = {
    "c": _Reader.take_disk,
    "e": _Reader.take_environment,
    "h": _Reader.take_help,
    "i": _Reader.take_image,
    "I": _Reader.take_interface,
    "l": _Reader.take_lock,
    "m": _Reader.take_memory,
    "n": _Reader.take_cpus,
    "p": _Reader.take_pidfile,
    "r": _Reader.take_disk,
    "R": _Reader.take_disk,
    "s": _Reader.take_flag,
    "t": _Reader.take_timer,
    "U": _Reader.take_unlocked,
    "v": _Reader.take_flag,
    "z": _Reader.take_zero,
}
