"""`umlctl adopt`: guests that run on though their supervisor was killed get a new one."""

from __future__ import annotations

import click

from umlctl import exitcodes
from umlctl.cli import complete
from umlctl.cli.listing import WRITTEN_ANEW
from umlctl.client import unsupervised
from umlctl.output import say, views
from umlctl.recovery import cleanup, discover
from umlctl.state import records, umid_lock


@click.command(
    epilog="""\b
Examples:
  umlctl adopt               every guest that runs on without its supervisor
  umlctl adopt web db        these two, and come back when they answer
""",
)
@click.argument("guests", nargs=-1, shell_complete=complete.guests)
def adopt(guests: tuple[str, ...]) -> int:
    """Take over guests that run on though their supervisor was killed.

    Without GUESTS, all of them. Those that have died meanwhile are cleaned up, and started again
    if that is their policy. Any command to such a guest does the same by itself.
    """
    asked = dict.fromkeys(guests)
    died = {record.definition.umid: cleanup.judged(record) for record in _died()}
    unreadable = dict(records.unreadable())
    alone = [name for name in _alone() if not asked or name in asked]
    for name in alone:
        unsupervised.ask_to_adopt(name)
    if not alone and (died or unreadable or cleanup.wanted_back()):
        unsupervised.ask_to_adopt_all()
    code = exitcodes.OK
    still = dict(records.unreadable())
    for name, problem in unreadable.items():
        say(f"{problem}; {WRITTEN_ANEW if name in still else 'it was set aside'}", exitcodes.OK)
    for name in asked or [*alone, *died]:
        code = _report(name, name in alone, died.get(name)) or code
    return code


def _died() -> list[records.Record]:
    """Guests that have died without a supervisor, and whose ending is not written down."""
    left = [record for record in records.load_all() if record.ending is None]
    return [
        record
        for record in left
        if not (records.lives(record) or umid_lock.has_owner(record.definition.umid))
    ]


def _alone() -> list[str]:
    """Guests that run and whose supervisor does not, or not for much longer."""
    names = [record.definition.umid for record in discover.running()]
    return [
        name for name in names if not (umid_lock.has_owner(name) and unsupervised.is_served(name))
    ]


def _report(name: str, was_alone: bool, died: records.Record | None) -> int:
    """Say what has become of a guest; return the exit code."""
    has = "/" not in name and umid_lock.has_owner(name)
    why = unsupervised.out_of_reach(name)[1] if has and died is None else ""
    if died is not None:
        # Only the tiny parent knew the ending then.
        latest = died if died.ending else records.load(name)
        how = views.ending_text(latest.ending if latest else None)
        print(f"{name} died without a supervisor, {how}{'; it is started again' * has}")
    elif why:
        return say(f"{name} runs, and {why}", exitcodes.FAILED)
    elif has:
        print(f"{name} has a supervisor{' again' * was_alone}")
    elif was_alone:
        return say(f"{name}: could not be taken over", exitcodes.FAILED)
    else:
        record = records.load(name) if "/" not in name else None
        if record is None or record.ending is None:
            return say(f"no guest {name!r}; `umlctl list` shows the guests", exitcodes.NO_GUEST)
        how = views.ending_text(record.ending)
        return say(f"{name} does not run: {how}", exitcodes.NO_GUEST)
    return exitcodes.OK
