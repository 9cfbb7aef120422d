"""`umlctl share`: the directories of this host that a running guest has mounted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from umlctl import exitcodes
from umlctl.cli import complete, device_options
from umlctl.cli.main import Group
from umlctl.devices import families
from umlctl.errors import UsageError
from umlctl.guest import shares
from umlctl.output import views

if TYPE_CHECKING:
    from umlctl.client.ask import Deadline
    from umlctl.protocol.status import Device


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  umlctl share add demo src:/mnt
  umlctl share list demo
""",
)
def share() -> None:
    """Have a running guest mount directories of this host, and take them away."""


@share.command(
    "add",
    epilog="""\b
Examples:
  umlctl share add demo /srv/data           at the same path in the guest
  umlctl share add demo src:/mnt,ro         at another, to read
""",
)
@device_options.guest_argument
@click.argument("share", metavar="DIR[:PATH][,ro]")
@device_options.timeout_option
@device_options.json_option
def add(guest: str, share: str, deadline: Deadline, in_json: bool) -> int:
    """Have a guest mount DIR, a directory of this host, at PATH, which is there already or can be
    made. What the guest writes there is written here."""
    asked = shares.parse(share, os.getcwd())
    made = device_options.plugged(guest, f"share {asked}", deadline, force=False)
    if in_json:
        click.echo(views.to_json(made))
    else:
        click.echo(f"{made.name} is in {guest}, at {asked.target}")
    return exitcodes.OK


@share.command("rm", epilog="\b\nExamples:\n  umlctl share rm demo /mnt\n")
@device_options.guest_argument
@click.argument("share", metavar="SHARE|PATH", shell_complete=complete.devices(families.DIRECTORY))
@device_options.timeout_option
@device_options.json_option
def rm(guest: str, share: str, deadline: Deadline, in_json: bool) -> int:
    """Have a guest unmount a directory; its kernel cannot reach it any more. PATH is where the
    guest has it."""
    device_options.remove(guest, _name_of(guest, share), deadline, in_json=in_json)
    return exitcodes.OK


@share.command("list", epilog="\b\nExamples:\n  umlctl share list demo --json\n")
@device_options.guest_argument
@device_options.json_option
def list_shares(guest: str, in_json: bool) -> int:
    """List the directories that a guest shares with this host."""
    rows = _shares(guest)
    if in_json:
        print(views.to_json(rows))
        return exitcodes.OK
    table: list[tuple[str, ...]] = [("SHARE", "GUEST", "HOST", "ACCESS", "NOTE")]
    for row in rows:
        asked = shares.parse(row.asked)
        access = "read" if asked.readonly else "write"
        table.append((row.name, asked.target, asked.source, access, device_options.note(row)))
    views.columns(table)
    return exitcodes.OK


def _name_of(guest: str, text: str) -> str:
    """The name of a share, which may be given by where the guest has it.

    Raises: UsageError, UmlctlError
    """
    if "/" not in text:
        return text
    path = os.path.normpath(text)
    for row in _shares(guest):
        if shares.parse(row.asked).target == path:
            return row.name
    raise UsageError(f"{guest} shares nothing at {path}: see `umlctl share list {guest}`")


def _shares(guest: str) -> list[Device]:
    found = device_options.devices(guest)
    return [row for row in found if families.kind_of(row.name) == families.DIRECTORY]
