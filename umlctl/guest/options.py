"""What can be asked of a guest: one table of which the options of `run` and `start`, the keys of
definitions and their schema are made. Pure.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from umlctl.guest import confinement, overlay, policy
from umlctl.guest import definition as definitions
from umlctl.guest.definition import Definition

Kind = Literal["text", "size", "flag", "count", "seconds", "choice"]
"""What a value is: a text; a text such as 256M; yes or no; a whole number; a number of seconds;
one of some words."""
Holds = Literal["", "path", "kernel", "root", "init", "disk", "guest", "words", "overlay", "share"]
"""What a text has in it that a directory is needed to understand, or that names something."""

MAX_COUNT: Final = 1_000_000
"""More processors, or percent of one, than any host has."""
SIZE_PATTERN: Final = "[0-9]+[kKmMgG]?[bB]?"
MAX_SECONDS: Final = 1e9
"""The longest wait that a clock can be set to, seconds."""


class Option(NamedTuple):
    """One thing that can be asked.

    Fields:
        name: of the option, without `--`, and of the key
        help: what it does, in a line
        metavar: what stands for its value in a line of usage
        kind: of its value, or of each of many
        many: it takes a list; as an option it may be repeated
        default: what is taken where nothing is given; a list is empty then
        shown: the default is named in a line of help
        choices: the words of a choice
        least: of a count
        bare: its value as an option without one; another stands behind a `=` then
        short: the option's letter
        holds: what its text has in it
        asked_as: the field of a Definition, where that has another name
    """

    name: str
    help: str
    metavar: str = ""
    kind: Kind = "text"
    many: bool = False
    default: str | int | float | None = None
    shown: bool = False
    choices: tuple[str, ...] = ()
    least: int = 1
    bare: str = ""
    short: str = ""
    holds: Holds = ""
    asked_as: str = ""

    @property
    def field(self) -> str:
        """The field of a Definition, and the parameter of a command."""
        return self.asked_as or self.name.replace("-", "_")

    @property
    def absent(self) -> str | int | float | bool | tuple[str, ...] | None:
        """What is taken where nothing is given."""
        if self.many:
            return ()
        return False if self.kind == "flag" else self.default


OPTIONS: Final = (
    Option(
        "profile",
        "lab: --nic user. server: --nic tap=auto,bridge=BRIDGE (br0) --restart on-failure. "
        "What is given beside it wins.",
        "lab|server[:BRIDGE]",
    ),
    Option(
        "kernel",
        "The UML kernel, where it was built, or its name of `umlctl kernel add`. [default: see "
        "`umlctl setup`]",
        "FILE|TREE|NAME",
        holds="kernel",
    ),
    Option("mem", "Guest memory.", "SIZE", "size", default="256M", shown=True),
    Option(
        "root",
        "This machine's own files, read-only; a directory; an image, with a disk's options.",
        "host|DIR|IMAGE[,OPTION]...",
        default=definitions.HOST_ROOT,
        shown=True,
        holds="root",
    ),
    Option(
        "overlay",
        "Have it write over its files of this host, which do not see it: in memory, or with =DIR "
        "on a disk that is kept there.",
        "[=DIR]",
        default="",
        holds="overlay",
        bare=overlay.IN_MEMORY,
    ),
    Option(
        "initrd",
        "Boot from this initial RAM disk, a cpio archive, in place of the host's files.",
        "FILE",
        default="",
        holds="path",
    ),
    Option("init", "Run PROGRAM as process 1.", "PROGRAM", default="", holds="init"),
    Option(
        "disk",
        "A disk; repeat for more. See `umlctl disk add --help` for the options.",
        "FILE[,OPTION]...",
        many=True,
        holds="disk",
        asked_as="disks",
    ),
    Option(
        "nic",
        "A network interface; repeat for more. See `umlctl nic add --help`.",
        "user|switch=NAME|tap=NAME[,OPTION]...",
        many=True,
        asked_as="nics",
    ),
    Option(
        "share",
        "Have a directory of this host at PATH too, to write or to read. Repeat for more.",
        "DIR[:PATH][,ro]",
        many=True,
        holds="share",
        asked_as="shares",
    ),
    Option(
        "append",
        "A kernel argument; repeat for more. Wins over a default of ours.",
        "KEY=VALUE",
        many=True,
        holds="words",
    ),
    Option(
        "force",
        "Take what is refused as dangerous, such as a BPF program of a NIC, or a qcow2 image "
        "as a disk that the guest may write.",
        kind="flag",
    ),
    Option(
        "mem-dir",
        "Where the memory's file is made.",
        "DIR",
        default="",
        holds="path",
    ),
    Option("ncpus", "Guest processors.", "N", "count", default=1, shown=True),
    Option(
        "seccomp",
        "System calls 2 to 3 times as fast, on Linux 6.16 and later; programs in the guest can "
        "then reach all of the guest's memory.",
        kind="flag",
    ),
    Option(
        "virtual-time",
        "A clock that does not wait: a sleep is over at once. With =inf-cpu, computing takes no "
        "time either.",
        "[=basic|inf-cpu]",
        "choice",
        choices=definitions.VIRTUAL_TIMES,
        bare=definitions.BASIC,
    ),
    Option(
        "memory-limit",
        "The most of the host's memory that it may use; it is ended with more.",
        "SIZE",
        "size",
        default="",
    ),
    Option(
        "cpu-limit",
        "The most of the host's processors that it gets; 150 is one and a half.",
        "PERCENT",
        "count",
    ),
    Option(
        "cpus",
        "Host CPUs to run on, as 0 or 0,2-3; map: as many as it has, from START on.",
        "LIST|map[,START]|any",
        default="",
    ),
    Option(
        "numa",
        "The NUMA node of the host of which it has memory and CPUs.",
        "NODE",
        "count",
        least=0,
    ),
    Option("aslr", "Leave address-space randomisation on.", kind="flag"),
    Option("single", "Boot into single-user mode.", kind="flag", short="s"),
    Option("verbose", "Every kernel message on the console.", kind="flag", short="v"),
    Option(
        "modules",
        "Locked: nobody in the guest, root included, can load a kernel module.",
        kind="choice",
        choices=definitions.MODULES,
        default=definitions.UNLOCKED,
        shown=True,
    ),
    Option(
        "module",
        "Load this module of the kernel before all else, with what it needs. Repeat for more.",
        "NAME",
        many=True,
        asked_as="load",
    ),
    Option("pidfile", "Hold the kernel's pid, locked.", "FILE", default="", holds="path"),
    Option(
        "user",
        "Run the kernel as USER, whose reach is then the guest's; for root.",
        "USER",
        default="",
    ),
    Option(
        "confine",
        "What the kernel reaches of this host. writes: it writes what it was given alone; "
        "strict: it reads that alone, too. [default: writes, if the host can]",
        kind="choice",
        choices=confinement.MODES,
    ),
    Option(
        "rw",
        "Have a confined kernel write this file or directory, too. Repeat for more.",
        "PATH",
        many=True,
        holds="path",
    ),
    Option("ro", "The same to read it.", "PATH", many=True, holds="path"),
    Option(
        "hide",
        "Have it not see this, as what `umlctl info` has as secret. Repeat for more.",
        "PATH",
        many=True,
        holds="path",
    ),
    Option(
        "allow-user",
        "Let another user use its socket; a bare name may only read. Repeat for more.",
        "USER[:read|control]",
        many=True,
        asked_as="allow_users",
    ),
    Option(
        "allow-group",
        "The same for the members of a group.",
        "GROUP[:read|control]",
        many=True,
        asked_as="allow_groups",
    ),
    Option(
        "timeout",
        "How long the boot may take.",
        "SECONDS",
        "seconds",
        default=definitions.DEFAULT_BOOT_TIMEOUT,
        shown=True,
    ),
    Option(
        "restart",
        "Start it again when it has ended, but for a user's own doing. [default: no]",
        kind="choice",
        choices=policy.RESTARTS,
    ),
    *(
        Option(
            f"on-{event}",
            f"What to do when it {does}. [default: as --restart says]",
            kind="choice",
            choices=policy.ACTIONS,
        )
        for event, does in (("panic", "panics"), ("hang", "hangs"), ("exit", "ends by itself"))
    ),
    Option(
        "hang-after",
        "Without a sign of life for so long it counts as hung.",
        "SECONDS",
        "seconds",
        default=definitions.DEFAULT_HANG_TIMEOUT,
        shown=True,
    ),
    Option(
        "after",
        "Only once GUEST is ready, and end before it; repeat for more.",
        "GUEST",
        many=True,
        holds="guest",
    ),
)
BY_NAME: Final = {option.name: option for option in OPTIONS}
FIELDS: Final = frozenset(Definition.__struct_fields__)
"""Of a Definition; `profile` and `force` are none: what a guest is kept as is what they stand
for."""
