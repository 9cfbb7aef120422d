"""The click command of a row of the command table.

`umlctl.client.oneshot` runs a plain one-shot command by itself. This module is for `--help`,
completion and command lines that it does not take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from socketproto.blocking import DEFAULT_TIMEOUT
from umlctl.cli import complete
from umlctl.cli.durations import SECONDS
from umlctl.client.oneshot import ask
from umlctl.client.target import named
from umlctl.errors import UsageError
from umlctl.protocol.commands import KERNEL, SYSRQ, Command

if TYPE_CHECKING:
    from collections.abc import Callable

_ALL: Final = (
    click.Option(
        ["--all", "everyone"],
        is_flag=True,
        help="All guests, instead of GUEST: side by side, and each before those it comes after.",
    ),
)
_AFTERWARDS: Final = (
    click.Option(
        ["-R", "again"],
        is_flag=True,
        help="Start each GUEST again when it has ended, as `restart` does.",
    ),
    click.Option(["-H", "stays"], is_flag=True, help="Leave it ended, as without an option."),
)
_NO_WAIT: Final = (
    click.Option(
        ["--no-wait"], is_flag=True, help="Come back at once, not when it is ready again."
    ),
)
_ENDLESS: Final = "as long as its supervisor gives signs of life"


def _patience(command: Command) -> str:
    """How long an answer may take unless told otherwise, in words."""
    if command.waits:
        return _ENDLESS
    return (
        f"{DEFAULT_TIMEOUT:g}, then {_ENDLESS}"
        if command.name == "reboot"
        else f"{DEFAULT_TIMEOUT:g}"
    )


def may_be_refused(command: Command) -> bool:
    """Whether a user can insist on something with --force."""
    if command.served != KERNEL:
        return command.name == "plug"
    return not command.stopped or command.name in ("proc", "sysrq")


_MORE: Final = {
    "help": "With COMMAND, where no guest has that name, it opens the manual page of a command.",
    "reboot": "It comes back when the guest is ready again; of a bare kernel nobody knows that.",
    "sysrq": "\b\n" + "\n".join(f"{letter}  {meaning}" for letter, meaning in SYSRQ.items()),
}


def _text(command: Command) -> str:
    """What `--help` says of a command, before its options."""
    said = [command.help[0].upper() + command.help[1:] + "."]
    if command.danger:
        said.append(f"Mind: {command.danger}.")
    if command.name in _MORE:
        said.append(_MORE[command.name])
    return "\n\n".join(said)


def verb(command: Command) -> click.Command:
    """Make the click command."""
    arguments = " ".join(f"umlctl {command.name} demo {command.example}".split())
    more = (
        "umlctl shutdown web db 60\n  umlctl shutdown --all 60 --json\n  umlctl shutdown -R web"
        if command.name == "shutdown"
        else f"{arguments} --json"
    )
    return click.Command(
        command.name,
        callback=_callback(command),
        params=_parameters(command),
        help=_text(command),
        short_help=command.help,
        epilog=f"\b\nExamples:\n  {arguments}\n  {more}",
        context_settings={"ignore_unknown_options": command.takes_rest},
    )


def _callback(command: Command) -> Callable[..., int]:
    """The function that a command line calls; `shutdown` may have more than one guest."""

    def callback(
        guest: str | None,
        words: tuple[str, ...],
        in_json: bool,
        timeout: float | None,
        force: bool,
        no_wait: bool = False,
        **of_shutdown: bool,
    ) -> int:
        if command.name == "shutdown":
            given = [*([guest] if guest else []), *map(named, words)]
            code = _shut_down(given, in_json, timeout, **of_shutdown)
            if code is not None:
                return code
        if guest is None:
            raise click.MissingParameter(param_hint="'GUEST'", param_type="argument")
        return ask(command, guest, list(words), in_json, timeout, force, no_wait)

    return callback


def _shut_down(
    words: list[str],
    in_json: bool,
    timeout: float | None,
    *,
    everyone: bool,
    again: bool,
    stays: bool,
) -> int | None:
    """End more guests than one, or start one again; None: it is one that is to be ended.

    words: guests, and how long each may take

    Raises: UmlctlError
    """
    if again and stays:
        raise UsageError("-R starts a guest again, and -H leaves it ended; give one of them")
    if again:
        from umlctl.cli.restart import restart_all

        if everyone or timeout is not None:
            raise UsageError("-R takes guests by their names, and no --all or --timeout")
        return restart_all(words, in_json)
    from umlctl.cli.shutdown import is_seconds, shut_all_down, shut_down

    if everyone:
        return shut_all_down(words, in_json, timeout)
    others = [word for word in words[1:] if not is_seconds(word)]
    if others and words[1 : 1 + len(others)] == others:
        return shut_down(words[: 1 + len(others)], words[1 + len(others) :], in_json, timeout)
    return None


def _parameters(command: Command) -> list[click.Parameter]:
    return [
        click.Argument(
            ["guest"],
            metavar="GUEST|COMMAND" if command.name == "help" else "GUEST",
            required=command.name != "shutdown",
            shell_complete=complete.helpful if command.name == "help" else complete.guests,
        ),
        click.Argument(
            ["words"],
            nargs=-1,
            metavar=(
                "[GUEST]... [SECONDS]"
                if command.name == "shutdown"
                else command.args.replace("DEVICE[=CONFIG]...", "DEVICE[=CONFIG]") or ""
            ),
            type=click.UNPROCESSED,
            shell_complete=complete.behind(command.name),
        ),
        click.Option(["--json", "in_json"], is_flag=True, help="Print the outcome as JSON."),
        click.Option(
            ["--timeout"],
            type=SECONDS,
            default=None,
            metavar="SECONDS",
            help=f"Give up when there is no answer after so long. [default: {_patience(command)}]",
        ),
        click.Option(
            ["--force"],
            is_flag=True,
            hidden=not may_be_refused(command),
            help="Send what is refused because it may harm the guest.",
        ),
        *((*_ALL, *_AFTERWARDS) if command.name == "shutdown" else ()),
        *(_NO_WAIT if command.name == "reboot" else ()),
    ]
