"""What a command line means, and whether a kernel can take it without harm.

The kernel's own parser takes any command whose name is a prefix (`stopx` stops), and answers
requests that end it. Here a line is read strictly, by the command table, and what is known to
kill or block a kernel is refused with the reason. The lists are data; each says where it was
seen. A line that begins with '!' is forced: parsed as strictly, refused for nothing.

Pure: the supervisor uses it for every request, a one-shot command for a bare kernel.
"""

from __future__ import annotations

from errno import EBUSY, EINVAL, EPERM
from posixpath import normpath

from umlctl.errors import Refusal
from umlctl.protocol.commands import BY_NAME, MAX_SECONDS, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

FORCE: Final = "!"

SYSRQ_DEADLY: Final = {
    "t": "`sysrq t` panics the kernel while it lists the tasks (seen on 6.1: 4 of 4, and 6.12)",
}
SYSRQ_MENDED_SINCE: Final = (7, 2)
"""The release of Linux where it does not."""
SYSRQ_SAFE_WHEN_STOPPED: Final = frozenset("0123456789bhmwsuei")
"""Letters that a stopped guest takes without harm (6.1)."""

PROC_ENDLESS: Final = {
    "kcore": "it never ends, and blocks every later request for good (6.1)",
    "kmsg": "it blocks until the kernel logs something, and every request with it",
    "mem": "it is a process's memory, not a text",
    "pagemap": "it is binary and as long as the address space",
    "kpagecount": "it is binary",
    "kpageflags": "it is binary",
    "kpagecgroup": "it is binary",
    "trace_pipe": "it blocks until something is traced, and every request with it",
    "trace_pipe_raw": "it blocks until something is traced, and every request with it",
}
"""Files of /proc, and of sysfs behind 1/root, that a request would never come back from."""

PROC_BLOCKING_DIRS: Final = {
    "fd": "a terminal or pipe behind it blocks every request until data comes",
    "map_files": "what is mapped may be a device",
}


class CommandLine:
    """A command line, read.

    Fields:
        command: its row in the table
        argument: what follows the name
        forced: it began with '!'
    """

    __slots__ = ("argument", "command", "forced")

    def __init__(self, command: Command, argument: str, forced: bool) -> None:
        self.command = command
        self.argument = argument
        self.forced = forced

    @property
    def text(self) -> str:
        """The line as the kernel wants it."""
        name = self.command.name
        return f"{name} {self.argument}" if self.argument else name


def read(text: str) -> CommandLine:
    """Read one line by the command table.

    Raises: Refusal
    """
    forced = text.startswith(FORCE)
    line = text[len(FORCE) :].lstrip() if forced else text
    name, argument = _split(line)
    command = BY_NAME.get(name)
    if command is None:
        raise Refusal(_unknown(name), 1)
    if not command.takes_rest:
        words = argument.split()
        if len(words) > command.most:
            extra = words[command.most]
            raise Refusal(f"`{name}` takes {command.args or 'nothing'}, not {extra!r}", -EINVAL)
        argument = " ".join(words)
    elif name == "proc" and is_guest_file(argument):
        argument = argument.lstrip().rstrip("\r\n")  # a blank at the end is of the file's name
    elif name != "log":
        argument = argument.strip()
    if command.required and not argument:
        raise Refusal(f"`{name}` needs {command.args}", -EINVAL)
    return CommandLine(command, argument, forced)


def _split(line: str) -> tuple[str, str]:
    for index, char in enumerate(line):
        if char.isspace():
            return line[:index], line[index + 1 :]
    return line, ""


def _unknown(name: str) -> str:
    from umlctl.synonyms import meant

    begun = [known for known in BY_NAME if name.startswith(known)]  # as a kernel would take it
    near = begun[0] if begun else meant(name, BY_NAME)
    hint = f"; did you mean `{near}`?" if near else "; `help` lists the commands"
    return f"Unknown command {name[:40]!r}{hint}"


def check(line: CommandLine, *, stopped: bool = False, release: tuple[int, int] = (0, 0)) -> None:
    """See whether the kernel can take the line without harm, in the state it is in.

    release: the first two numbers of its version; zeros if unknown

    Raises: Refusal
    """
    if line.forced:
        return
    reason = _harm(line, release)
    if reason:
        raise Refusal(f"refused: {reason}; insist with --force, or a leading '!'", -EPERM)
    if stopped and not _safe_when_stopped(line):
        raise Refusal(
            f"refused: the guest is paused, and `{line.command.name}` would wedge it; "
            "send `go` first",
            -EBUSY,
        )


def _harm(line: CommandLine, release: tuple[int, int]) -> str:
    name, argument = line.command.name, line.argument
    if name == "sysrq":
        if len(argument) > 1:
            return f"`sysrq` takes one letter, and the kernel would act on {argument[0]!r}"
        return SYSRQ_DEADLY.get(argument, "") if release < SYSRQ_MENDED_SINCE else ""
    if name == "proc":
        return proc_harm(argument)
    if name == "config" and argument.startswith("udb"):
        return "there is no device `udb`; did you mean `ubd`?"
    return ""


def proc_harm(path: str) -> str:
    """Why reading this file of /proc would not come back; empty if nothing is known.

    `..` stays inside /proc, and PID/root leads to the guest's files, of which /dev and another
    /proc are as dangerous. PID/cwd leads anywhere, into these too.
    """
    parts = normpath("/" + path.strip().lstrip("/")).split("/")[1:]
    raw = path.strip().split("/")
    inside = _behind_root(parts)
    if inside is not None:
        if inside[:1] == ["dev"]:
            return f"{path}: a device may block, and every request with it"
        if inside[:1] == ["proc"]:
            return proc_harm("/".join(inside[1:]))
        parts = inside
    elif "cwd" in parts[1:-1]:
        return f"{path}: write the path from PID/root on"
    elif ".." in raw and any(part in ("root", "cwd") for part in raw):
        # normpath does not know that PID/root is a link: `1/root/..` is the guest's root.
        return f"{path}: write the path without `..`"
    if (
        parts
        and parts[-1] in PROC_ENDLESS
        and (inside is None or parts[-1].startswith("trace_pipe"))
    ):
        return f"{path}: {PROC_ENDLESS[parts[-1]]}"
    if inside is None:
        for directory, reason in PROC_BLOCKING_DIRS.items():
            if directory in parts[1:-1]:
                return f"{path}: {reason}"
    return ""


def is_guest_file(path: str) -> bool:
    """A file of /proc by name, and of one of the guest's file systems in truth: it is read in
    blocks that are full, which one that is made up as it is read need not be."""
    inside = _behind_root(normpath("/" + path.strip().lstrip("/")).split("/")[1:])
    return inside is not None and inside[:1] not in (["proc"], ["sys"])


def _behind_root(parts: list[str]) -> list[str] | None:
    """What follows PID/root; None if the path does not go through it."""
    if parts[:1] == ["thread-self"]:
        start = 1
    elif parts and (parts[0].isdigit() or parts[0] == "self"):
        start = 3 if parts[1:2] == ["task"] else 1
    else:
        return None
    if parts[start : start + 1] == ["root"]:
        return parts[start + 1 :]
    return None


def _safe_when_stopped(line: CommandLine) -> bool:
    if line.command.name == "config":
        return is_query(line)
    if line.command.name == "sysrq":
        return not line.argument or line.argument in SYSRQ_SAFE_WHEN_STOPPED
    return line.command.stopped


def is_query(line: CommandLine) -> bool:
    """The line asks and changes nothing."""
    return line.command.is_query(line.argument)


def seconds_of(line: CommandLine) -> float | None:
    """The seconds that a command was given; None if it was given none.

    Raises: Refusal
    """
    if not line.argument:
        return None
    try:
        seconds = float(line.argument)
        if not 0 <= seconds <= MAX_SECONDS:
            raise ValueError
    except ValueError:
        raise Refusal(
            f"`{line.command.name}` takes a number of seconds, not {line.argument!r}",
            -EINVAL,
        ) from None
    return seconds
