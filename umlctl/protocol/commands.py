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

OUTPUT: Final = "output"
TEXT: Final = "text"


class Command:
    """One mconsole command.

    Fields:
        name: the first word on the wire and on the command line
        args: what follows it, see above
        help: one line, for lists
        served: KERNEL answers it; GUEST: the guest's supervisor; HOST: the background supervisor
        asks: it changes nothing without a '='; see `is_query`
        repeatable: it is no query, and sent twice it does no more than once
        reads: it is no query, and who may only read a guest may send it
        stopped: a stopped guest can take it without harm
        interrupt: the kernel answers it in interrupt context, though its worker is stuck.
            Source: arch/um/drivers/mconsole_user.c, commands[]
        prints: what of it shows on the console: TEXT, its argument; OUTPUT, what is its answer too
        danger: what it may cost; empty if nothing
        confirm: which arguments a person is asked about first; empty: any; None: no one
        waits: the answer may take as long as the guest likes: signs of life are sent meanwhile
        own_face: on the command line it takes more than it says here, in a module of its own
        example: arguments for the manual and `--help`
    """

    __slots__ = (
        *("args", "asks", "confirm", "danger", "example", "help", "interrupt", "name", "own_face"),
        *("prints", "reads", "repeatable", "served", "stopped", "waits"),
    )

    def __init__(  # noqa: PLR0913 - a column for each trait
        self,
        name: str,
        args: str,
        help: str,
        served: str = KERNEL,
        *,
        asks: bool = False,
        repeatable: bool = False,
        reads: bool = False,
        stopped: bool = False,
        interrupt: bool = False,
        prints: str = "",
        danger: str = "",
        confirm: tuple[str, ...] | None = None,
        waits: bool = False,
        own_face: bool = False,
        example: str = "",
    ) -> None:
        self.name = name
        self.args = args
        self.help = help
        self.served = served
        self.asks = asks
        self.repeatable = repeatable
        self.reads = reads
        self.stopped = stopped
        self.interrupt = interrupt
        self.prints = prints
        self.danger = danger
        self.confirm = confirm
        self.waits = waits
        self.own_face = own_face
        self.example = example

    @property
    def required(self) -> int:
        """How many words must follow the name."""
        return sum(not arg.startswith("[") for arg in self.args.split())

    def is_query(self, argument: str) -> bool:
        """It asks with this argument and changes nothing."""
        return self.asks and not ("=" in self.args and "=" in argument)

    @property
    def takes_rest(self) -> bool:
        """The rest of the line is one argument, blanks and all."""
        return self.args.rstrip("]").endswith("...")

    @property
    def most(self) -> int:
        """How many words may follow the name, where the rest is not one argument."""
        return len(self.args.split())


MAX_SECONDS: Final = 1e6
"""The longest time that a command is given in its line, seconds."""
SHUTDOWN_TIMEOUT: Final = 30.0
"""What a guest gets for its own shutdown unless told otherwise, seconds."""

COMMANDS: Final[tuple[Command, ...]] = (
    Command("version", "", "kernel name, host name, release and build", asks=True, stopped=True),
    Command(
        "help", "", "the commands that are understood", asks=True, stopped=True, interrupt=True
    ),
    Command(
        "halt",
        "",
        "end the kernel at once",
        stopped=True,
        confirm=(),
        danger="file systems are not synced",
    ),
    Command(
        "reboot",
        "",
        "restart the kernel at once",
        confirm=(),
        danger="file systems are not synced",
    ),
    Command(
        "config",
        "DEVICE[=CONFIG]...",
        "add a device, or ask for its configuration",
        asks=True,
        example="ubd1=/tmp/disk.img",
    ),
    Command(
        "remove",
        "DEVICE",
        "take a device away",
        confirm=("ubd0", "ubda"),
        example="ubd1",
    ),
    Command(
        "sysrq",
        "[LETTER]",
        "perform a SysRq action; no letter lists them",
        stopped=True,
        interrupt=True,
        prints=OUTPUT,
        confirm=tuple("bceiot"),
        example="m",
    ),
    Command(
        "cad",
        "",
        "press Ctrl-Alt-Del",
        stopped=True,
        interrupt=True,
        confirm=(),
        danger="a guest that does not handle it reboots unsynced",
    ),
    Command(
        "stop",
        "[SECONDS]",
        "pause the guest until `go`, or for so long",
        stopped=True,
        example="60",
    ),
    Command("go", "", "resume a stopped guest", stopped=True, interrupt=True),
    Command(
        "log",
        "TEXT...",
        "enter text into the kernel log",
        stopped=True,
        interrupt=True,
        prints=TEXT,
        example="'test 12 begins'",
    ),
    Command(
        "proc",
        "PATH...",
        "read a file of the guest's /proc",
        asks=True,
        stopped=True,
        example="meminfo",
    ),
    Command(
        "stack",
        "PID",
        "the kernel stack of a process",
        asks=True,
        stopped=True,
        interrupt=True,
        prints=OUTPUT,
        example="1",
    ),
    Command(
        "plug",
        "disk|nic|share|console SPEC...",
        "add what --disk, --nic or --share would have; a console",
        GUEST,
        example="disk /tmp/disk.img,ro",
    ),
    Command(
        "layer",
        "commit|reset|save WORD...",
        "merge, empty or save what was written to a guest's disks",
        GUEST,
        confirm=("reset",),
        danger="`reset` forgets what the guest has written to the disk",
        waits=True,
        example="commit ubd1",
    ),
    Command(
        "devices",
        "",
        "the device table: asked for, and seen in the guest",
        GUEST,
        repeatable=True,
        reads=True,
    ),
    Command("status", "", "state, memory, CPU and more", GUEST, asks=True, stopped=True),
    Command(
        "events",
        "[past]",
        "the guest's history, then what happens",
        GUEST,
        reads=True,
        stopped=True,
        waits=True,
        own_face=True,
        example="past",
    ),
    Command(
        "wait",
        "",
        "until the guest ends, and how it ended",
        GUEST,
        repeatable=True,
        reads=True,
        stopped=True,
        waits=True,
    ),
    Command(
        "shutdown",
        "[SECONDS]",
        "Ctrl-Alt-Del, then halt after a deadline, then kill",
        GUEST,
        repeatable=True,
        stopped=True,
        waits=True,
        example="60",
    ),
    Command(
        "sync",
        "",
        "sync the file systems of a guest, and see it done",
        GUEST,
        repeatable=True,
    ),
    Command(
        "kill",
        "",
        "end the kernel and all its processes now",
        GUEST,
        repeatable=True,
        confirm=(),
        stopped=True,
        waits=True,
        danger="file systems are not synced",
    ),
    Command("start", "[no-wait] FILE...", "start the guest that FILE defines", HOST, waits=True),
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

ALIASES: Final = {"pause": "stop", "resume": "go"}
"""What others call a command, and may be typed for it on the command line."""

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
    command = BY_NAME.get(name.removeprefix("!"))
    if command is None or command.confirm is None:
        return ""
    argument = arguments[0].strip()
    if command.name == "sysrq":
        argument = argument[:1]  # the kernel looks at no more
    if command.confirm and argument not in command.confirm:
        return ""
    if command.name == "sysrq":
        return f"`sysrq {argument}`: {SYSRQ[argument]}"
    return command.danger or f"{argument} is the root disk"
