"""Ports of this host that lead to a guest, as users write them."""

from __future__ import annotations

import socket
from typing import NamedTuple

from umlctl.errors import HostError, UsageError


class Forward(NamedTuple):
    """A port of the host that leads to a port of a guest.

    Fields:
        guest: its address; empty for the one that the uplink takes for its guest
    """

    protocol: str
    host: str
    port: int
    guest: str
    guest_port: int

    def __str__(self) -> str:
        guest = self.guest and self.guest + ":"
        return f"{self.protocol}:{self.host}:{self.port}:{guest}{self.guest_port}"

    def check_free(self) -> None:
        """See that the port of the host is free.

        Raises: HostError
        """
        tcp = self.protocol == "tcp"
        with socket.socket(
            socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
        ) as probe:
            try:
                if tcp:  # as slirp4netns does; of UDP it would allow two at once
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((self.host, self.port))
                if tcp:
                    probe.listen()
            except OSError as problem:
                raise HostError(
                    f"cannot forward {self.protocol} port {self.port} of {self.host}: "
                    f"{problem.strerror}; take another port"
                ) from problem


def parse_forward(text: str) -> Forward:
    """Understand [tcp:|udp:][HOSTADDR:]HOSTPORT:[GUESTADDR:]GUESTPORT.

    Raises: UsageError
    """
    words = text.split(":")
    protocol = words.pop(0) if words[0] in ("tcp", "udp") else "tcp"
    host = words.pop(0) if words and "." in words[0] else "127.0.0.1"
    guest = words.pop(1) if len(words) == 3 else ""
    if len(words) != 2:
        raise UsageError(
            "a forward is [tcp:|udp:][HOSTADDR:]HOSTPORT:[GUESTADDR:]GUESTPORT, as 8080:80, "
            f"not {text!r}"
        )
    check_address(host)
    if guest:
        check_address(guest)
    for word in words:
        if not (word.isascii() and word.isdigit() and len(word) < 6 and 0 < int(word) < 65536):
            raise UsageError(f"a port is a number from 1 to 65535, not {word!r}: {text!r}")
    return Forward(protocol, host, int(words[0]), guest, int(words[1]))


def check_address(text: str) -> str:
    """Return the text if it is an IPv4 address.

    Raises: UsageError
    """
    try:
        socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        raise UsageError(f"no IPv4 address: {text!r}") from None
    return text
