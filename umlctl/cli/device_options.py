"""What `disk`, `nic`, `mem` and `collect` have in common: one request to a guest's supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import click
import msgspec

from socketproto.exchange import REFUSED, TRUNCATED, Outcome
from umlctl import exitcodes
from umlctl.cli import complete
from umlctl.cli.durations import SECONDS
from umlctl.client.ask import Deadline, GuestClient
from umlctl.errors import (
    HostError,
    InDoubt,
    NoGuest,
    NotOnBareKernel,
    Refusal,
    Refused,
    UsageError,
)
from umlctl.output import views
from umlctl.protocol.status import read_device, read_devices
from umlctl.state import records

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.protocol.status import Device

T = TypeVar("T")
ANSWER_TIMEOUT: Final = 60.0
"""How long a command may take from each sign of life, seconds. A switch or a slirp4netns may have
to be started first, other guests' devices be plugged, and hooks run."""

guest_argument = click.argument("guest", shell_complete=complete.guests)
json_option = click.option("--json", "in_json", is_flag=True, help="Print JSON.")
force_option = click.option(
    "--force", is_flag=True, help="Take what is refused as dangerous; do not look at the guest."
)


def _deadline(seconds: float | None) -> Deadline:
    """The deadline of a command, for all that it asks together."""
    return Deadline(seconds, ANSWER_TIMEOUT, renewed=True)


timeout_option = click.option(
    "--timeout",
    "deadline",
    type=SECONDS,
    metavar="SECONDS",
    callback=lambda _ctx, _param, seconds: _deadline(seconds),
    help="How long all of it may take. "
    f"[default: {ANSWER_TIMEOUT:g} from each sign of life of its supervisor]",
)


def request(
    guest: str, text: str, deadline: Deadline | None = None, *, force: bool = False
) -> bytes:
    """What the guest's supervisor answers.

    Raises: NoGuest, Refused, UsageError, UmlctlError
    """
    what = text.partition(" ")[0]
    try:
        with GuestClient(guest) as asked:
            outcome = asked.ask(text, deadline or _deadline(None), force=force)
    except InDoubt as problem:
        raise Refused(f"{what} {guest}: {problem}", problem.code) from None
    except (NotOnBareKernel, Refusal) as problem:
        raise Refused(f"{guest}: {problem}") from None
    except UsageError as problem:
        raise UsageError(f"{guest}: {problem}; shorter paths fit") from None
    if outcome.ok:
        return outcome.data
    if outcome.kind == REFUSED and outcome.error == exitcodes.ENODATA:
        outcome = Outcome(TRUNCATED, reason="a part of the answer is lost")
    if outcome.kind == REFUSED:
        said = outcome.text.strip() or f"error {outcome.error}"
        raise Refused(f"{guest}: {said}", exitcodes.of_error(outcome.error))
    raise Refused(f"{what} {guest}: {outcome}", exitcodes.of(outcome.kind))


def plugged(guest: str, text: str, deadline: Deadline, *, force: bool) -> Device:
    """Have a device plugged; return its entry in the table."""
    return _decoded(guest, read_device, request(guest, f"plug {text}", deadline, force=force))


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
        return _decoded(guest, read_devices, request(guest, "devices"))
    except NoGuest:
        record = records.load(guest) if "/" not in guest else None
        if record is None or record.ending is not None:
            raise
        click.echo(f"umlctl: {guest} has no supervisor; this is what was written down", err=True)
        return [records.device_status(entry) for entry in record.devices]


def note(device: Device) -> str:
    """What is wrong with a device: in the guest, or else on this host."""
    return device.problem or device.note


def _decoded(guest: str, read: Callable[[bytes], T], data: bytes) -> T:
    try:
        return read(data)
    except msgspec.DecodeError:
        raise HostError(f"{guest}: the answer is none that umlctl knows") from None
