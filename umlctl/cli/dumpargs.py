"""`umlctl dumpargs`: the kernel command line of a guest that is not started."""

from __future__ import annotations

import os
import shlex
from typing import Any

import click

from umlctl import exitcodes
from umlctl.backends import kernel_namespace, nic, registry
from umlctl.backends.interface import Owner
from umlctl.cli import complete
from umlctl.cli.asked_for import asked_for, given_options
from umlctl.cli.booting import Booting, with_options
from umlctl.definitions import kernel_command
from umlctl.guest import definition as definitions
from umlctl.host import paths
from umlctl.kernels import find
from umlctl.networks import bridge
from umlctl.output import say, views


@click.command(
    cls=Booting,
    epilog="""\b
Examples:
  umlctl dumpargs web
  umlctl dumpargs ./web.toml --mem 1G -- loglevel=7
  umlctl dumpargs web --json | jq -r '.[]'
""",
)
@click.argument("umid", metavar="NAME|FILE", shell_complete=complete.startable)
@with_options
@click.option("--json", "in_json", is_flag=True, help="Print an array of words.")
def dumpargs(umid: str, arguments: tuple[str, ...], *, in_json: bool, **options: Any) -> int:
    """Print the kernel command line that `start` would start a guest with, and start nothing.

    A guest that is not defined is as it was started last, and as it runs.

    Descriptors and sockets that it names are made by a supervisor: by itself it boots no guest.
    """
    definition = _described(umid, options, arguments)
    owner = Owner(definition.umid, paths.record_dir(definition.umid), "")
    asked = definitions.devices(definition)
    entries = registry.plan_all(asked, owner)
    bridged = kernel_namespace.wanted(definition, asked)
    if bridged and not bridge.unable():
        for entry in entries:
            if entry.network in bridged:
                nic.put_on_bridge(entry, definition.umid)
    command = kernel_command.of_guest(
        definition,
        find.probe(definition.kernel, definition.user),
        paths.guest_dir(definition.umid),
        entries,
        registry.for_init(entries),
        lines=kernel_command.lines_of_commands(definition),
        wrapped=os.geteuid() != 0,
    )
    print(views.to_json(command) if in_json else shlex.join(command))
    return exitcodes.OK


def _described(
    word: str, options: dict[str, Any], arguments: tuple[str, ...]
) -> definitions.Definition:
    """The guest that `start` would start; of one that runs undefined, the guest that it is.

    Raises: UsageError, NoKernel, HostError
    """
    from umlctl.cli import earlier_start

    asked = asked_for(word, options, arguments)
    assert asked.umid is not None
    if asked.written is not None:
        say(f"{asked.umid}: as {asked.written.path} has it", exitcodes.OK)
    if asked.written is None:
        earlier_start.refuse_process(asked.umid, ended=False)
    plain = asked.written is None and not (given_options() or asked.arguments)
    latest = earlier_start.latest(asked.umid) if plain else None
    return latest or asked.definition()
