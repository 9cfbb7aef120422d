"""`umlctl restart`: a guest is shut down, and started as it was: with a kernel built since, too."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click
import msgspec

from socketproto.exchange import REFUSED
from umlctl import exitcodes
from umlctl.cli import complete, earlier_start
from umlctl.cli.shutdown import is_seconds, seconds_of
from umlctl.client import background
from umlctl.client.ask import GuestClient, deadline_of
from umlctl.client.target import named
from umlctl.definitions import files, host_file, make
from umlctl.errors import GuestInUse, HostError, NoGuest, NotOnBareKernel, Refused, UsageError
from umlctl.guest import specs
from umlctl.guest.definition import root_directory, root_disk, root_is_image
from umlctl.kernels import find
from umlctl.output import views
from umlctl.protocol.commands import BY_NAME, MAX_SECONDS, SHUTDOWN_TIMEOUT
from umlctl.protocol.status import read_status
from umlctl.recovery import discover
from umlctl.state import records

if TYPE_CHECKING:
    from umlctl.guest.definition import Definition


@click.command(
    epilog="""\b
Examples:
  umlctl restart demo            after a new kernel was built, for example
  umlctl restart demo 5          killed if it has not shut down within 5 seconds
  umlctl restart --reload web    as its definition has it now
""",
)
@click.argument("guest", metavar="GUEST|FILE", shell_complete=complete.guests)
@click.argument("seconds", type=click.FloatRange(0, MAX_SECONDS), default=SHUTDOWN_TIMEOUT)
@click.option(
    "--reload", is_flag=True, help="Start it as its definition has it, not as it was started."
)
@click.option("--json", "in_json", is_flag=True, help="Print what has become of it as JSON.")
def restart(guest: str, seconds: float, reload: bool, in_json: bool) -> int:
    """Shut a guest down as `shutdown` does, and start it again as it was started.

    `reboot` has the kernel begin anew in its process, with what it was plugged since; this is a
    new process, and a new kernel if its file was replaced. A guest that has ended is started.
    """
    return _restart(named(guest), seconds, in_json, guest if reload else "")


def restart_all(words: list[str], in_json: bool) -> int:
    """Restart guests one after another, as `shutdown -R` does; return the exit code of the last
    that is not 0.

    words: their names, and how long the shutdown of each may take

    Raises: UmlctlError
    """
    has_seconds = bool(words) and is_seconds(words[-1])
    names = list(dict.fromkeys(words[:-1] if has_seconds else words))
    if not names or any(map(is_seconds, names)):
        raise UsageError("-R takes the names of guests, and a number of seconds behind them")
    seconds = seconds_of(words[-1:] if has_seconds else [])
    for name in names:
        if discover.find(name) is None:
            raise NoGuest(
                f"no guest {name!r}, so none is shut down; `umlctl list` shows the guests"
            )
    code = exitcodes.OK
    for name in names:
        code = _restart(name, seconds, in_json) or code
    return code


def _restart(umid: str, seconds: float, in_json: bool, reloaded: str = "") -> int:
    """Restart a guest; return the exit code.

    reloaded: the guest or the file whose definition it is to have; empty: as it was started

    Raises: UmlctlError
    """
    from umlctl.cli.start import start_again

    if "/" in umid:
        raise UsageError(f"restart takes a guest's name, not the path of its socket, {umid!r}")
    # What cannot be started does not end what runs.
    written = make.of_written(files.needed(reloaded)) if reloaded else None
    with GuestClient(umid) as asked:
        if asked.is_bare():
            raise NotOnBareKernel(
                f"{umid}: nobody supervises this guest, and nobody knows how it was started"
            )
        try:
            _check_again(umid, written)
            _shut_down(asked, seconds, in_json)
        except NoGuest:
            if earlier_start.last(umid) is None and written is None:
                raise
    definition = written or earlier_start.last(umid)
    if definition is None:
        raise GuestInUse(f"{umid} was not started again: somebody else has just started it")
    return start_again(definition, in_json=in_json)


def _check_again(umid: str, written: Definition | None) -> None:
    """See that a guest can be started again, before it is ended.

    written: as it is to be, if not as it was

    Raises: GuestInUse: it is somebody's process; HostError, NoKernel: a file that it needs is
        missing, or is no kernel now; UsageError: what guests may have cannot be read
    """
    record = discover.find(umid)
    if record is None:
        return
    if record.own_line and records.lives(record):
        raise GuestInUse(
            f"{umid} is the process {record.pid}, which somebody started as `linux`: "
            f"`umlctl shutdown {umid}` ends it, and who started it starts it again"
        )
    definition = written or record.definition
    host_file.load()
    for directory in filter(None, (definition.cwd, root_directory(definition))):
        if not os.path.isdir(directory):
            raise _left(umid, f"the directory {directory}", written)
    find.probe(os.path.join(definition.cwd, definition.kernel), definition.user)
    disks = [specs.parse_disk(text, definition.cwd) for text in definition.disks]
    if root_is_image(definition):
        disks.append(root_disk(definition))
    for disk in disks:
        if not os.path.exists(disk.file):
            raise _left(umid, disk.file, written)


def _left(umid: str, what: str, written: Definition | None) -> HostError:
    """Why a guest is not ended: what it could not be started again without."""
    why = "which its definition has, is not there"
    if written is None:
        why = "which it was started with, is gone"
    return HostError(f"{umid} is left as it is: {what}, {why}")


def _shut_down(guest: GuestClient, seconds: float, in_json: bool) -> None:
    """End a guest of the background supervisor.

    Raises: NoGuest: it has ended; GuestInUse: another supervisor has it; Refused: it has not ended
    """
    umid = guest.name
    status = guest.ask("status")
    try:
        supervisor = read_status(status.data).supervisor_pid
    except msgspec.DecodeError:
        code = exitcodes.FAILED if status.ok else exitcodes.of(status.kind)
        raise Refused(f"restart {umid}: its status cannot be read: {status}", code) from None
    if supervisor != background.pid():
        raise GuestInUse(
            f"{umid} is supervised by `umlctl run`, pid {supervisor}: `umlctl shutdown {umid}` "
            "ends both, and who runs it starts it again"
        )
    command = BY_NAME["shutdown"]
    outcome = guest.ask(f"shutdown {seconds:g}", deadline_of(command))
    if not outcome.ok:
        refused = outcome.kind == REFUSED
        code = exitcodes.of_error(outcome.error) if refused else exitcodes.of(outcome.kind)
        why = outcome.text.strip() or outcome.reason
        raise Refused(f"restart {umid}: it has not ended: {why}", code)
    if not in_json:
        views.show_ending(umid, command, outcome, json=False)
