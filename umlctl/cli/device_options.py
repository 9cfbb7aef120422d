"""What `disk`, `nic`, `mem` and `collect` have in common: one request to a guest's supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from umlctl.cli import complete
from umlctl.cli.durations import SECONDS
from umlctl.client.request import ANSWER_TIMEOUT, deadline_of, decoded, request
from umlctl.errors import NoGuest
from umlctl.output import views
from umlctl.protocol.status import read_device, read_devices
from umlctl.state import records

if TYPE_CHECKING:
    from umlctl.client.ask import Deadline
    from umlctl.protocol.status import Device

guest_argument = click.argument("guest", shell_complete=complete.guests)
json_option = click.option("--json", "in_json", is_flag=True, help="Print JSON.")
force_option = click.option(
    "--force", is_flag=True, help="Take what is refused as dangerous; do not look at the guest."
)


timeout_option = click.option(
    "--timeout",
    "deadline",
    type=SECONDS,
    metavar="SECONDS",
    callback=lambda _ctx, _param, seconds: deadline_of(seconds),
    help="How long all of it may take. "
    f"[default: {ANSWER_TIMEOUT:g} from each sign of life of its supervisor]",
)


def plugged(guest: str, text: str, deadline: Deadline, *, force: bool) -> Device:
    """Have a device plugged; return its entry in the table."""
    return decoded(guest, read_device, request(guest, f"plug {text}", deadline, force=force))


def remove(guest: str, name: str, deadline: Deadline, *, in_json: bool) -> None:
    """Have a device removed, and say so."""
    request(guest, f"remove {name}", deadline)
    if in_json:
        click.echo(views.to_json({"guest": guest, "name": name}))
    else:
        click.echo(f"{name} is out of {guest}")


def devices(guest: str) -> list[Device]:
    """The guest's device table; without a supervisor, the one in its record.

    Raises: NoGuest, Refused, UsageError, HostError
    """
    try:
        return decoded(guest, read_devices, request(guest, "devices"))
    except NoGuest:
        record = records.load(guest) if "/" not in guest else None
        if record is None or record.ending is not None:
            raise
        click.echo(f"umlctl: {guest} has no supervisor; this is what was written down", err=True)
        return [records.device_status(entry) for entry in record.devices]


def note(device: Device) -> str:
    """What is wrong with a device: in the guest, or else on this host."""
    return device.problem or device.note
