"""What an xl file says of a guest: each of its keys in the words of a definition. Pure.

Source: xl.cfg(5), xl-network-configuration(5); xm's own keys where xl has none
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from umlctl.guest import policy
from umlctl.guest.readers import assignments, counterparts, xl_disk, xl_vif
from umlctl.guest.readers.assignments import Scalar
from umlctl.guest.readers.reading import Reading, kernel_words, shown
from umlctl.guest.readers.xl_root import Disks
from umlctl.guest.readers.xl_without import IS_CONSOLE, IS_HARDWARE, IS_XEN, UNKNOWN, WITHOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from umlctl.guest.readers.assignments import Assignment, Value

EVENTS: Final = {"on_crash": "on-panic", "on_watchdog": "on-hang", "on_poweroff": "on-exit"}
_IGNORED_TYPES: Final = ("", "generic", "pv", "linux", "pvh")


def read(text: str, path: str, base: str) -> Reading:
    """Read an xl file.

    path: of the file, for messages
    base: the directory that relative paths are taken from

    Raises: UsageError: it is none, with file and line
    """
    found: dict[str, Assignment] = {}
    reader = _Reader(path, base)
    for each in assignments.read(text, path):
        if each.key in found:
            earlier = found[each.key]
            again = f"line {each.line} gives {each.key} again, and that counts"
            reader.result.leave(reader.at(earlier.line), earlier.given, again)
        found[each.key] = each
    for each in found.values():
        reader.take(each)
    reader.finish(found)
    return reader.result


class _Reader:
    """Takes one key after the other.

    Fields:
        path: of the file
        result: what was read
        disks: of which one is the root
        nics: how many NICs there are
    """

    def __init__(self, path: str, base: str) -> None:
        self.path = shown(path)
        self.result = Reading(base)
        self.disks = Disks(self.result)
        self.nics = 0

    def at(self, line: int) -> str:
        return f"{self.path}:{line}"

    def take(self, found: Assignment) -> None:
        if found.key in ("root", "extra", "cmdline", "nics", "maxmem"):
            return  # they are read once the others are known
        if found.key in WITHOUT:
            self.result.leave(self.at(found.line), found.given, *WITHOUT[found.key])
        elif found.key in EVENTS:
            self._action(found, EVENTS[found.key])
        elif found.key in _TAKES:
            _TAKES[found.key](self, found)
        else:
            self._leave(found, *UNKNOWN)

    def finish(self, found: Mapping[str, Assignment]) -> None:
        """Read what depends on others: the root, kernel arguments, numbers that are said twice."""
        cmdline = found.get("cmdline")
        root = self._root_of(found, cmdline)
        if root is not None:
            self.disks.choose(self._text(root) or "", self.at(root.line), root.given)
        self.disks.carry()
        for key in ("cmdline",) if cmdline else ("extra",):
            if key in found:
                self._extra(found[key])
        for key in ("extra",) if cmdline and "extra" in found else ():
            self._leave(found[key], "xl does not read it where there is a cmdline")
        if "nics" in found and self._number(found["nics"]) not in (None, self.nics):
            self._leave(found["nics"], f"there are as many NICs as vif has: {self.nics}")
        if "maxmem" in found:
            self._maxmem(found["maxmem"], found.get("memory"))

    def _leave(
        self, found: Assignment, why: str, instead: str = "", *, changed: bool = False
    ) -> None:
        self.result.leave(self.at(found.line), found.given, why, instead, changed=changed)

    def _carry(self, found: Assignment, key: str, value: str | int | bool) -> None:
        self.result.carry(key, value, self.at(found.line), found.given)

    # Values

    def _text(self, found: Assignment) -> str | None:
        """The text that a key has; None: it has none, which is left."""
        if isinstance(found.value, Scalar):
            return found.value.text
        self._leave(found, "it is a list, and one text was looked for")
        return None

    def _number(self, found: Assignment) -> int | None:
        """The number that a key has; None: it has none, which is left."""
        text = self._text(found)
        number = xl_disk.number_of(text.strip()) if text is not None else None
        if text is not None and number is None:
            self._leave(found, f"{shown(text)!r} is no number")
        return number

    def _texts(self, found: Assignment) -> list[tuple[str, str]]:
        """The texts of a list, each with its line; a text alone is a list of one."""
        values: list[Value] = found.value if isinstance(found.value, list) else [found.value]
        texts = []
        for each in values:
            if isinstance(each, Scalar):
                texts.append((each.text, self.at(each.line)))
            else:
                self._leave(found, "there is a list in its list, and a text was looked for")
        return texts

    # Keys

    def take_name(self, found: Assignment) -> None:
        self.result.name = self._text(found) or ""

    def take_kernel(self, found: Assignment) -> None:
        path = self._text(found)
        if path:
            self._carry(found, "kernel", self.result.path(path))

    def take_ramdisk(self, found: Assignment) -> None:
        path = self._text(found)
        if path:
            self._carry(found, *counterparts.initrd(self.result.path(path)))

    def take_memory(self, found: Assignment) -> None:
        number = self._number(found)
        if number is not None:
            self._carry(found, "mem", f"{number}M")

    def _maxmem(self, found: Assignment, memory: Assignment | None) -> None:
        most = self._number(found)
        if most is None:
            return
        if memory is None:
            self._carry(found, "mem", f"{most}M")
            return
        if most != self._number(memory):
            self._leave(
                found,
                "a guest has no more memory than it boots with",
                f'mem = "{most}M", and `umlctl mem GUEST` takes some of it and gives it back',
            )

    def take_vcpus(self, found: Assignment) -> None:
        number = self._number(found)
        if number is not None and number != 1:
            self._carry(found, "ncpus", number)

    def take_cap(self, found: Assignment) -> None:
        number = self._number(found)
        if number:
            self._carry(found, "cpu-limit", number)

    def take_cpus(self, found: Assignment) -> None:
        texts = ["all" if text == "-1" else text for text, _ in self._texts(found)]  # xm's word
        lists = [counterparts.cpu_list(text) for text in texts]
        if not texts or None in lists:
            self._leave(
                found,
                "it is no list of numbers",
                'cpus = "0-3,5" has the processors of this host that it runs on',
            )
            return
        if "" in lists:
            return
        if len(set(lists)) > 1:
            self._leave(
                found,
                "the guest's processors are not pinned one by one",
                "it runs on all that are named",
                changed=True,
            )
        cpus = counterparts.cpu_list(",".join(each for each in lists if each))
        if cpus:
            self._carry(found, "cpus", cpus)

    def take_type(self, found: Assignment) -> None:
        kind = self._text(found)
        if kind not in (*_IGNORED_TYPES, None):
            self._leave(found, IS_HARDWARE, "its kernel has to be built for UML")

    def take_restart(self, found: Assignment) -> None:
        """xm's `restart`, and NetBSD's `autorestart`."""
        text = self._text(found)
        if text is None:
            return
        if text == "always" or xl_disk.number_of(text):
            self._carry(found, "restart", policy.ALWAYS)
        elif text not in ("", "0", "never", "onreboot"):
            self._leave(
                found, f"{shown(text)!r} is not known", 'restart = "on-failure" or "always"'
            )

    def take_reboot(self, found: Assignment) -> None:
        action = self._text(found)
        if action == "destroy":
            self._carry(found, "append", "noreboot")
        elif action is not None and action != "restart":
            self._leave(
                found,
                "a kernel that reboots starts anew by itself, and is the same guest",
                'append = ["noreboot"] ends it there',
            )

    def _action(self, found: Assignment, key: str) -> None:
        action = self._text(found)
        if action is None:
            return
        if action not in counterparts.ACTIONS:
            self._leave(found, f"{shown(action)!r} is no action that is known", f"{key} has four")
            return
        if "-" in action:
            what, _, _ = action.partition("-")
            instead = "`umlctl logs GUEST` has the kernel's last words" if what != "rename" else ""
            why = "no core is written" if what != "rename" else "a guest keeps its name"
            self._leave(found, why, instead, changed=True)
        if not (key == "on-exit" and action == "destroy"):  # a guest that ends has ended
            self._carry(found, key, counterparts.ACTIONS[action])

    def take_disk(self, found: Assignment) -> None:
        for text, at in self._texts(found):
            given = f"disk '{text}'"
            try:
                disk = xl_disk.parse(text)
            except ValueError as problem:
                self.result.leave(at, given, str(problem))
                continue
            if not disk.target:
                self.result.leave(
                    at, given, "a drive without a disk", "`umlctl disk add` plugs one while it runs"
                )
                continue
            for word in disk.strange:
                self.result.leave(at, word, IS_XEN)
            self.disks.found.append((disk, at, given))

    def take_vif(self, found: Assignment) -> None:
        for text, at in self._texts(found):
            self.nics += 1
            self._vif(text, at, f"vif '{text}'")

    def _vif(self, text: str, at: str, given: str) -> None:
        found = xl_vif.parse(text)
        for word, why, instead in found.left:
            self.result.leave(at, word, why, instead)
        if not found.nic.bridge:
            self.result.leave(
                at,
                given,
                f"no bridge is named: xl takes {xl_vif.BRIDGE}, xm took NAT; here it is `user`",
                f"tap=auto,bridge={xl_vif.BRIDGE} joins a bridge",
                changed=True,
            )
        self.result.carry_nic(found.nic, at, given)

    # The root and kernel arguments

    def _root_of(
        self, found: Mapping[str, Assignment], cmdline: Assignment | None
    ) -> Assignment | None:
        root = found.get("root")
        if root is not None and cmdline is not None:
            self._leave(root, "xl does not read it where there is a cmdline")
            return None
        return root

    def _extra(self, found: Assignment) -> None:
        text = self._text(found)
        at = self.at(found.line)
        for word in kernel_words(text or ""):
            given = f"{found.key}: {word}"
            if word == "-s":
                self.result.carry("single", True, at, given)
            elif word == "-v":
                self.result.carry("verbose", True, at, given)
            elif word.startswith(("-", "/")) and word != "--":
                self.result.leave(at, given, "it is no argument of a Linux kernel")
            elif word.startswith(("console=", "xencons=")):
                self.result.leave(at, given, IS_CONSOLE)
            elif word.startswith("root=") and len(word) > len("root="):
                self.disks.name_root(word, at, given)
            else:
                self.result.carry("append", word, at, given)


_TAKES: Final[Mapping[str, Callable[[_Reader, Assignment], None]]] = {
    "name": _Reader.take_name,
    "kernel": _Reader.take_kernel,
    "ramdisk": _Reader.take_ramdisk,
    "memory": _Reader.take_memory,
    "vcpus": _Reader.take_vcpus,
    "cap": _Reader.take_cap,
    "cpu_cap": _Reader.take_cap,
    "cpu": _Reader.take_cpus,
    "cpus": _Reader.take_cpus,
    "type": _Reader.take_type,
    "builder": _Reader.take_type,
    "autorestart": _Reader.take_restart,
    "restart": _Reader.take_restart,
    "on_reboot": _Reader.take_reboot,
    "disk": _Reader.take_disk,
    "vif": _Reader.take_vif,
}
"""Keys that are carried over by themselves."""
