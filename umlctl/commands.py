"""The command table: every mconsole command, declared once.

The one-shot commands, the click commands, the shell's completer, `help`, the supervisor's
checks and the manual's list all read this table. It imports nothing.

What a command takes, in its `args`: WORD one word, [WORD] optional, WORD... the rest of the
line as it stands.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

KERNEL: Final = "kernel"
GUEST: Final = "guest"
HOST: Final = "host"


class Command:
    """One mconsole command.

    Fields:
        name: the first word on the wire and on the command line
        args: what follows it, see above
        help: one line, for lists
        served: KERNEL answers it; GUEST: the guest's supervisor; HOST: the background supervisor
        stopped: a stopped guest can take it without harm
        danger: what it may cost; empty if nothing
        waits: the answer may take as long as the guest likes: signs of life are sent meanwhile
        example: arguments for the manual and `--help`
    """

    __slots__ = ("args", "danger", "example", "help", "name", "served", "stopped", "waits")

    def __init__(
        self,
        name: str,
        args: str,
        help: str,
        served: str = KERNEL,
        *,
        stopped: bool = False,
        danger: str = "",
        waits: bool = False,
        example: str = "",
    ) -> None:
        self.name = name
        self.args = args
        self.help = help
        self.served = served
        self.stopped = stopped
        self.danger = danger
        self.waits = waits
        self.example = example

    @property
    def required(self) -> int:
        """How many words must follow the name."""
        return sum(not arg.startswith("[") for arg in self.args.split())

    @property
    def takes_rest(self) -> bool:
        """The rest of the line is one argument, blanks and all."""
        return self.args.rstrip("]").endswith("...")

    @property
    def most(self) -> int:
        """How many words may follow the name, where the rest is not one argument."""
        return len(self.args.split())


COMMANDS: Final[tuple[Command, ...]] = (
    Command("version", "", "kernel name, host name, release and build", stopped=True),
    Command("help", "", "the commands that are understood", stopped=True),
    Command(
        "halt",
        "",
        "end the kernel at once",
        stopped=True,
        danger="file systems are not synced",
    ),
    Command(
        "reboot",
        "",
        "restart the kernel at once",
        danger="file systems are not synced",
    ),
    Command(
        "config",
        "DEVICE[=CONFIG]...",
        "add a device, or ask for its configuration",
        example="ubd1=/tmp/disk.img",
    ),
    Command("remove", "DEVICE", "take a device away", example="ubd1"),
    Command(
        "sysrq",
        "[LETTER]",
        "perform a SysRq action; no letter lists them",
        stopped=True,
        example="m",
    ),
    Command(
        "cad",
        "",
        "press Ctrl-Alt-Del",
        stopped=True,
        danger="a guest that does not handle it reboots unsynced",
    ),
    Command(
        "stop",
        "[SECONDS]",
        "pause the guest until `go`, or for so long",
        stopped=True,
        example="60",
    ),
    Command("go", "", "resume a stopped guest", stopped=True),
    Command(
        "log", "TEXT...", "enter text into the kernel log", stopped=True, example="'test 12 begins'"
    ),
    Command("proc", "PATH...", "read a file of the guest's /proc", stopped=True, example="meminfo"),
    Command("stack", "PID", "the kernel stack of a process", stopped=True, example="1"),
    Command(
        "plug",
        "disk|nic|console SPEC...",
        "add a disk or a NIC in the words of --disk and --nic; a console",
        GUEST,
        example="disk /tmp/disk.img,ro",
    ),
    Command("devices", "", "the device table: asked for, and seen in the guest", GUEST),
    Command("status", "", "state, memory, CPU and more", GUEST, stopped=True),
    Command(
        "events",
        "[past]",
        "the guest's history, then what happens",
        GUEST,
        stopped=True,
        waits=True,
        example="past",
    ),
    Command("wait", "", "until the guest ends, and how it ended", GUEST, stopped=True, waits=True),
    Command(
        "shutdown",
        "[SECONDS]",
        "Ctrl-Alt-Del, then halt after a deadline, then kill",
        GUEST,
        stopped=True,
        waits=True,
        example="60",
    ),
    Command(
        "kill",
        "",
        "end the kernel and all its processes now",
        GUEST,
        stopped=True,
        waits=True,
        danger="file systems are not synced",
    ),
    Command("start", "FILE...", "start the guest that FILE defines", HOST, waits=True),
    Command(
        "adopt",
        "[GUEST...]",
        "take over guests whose supervisor is gone",
        HOST,
        waits=True,
    ),
    Command("autostart", "", "start every enabled guest that does not run", HOST, waits=True),
    Command("list", "", "the guests of this supervisor", HOST),
    Command(
        "quit", "[leave]", "end, shutting all guests down before or leaving them", HOST, waits=True
    ),
)

BY_NAME: Final = {command.name: command for command in COMMANDS}

SAME: Final = {"pause": "stop", "resume": "go"}
"""What others call a command, and may be typed for it on the command line."""

OWN_FACES: Final = frozenset({"events"})
"""What takes more on the command line than it says here, in a module of its own."""

DANGEROUS: Final = {
    "halt": "",
    "reboot": "",
    "kill": "",
    "cad": "",
    "sysrq": "bceiot",
    "remove": "ubd0 ubda",
}
"""What a person is asked about first: a command, and of some only these arguments. An empty text
is any."""

SYSRQ: Final = {
    "0": "log level 0",
    "1": "log level 1",
    "2": "log level 2",
    "3": "log level 3",
    "4": "log level 4",
    "5": "log level 5",
    "6": "log level 6",
    "7": "log level 7",
    "8": "log level 8",
    "9": "log level 9",
    "b": "reboot at once, unsynced",
    "c": "crash",
    "e": "SIGTERM to all processes but init",
    "f": "run the OOM killer",
    "h": "list the letters",
    "i": "SIGKILL to all processes but init",
    "j": "thaw frozen file systems",
    "m": "memory in use",
    "n": "make real-time tasks nice",
    "o": "power off, unsynced",
    "p": "registers",
    "q": "timers",
    "s": "sync file systems",
    "t": "all tasks and their stacks",
    "u": "remount file systems read-only",
    "w": "blocked tasks",
}


def dangerous(words: list[str]) -> str:
    """What a command may cost; empty if nothing that a person should be asked about."""
    name, *arguments = [*words, ""][:2]
    name = name.removeprefix("!")
    if name not in DANGEROUS:
        return ""
    argument = arguments[0]
    if name == "sysrq":
        letter = argument.strip()[:1]
        return f"`sysrq {letter}`: {SYSRQ[letter]}" if letter and letter in DANGEROUS[name] else ""
    if name == "remove":
        return f"{argument} is the root disk" if argument in DANGEROUS[name].split() else ""
    return BY_NAME[name].danger
