"""`umlctl start`: a guest in the background."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from umlctl import exitcodes
from umlctl.checks import boot_warnings
from umlctl.cli.booting import Booting, await_earlier, host_errors, with_options
from umlctl.cli.define import check_console, define, take_name
from umlctl.errors import UmlctlError, UsageError
from umlctl.guest import profile as profiles
from umlctl.output import say

if TYPE_CHECKING:
    from umlctl.guest.definition import Definition


@click.command(
    cls=Booting,
    epilog="""\b
Examples:
  umlctl start web --mem 512M --root web.img --nic user,forward=8080:80
  umlctl start a --root base.img,cow=a.cow --nic switch=lan --disk data.img
  umlctl start db && umlctl start web --after db && umlctl list
  umlctl start guest --root guest.img --modules locked
  umlctl start try --profile lab --mem 1G        NAT, without root
  umlctl start mail --profile server:br1 --root mail.img && umlctl enable mail
""",
)
@click.argument("umid")
@with_options
@click.option("--console", is_flag=True, help="Attach to its console at once, as `console` does.")
@click.option("--no-wait", is_flag=True, help="Come back at once, not when it is ready.")
@click.option("--json", "in_json", is_flag=True, help="Print what has become of it as JSON.")
def start(
    umid: str,
    arguments: tuple[str, ...],
    *,
    console: bool,
    no_wait: bool,
    in_json: bool,
    **options: Any,
) -> int:
    """Boot a guest in the background; come back when it is ready, or has failed.

    The supervisor is yours, started when first needed, and ends after its last guest.
    A guest that has ended is started as it was last, if nothing but its name is given.
    """
    if console and no_wait:
        raise UsageError("--console stays with the guest, and --no-wait does not: give one of them")
    wishes = StartOptions(console, not no_wait, in_json)
    if not in_json:
        return _start_as_told(umid, options, arguments, wishes)
    try:
        if console:
            raise UsageError("--json and --console both take standard output; give one of them")
        with host_errors():
            return _start_as_told(umid, options, arguments, wishes)
    except UmlctlError as problem:
        _print_result(umid, problem.code, str(problem))
        raise


def start_again(definition: Definition, *, in_json: bool) -> int:
    """Start a guest in the background as it was started last; return the exit code.

    Raises: UmlctlError
    """
    _warn(definition)
    return _start(definition, StartOptions(in_json=in_json))


class StartOptions(NamedTuple):
    """What a user who starts a guest wants besides.

    Fields:
        console: to be attached to its console
        wait: come back when it is ready
        in_json: what has become of it, as JSON
    """

    console: bool = False
    wait: bool = True
    in_json: bool = False


def _start_as_told(
    umid: str, options: dict[str, Any], arguments: tuple[str, ...], wishes: StartOptions
) -> int:
    definition = _described(umid, options, arguments)
    _warn(definition)
    if (options["profile"] or "").startswith(profiles.SERVER):
        say(f"{umid}: {_come_back(umid)}", exitcodes.OK)
    return _start(definition, wishes)


def _described(umid: str, options: dict[str, Any], arguments: tuple[str, ...]) -> Definition:
    """The guest as the options describe it; without any, as it was started last.

    Raises: UsageError, NoKernel
    """
    from umlctl.cli import earlier_start

    last = earlier_start.last(umid)
    if last is not None and earlier_start.is_asked_for(options, arguments):
        say(
            f"{umid}: as it was started last: {earlier_start.words(last)}".rstrip(": "),
            exitcodes.OK,
        )
        return last
    _, options, arguments = take_name(umid, options, arguments)
    definition = define(umid, options, arguments)
    if last is not None and not earlier_start.is_same(definition, last):
        words = earlier_start.words(last) or "no options"
        say(f"{umid}: a new guest of this name; it was started last with {words}", exitcodes.OK)
    return definition


def _start(definition: Definition, wishes: StartOptions) -> int:
    """Start a guest that nothing is wrong with; return the exit code."""
    await_earlier(definition)
    if wishes.console:
        return _start_on_console(definition)
    code = _ask_to_start(definition, wishes)
    if code == exitcodes.OK:  # a refused guest loses nothing
        _say_what_is_lost(definition)
    return code


def _start_on_console(definition: Definition) -> int:
    from umlctl.cli.console import attach_while
    from umlctl.errors import GuestInUse
    from umlctl.state.umid_lock import has_owner

    check_console(definition)
    umid = definition.umid
    if has_owner(umid):  # the viewer would be attached to that guest
        raise GuestInUse(f"{umid} is the name of a running guest; take another name")
    _say_what_is_lost(definition)
    return attach_while(umid, lambda: _ask_to_start(definition, StartOptions(console=True)))


def _ask_to_start(definition: Definition, wishes: StartOptions) -> int:
    """Have the background supervisor start a guest; return the exit code."""
    from umlctl.client.start import start as start_there

    umid = definition.umid
    answer = start_there(definition, wait=wishes.wait)
    status = answer.status
    if status is None:
        if wishes.in_json:
            _print_result(umid, answer.code, answer.text)
        return say(answer.text, answer.code)
    if wishes.in_json:
        _print_result(umid, exitcodes.OK, "", status.state, status.pid or 0)
    elif not wishes.console:
        print(f"{umid} is {status.state}, kernel pid {status.pid}")
    return exitcodes.OK


def _warn(definition: Definition) -> None:
    for warning in boot_warnings.of_start(definition):
        say(f"{definition.umid}: {warning}", exitcodes.OK)


def _say_what_is_lost(definition: Definition) -> None:
    for warning in boot_warnings.of_loss(definition):
        say(f"{definition.umid}: {warning}", exitcodes.OK)


def _come_back(umid: str) -> str:
    """How a server comes back after a boot of the host."""
    unit = "`umlctl setup --systemd --system`" if not os.geteuid() else "`umlctl setup --systemd`"
    return f"`umlctl enable {umid}`, and {unit} once, have it started with the host"


def _print_result(umid: str, code: int, text: str, state: str = "", pid: int = 0) -> None:
    """How a start went, as one line of JSON."""
    import msgspec

    result = {
        "umid": umid,
        "status": code,
        "text": text.encode("utf-8", "backslashreplace").decode(),
        "state": state or None,
        "pid": pid or None,
    }
    print(msgspec.json.encode(result).decode())
