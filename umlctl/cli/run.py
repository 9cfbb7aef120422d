"""`umlctl run`: a guest in the foreground."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from umlctl.checks import boot_warnings
from umlctl.cli import complete
from umlctl.cli.asked_for import asked_for, check_console
from umlctl.cli.booting import Booting, await_earlier, with_options
from umlctl.cli.durations import SECONDS
from umlctl.errors import UmlctlError, UsageError
from umlctl.guest import policy
from umlctl.host import paths
from umlctl.host.starting import unfit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umlctl.cli.asked_for import Asked
    from umlctl.cli.foreground import Log
    from umlctl.protocol.status import Ending


@click.command(
    cls=Booting,
    epilog="""\b
Examples:
  umlctl run                                    this machine's files, a name made up
  umlctl run test --kernel ./linux --mem 1G     the kernel that you just built
  umlctl run ./test.toml --mem 2G               what is written in a file, with more memory
  umlctl run test --root debian.img -- quiet    an image; kernel arguments after --
  umlctl run ci --init /tmp/test.sh; echo $?    its exit status: /proc/exitcode; 255: panic
  umlctl run ci --init /tmp/test.sh --limit 600 --json --log ci.log    in a test bench
  umlctl run db --ready-fd 3 --log-format json 3>ready 2>log    under a job runner
""",
)
@click.argument("umid", required=False, metavar="[NAME|FILE]", shell_complete=complete.startable)
@with_options
@click.option("--once", is_flag=True, help="Whatever it is told else: do not start it again.")
@click.option("--console", is_flag=True, help="Attach the terminal to its console; ^] leaves it.")
@click.option(
    "--ready-fd",
    type=int,
    metavar="N",
    help="Write a line, UMID PID, to descriptor N when it is ready, and close it.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="What happens to it, on standard error: in words, or all events as lines of JSON.",
)
@click.option("--json", "in_json", is_flag=True, help="In the end, print how it ended as JSON.")
@click.option("--log", "copy", metavar="FILE", help="Copy what it puts on its console to FILE.")
@click.option(
    "--limit",
    type=SECONDS,
    metavar="SECONDS",
    help="End it if it has not ended after so long; the exit code is 124 then.",
)
@click.option(
    "--die-with-parent",
    "tied",
    is_flag=True,
    help="Kill it when this process is killed, which it outlives otherwise.",
)
def run(
    umid: str | None,
    arguments: tuple[str, ...],
    *,
    log_format: str,
    in_json: bool,
    **options: Any,
) -> int:
    """Boot a guest and supervise it in the foreground until it ends.

    NAME is that of a guest that is defined, or of a new one; FILE has a definition.
    The exit code is the guest's own status, 255 after a panic, 125 if it ended before
    its init program began.
    Ctrl-C shuts the guest down in order; twice, it is killed.
    """
    from umlctl.cli import foreground

    begun = time.monotonic()
    log = foreground.Log(umid or f"uml-{os.getpid()}", in_json=log_format == "json")
    try:
        if in_json and options["console"]:
            raise UsageError("--json and --console both take standard output; give one of them")
        with unfit(f"{log.umid} cannot be run"):
            ending, place = _boot(_named(umid, options, arguments, log), log)
    except UmlctlError as problem:
        if in_json:
            _print_result(log.umid, "failed", problem.code, str(problem), begun, "")
        if log.in_json:
            return log.fail(problem)
        raise
    if in_json:
        _print_result(log.umid, ending.cause, ending.code, ending.text, begun, place)
    return ending.code


def _named(
    word: str | None, options: Mapping[str, Any], arguments: tuple[str, ...], log: Log
) -> Asked:
    """The guest that is asked for, with a name that was made up if it has none.

    Raises: UsageError, HostError
    """
    asked = asked_for(word, options, arguments)
    named = asked.umid is not None
    log.umid = asked.umid or log.umid
    return asked._replace(umid=log.umid, options={**asked.options, "named": named})


def _boot(asked: Asked, log: Log) -> tuple[Ending, str]:
    """Boot a guest and supervise it; how it ended, and where its console was logged.

    Raises: UmlctlError, OSError
    """
    from umlctl.cli import foreground
    from umlctl.cli.alongside import Copy

    options = asked.options
    console, ready_fd = options["console"], options["ready_fd"]
    if ready_fd is not None:
        foreground.check_ready_descriptor(ready_fd)
    definition = asked.definition()
    if options["once"]:
        definition = replace(definition, **policy.actions_once(definition))
    if asked.written is not None and not log.in_json:
        log.say(f"as {asked.written.path} has it")
    if console:
        check_console(definition)
    with ExitStack() as stack:
        copy = None
        if options["copy"] is not None:
            copy = stack.enter_context(closing(Copy(options["copy"])))
        for warning in (*boot_warnings.of_start(definition), *boot_warnings.of_loss(definition)):
            log.write(log.event("warning", text=warning))
        await_earlier(definition)
        wishes = foreground.ForegroundOptions(
            console, ready_fd, options["limit"], copy, options["tied"]
        )
        ending = foreground.supervise(definition, log, wishes)
    return ending, copy.path if copy else f"{paths.record_dir(log.umid)}/console.log"


def _print_result(umid: str, cause: str, code: int, text: str, begun: float, log: str) -> None:
    """How a run ended, as one line of JSON."""
    import msgspec

    result = {
        "umid": umid,
        "status": code,
        "cause": cause,
        "text": text.encode("utf-8", "backslashreplace").decode(),
        "seconds": round(time.monotonic() - begun, 3),
        "log": log if log and os.path.exists(log) else None,
    }
    print(msgspec.json.encode(result).decode())
