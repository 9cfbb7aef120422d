"""`umlctl events`: what has happened to guests, alive or dead, and what happens to them."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from socketproto.exchange import REFUSED
from umlctl import exitcodes
from umlctl.cli import complete
from umlctl.cli.durations import moment
from umlctl.client import history, unsupervised
from umlctl.client.ask import GuestClient, deadline_of
from umlctl.errors import UsageError
from umlctl.output import say, show
from umlctl.output.views import event_line
from umlctl.protocol.commands import BY_NAME
from umlctl.state import event_log
from umlctl.streams import await_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.protocol.events import Event


@click.command(
    epilog="""\b
Examples:
  umlctl events demo                 what has happened to it, in its former lives too
  umlctl events demo -f              and what happens, until it ends
  umlctl events --all --since 1h     of all guests, in order
  umlctl events --all -f --json | jq 'select(.event == "panicked")'
""",
)
@click.argument("guest", required=False, shell_complete=complete.guests)
@click.option("--all", "of_all", is_flag=True, help="Of all guests of this user.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens.")
@click.option("--since", metavar="TIME", help="As 10m (ago), 14:30 or 2026-01-31T14:30.")
@click.option("-n", "--lines", type=click.IntRange(0), metavar="LINES", help="Only the last LINES.")
@click.option("--json", "in_json", is_flag=True, help="Print each as a line of JSON.")
def events(
    guest: str | None,
    of_all: bool,
    follow: bool,
    since: str | None,
    lines: int | None,
    in_json: bool,
) -> int:
    """Print what has happened to a guest, or to all of them."""
    if (guest is None) != of_all:
        raise UsageError("`events` needs a guest, or --all")
    begin = 0.0 if since is None else moment(since, time.time())

    def show_event(event: Event) -> None:
        if event["time"] >= begin:
            line = event_log.encode(event)
            print(line.decode().rstrip("\n") if in_json else event_line(line), flush=True)

    if guest is not None and not _is_ours(guest):
        return _ask(guest, show_event, follow=follow, lines=lines)
    if follow:
        import select  # noqa: F401 - an interrupt could be lost when it is imported later
    names = event_log.guests() if guest is None else [guest]
    readers = {name: event_log.Reader(name) for name in names}
    past = [event for event in history.merged(readers) if event["time"] >= begin]
    for event in past[len(past) - lines if lines is not None and lines < len(past) else 0 :]:
        show_event(event)
    if follow:
        if guest is not None:
            # Without a supervisor, nothing would write down what happens to the guest.
            unsupervised.ask_to_adopt(guest)
        for event in history.following(readers, guest, await_source):
            show_event(event)
    return exitcodes.OK


def _is_ours(guest: str) -> bool:
    """Whether a guest's history can be read here. A user who names a socket wants that to be
    asked."""
    return "/" not in guest and os.path.exists(event_log.path_of(guest))


def _ask(
    guest: str, show_event: Callable[[Event], None], *, follow: bool, lines: int | None
) -> int:
    """Ask the supervisor of a guest that is not this user's, or has another home."""
    rest = b""
    past: list[Any] = []

    def each(data: bytes) -> None:
        nonlocal rest
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            event = event_log.decode(line)
            if event is None:
                say(f"{guest}: this is no event: {line[:80]!r}", exitcodes.OK)
            elif lines is not None and not follow:
                past.append(event)
            else:
                show_event(event)

    with GuestClient(guest) as asked:
        outcome = asked.ask(
            "events" if follow else "events past",
            deadline_of(BY_NAME["events"]),
            each=each,
            idle=lambda: await_source(-1, 0),
        )
    for event in past[-lines:] if lines else []:
        show_event(event)
    sys.stdout.flush()
    if outcome.kind == REFUSED and rest:
        said = rest.decode("utf-8", "replace").strip()
        return say(f"events {guest}: {said}", exitcodes.of_error(outcome.error))
    return exitcodes.OK if outcome.ok else show(guest, "events", outcome)
