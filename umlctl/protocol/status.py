"""What `status` and `list` say of a guest: one shape, whoever says it and whatever the guest does.

A supervisor fills it in for its guest, a client for guests that have ended, that nobody
supervises, or that are bare kernels. All keys are always there: what is not known is null, or an
empty array or object. mconsole(7) has the list for users.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeVar, get_args

import msgspec

T = TypeVar("T")

State = Literal[
    "booting",
    "running",
    "stopped",
    "rebooting",
    "restarting",
    "dead",
    "hung",
    "traced",
    "suspended",
    "unsupervised",
    "unmanaged",
    "silent",
    "defined",
    "unknown",
]
"""What a guest does, or what is known of that.

booting, running, stopped, rebooting, restarting, dead: what its supervisor has seen it do
hung: it should run, and does nothing
traced, suspended: a debugger, or a signal, keeps its process from running
unsupervised: it runs, and its supervisor is gone
unmanaged: a kernel that somebody started by hand
silent: somebody has its socket, and does not answer, or not with a status
defined: it is written down, and was never started
unknown: nobody has looked yet, or the supervisor is newer and knows a state that is not here
"""
STATES: Final[frozenset[str]] = frozenset(get_args(State))
DEAD: Final = "dead"
DEFINED: Final = "defined"
COMING_STATES: Final[frozenset[State]] = frozenset({"booting", "rebooting"})
"""States of a guest that is about to run."""


Cause = Literal[
    "exited",
    "shut down",
    "panicked",
    "killed",
    "never started",
    "reboot failed",
    "ended",
]
"""How a guest can have ended, as a supervisor says it.

never started: before its init program began
reboot failed: its kernel could not be executed again
ended: no supervisor was there to see more
"""
CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)


LATE_PANIC: Final = "Segfault with no mm"
"""What a kernel says that takes a tick of its timer when it has ended all but itself, to reboot or
to power down, as 6.1 does once in some hundred times where a host is busy. Source: main() in
arch/um/os-Linux/main.c, unblock_signals()."""
STATUS_LOST: Final = "that was as it powered down, and its own status is lost"
"""What is said of a kernel that panics at the last moment, see LATE_PANIC."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a guest ended.

    Fields:
        cause: one of CAUSES; also what a client says that has not seen it end, or what a newer
            umlctl has written down
        code: the exit code of `umlctl run` and `umlctl wait`
        text: the panic's message, or the reason
        time: seconds since 1970
    """

    cause: str
    code: int
    text: str = ""
    time: float = 0.0

    @property
    def powered_down(self) -> bool:
        """It panicked when it had nothing to do any more; its file systems are in order."""
        return self.text.endswith(STATUS_LOST)


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One device in a guest's table; what is empty or false from `host` on is left out.

    Fields:
        name: "ubd3", "vec0", "con1", "ssl0", "mem"
        asked: what was asked for, in the words of `plug` or the kernel's
        kernel: what the kernel was given
        boot: it is on the kernel's command line, and comes back with a reboot by itself
        observed: what the guest said of it last; None: the guest does not have it
        host: of a NIC on a switch: the pids that serve it, and its port
        holds: files of the host that it uses
        mac: of a NIC
        addr: what the guest is meant to take: a hint
        network: the switch of ours that a NIC is on
        tap, bridge: the host's end of a NIC
        host_addr: the host's own address on its tap
        address: the pair of addresses that a tunnel owns on this host
        made: what was made for it, and goes with it
        shared: others may use its files
        problem: why it is not there
        note: what has become of its host's side since it was plugged
    """

    name: str
    asked: str
    # What a factory makes is never left out, whatever it is.
    kernel: str = msgspec.field(default_factory=str)
    boot: bool = msgspec.field(default_factory=bool)
    observed: dict[str, Any] | None = msgspec.field(default_factory=lambda: None)
    host: dict[str, Any] = {}
    holds: list[dict[str, Any]] = []
    mac: str = ""
    addr: str = ""
    network: str = ""
    tap: str = ""
    bridge: str = ""
    host_addr: str = ""
    address: str = ""
    made: dict[str, str] = {}
    shared: bool = False
    problem: str = ""
    note: str = ""


class Viewer(msgspec.Struct, frozen=True, kw_only=True):
    """Who looks at a console.

    Fields:
        pid, uid: whose client it is
        since: when it came, seconds since 1970
        keyboard: what it types goes to the console
    """

    pid: int
    uid: int | None = None
    since: float = 0.0
    keyboard: bool


class Console(msgspec.Struct, frozen=True, kw_only=True):
    """One console of a guest that can be attached to.

    Fields:
        name: "con0", "ssl1", …
        socket: its stream socket for programs
        log: the file that has what it printed
        viewers: who looks at it
    """

    name: str
    socket: str = ""
    log: str = ""
    viewers: list[Viewer] = []


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a guest. Times are seconds since 1970, sizes bytes.

    Fields:
        umid: its name
        state: what it does
        since: when that began
        started: when its kernel was started
        pid: of its kernel
        supervisor_pid: who supervises it
        kernel: the file of its kernel
        memory: what its processes take
        memory_limit: what it was given
        cgroup: the directory of its control group
        confined: how its kernel is: writes, strict or off
        own_mounts: it has mounts of its own: what is secret is hidden from it
        cpu: what it has used, seconds
        boots: how often its kernel came up, the boot that goes on now included
        reboots: how often it has rebooted
        restarts: how often it was started again
        refused: requests that were refused
        clients_refused: requests of users who may not put them
        exchanges: requests that its kernel was asked
        trouble: what is wrong with it
        last_panic: the text of its last panic
        resume: when it is resumed, if it is stopped for a time
        sockets: where it is talked to, by what is there
        root: what its root is
        devices: its device table
        consoles: what can be attached to
        log: the file that has what its first console printed
        command: its kernel's command line
        last_event: the last entry of its history
        ending: how it ended
    """

    umid: str = ""
    state: State
    since: float = 0.0
    started: float | None = None
    pid: int | None = None
    supervisor_pid: int | None = None
    kernel: str | None = None
    memory: int | None = None
    memory_limit: int | None = None
    cgroup: str | None = None
    confined: str | None = None
    own_mounts: bool | None = None
    cpu: float | None = None
    boots: int | None = None
    reboots: int | None = None
    restarts: int | None = None
    refused: int | None = None
    clients_refused: int | None = None
    exchanges: int | None = None
    trouble: str | None = None
    last_panic: str | None = None
    resume: float | None = None
    sockets: dict[str, str] = {}
    root: str | None = None
    devices: list[Device] = []
    consoles: list[Console] = []
    log: str | None = None
    command: list[str] = []
    last_event: dict[str, Any] | None = None
    ending: Ending | None = None


# Made here, by one thread: msgspec crashes where several decode into a new type at once.
_STATUS: Final = msgspec.json.Decoder(Status)
_ENDING: Final = msgspec.json.Decoder(Ending)
_DEVICES: Final = msgspec.json.Decoder(list[Device])
_DEVICE: Final = msgspec.json.Decoder(Device)
_CONSOLE: Final = msgspec.json.Decoder(Console)


def read_status(data: bytes) -> Status:
    """An answer to `status`, of a supervisor older or newer than we are or of another program.

    Raises: msgspec.DecodeError: it is no status
    """
    try:
        try:
            return _STATUS.decode(data)
        except msgspec.ValidationError:
            found = msgspec.json.decode(data)
            state = found.get("state") if isinstance(found, dict) else None
            if not isinstance(state, str) or state in STATES:
                raise
            return msgspec.convert(found | {"state": "unknown"}, Status)
    except (UnicodeDecodeError, RecursionError) as problem:
        raise msgspec.DecodeError(str(problem)) from None


def read_ending(data: bytes) -> Ending:
    """An answer to `wait`, `shutdown` or `kill`.

    Raises: msgspec.DecodeError: it is no ending
    """
    return decoded(_ENDING, data)


def read_devices(data: bytes) -> list[Device]:
    """An answer to `devices`.

    Raises: msgspec.DecodeError: it is no device table
    """
    return decoded(_DEVICES, data)


def read_device(data: bytes) -> Device:
    """An answer to `plug` for a disk or a NIC.

    Raises: msgspec.DecodeError: it is no device
    """
    return decoded(_DEVICE, data)


def read_console(data: bytes) -> Console:
    """An answer to `plug` for a console.

    Raises: msgspec.DecodeError: it is no console
    """
    return decoded(_CONSOLE, data)


def decoded(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """What somebody answered, who may be anybody.

    Raises: msgspec.DecodeError
    """
    try:
        return decoder.decode(data)
    except (UnicodeDecodeError, RecursionError) as problem:
        raise msgspec.DecodeError(str(problem)) from None
