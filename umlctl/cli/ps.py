"""`umlctl ps`: the processes of this host that belong to a guest."""

from __future__ import annotations

import os

import click

from socketproto.blocking import Connection, Unreachable
from umlctl import exitcodes
from umlctl.cli import device_options
from umlctl.client.ask import absent
from umlctl.client.target import Target
from umlctl.errors import NoGuest
from umlctl.host import paths
from umlctl.output import say, views
from umlctl.recovery import process_tree
from umlctl.recovery.process_tree import SUPERVISOR, Member


@click.command(
    epilog="""\b
Examples:
  umlctl ps demo
  umlctl ps demo --json | jq '.[] | select(.role == "kernel") | .pid'
  umlctl ps demo --json | jq 'map(.cpu) | add'
"""
)
@device_options.guest_argument
@device_options.json_option
def ps(guest: str, in_json: bool) -> int:
    """Show every process of this host that belongs to a guest, and what it is there for.

    Nobody is asked: a guest that hangs, or has no supervisor, shows them as well.
    """
    umid = paths.umid_of(guest)
    socket = Target(guest).socket
    own = (
        paths.guest_socket(umid),
        paths.public_socket(umid),
        paths.shared_socket(umid),
        paths.kernel_socket(umid),
    )
    found = process_tree.of_guest(umid) if guest == umid or socket in own else []
    if found and not any(member.role == SUPERVISOR for member in found):
        say(f"{umid} has no supervisor; `umlctl adopt {umid}` gives it one", exitcodes.OK)
    found = found or process_tree.of_kernel(_bare(guest, socket))
    if in_json:
        print(views.to_json([member._asdict() for member in found]))
    else:
        headings = ("PID", "ROLE", "STATE", "CPU", "MEMORY", "NAME", "FOR")
        views.columns([headings, *(_row(member) for member in found)])
    return exitcodes.OK


def _bare(guest: str, socket: str) -> int:
    """The main process of a kernel that umlctl has not started, by its pid file.

    Raises: NoGuest
    """
    try:
        with Connection(socket) as connection:
            connection.link.open()
        with open(os.path.join(os.path.dirname(socket), "pid")) as file:
            return int(file.read(32))
    except Unreachable as problem:
        raise NoGuest(absent(guest, problem)) from None
    except (OSError, ValueError) as problem:
        raise NoGuest(f"{guest}: its pid is not known: {problem}") from None


def _row(member: Member) -> tuple[str, ...]:
    return (
        str(member.pid),
        member.role,
        member.state,
        f"{member.cpu:.2f}s",
        views.size(member.memory),
        views.printable(member.name),
        views.printable(" ".join(member.serves)) or "-",
    )
