"""`umlctl rm`: guests that have ended are forgotten."""

from __future__ import annotations

import click

from umlctl import exitcodes
from umlctl.cli import complete
from umlctl.client import unsupervised
from umlctl.errors import GuestInUse, HostError, NoGuest, UmlctlError
from umlctl.output import say
from umlctl.recovery import discover
from umlctl.state import records, umid_lock


@click.command(
    "rm",
    epilog="""\b
Examples:
  umlctl rm test
  umlctl list --json | jq -r '.[] | select(.state == "dead") | .umid' | xargs umlctl rm
""",
)
@click.argument("guests", nargs=-1, required=True, shell_complete=complete.recorded)
def forget(guests: tuple[str, ...]) -> int:
    """Forget guests that have ended: their records, logs and histories are removed.

    Disks are not. A guest that is enabled stays so. One that runs is refused, and the others are
    forgotten all the same.
    """
    code = exitcodes.OK
    for guest in dict.fromkeys(guests):
        try:
            _forget(guest)
        except UmlctlError as problem:
            said = say(str(problem), problem.code)
            code = code or said
        else:
            print(f"{guest} is forgotten")
    return code


def _forget(umid: str) -> None:
    """Remove the records of a guest that has ended, with its name locked, so that none can take it.
    A guest that has died unseen is seen to by a supervisor first, which releases its devices.

    Raises: NoGuest, GuestInUse, HostError
    """
    if umid not in records.names():
        raise NoGuest(f"nothing is known of a guest {umid!r}; `umlctl list` shows the guests")
    record = discover.find(umid)
    if record is not None:
        if records.lives(record):
            raise GuestInUse(f"{umid} runs; `umlctl shutdown {umid}` ends it")
        if record.ending is None and unsupervised.ask_to_adopt(umid):
            raise GuestInUse(
                f"{umid} had died unseen, and its policy has it started again; "
                f"`umlctl shutdown {umid}` ends it"
            )
    left = records.load(umid)
    if left is not None and left.ending is None:
        raise HostError(f"{umid} cannot be forgotten: no supervisor has seen to what it left")
    try:
        umid_lock.remove_records(umid)
    except OSError as problem:
        raise HostError(f"{umid} cannot be forgotten: {problem}") from problem
