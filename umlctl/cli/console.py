"""`umlctl console`: a terminal on a guest's console."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import click

from umlctl import exitcodes
from umlctl.cli import complete
from umlctl.cli.console_answer import Answer
from umlctl.cli.durations import SECONDS
from umlctl.cli.keyboard import ESCAPE, escape_key
from umlctl.cli.transcript import Transcript, identity, log_path
from umlctl.cli.viewer import ConsoleViewer
from umlctl.client.ask import GuestClient
from umlctl.client.attach import Attachment
from umlctl.errors import HostError, NoGuest
from umlctl.host import paths

if TYPE_CHECKING:
    from collections.abc import Callable


@click.command(
    epilog="""\b
Examples:
  umlctl console demo                the system console; ^] leaves it
  umlctl console demo 1              con1, the guest's /dev/tty1, plugged if need be
  umlctl console demo --read-only    watch, whoever types
  umlctl console demo --force        take the keyboard from who has it
  echo uptime | umlctl console demo
  echo 'make check; echo do""ne' | umlctl console demo --until done --wait 600
""",
)
@click.argument("guest", shell_complete=complete.guests)
@click.argument("console", default="0", metavar="[CONSOLE]", shell_complete=complete.consoles)
@click.option("--read-only", is_flag=True, help="Only look; leave the keyboard to others.")
@click.option("--force", is_flag=True, help="Take the keyboard from who has it.")
@click.option(
    "--escape", default=ESCAPE, show_default=True, metavar="KEY", help="^A to ^_, or `none`."
)
@click.option("--stty", is_flag=True, help="Type an stty command when the window's size changes.")
@click.option(
    "--wait",
    type=SECONDS,
    metavar="SECONDS",
    help="After the end of input: the longest silence. [default: 5; with --until: any]",
)
@click.option("--until", metavar="TEXT", help="After the end of input: stay until TEXT is printed.")
def console(
    guest: str,
    console: str,
    read_only: bool,
    force: bool,
    escape: str,
    stty: bool,
    wait: float | None,
    until: str | None,
) -> int:
    """Attach a terminal to a console of a guest.

    CONSOLE is 0 to 4, con0 to con4, or ssl0 to ssl3 (the guest's /dev/ttyS0 to ttyS3). Any
    number of people may look at one console; one of them has the keyboard.
    """
    key = escape_key(escape)
    name = f"con{console}" if console.isdigit() else console
    if name != "con0":
        _plug(guest, name)
    umid = paths.umid_of(guest)
    attachment = Attachment(umid, name, keyboard=not read_only, force=force)
    viewer = ConsoleViewer(attachment, Transcript(umid, name, None), key, stty=stty)
    viewer.answer = Answer(wait, os.fsencode(until or ""))
    return viewer.run(None)


def attach_while(umid: str, start: Callable[[], int]) -> int:
    """Start a guest and be on its console from the first byte; return the exit code.

    start: run in a thread of its own; returns an exit code

    Raises: HostError, UmlctlError of `start`
    """
    codes: list[int | BaseException] = []
    old = identity(log_path(umid, "con0"))

    def work() -> None:
        try:
            codes.append(start())
        except BaseException as problem:  # noqa: BLE001 - raised again below
            codes.append(problem)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    transcript = Transcript(umid, "con0", 0, old=old)
    viewer = ConsoleViewer(Attachment(umid, "con0"), transcript, escape_key(ESCAPE))
    viewer.answer = Answer(asked=True)
    try:
        code = viewer.run(lambda: not codes)
    except NoGuest:
        code = exitcodes.NO_GUEST  # no guest came to be; `start` says why
    if viewer.keyboard.left and not codes:
        return code  # the guest boots on
    thread.join()
    (result,) = codes
    if isinstance(result, BaseException):
        raise result
    return result or code


def _plug(guest: str, name: str) -> None:
    """See that the guest has a console.

    Raises: HostError, NoGuest
    """
    with GuestClient(guest) as asked:
        outcome = asked.ask(f"plug console {name}")
    if not outcome.ok:
        raise HostError(f"{guest}: {outcome}")
