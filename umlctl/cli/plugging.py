"""What `disk`, `nic`, `mem` and `collect` have in common: one request to a guest's supervisor."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from socketproto.blocking import Connection, Unreachable
from socketproto.exchange import REFUSED, TIMED_OUT, TRUNCATED, Outcome
from socketproto.wire import WireError
from umlctl import exitcodes
from umlctl.cli import afterlife, complete, views
from umlctl.cli.seconds import SECONDS
from umlctl.errors import HostError, NoGuest, UmlctlError, UsageError
from umlctl.host import records
from umlctl.host.paths import find_socket
from umlctl.oneshot import KILLS, Abandoned, absent, check_abandoned, prepare

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE: Final = 60.0
"""A switch or a slirp4netns may have to be started first, others' devices be plugged, and hooks
run, seconds."""

guest_argument = click.argument("guest", shell_complete=complete.guests)
json_option = click.option("--json", "in_json", is_flag=True, help="Print JSON.")
force_option = click.option(
    "--force", is_flag=True, help="Take what is refused as dangerous; do not look at the guest."
)


class Refused(UmlctlError):
    """The supervisor or the kernel said no, or did not answer; the message is theirs."""

    def __init__(self, message: str, code: int = exitcodes.REFUSED) -> None:
        super().__init__(message)
        self.code = code


class Deadline:
    """What a command may take, all that it asks together; without a number of seconds, each answer
    may take PATIENCE from each sign of life on."""

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = seconds
        self._end = 0.0 if seconds is None else time.monotonic() + seconds

    def left(self) -> tuple[float, float]:
        """How long an answer may take, and how long from each sign of life on if not 0, seconds.

        Raises: Refused: it is over
        """
        if self._seconds is None:
            return PATIENCE, PATIENCE
        left = self._end - time.monotonic()
        if left <= 0:
            why = f"{TIMED_OUT}: not done within {self._seconds:g} seconds"
            raise Refused(why, exitcodes.TIMED_OUT)
        return left, 0.0


timeout_option = click.option(
    "--timeout",
    "deadline",
    type=SECONDS,
    metavar="SECONDS",
    callback=lambda _ctx, _param, seconds: Deadline(seconds),
    help="How long all of it may take. "
    f"[default: {PATIENCE:g} from each sign of life of its supervisor]",
)


def request(
    guest: str,
    text: str,
    deadline: Deadline | None = None,
    *,
    force: bool = False,
    kills: int = 0,
) -> bytes:
    """What the guest's supervisor answers.

    Raises: NoGuest, Refused, UsageError
    """
    deadline = deadline or Deadline()
    with Connection(find_socket(guest)) as connection:
        try:
            line = prepare(connection.link, text, force)
            timeout, renew = deadline.left()
            outcome = connection.request(line, timeout, renew=renew)
            check_abandoned(connection.link, line, outcome)
        except Unreachable as problem:
            try:
                if kills < KILLS and afterlife.take_over(guest):
                    afterlife.can_be_asked_again(guest, problem)
                    return request(guest, text, deadline, force=force, kills=kills + 1)
                raise
            except Abandoned as abandoned:
                what = text.partition(" ")[0]
                raise Refused(f"{what} {guest}: {abandoned.why}", exitcodes.GONE) from None
            except Unreachable:
                raise NoGuest(absent(guest, problem)) from None
        except WireError as problem:
            raise UsageError(f"{guest}: {problem}; shorter paths fit") from None
        except PermissionError as problem:
            raise Refused(f"{guest}: {problem}") from None
    if outcome.ok:
        return outcome.data
    if outcome.kind == REFUSED and outcome.error == exitcodes.ENODATA:
        outcome = Outcome(TRUNCATED, reason="a part of the answer is lost")
    if outcome.kind == REFUSED:
        said = outcome.text.strip() or f"error {outcome.error}"
        raise Refused(f"{guest}: {said}", exitcodes.of_error(outcome.error))
    what = text.partition(" ")[0]
    raise Refused(f"{what} {guest}: {outcome}", exitcodes.of(outcome.kind))


def plugged(guest: str, text: str, deadline: Deadline, *, force: bool) -> dict[str, Any]:
    """Have a device plugged; its entry in the table."""
    entry: dict[str, Any] = _decoded(guest, request(guest, f"plug {text}", deadline, force=force))
    return entry


def remove(guest: str, name: str, deadline: Deadline, *, in_json: bool) -> None:
    """Have a device taken out, and say so."""
    request(guest, f"remove {name}", deadline)
    if in_json:
        click.echo(views.to_json({"guest": guest, "name": name}))
    else:
        click.echo(f"{name} is out of {guest}")


def devices(guest: str) -> list[dict[str, Any]]:
    """The guest's device table; without a supervisor, as it was written down.

    Raises: NoGuest, Refused, UsageError, HostError
    """
    try:
        table: list[dict[str, Any]] = _decoded(guest, request(guest, "devices"))
    except NoGuest:
        record = records.load(guest) if "/" not in guest else None
        if record is None or record.ending is not None:
            raise
        table = msgspec.to_builtins(record.devices)
        click.echo(f"umlctl: {guest} has no supervisor; this is what was written down", err=True)
    return table


def note(row: dict[str, Any]) -> str:
    """What is wrong with a device: in the guest, or else on this host."""
    return str(row.get("problem") or row.get("note", ""))


def _decoded(guest: str, data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise HostError(f"{guest}: the answer is none that umlctl knows") from None


def complete_devices(family: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Names of a guest's devices, for shell completion.

    family: "ubd" or "nic"
    """
    prefixes = ("vec", "eth") if family == "nic" else (family,)

    def offered(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        try:
            rows = devices(ctx.params.get("guest") or "")
        except UmlctlError:
            return []
        names = [str(row["name"]) for row in rows]
        return [name for name in names if name.startswith(prefixes) and name.startswith(incomplete)]

    return offered
