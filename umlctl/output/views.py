"""How answers are shown: JSON for programs, lines for people."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from umlctl import exitcodes, output
from umlctl.guest.confinement import STRICT, WRITES
from umlctl.output import say, show
from umlctl.protocol.status import read_ending, read_status

if TYPE_CHECKING:
    from socketproto.exchange import Outcome
    from umlctl.protocol.commands import Command
    from umlctl.protocol.status import Ending, Status

printable = output.printable
UNHIDDEN: Final = {
    WRITES: "; secrets and sockets are not hidden from it: it could have no mounts of its own",
    STRICT: "; sockets are not hidden from it: it could have no mounts of its own",
}
"""What is said of a confined guest without mounts."""
MIN_NOTE_COLUMNS: Final = 16
"""The least width of a table's last column before others are folded, columns."""


def to_json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def outcome_json(guest: str, name: str, outcome: Outcome) -> str:
    """An outcome as one line of JSON."""
    return msgspec.json.encode(
        {
            "guest": guest,
            "command": name.encode("utf-8", "backslashreplace").decode(),
            "outcome": outcome.kind,
            "error": outcome.error,
            "text": outcome.data.decode("utf-8", "replace"),
            "reason": outcome.reason,
        }
    ).decode()


def show_outcome(
    guest: str, name: str, outcome: Outcome, json: bool, words: list[str] | None = None
) -> int:
    """Print an answer that is JSON already, or make it JSON; return the exit code.

    words: the words after the command
    """
    if name == "status" and outcome.ok:
        try:
            status = read_status(outcome.data)
        except msgspec.DecodeError as problem:
            return say(f"status {guest}: the answer is no status: {problem}", exitcodes.TRUNCATED)
        if json:  # with fields that only a newer supervisor knows
            print(to_json(msgspec.to_builtins(status) | msgspec.json.decode(outcome.data)))
        else:
            print("\n".join(status_lines(status)))
        return exitcodes.OK
    if json:
        print(outcome_json(guest, name, outcome))
        if outcome.kind == "refused":
            return exitcodes.of_error(outcome.error)
        return exitcodes.of(outcome.kind)
    return show(guest, name, outcome, words)


def show_ending(guest: str, command: Command, outcome: Outcome, json: bool) -> int:
    """Show how a guest ended, as `wait`, `shutdown` and `kill` answer; return the exit code."""
    try:
        ending = read_ending(outcome.data)
    except msgspec.DecodeError:
        return say(f"{command.name} {guest}: {outcome.text}", exitcodes.REFUSED)
    print(outcome.text if json else f"{guest} {ending_text(ending)}")
    if command.name == "wait":
        return ending.code
    lost = ending.cause in ("killed", "panicked") and not ending.powered_down
    return exitcodes.FAILED if command.name == "shutdown" and lost else exitcodes.OK


def event_line(line: bytes) -> str:
    """One event for a person: time, name, what else is known."""
    try:
        event = msgspec.json.decode(line, type=dict[str, Any])
        when = time.strftime("%H:%M:%S", time.localtime(event.pop("time", 0)))
    except (msgspec.DecodeError, ValueError, TypeError, OverflowError, OSError, RecursionError):
        return printable(line.decode("utf-8", "replace"))
    umid, name = str(event.pop("umid", "")), state_text(str(event.pop("event", "?")))
    text = str(event.pop("text", "")).removeprefix(f"{name}: ")
    if isinstance(lines := event.get("console"), list):
        event["console"] = f"{len(lines)} lines, see --json"
    facts = " ".join(f"{key}={value}" for key, value in event.items())
    said = (when, umid, name + (":" if text else ""), text, facts)
    return printable(" ".join(part for part in said if part))


def ending_text(ending: Ending | None) -> str:
    if ending is None:
        return "ended; nobody saw how"
    words = ending.cause
    if words == "exited":
        words += f" with status {ending.code}"
    return printable(f"{words}: {ending.text}" if ending.text else words)


def state_text(state: str) -> str:
    """A state, or the event that leads to it, for a person, to whom `stopped` would say that the
    guest has ended."""
    return "paused" if state == "stopped" else state


def size(count: int | None) -> str:
    """Bytes for a person."""
    if count is None:
        return "-"
    for unit, shift in (("G", 30), ("M", 20), ("K", 10)):
        if count >= 1 << shift:
            return f"{count / (1 << shift):.1f}{unit}"
    return str(count)


def duration(seconds: float) -> str:
    """Seconds for a person: 5.1s, 3m12s, 2h05m, 3d04h."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def status_lines(status: Status) -> list[str]:
    """`status` for a person."""
    state = f"{state_text(status.state)} for {duration(max(0.0, time.time() - status.since))}"
    rows = [("guest", status.umid), ("state", state)]
    if status.trouble:
        rows.append(("trouble", status.trouble))
    if status.ending:
        rows.append(("ended", ending_text(status.ending)))
    if status.last_panic:
        rows.append(("last panic", status.last_panic))
    if status.pid:
        limit = f" of {size(status.memory_limit)}" if status.memory_limit else ""
        rows += [
            ("pid", f"{status.pid}, supervisor {status.supervisor_pid or 'gone'}"),
            ("memory", f"{size(status.memory)}{limit} used"),
            ("cpu", f"{status.cpu:.2f}s" if status.cpu is not None else "-"),
            ("reboots", "-" if status.reboots is None else str(status.reboots)),
        ]
    rows.append(("kernel", status.kernel or "-"))
    if status.confined:
        hides = "" if status.own_mounts else UNHIDDEN.get(status.confined, "")
        rows.append(("confined", f"{status.confined}{hides}"))
    rows += _device_rows(status)
    rows += [(f"socket, {name}", path) for name, path in status.sockets.items()]
    if status.log:
        rows.append(("console log", status.log))
    if status.command:
        rows.append(("command", " ".join(status.command)))
    width = max(len(name) for name, _ in rows) + 2
    return [f"{name:<{width}}{printable(value)}" for name, value in rows]


def _device_rows(status: Status) -> list[tuple[str, str]]:
    rows = []
    if status.root:
        rows.append(("root", status.root))
    for device in status.devices:
        said = device.problem or device.note
        problem = f"; PROBLEM: {said}" if said else ""
        rows.append((device.name, f"{device.asked}{problem}"))
    for console in status.consoles:
        for viewer in console.viewers:
            has = "has the keyboard of" if viewer.keyboard else "looks at"
            rows.append(("viewer", f"pid {viewer.pid} {has} {console.name}"))
    return rows


def columns(rows: list[tuple[str, ...]]) -> None:
    """Print rows under the headings of the first row, which a terminal shows in bold. A table too
    wide for the terminal is folded, the last column first."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        console = Console(highlight=False, markup=False, emoji=False)
        table = Table(box=None, pad_edge=False, header_style="bold")
        widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
        has_room = sum(widths) + 2 * len(widths) + MIN_NOTE_COLUMNS <= console.width
        for heading, width in zip(rows[0], [*widths, 0], strict=True):
            table.add_column(heading, overflow="fold", min_width=width if has_room else None)
        for row in rows[1:]:
            table.add_row(*row)
        console.print(table)
        return
    print("\n".join(aligned(rows)))


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows as lines whose cells stand under each other."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
