"""How somebody attaches to a console: packets on the socket `attach` of a guest's directory.

The socket is SOCK_SEQPACKET. A packet is one byte that says what it is, then its data:

    client   HELLO    JSON, the first packet, see `umlctl.supervisor.consoles.packets.Hello`
             INPUT    bytes for the console
             SIZE     JSON: [ROWS, COLUMNS], whenever the window changes
    server   NOTICE   JSON: what the viewer should know, see `Notice` there
             OUTPUT   bytes of the console

Beside it each console has a plain stream socket of its name, for programs that know nothing of
this.
"""

from __future__ import annotations

from typing import Final

HELLO: Final = b"h"
INPUT: Final = b"i"
SIZE: Final = b"s"
NOTICE: Final = b"n"
OUTPUT: Final = b"o"
MAX_PACKET_BYTES: Final = 65536
"""The largest packet, bytes."""

CONSOLES: Final = ("con0", "con1", "con2", "con3", "con4", "ssl0", "ssl1", "ssl2", "ssl3")
"""Consoles and serial lines that can be attached to; the kernel has the descriptors for them
from its start on."""
FIRST_DESCRIPTOR: Final = 20
"""In the kernel, of what con1 reads; the next is what it writes, then come those of con2."""


def config(console: str) -> str:
    """What the kernel is told for a console that can be attached to: `con1=fd:20,fd:21`."""
    number = FIRST_DESCRIPTOR + 2 * (CONSOLES.index(console) - 1)
    return f"{console}=fd:{number},fd:{number + 1}"


def log_name(console: str) -> str:
    """The file name of a console's log."""
    return "console.log" if console == "con0" else f"{console}.log"


def console_name(text: str) -> str:
    """The console that a person means: `0` is con0.

    Raises: ValueError
    """
    name = f"con{text}" if text.isdigit() else text
    if name not in CONSOLES:
        raise ValueError(
            f"{text!r} is no console that can be attached to; they are {', '.join(CONSOLES)}"
        )
    return name
