"""`umlctl mconsole`: any text to a guest, once or a line at a time."""

from __future__ import annotations

import sys
from errno import EPERM
from typing import TYPE_CHECKING, Final

import click

from socketproto.blocking import DEFAULT_TIMEOUT
from socketproto.exchange import GONE, REFUSED, Outcome
from socketproto.wire import REQUEST_BYTES
from umlctl import exitcodes
from umlctl.cli import complete
from umlctl.cli.durations import SECONDS
from umlctl.client.ask import GuestClient
from umlctl.client.oneshot import tell, tell_on
from umlctl.errors import InDoubt, NoGuest, UmlctlError, UsageError
from umlctl.output import views

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE_BYTES: Final = 2 * REQUEST_BYTES
"""How much of a line is kept, bytes; a longer line is too long for any request."""


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="""\b
Examples:
  umlctl mconsole demo config ubd1
  printf 'version\\nproc uptime\\n' | umlctl mconsole demo -
""",
)
@click.argument("guest", shell_complete=complete.guests)
@click.argument("text", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--json", "in_json", is_flag=True, help="Print each outcome as a line of JSON.")
@click.option(
    "--timeout",
    type=SECONDS,
    default=None,
    metavar="SECONDS",
    help=f"How long each answer may take. [default: {DEFAULT_TIMEOUT:g}; the guest's end is waited "
    "for]",
)
@click.option("--force", is_flag=True, help="Send what is refused because it may harm the guest.")
def mconsole(
    guest: str, text: tuple[str, ...], in_json: bool, timeout: float | None, force: bool
) -> int:
    """Send TEXT to a guest as it stands, and print the answer as it stands.

    With `-` for TEXT, send a command a line from standard input over one connection, and
    answer each in order with OK or ERR before it. The exit code is that of the first that
    failed.
    """
    if not "".join(text).strip():
        raise UsageError("mconsole takes a command, not an empty text")
    if text == ("-",):
        with GuestClient(guest) as asked:
            return _batch(asked, in_json, timeout, force)
    return tell(guest, " ".join(text), in_json, timeout, force)


def _batch(guest: GuestClient, in_json: bool, timeout: float | None, force: bool) -> int:
    """Answer with one outcome a line, whatever becomes of the guest meanwhile."""
    first = exitcodes.OK
    for text in _lines():
        try:
            outcome = tell_on(guest, text, timeout, force)
            code = exitcodes.of(outcome.kind)
            if outcome.kind == REFUSED:
                code = exitcodes.of_error(outcome.error)
        except (NoGuest, InDoubt) as problem:
            code, outcome = problem.code, Outcome(GONE, reason=str(problem))
        except UmlctlError as problem:
            error = 1 if isinstance(problem, UsageError) else -EPERM
            code, outcome = problem.code, Outcome(REFUSED, error, str(problem).encode())
        if in_json:
            answer = views.outcome_json(guest.name, text, outcome).encode()
        else:
            said = str(outcome).encode("utf-8", "surrogateescape")
            answer = (b"OK " if outcome.ok else b"ERR ") + said.rstrip(b"\n")
        sys.stdout.buffer.write(answer + b"\n")
        sys.stdout.buffer.flush()
        first = first or code
    return first


def _lines() -> Iterator[str]:
    """The commands on standard input; for a line that is too long for any, its beginning."""
    while raw := sys.stdin.buffer.readline(MAX_LINE_BYTES):
        rest = raw
        while rest and not rest.endswith(b"\n"):
            rest = sys.stdin.buffer.readline(MAX_LINE_BYTES)
        text = raw.rstrip(b"\n").decode("utf-8", "surrogateescape")
        if text.strip() and not text.startswith("#"):
            yield text
