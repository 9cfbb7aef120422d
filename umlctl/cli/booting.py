"""What `umlctl run` and `umlctl start` have in common: the options that describe a guest."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from umlctl.cli import complete
from umlctl.cli.durations import SECONDS
from umlctl.errors import HostError
from umlctl.guest import confinement, policy
from umlctl.guest import definition as definitions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from umlctl.guest.definition import Definition

OPTIONS: Final = (
    click.option(
        "--profile",
        metavar="lab|server[:BRIDGE]",
        shell_complete=complete.profiles,
        help="lab: --nic user. server: --nic tap=auto,bridge=BRIDGE (br0) --restart on-failure. "
        "What is given beside it wins.",
    ),
    click.option(
        "--kernel",
        metavar="FILE|TREE",
        help="The UML kernel, or where it was built. [default: see `umlctl setup`]",
    ),
    click.option("--mem", default="256M", show_default=True, metavar="SIZE", help="Guest memory."),
    click.option(
        "--root",
        default=definitions.HOST_ROOT,
        show_default=True,
        metavar="host|DIR|IMAGE[,OPTION]...",
        help="This machine's own files, read-only; a directory; an image, with a disk's options.",
    ),
    click.option("--init", default="", metavar="PROGRAM", help="Run PROGRAM as process 1."),
    click.option(
        "--disk",
        "disks",
        multiple=True,
        metavar="FILE[,OPTION]...",
        help="A disk; repeat for more. See `umlctl disk add --help` for the options.",
        shell_complete=complete.behind("plug", "disk"),
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
        "--append",
        multiple=True,
        metavar="KEY=VALUE",
        help="A kernel argument; repeat for more. Wins over a default of ours.",
    ),
    click.option(
        "--force",
        is_flag=True,
        help="Take what is refused as dangerous, such as a BPF program of a NIC, or a qcow2 image "
        "as a disk that the guest may write.",
    ),
    click.option(
        "--mem-dir",
        default="",
        metavar="DIR",
        help="Where the memory's file is made, such as a tmpfs of one NUMA node.",
    ),
    click.option(
        "--ncpus", type=int, default=1, show_default=True, metavar="N", help="Guest processors."
    ),
    click.option(
        "--memory-limit",
        default="",
        metavar="SIZE",
        help="The most of the host's memory that it may use; it is ended with more.",
    ),
    click.option(
        "--cpu-limit",
        type=click.IntRange(min=1),
        metavar="PERCENT",
        help="The most of the host's processors that it gets; 150 is one and a half.",
    ),
    click.option("--cpus", default="", metavar="LIST", help="Host CPUs to run on, as 0 or 0,2-3."),
    click.option("--aslr", is_flag=True, help="Leave address-space randomisation on."),
    click.option("--single", "-s", is_flag=True, help="Boot into single-user mode."),
    click.option("--verbose", "-v", is_flag=True, help="Every kernel message on the console."),
    click.option(
        "--modules",
        type=click.Choice(definitions.MODULES),
        default=definitions.UNLOCKED,
        show_default=True,
        help="Locked: nobody in the guest, root included, can load a kernel module.",
    ),
    click.option("--pidfile", default="", metavar="FILE", help="Hold the kernel's pid, locked."),
    click.option(
        "--user",
        default="",
        metavar="USER",
        help="Run the kernel as USER, whose reach is then the guest's; for root.",
    ),
    click.option(
        "--confine",
        type=click.Choice(confinement.MODES),
        default=None,
        help="What the kernel reaches of this host. writes: it writes what it was given alone; "
        "strict: it reads that alone, too. [default: writes, if the host can]",
    ),
    click.option(
        "--rw",
        multiple=True,
        metavar="PATH",
        help="Have a confined kernel write this file or directory, too. Repeat for more.",
    ),
    click.option("--ro", multiple=True, metavar="PATH", help="The same to read it."),
    click.option(
        "--hide",
        multiple=True,
        metavar="PATH",
        help="Have it not see this, as what `umlctl info` has as secret. Repeat for more.",
    ),
    click.option(
        "--allow-user",
        "allow_users",
        multiple=True,
        metavar="USER[:read|control]",
        help="Let another user use its socket; a bare name may only read. Repeat for more.",
    ),
    click.option(
        "--allow-group",
        "allow_groups",
        multiple=True,
        metavar="GROUP[:read|control]",
        help="The same for the members of a group.",
    ),
    click.option(
        "--timeout",
        type=SECONDS,
        default=definitions.DEFAULT_BOOT_TIMEOUT,
        show_default=True,
        metavar="SECONDS",
        help="How long the boot may take.",
    ),
    click.option(
        "--restart",
        type=click.Choice(policy.RESTARTS),
        default=None,
        help="Start it again when it has ended, but for a user's own doing. [default: no]",
    ),
    *(
        click.option(
            f"--on-{event}",
            type=click.Choice(policy.ACTIONS),
            default=None,
            help=f"What to do when it {does}. [default: as --restart says]",
        )
        for event, does in (("panic", "panics"), ("hang", "hangs"), ("exit", "ends by itself"))
    ),
    click.option(
        "--hang-after",
        type=SECONDS,
        default=definitions.DEFAULT_HANG_TIMEOUT,
        show_default=True,
        metavar="SECONDS",
        help="Without a sign of life for so long it counts as hung.",
    ),
    click.option(
        "--after",
        multiple=True,
        metavar="GUEST",
        shell_complete=complete.guests,
        help="Only once GUEST is ready, and end before it; repeat for more.",
    ),
)


def with_options(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options that describe a guest."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


class Booting(click.Command):
    """A command whose words after `--` are the kernel's, and none of its own arguments."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        arguments = tuple(args[end + 1 :])
        rest = super().parse_args(ctx, args[:end])
        ctx.params["arguments"] = arguments
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- KERNEL ARGUMENTS]"]


@contextmanager
def host_errors() -> Iterator[None]:
    """Turn each error of the host into HostError, for programs too.

    Raises: HostError
    """
    try:
        yield
    except OSError as problem:
        raise HostError(str(problem)) from problem


def await_earlier(definition: Definition) -> None:
    """Wait for the guests that this one comes after, see `umlctl.client.dependencies`."""
    if definition.after:
        from umlctl.client import dependencies

        dependencies.await_earlier(definition)
