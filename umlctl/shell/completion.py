"""What could come next at the prompt: from text and cursor to kinds of suggestion; pure.

`wanted` says which kinds fit where the cursor is. `offer` says what these are for a guest of which
`Facts` are known. Nothing here asks a guest: a guest that is slow or dead is as it was last seen.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from umlctl.devices import families, ubd
from umlctl.protocol.commands import BY_NAME, COMMANDS, HOST, SYSRQ
from umlctl.protocol.console_socket import CONSOLES
from umlctl.shell.command_line import unquoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

COMMAND: Final = "command"
GUEST: Final = "guest"
DEVICE: Final = "device"
FREE_DEVICE: Final = "free device"
FILE: Final = "file"
PROGRAM: Final = "program"
PROC: Final = "proc"
PID: Final = "pid"
SYSRQ_LETTER: Final = "sysrq letter"
PLUG_KIND: Final = "what to plug"
LAYER: Final = "what to do with a layer"
DISK_OPTION: Final = "disk option"
NIC: Final = "nic"
NIC_OPTION: Final = "nic option"
NETWORK: Final = "network"
TAP: Final = "tap"
BRIDGE: Final = "bridge"
CONSOLE: Final = "console"
CHANNEL: Final = "channel"
TRANSPORT: Final = "transport"
VEC_OPTION: Final = "vec option"
REMOVABLE: Final = "removable device"

BUILT_IN: Final = {
    "watch": "repeat a command and mark what changes: watch [-n SECONDS] COMMAND",
    "switch": "talk to another guest: switch GUEST",
    "top": "the guests that run, live",
    "list": "all guests, dead ones too",
    "clear": "clear the screen; Ctrl-L",
    "quit": "leave the shell; the guest goes on",
    "exit": "leave the shell; the guest goes on",
}
"""Commands of the prompt itself."""
LAYERS: Final = {
    "commit": "merge a disk's COW file into its backing file",
    "reset": "forget what was written to a disk's COW file",
    "save": "take a snapshot: save NAME",
}
PROC_FILES: Final = {
    "meminfo": "memory, by use",
    "stat": "CPU time, context switches, boot time",
    "vmstat": "counters of the memory management",
    "loadavg": "load, and the last pid",
    "uptime": "seconds since boot, and idle",
    "mounts": "what is mounted",
    "partitions": "block devices and their sizes",
    "diskstats": "counters of the disks",
    "interrupts": "interrupts by source",
    "softirqs": "deferred work",
    "cpuinfo": "the processor",
    "cmdline": "the kernel's command line",
    "version": "the kernel's version and build",
    "devices": "device classes by number",
    "filesystems": "file systems that the kernel knows",
    "buddyinfo": "free memory by order",
    "zoneinfo": "memory zones",
    "locks": "file locks",
    "crypto": "ciphers",
    "cgroups": "control groups",
    "timer_list": "pending timers",
    "1/mounts": "what process 1 has mounted",
    "1/mountinfo": "the same, with propagation",
    "sys/kernel/hostname": "the host name",
    "sys/kernel/random/boot_id": "another after each boot",
    "sys/kernel/pid_max": "the largest pid",
    "sys/fs/file-nr": "open files",
    "tty/drivers": "terminal drivers",
    "1/root/etc/os-release": "what runs there; 1/root/ leads to any text file of the guest",
}
"""Files of /proc that a kernel can really read for its mconsole (measured on 6.1), and what they
say."""
DISK_OPTIONS: Final = {
    "slot=": "which ubdN; else a free one",
    "ro": "read-only",
    "sync": "each write is on the host's disk",
    "cow=": "write to this COW file instead",
    "discard": "forget what is written",
    "serial=": "the serial number that the guest sees",
    "no-trim": "no holes where the guest discards",
    "shared": "others may write it too",
    "raw": "a COW file as it stands",
}
NIC_KINDS: Final = {
    "user": "the internet, through slirp4netns",
    "switch=": "a network of guests",
    "tap=": "a tap of the host",
    "transport=": "the kernel's vector driver, as it takes it",
}
NIC_OPTIONS: Final = {
    "nic=": "which vecN; else a free one",
    "mac=": "its MAC address",
    "addr=": "ADDRESS/N that it should take, or auto, dhcp",
    "bridge=": "the bridge that its tap joins",
    "host=": "the host's own address on its tap",
    "forward=": "HOSTPORT:GUESTPORT",
    "isolated": "the host's loopback is out of reach",
}
SHARE_OPTIONS: Final = {
    ":PATH": "where the guest has it; else at the same path",
    "ro": "it cannot be written there",
}
PLUG_KINDS: Final = {
    "disk": "an image or a block device",
    "nic": "a network card",
    "share": "a directory of this host",
    "console": "a line to attach to",
}
CHANNELS: Final = {"null": "nothing", "pts": "a terminal of the host", "fd:": "a descriptor"}
TRANSPORTS: Final = {
    "tap": "an interface of the host",
    "bess": "a switch's socket",
    "gre": "a GRE tunnel",
    "l2tpv3": "an L2TPv3 tunnel",
    "raw": "a raw socket on an interface",
    "hybrid": "a tap to write, a raw socket to read",
    "fd": "a socket the kernel was started with",
    "vde": "a network of VDE",
}
_VEC_OPTIONS: Final = (
    "ifname=",
    "dst=",
    "src=",
    "mac=",
    "mtu=",
    "depth=",
    "gro=",
    "vec=",
    "vnl=",
    "headroom=",
)
PLUGGED_CONSOLES: Final = CONSOLES[1:]
"""con0 is always there."""
GUEST_FILES_PREFIX: Final = "1/root/"
"""The path that leads from /proc to any file of the guest."""
PROCESSES: Final = {1: "the guest's init", 2: "kthreadd, the kernel's own tasks"}
"""What is known of a guest's processes: a kernel cannot read the names of others."""
SUGGESTED_NICS: Final = 16
"""More NICs than these are possible, and need no suggestion."""


class Wanted(NamedTuple):
    """What fits where the cursor is.

    Fields:
        kinds: of suggestions, the likeliest first
        prefix: what the user has typed of it
    """

    kinds: tuple[str, ...]
    prefix: str


class Suggestion(NamedTuple):
    """One text that could be typed instead of a prefix.

    Fields:
        text: the text itself
        meaning: in a few words; may be empty
        final: nothing is added to the text, so a blank can follow
    """

    text: str
    meaning: str = ""
    final: bool = True


class Facts(NamedTuple):
    """What is known of the guest and its host.

    Fields:
        devices: names in the guest's table, with what was asked for
        guests: names of guests, with their states
        networks, taps, bridges: of the host
        pids: processes of the guest
        root: the directory of this host that is the guest's root, if one is; ends with a '/'
        programs: of this host, which an answer can be piped to
        verbs: of the command line, with their meanings
    """

    devices: Mapping[str, str] = MappingProxyType({})
    guests: Mapping[str, str] = MappingProxyType({})
    networks: tuple[str, ...] = ()
    taps: tuple[str, ...] = ()
    bridges: tuple[str, ...] = ()
    pids: tuple[int, ...] = (1, 2)
    root: str = ""
    programs: tuple[str, ...] = ()
    verbs: Mapping[str, str] = MappingProxyType({})


def wanted(text: str, cursor: int | None = None) -> Wanted:
    """What fits at the cursor, which is at the end unless it is given."""
    text = text[:cursor]
    begin = 0
    for place, letter in unquoted(text):
        if letter == ";":
            begin = place + 1
        elif letter in "|>":
            rest = text[place + 1 :].lstrip("> ")
            if letter == "|":
                return Wanted((PROGRAM,), rest) if " " not in rest else Wanted((FILE,), _last(rest))
            return Wanted((FILE,), rest)
    *before, word = text[begin:].lstrip().split(" ")
    before = [each for each in before if each]
    if word.startswith("@") and not before:
        return Wanted((GUEST,), word[1:])
    return _in_command(before[1:] if before and before[0].startswith("@") else before, word)


def _in_command(before: list[str], word: str) -> Wanted:
    """What fits for a word behind others of the same command."""
    if before and before[0].startswith("!"):
        before = [before[0][1:], *before[1:]]
        if before[0] not in BY_NAME:  # a program of the host
            return Wanted((FILE,), word)
    if not before:
        forced = word.startswith("!")
        return Wanted((COMMAND,), word[forced:])
    name, *arguments = before
    if name == "watch":
        if arguments[:1] == ["-n"]:
            arguments = arguments[2:]
            if len(before) == 2:
                return Wanted((), word)
        return _in_command(arguments, word)
    if name == "help":
        return Wanted((COMMAND,) if not arguments else (), word)
    if name == "plug" and arguments:
        return _in_plug(arguments[0], word) if len(arguments) == 1 else Wanted((), word)
    if name == "config" and not arguments:
        return _in_config(word)
    return Wanted(_plain(name, arguments), word)


def _plain(name: str, before: list[str]) -> tuple[str, ...]:
    """Of what kind a word is that stands for one thing, and is no list of options."""
    if name == "layer" and before in (["commit"], ["reset"]):
        return (REMOVABLE,)
    kinds = {
        "switch": GUEST,
        "sysrq": SYSRQ_LETTER,
        "stack": PID,
        "proc": PROC,
        "remove": REMOVABLE,
        "plug": PLUG_KIND,
        "layer": LAYER,
    }
    return (kinds[name],) if name in kinds and not before else ()


def _in_plug(what: str, word: str) -> Wanted:
    last = word.rpartition(",")[2]
    key, equals, value = last.partition("=")
    if what == "console":
        return Wanted((CONSOLE,), word)
    if what == "share":
        return Wanted((FILE,), word)
    if what == "disk":
        if "," not in word or (key == "cow" and equals):
            return Wanted((FILE,), value if equals and "," in word else word)
        return Wanted((), value) if equals else Wanted((DISK_OPTION,), last)
    if what == "nic":
        if equals:
            kinds = {"switch": NETWORK, "tap": TAP, "bridge": BRIDGE, "transport": TRANSPORT}
            return Wanted((kinds[key],) if key in kinds else (), value)
        if word.startswith("transport=") and "," in word:
            return Wanted((VEC_OPTION, NIC_OPTION), last)
        return Wanted((NIC_OPTION if "," in word else NIC,), last)
    return Wanted((), word)


def _in_config(word: str) -> Wanted:
    name, equals, value = word.partition("=")
    family = families.family_of(name)
    if family == families.VEC and ":" in word:
        last = word.partition(":")[2].rpartition(",")[2]
        key, equals, value = last.partition("=")
        if not equals:
            return Wanted((VEC_OPTION,), last)
        kinds = {"transport": TRANSPORT, "ifname": TAP, "dst": FILE}
        return Wanted((kinds[key],) if key in kinds else (), value)
    if not equals:
        return Wanted((DEVICE, FREE_DEVICE), word)
    if family == families.UBD:
        return Wanted((FILE,), value.replace(":", ",").rpartition(",")[2])
    if families.kind_of(name) == families.LINE:
        return Wanted((CHANNEL,), value.rpartition(",")[2])
    return Wanted((), value)


def _last(text: str) -> str:
    return text.rpartition(" ")[2]


def offer(
    found: Wanted, facts: Facts, files: Callable[[str], Iterable[str]] = lambda _prefix: ()
) -> list[Suggestion]:
    """The texts that can be typed instead of the prefix.

    files: paths of the host that begin with a prefix; directories end with a '/'
    """
    suggestions = []
    for kind in found.kinds:
        if kind == FILE:
            suggestions += [
                Suggestion(path, final=not path.endswith("/")) for path in files(found.prefix)
            ]
        elif kind == PROC and facts.root and found.prefix.startswith(GUEST_FILES_PREFIX):
            # The guest's files are files of the host. A kernel cannot list them.
            inside = facts.root + found.prefix.removeprefix(GUEST_FILES_PREFIX)
            suggestions += [
                Suggestion(
                    GUEST_FILES_PREFIX + path.removeprefix(facts.root), final=not path.endswith("/")
                )
                for path in files(inside)
            ]
        else:
            suggestions += _of_kind(kind, facts)
    return [each for each in suggestions if each.text.startswith(found.prefix)]


def _of_kind(kind: str, facts: Facts) -> list[Suggestion]:
    tables = {
        SYSRQ_LETTER: SYSRQ,
        PROC: PROC_FILES,
        PLUG_KIND: PLUG_KINDS,
        LAYER: LAYERS,
        DISK_OPTION: DISK_OPTIONS,
        NIC: NIC_KINDS,
        NIC_OPTION: NIC_OPTIONS,
        CHANNEL: CHANNELS,
        TRANSPORT: TRANSPORTS,
        GUEST: facts.guests,
    }
    if kind in tables:
        return [
            Suggestion(text, meaning, final=not text.endswith(("=", ":")))
            for text, meaning in tables[kind].items()
        ]
    if kind == COMMAND:
        return _commands(facts.verbs)
    if kind in (DEVICE, REMOVABLE):
        return [Suggestion(name, asked) for name, asked in facts.devices.items()]
    if kind == FREE_DEVICE:
        return _free(facts)
    if kind == PID:
        return [Suggestion(str(pid), PROCESSES.get(pid, "")) for pid in facts.pids]
    names: dict[str, Iterable[str]] = {
        NETWORK: facts.networks,
        TAP: (*facts.taps, "auto"),
        BRIDGE: facts.bridges,
        CONSOLE: (name for name in PLUGGED_CONSOLES if name not in facts.devices),
        VEC_OPTION: ("transport=", *_VEC_OPTIONS),
        PROGRAM: facts.programs,
    }
    return [Suggestion(name, final=not name.endswith("=")) for name in names.get(kind, ())]


def _commands(verbs: Mapping[str, str]) -> list[Suggestion]:
    found = dict(verbs)
    found |= {each.name: each.help for each in COMMANDS if each.served != HOST}
    return [Suggestion(name, meaning) for name, meaning in (found | BUILT_IN).items()]


def _unused(family: str, numbers: Iterable[int], facts: Facts) -> list[str]:
    names = (f"{family}{number}" for number in numbers)
    return [name for name in names if name not in facts.devices]


def _free(facts: Facts) -> list[Suggestion]:
    """Devices that the guest does not have yet, the first few of each family."""
    disks = _unused(families.UBD, range(1, ubd.SLOTS), facts)
    nics = _unused(families.VEC, range(SUGGESTED_NICS), facts)
    lines = [name for name in PLUGGED_CONSOLES if name not in facts.devices]
    return [
        *(Suggestion(f"{name}=", "a disk", final=False) for name in disks),
        *(Suggestion(f"{name}:transport=", "a network card", final=False) for name in nics),
        *(Suggestion(f"{name}=", "a line", final=False) for name in lines),
        Suggestion("mem=-", "take memory from it", final=False),
        Suggestion("mem=+", "give it back", final=False),
    ]
