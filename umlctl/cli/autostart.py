"""`umlctl enable`, `disable` and `autostart`: guests that are started without being named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from umlctl import exitcodes
from umlctl.cli import complete
from umlctl.definitions import files, make
from umlctl.errors import NoGuest, UsageError
from umlctl.host import paths
from umlctl.output import say, views
from umlctl.protocol.starting import AutostartResult, read_autostart_result
from umlctl.state import enabled, records

if TYPE_CHECKING:
    from umlctl.guest.definition import Definition


@click.command(
    epilog="""\b
Examples:
  umlctl enable web
  umlctl start web --mem 512M --after db && umlctl enable web
"""
)
@click.argument("guest", shell_complete=complete.known)
def enable(guest: str) -> int:
    """Have GUEST started by `umlctl autostart`: as it is defined then, or as it was started last.

    It may be running or have ended. If it is not defined, what was changed while it ran is no part
    of it: devices plugged or taken out, and its memory. After another `start` with other options,
    enable it again.
    """
    umid = paths.umid_of(guest)
    if files.is_path(umid):
        raise UsageError(f"enable takes a guest's name: `umlctl define {guest}`, and enable that")
    written = files.find(umid)
    definition = _as_started(umid) if written is None else make.of_written(written)
    enabled.enable(definition)
    print(f"{umid} is enabled" + (f", as {written.path} has it" if written else ""))
    names = {each.umid for each in enabled.load_all()}
    for name in definition.after:
        if name not in names:
            say(f"{umid} comes after {name}, which is not enabled", exitcodes.OK)
    return exitcodes.OK


def _as_started(umid: str) -> Definition:
    """A guest as it was started last.

    Raises: NoGuest
    """
    record = records.load(umid)
    if record is None:
        raise NoGuest(
            f"nothing is known of a guest {umid}; start it once, or define it, and then enable it"
        )
    since = [entry.name for entry in record.devices if not entry.boot] + record.removed
    if since:
        changed = f"what was changed since it was started is no part of that: {', '.join(since)}"
        say(f"{umid}: {changed}", exitcodes.OK)
    return record.definition


@click.command(epilog="\b\nExamples:\n  umlctl disable web\n")
@click.argument("guest", shell_complete=complete.enabled)
def disable(guest: str) -> int:
    """Have GUEST started by `umlctl autostart` no more; if it runs, it runs on."""
    umid = paths.umid_of(guest)
    if not enabled.disable(umid):
        raise NoGuest(f"{umid} is not enabled; `umlctl list --enabled` shows the guests that are")
    print(f"{umid} is not enabled any more")
    return exitcodes.OK


@click.command(
    epilog="""\b
Examples:
  umlctl autostart
  (crontab -l; echo '@reboot umlctl autostart') | crontab -    where there is no systemd
"""
)
@click.option("--json", "in_json", is_flag=True, help="Print an array of objects.")
def autostart(in_json: bool) -> int:
    """Start every guest that is enabled and does not run.

    Each is started when those are ready that it comes after, side by side with others; one that
    fails keeps only those from starting that come after it. The exit status is 0 if all run.
    """
    from umlctl.client.background import ask_supervisor

    results: list[AutostartResult] = []
    rest = b""

    def each(data: bytes) -> None:
        nonlocal rest
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            result = _read(line)
            if result:
                results.append(result)
                _tell(result)

    if enabled.load_all():
        ask_supervisor("autostart", each)
    elif not in_json:
        say("no guest is enabled; `umlctl enable GUEST` does it", exitcodes.OK)
    if rest:
        say(rest.decode("utf-8", "replace"), exitcodes.FAILED)
    if in_json:
        print(views.to_json(results))
    return exitcodes.OK if all(result.up for result in results) else exitcodes.FAILED


def _read(line: bytes) -> AutostartResult | None:
    try:
        return read_autostart_result(line)
    except msgspec.DecodeError:
        say(line.decode("utf-8", "replace"), exitcodes.FAILED)
        return None


def _tell(result: AutostartResult) -> None:
    if result.outcome == "started":
        say(f"{result.umid}: started, kernel pid {result.pid}", exitcodes.OK)
    elif result.up:
        say(f"{result.umid}: ran already", exitcodes.OK)
    else:
        say(f"{result.umid}: was not started: {result.text}", result.code)
