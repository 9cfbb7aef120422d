"""`umlctl mem`: the memory of a running guest."""

from __future__ import annotations

from typing import Any

import click

from umlctl import exitcodes
from umlctl.cli import device_options
from umlctl.client.request import request
from umlctl.devices.mem import parse
from umlctl.errors import HostError
from umlctl.output import views


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="""\b
Examples:
  umlctl mem demo          what it has
  umlctl mem demo -64M     the host gets 64M back at once
  umlctl mem demo +64M     and the guest again
""",
)
@device_options.guest_argument
@click.argument("change", default="show", metavar="[+SIZE|-SIZE|show]")
@device_options.force_option
@device_options.json_option
def mem(guest: str, change: str, force: bool, in_json: bool) -> int:
    """Show a guest's memory, take some of it, or give back what was taken.

    A guest never gets more than it was started with. What was taken stays so over a reboot.
    """
    if change != "show":
        device = parse(f"mem={change}")
        request(guest, f"config {device}", force=force)
    facts = _facts(guest)
    if in_json:
        print(views.to_json(facts))
    else:
        taken = f", {views.size(facts['taken'])} taken" if facts["taken"] else ""
        print(
            f"{guest}: {views.size(facts['total'])} in all, {views.size(facts['available'])} "
            f"available{taken}"
        )
    return exitcodes.OK


def _facts(guest: str) -> dict[str, Any]:
    """Total, free and available memory as the guest says, and how much was taken from it, bytes."""
    text = request(guest, "proc meminfo").decode("ascii", "replace")
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    names = {"total": "MemTotal", "free": "MemFree", "available": "MemAvailable"}
    try:
        facts: dict[str, Any] = {
            name: int(lines[key].removesuffix("kB")) << 10 for name, key in names.items()
        }
    except (KeyError, ValueError):
        raise HostError(f"{guest}: the guest does not say how much memory it has") from None
    rows = [row for row in device_options.devices(guest) if row.name == "mem"]
    facts["taken"] = -parse(rows[0].kernel).change if rows else 0
    return facts
