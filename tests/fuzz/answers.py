"""What guests, supervisors and switches say, or whoever stands in their place."""

from __future__ import annotations

import json
import socket
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import msgspec

from umlctl.errors import HostError
from umlctl.networks import switch_client
from umlctl.networks.capturing import Captures
from umlctl.networks.holder import Holder
from umlctl.networks.links import Links
from umlctl.networks.switch_protocol import Control, ControlClient
from umlctl.output import guest_table, proc_tables, views
from umlctl.protocol.status import read_status
from umlctl.shell.monitor import GuestMonitor

if TYPE_CHECKING:
    from umlctl.networks.loop import Loop
    from umlctl.networks.switchd import Switch


def event(data: bytes) -> None:
    """A stream of events, each a line, as `umlctl events` and the shell read it."""
    live = GuestMonitor("demo", lambda: None, lambda _said: None)
    for line in data.split(b"\n"):
        assert isinstance(views.event_line(line), str)
        live._event(line, 0.0)


def status(data: bytes) -> None:
    """An answer to `status`."""
    try:
        found = read_status(data)
    except msgspec.DecodeError:
        return
    assert views.status_lines(found)
    assert guest_table.lines([found], time.time())
    views.to_json(found)


def proc_file(data: bytes) -> None:
    """A file of /proc as a table; the first line says which."""
    text = data.decode("utf-8", "surrogateescape")
    path, _, content = text.partition("\n")
    rows = proc_tables.table(path, content)
    proc_tables.symbols(content)
    if rows is not None:
        assert rows
        assert all(isinstance(cell, str) for row in rows for cell in row)


def switch_request(data: bytes) -> None:
    """A packet on a switch's control socket, without descriptors."""
    switch = SimpleNamespace(
        station=None,
        serve_names=lambda: None,
        name="lan",
        since=0.0,
        uplink=None,
        bridged=SimpleNamespace(
            status=list,
            tapped=lambda _guest: [],
            namespace=lambda: 1,
            add=lambda *_: None,
            remove=lambda _name: None,
        ),
        guest_ports=list,
        captures=Captures(cast("Loop", SimpleNamespace())),
        links=Links(lambda _seconds, _action: None),
        apply_links=lambda: None,
        save_options=lambda: None,
        renew=lambda: None,
        quit=lambda: None,
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        control = Control(cast("Switch", switch))
        answer = control._answer(ControlClient(ours), data, [])
    assert answer
    json.dumps(answer)


def switch_answer(data: bytes) -> None:
    """A packet that a switch answers with, to who asks it and to who holds its connections."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    holder = Holder.__new__(Holder)
    holder.name, holder.pid, holder.ended = "lan", 1, False
    holder._held, holder._orphans, holder._answers = {}, [], []
    holder._connection = ours
    with ours, theirs:
        if data:
            theirs.send(data)
            theirs.send(data)
            try:
                answer = switch_client.exchange(ours, {"status": True}, time.monotonic() + 5)
                assert isinstance(answer, dict)
            except HostError:
                pass
        theirs.shutdown(socket.SHUT_WR)
        assert holder.read() is False
        holder._drop()
