"""What `umlctl exec` and `umlctl test` have in common: the options that describe the guest of a
command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import click

from umlctl.cli import complete
from umlctl.guest import confinement
from umlctl.guest.definition import BASIC, VIRTUAL_TIMES
from umlctl.guest.options import BY_NAME
from umlctl.guest.overlay import IN_MEMORY

if TYPE_CHECKING:
    from collections.abc import Callable

    Decorated = TypeVar("Decorated", bound="Callable[..., object] | click.Command")

CLEAN: Final[tuple[str, ...]] = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "LANG",
    "LC_ALL",
    "TZ",
)
"""What is left of a clean environment."""
OPTIONS: Final = (
    click.option("--kernel", metavar="FILE", help="The UML kernel. [default: see `umlctl setup`]"),
    click.option("--mem", default="256M", show_default=True, metavar="SIZE", help="Guest memory."),
    click.option(
        "--overlay",
        "kept",
        metavar="DIR",
        is_flag=False,
        flag_value=IN_MEMORY,
        default=IN_MEMORY,
        help="Keep what it writes in DIR, to go on with; else, by default, it is in memory and "
        "gone.",
    ),
    click.option(
        "--ro", "readonly", is_flag=True, help="The host's files as they are, not to write."
    ),
    click.option(
        "--rw",
        multiple=True,
        metavar="DIR",
        help="Let it write to this directory of the host. Repeat for more.",
    ),
    click.option(
        "--share",
        "shares",
        multiple=True,
        metavar="DIR[:PATH][,ro]",
        help="Have a directory of the host at PATH too, to write or to read. Repeat for more.",
    ),
    click.option("--cwd", metavar="DIR", help="Where it runs. [default: here]"),
    click.option(
        "--env",
        "variables",
        multiple=True,
        metavar="NAME[=VALUE]",
        help="A variable of its environment; without VALUE, as it is here. Repeat for more.",
    ),
    click.option(
        "--clean-env", is_flag=True, help=f"Only {', '.join(CLEAN)}, and what --env gives it."
    ),
    click.option(
        "--nic",
        "nics",
        multiple=True,
        metavar="user|switch=NAME|tap=NAME[,OPTION]...",
        help="A network interface; repeat for more. See `umlctl nic add --help`.",
        shell_complete=complete.behind("plug", "nic"),
    ),
    click.option(
        "--module",
        "load",
        multiple=True,
        metavar="NAME",
        help="Load this module of the kernel before, with what it needs. Repeat for more.",
    ),
    click.option(
        "--append",
        multiple=True,
        metavar="KEY=VALUE",
        help="A kernel argument; repeat for more. Wins over a default of ours.",
    ),
    click.option("--seccomp", is_flag=True, help=BY_NAME["seccomp"].help),
    click.option(
        "--virtual-time",
        is_flag=False,
        flag_value=BASIC,
        type=click.Choice(VIRTUAL_TIMES),
        metavar=BY_NAME["virtual-time"].metavar,
        help=BY_NAME["virtual-time"].help,
    ),
    click.option(
        "--user", default="", metavar="USER", help="Run the kernel as USER; for root, as of `run`."
    ),
    click.option(
        "--confine",
        type=click.Choice(confinement.MODES),
        default=None,
        help="What the kernel reaches of this host, as of `run`. [default: writes, if the host "
        "can]",
    ),
)
"""In the order in which `--help` shows them."""


def guest_options(command: Decorated) -> Decorated:
    """A command that takes them."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


class Executing(click.Command):
    """A command whose words after `--` are another command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        rest = super().parse_args(ctx, args[:end])
        if ctx.params["words"] and not ctx.resilient_parsing:
            first = ctx.params["words"][0]
            many = "one argument" if "guest" in ctx.params else "no argument"
            ctx.fail(f"it takes {many} before `--`, where the command begins: {first!r}")
        ctx.params["words"] = tuple(args[end + 1 :])
        return rest
