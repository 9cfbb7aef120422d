"""What `umlctl run` and `umlctl start` have in common: the options that describe a guest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from umlctl.cli import complete
from umlctl.cli.durations import SECONDS
from umlctl.guest.options import MAX_COUNT, OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.guest.definition import Definition
    from umlctl.guest.options import Kind, Option

FC = TypeVar("FC", bound="Callable[..., Any] | click.Command")
_COMPLETES: Final = {
    "profile": complete.profiles,
    "kernel": complete.kernels,
    "disk": complete.behind("plug", "disk"),
    "nic": complete.behind("plug", "nic"),
    "after": complete.guests,
}
"""What a shell offers for a value."""
_BARE: Final = {
    f"--{option.name}": f"--{option.name}={option.bare}" for option in OPTIONS if option.bare
}
"""Options that need no value, with what they have then: a guest's name may follow them."""
_TYPES: Final[dict[Kind, click.ParamType[Any] | None]] = {
    "text": None,
    "size": None,
    "flag": None,
    "seconds": SECONDS,
}


def _declared(option: Option) -> Callable[[FC], FC]:
    """An option as click has it."""
    return click.option(
        f"--{option.name}",
        *([f"-{option.short}"] if option.short else []),
        option.field,
        type=_type(option),
        is_flag=option.kind == "flag",
        multiple=option.many,
        default=option.absent,
        show_default=option.shown,
        metavar=option.metavar or None,
        help=option.help,
        shell_complete=_COMPLETES.get(option.name),
    )


def _type(option: Option) -> click.ParamType[Any] | None:
    """What click makes a value with."""
    if option.choices:
        return click.Choice(option.choices)
    return (
        click.IntRange(option.least, MAX_COUNT) if option.kind == "count" else _TYPES[option.kind]
    )


def with_options(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options that describe a guest."""
    for option in reversed(OPTIONS):
        function = _declared(option)(function)
    return function


class Booting(click.Command):
    """A command whose words after `--` are the kernel's, and none of its own arguments."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        arguments = tuple(args[end + 1 :])
        rest = super().parse_args(ctx, [_BARE.get(word, word) for word in args[:end]])
        ctx.params["arguments"] = arguments
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- KERNEL ARGUMENTS]"]


def await_earlier(definition: Definition) -> None:
    """Wait for the guests that this one comes after, see `umlctl.client.dependencies`."""
    if definition.after:
        from umlctl.client import dependencies

        dependencies.await_earlier(definition)
