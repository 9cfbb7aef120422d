"""What a supervisor and the viewers of a console say to each other.

See `umlctl.protocol.console_socket` for the kinds of packets.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Final

import msgspec

from umlctl.protocol.console_socket import HELLO, NOTICE

if TYPE_CHECKING:
    import trio


class Hello(msgspec.Struct, frozen=True):
    """What a viewer asks for.

    Fields:
        console: its name, as con0
        keyboard: the viewer wants to type
        force: the viewer takes the keyboard from the one that has it
        lines: how many lines of the past to begin with, if `offset` is not given
        offset: the byte of the log to begin with
    """

    console: str
    keyboard: bool = True
    force: bool = False
    lines: int = 0
    offset: int | None = None


class Notice(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a viewer is told; empty fields are left out.

    Fields:
        offset: of the byte of the log that comes next
        replay: how many bytes from there are of the past
        keyboard: "yours", "waiting" (another viewer has it) or "taken" (by another viewer)
        by: pid of the viewer that has the keyboard
        size: whether the guest could be told the window's size
        lost: how many bytes were gone before this viewer had read them
        ended: how the guest ended; nothing follows
        problem: why the viewer cannot attach; nothing follows
    """

    offset: int | None = None
    replay: int = 0
    keyboard: str = ""
    by: int = 0
    size: bool | None = None
    lost: int = 0
    ended: str = ""
    problem: str = ""


_HELLO: Final = msgspec.json.Decoder(Hello)


def read_hello(packet: bytes) -> Hello | None:
    """The first packet of a viewer; None if that is no Hello.

    Raises: DecodeError, ValueError, RecursionError
    """
    if packet[:1] != HELLO:
        return None
    return _HELLO.decode(packet[1:])


def hung_up(connection: trio.socket.SocketType) -> bool:
    """Whether the other end is closed, and not only for writing."""
    poll = select.poll()
    poll.register(connection.fileno(), 0)
    return bool(poll.poll(0))


async def tell(connection: trio.socket.SocketType, notice: Notice) -> None:
    """Send a notice to a viewer.

    Raises: OSError
    """
    await send(connection, NOTICE + msgspec.json.encode(notice))


async def send(connection: trio.socket.SocketType, data: bytes) -> None:
    """Send all of some bytes; a packet goes as a whole.

    Raises: OSError
    """
    while data:
        data = data[await connection.send(data) :]
