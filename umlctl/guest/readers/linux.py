"""What the command line of a UML kernel says of a guest. Pure.

What umlctl has an option for becomes that; all the rest stays an argument of the kernel.
"""

from __future__ import annotations

import re
from os.path import join
from typing import TYPE_CHECKING, Final

import msgspec

from umlctl.devices import ubd
from umlctl.errors import UsageError
from umlctl.guest import specs
from umlctl.guest.cmdline import OWN_ARGUMENTS
from umlctl.guest.definition import is_device
from umlctl.guest.readers import counterparts
from umlctl.guest.readers.reading import Reading, shown
from umlctl.guest.words import FOR_INIT, PRINTING_WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

LINE: Final = re.compile(r"(con|ssl)(\d*)")
"""A console or a serial line, or all of them."""
WHOLE_DISK: Final = re.compile(r"(?:/dev/)?(ubd(?:[a-p]|1[0-5]|[0-9]))")
"""A disk of the guest without a partition."""
SINGLE: Final = ("single", "s", "S", "1")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,5}")
_SIZE: Final = re.compile(r"([0-9]{1,18})([kKmMgG]?)[bB]?")
_CONSOLES: Final = "`umlctl console` is a terminal on tty0, and `umlctl logs` has what it showed"


def read(words: Sequence[str], base: str) -> Reading:
    """Read a command line, with the kernel before it or without.

    base: the directory that relative paths are taken from

    Raises: UsageError: it is too much
    """
    reader = _Reader(Reading(base))
    first = 0
    if words and is_kernel(words[0]):
        if "/" in words[0]:  # by its name alone, it is the one that is found by itself
            path = reader.result.path(words[0])
            reader.result.carry("kernel", path, "argument 1", words[0])
        first = 1
    end = words.index(FOR_INIT) if FOR_INIT in words else len(words)
    for index in range(first, end):
        reader.take(words[index], f"argument {index + 1}")
    reader.finish()
    for index in range(end, len(words)):
        reader.result.carry("append", words[index], f"argument {index + 1}", words[index])
    return reader.result


def take_words(result: Reading, words: Sequence[str], at: str) -> None:
    """Read more words of a guest that another form has besides.

    Raises: UsageError: it is too much
    """
    reader = _Reader(result)
    for word in words:
        reader.take(word, at)
    reader.finish()


def is_kernel(word: str) -> bool:
    """Whether the first word names the kernel: a path, or a name such as linux or linux.uml."""
    return "=" not in word and ("/" in word or word.startswith(("linux", "vmlinux")))


class _Reader:
    """Takes one argument after the other.

    Fields:
        result: what was read
        disks: by their names, each with its place and its word
        roots: the words that say what the root is, by what they are about, each with its place
    """

    def __init__(self, result: Reading) -> None:
        self.result = result
        self.disks: dict[str, tuple[ubd.Ubd, str, str]] = {}
        self.roots: dict[str, tuple[str, str]] = {}

    def take(self, word: str, at: str) -> None:
        name, _, value = word.partition("=")
        line = LINE.fullmatch(name)
        if word.startswith("ubd") and is_device(word):
            self._disk(word, at)
        elif is_device(word):
            self._nic(word, at)
        elif name == "umid":
            self.result.name = value
        elif name in OWN_ARGUMENTS:
            self.result.leave(at, word, OWN_ARGUMENTS[name])
        elif line is not None:
            self._line(line[1], line[2], word, at)
        elif name in ("root", "rootfstype", "rootflags", "hostfs") or word in ("ro", "rw"):
            self.roots[word if word in ("ro", "rw") else name] = word, at
        elif word.startswith(PRINTING_WORDS):
            self.result.leave(at, word, "the kernel prints something and ends", "ask it by itself")
        else:
            self._argument(name, value, word, at)

    def _argument(self, name: str, value: str, word: str, at: str) -> None:
        """What is no device, and no part of the root."""
        size = _SIZE.fullmatch(value)
        if name == "mem" and size:
            self.result.carry("mem", f"{int(size[1])}{size[2].upper()}", at, word)
        elif name == "ncpus" and _NUMBER.fullmatch(value):
            if value != "1":
                self.result.carry("ncpus", int(value), at, word)
        elif name == "initrd" and value:
            self.result.carry(*counterparts.initrd(self.result.path(value)), at, word)
        elif name == "init" and value:
            self.result.carry("init", value, at, word)
        elif word in SINGLE:
            self.result.carry("single", True, at, word)
        elif word == "ignore_loglevel":
            self.result.carry("verbose", True, at, word)
        elif name == "sysctl.kernel.modules_disabled" and value == "1":
            self.result.carry("modules", "locked", at, word)
        elif " " in value and '"' not in word:  # a shell has taken its quotes away
            self.result.carry("append", f'{name}="{value}"', at, word)
        else:
            self.result.carry("append", word, at, word)

    def _disk(self, word: str, at: str) -> None:
        try:
            disk = ubd.parse(word).absolute(self.result.base or "/")
        except UsageError as problem:
            self.result.leave(at, word, f"it is no disk: {problem}")
            return
        if (disk.name, disk.files) == ("ubd0", (ubd.NULL_FILE,)):
            return  # which every guest without a disk has
        if disk.name in self.disks:
            _, earlier, given = self.disks[disk.name]
            self.result.leave(earlier, given, "it is given again later, and that counts")
        self.disks[disk.name] = disk, at, word

    def _nic(self, word: str, at: str) -> None:
        name, equals, value = word.partition("=")
        transport, _, rest = value.partition(",")
        tap, _, address = (*rest.split(","), "", "", "")[:3]
        if name.startswith("eth") and equals and transport == "slirp":
            mac = rest.partition(",")[0]
            self.result.leave(
                at, word, "the program slirp is not started", "`user` is NAT as it", changed=True
            )
            nic = specs.Nic(kind=specs.USER, mac=mac.lower())
        elif transport == "tuntap" and not tap:
            how = f"tap=auto,host={address}/24" if address else "tap=auto"
            why = "uml_net, which would make a tap for it, is not started"
            self.result.leave(at, word, why, f"`{shown(how)}` makes one, as root")
            return
        else:
            try:
                nic = specs.parse_nic(word)
            except UsageError as problem:
                self.result.leave(at, word, str(problem), "`umlctl nic add` has other words for it")
                return
        self.result.carry_nic(nic, at, word)

    def _line(self, family: str, number: str, word: str, at: str) -> None:
        channels = word.partition("=")[2].split(",")
        kinds = {each.partition(":")[0] for each in channels}
        if family == "con" and number == "0":
            why = "the first console is the supervisor's, which loses nothing of it"
            self.result.leave(at, word, why, _CONSOLES)
        elif "fd" in kinds:
            why = "a guest in the background inherits no descriptors"
            self.result.leave(at, word, why, _CONSOLES)
        elif kinds & {"xterm", "port"}:
            self.result.leave(at, word, "no window and no TCP port is opened for it", _CONSOLES)
        else:
            self.result.carry("append", word, at, word)

    # The root

    def finish(self) -> None:
        """Settle the root, and with it which disks stand beside it."""
        root = self._given("root")
        device = WHOLE_DISK.fullmatch(root or "/dev/ubda")
        name = ubd.parse(f"{device[1]}=x").name if device else ""
        is_image = (
            name == "ubd0"
            and name in self.disks
            and self._given("rootfstype") in ("", "ext4", "ext3", "ext2")
        )
        if is_image:
            self._image(name)
        elif self._is_hostfs():
            self._directory()
        else:
            for word, at in self.roots.values():
                self.result.carry("append", word, at, word)
        for disk, at, word in self.disks.values():
            self.result.carry_disk(specs.of_device(disk), at, word, is_root=False)

    def _given(self, name: str) -> str:
        return self.roots[name][0].partition("=")[2] if name in self.roots else ""

    def _is_hostfs(self) -> bool:
        kind = self._given("rootfstype")
        return kind == "hostfs" or (not kind and self._given("root") == "/dev/root")

    def _image(self, name: str) -> None:
        """The first disk is the root."""
        device, at, word = self.disks.pop(name)
        if "ro" in self.roots:
            self.result.carry("append", *self._place("ro"))
        for each in ("rootfstype", "rootflags", "hostfs"):
            if each in self.roots:
                self.result.carry("append", *self._place(each))
        disk = msgspec.structs.replace(specs.of_device(device), slot=None)
        self.result.carry_disk(disk, at, word, is_root=True)

    def _directory(self) -> None:
        """A directory of the host is the root: rootflags=, below that of hostfs=."""
        above = self._given("hostfs").partition(",")[0].rstrip("/")
        directory = f"{above}/{self._given('rootflags').partition(',')[0]}".replace("//", "/")
        if directory.strip("/"):
            word, at = self.roots["rootflags" if "rootflags" in self.roots else "hostfs"]
            readonly = ",ro" if "rw" not in self.roots else ""
            path = join("/", directory).rstrip("/") + "/"
            self.result.carry("root", path + readonly, at, word)
            if "append" in self._given("hostfs").split(",")[1:]:  # nothing is overwritten
                at = self.roots["hostfs"][1]
                self.result.carry("append", "hostfs=/,append", at, self.roots["hostfs"][0])
        elif "rw" in self.roots:
            word, at = self.roots["rw"]
            self.result.leave(
                at,
                word,
                "this machine's own files are a root to read",
                "a guest writes into memory there; `umlctl exec --rw` has it otherwise",
            )

    def _place(self, name: str) -> tuple[str, str, str]:
        """The word, its place, and the word as it was given."""
        word, at = self.roots[name]
        return word, at, word
