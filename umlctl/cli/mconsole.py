"""`umlctl mconsole`: any text to a guest, once or a line at a time."""

from __future__ import annotations

import sys

import click

from socketproto.blocking import TIMEOUT, Connection, Unreachable
from socketproto.wire import WireError
from umlctl import exitcodes
from umlctl.cli import complete, views
from umlctl.host.paths import find_socket
from umlctl.oneshot import prepare, say, show, unreachable


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
    type=click.FloatRange(0, min_open=True),
    default=TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="How long each answer may take.",
)
@click.option("--force", is_flag=True, help="Send what is refused because it may harm the guest.")
def mconsole(guest: str, text: tuple[str, ...], in_json: bool, timeout: float, force: bool) -> int:
    """Send TEXT to a guest as it stands, and print the answer as it stands.

    With `-` for TEXT, send a command a line from standard input over one connection, and
    answer each in order with OK or ERR before it. The exit code is that of the first that
    failed.
    """
    with Connection(find_socket(guest)) as connection:
        if text == ("-",):
            return _batch(connection, guest, in_json, timeout, force)
        try:
            line = prepare(connection.link, " ".join(text), force)
            outcome = connection.request(line, timeout, renew=timeout)
        except Unreachable as problem:
            return unreachable(guest, problem)
        except WireError as problem:
            return say(f"{guest}: {problem}", exitcodes.USAGE)
        except PermissionError as problem:
            return say(f"{guest}: {problem}", exitcodes.REFUSED)
    if in_json:
        return views.show_outcome(guest, " ".join(text), outcome, json=True)
    return show(guest, "mconsole", outcome)


def _batch(connection: Connection, guest: str, in_json: bool, timeout: float, force: bool) -> int:
    first = exitcodes.OK
    out = sys.stdout.buffer
    for raw in sys.stdin.buffer:
        text = raw.rstrip(b"\n").decode("utf-8", "surrogateescape")
        if not text.strip() or text.startswith("#"):
            continue
        try:
            outcome = connection.request(
                prepare(connection.link, text, force), timeout, renew=timeout
            )
        except Unreachable as problem:
            return unreachable(guest, problem)
        except (WireError, PermissionError) as problem:
            code, answer = exitcodes.REFUSED, f"ERR {problem}".encode()
        else:
            code = (
                exitcodes.of_error(outcome.error)
                if outcome.kind == "refused"
                else exitcodes.of(outcome.kind)
            )
            said = (
                outcome.data if outcome.kind in ("answered", "refused") else str(outcome).encode()
            )
            answer = (b"OK " if outcome.ok else b"ERR ") + said.rstrip(b"\n")
            if in_json:
                answer = views.outcome_json(guest, text, outcome).encode()
        out.write(answer + b"\n")
        out.flush()
        first = first or code
    return first
