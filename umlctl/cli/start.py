"""`umlctl start`: a guest in the background."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from umlctl import exitcodes
from umlctl.checks import boot_warnings
from umlctl.cli import complete
from umlctl.cli.asked_for import Asked, asked_for, check_console, given_options
from umlctl.cli.booting import Booting, await_earlier, with_options
from umlctl.definitions import files, saved
from umlctl.errors import UmlctlError, UsageError
from umlctl.guest import profile as profiles
from umlctl.host.starting import starting
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
  umlctl start web --root web.img --save         and from then on: umlctl start web
  umlctl start ./web.toml                        as a file has it
""",
)
@click.argument("umid", metavar="NAME|FILE", shell_complete=complete.startable)
@with_options
@click.option("--console", is_flag=True, help="Attach to its console at once, as `console` does.")
@click.option("--no-wait", is_flag=True, help="Come back at once, not when it is ready.")
@click.option("--save", is_flag=True, help="Once it runs, define it as it was asked for here.")
@click.option("--json", "in_json", is_flag=True, help="Print what has become of it as JSON.")
def start(
    umid: str,
    arguments: tuple[str, ...],
    *,
    console: bool,
    no_wait: bool,
    save: bool,
    in_json: bool,
    **options: Any,
) -> int:
    """Boot a guest in the background; come back when it is ready, or has failed.

    The supervisor is yours, started when first needed, and ends after its last guest.
    NAME is that of a guest that is defined, of one that has ended, which is started as it was
    last if nothing but its name is given, or of a new one; FILE has a definition.
    """
    if console and no_wait:
        raise UsageError("--console stays with the guest, and --no-wait does not: give one of them")
    wishes = StartOptions(console, not no_wait, in_json, save)
    try:
        if in_json and console:
            raise UsageError("--json and --console both take standard output; give one of them")
        with starting(umid):
            return _start_as_told(umid, options, arguments, wishes)
    except UmlctlError as problem:
        if in_json:
            _print_result(umid, problem.code, str(problem))
        raise


def start_again(definition: Definition, *, in_json: bool) -> int:
    """Start a guest in the background as it was started last; return the exit code.

    Raises: UmlctlError
    """
    with starting(definition.umid):
        _warn(definition)
        return _start(definition, StartOptions(in_json=in_json))


class StartOptions(NamedTuple):
    """What a user who starts a guest wants besides.

    Fields:
        console: to be attached to its console
        wait: come back when it is ready
        in_json: what has become of it, as JSON
        save: have it defined so
    """

    console: bool = False
    wait: bool = True
    in_json: bool = False
    save: bool = False


def _start_as_told(
    word: str, options: dict[str, Any], arguments: tuple[str, ...], wishes: StartOptions
) -> int:
    asked = asked_for(word, options, arguments)
    umid = asked.umid
    assert umid is not None
    if wishes.save:
        saved.check_new(umid)
    definition = _described(umid, asked)
    text = _text_to_save(asked, definition) if wishes.save else None
    _warn(definition)
    if (asked.options["profile"] or "").startswith(profiles.SERVER):
        say(f"{umid}: {_come_back(umid)}", exitcodes.OK)
    code = _start(definition, wishes)
    if text is not None and code == exitcodes.OK:
        say(f"{umid}: defined in {files.save(umid, text)}", exitcodes.OK)
    return code


def _text_to_save(asked: Asked, definition: Definition) -> str:
    """The guest in the words in which it was asked for.

    Raises: UsageError
    """
    values = {option.name: asked.options[option.field] for option in given_options()}
    if asked.written is not None:
        values = {name: each.value for name, each in asked.written.values.items()} | values
    elif not (values or asked.arguments):  # it was started as it was last
        values = saved.values_of(definition)
    base = os.getcwd() if given_options() or asked.arguments else definition.cwd
    return saved.text_of(values, asked.arguments, base)


def _described(umid: str, asked: Asked) -> Definition:
    """The guest as it is asked for: as it is written down, or else, without any option, as it was
    started last.

    Raises: UsageError, NoKernel
    """
    from umlctl.cli import earlier_start

    last = earlier_start.last(umid)
    if asked.written is not None:
        say(f"{umid}: as {asked.written.path} has it", exitcodes.OK)
        return asked.definition()
    if last is not None and not (given_options() or asked.arguments):
        say(
            f"{umid}: as it was started last: {earlier_start.words(last)}".rstrip(": "),
            exitcodes.OK,
        )
        return last
    definition = asked.definition()
    if earlier_start.was_process(umid):
        say(f"{umid}: a new guest of this name; the last one was started as `linux`", exitcodes.OK)
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
