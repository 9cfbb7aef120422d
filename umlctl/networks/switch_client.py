"""The messages between a segment's switch and its clients: requests and answers as JSON.

See `umlctl.networks.switch_protocol` for the switch's end.
"""

from __future__ import annotations

import json
import select
import socket
import time
from typing import Any, Final

from umlctl.errors import HostError
from umlctl.host import paths

Message = dict[str, Any]

ANSWER_TIMEOUT: Final = 5.0
"""How long a switch may take to answer, seconds."""
MAX_ANSWER_BYTES: Final = 1 << 20
"""The longest answer, bytes."""


class NotThere(Exception):
    """No switch listens on the segment's control socket."""


def connect(name: str, timeout: float) -> socket.socket:
    """Connect to the switch of a segment.

    timeout: for all that is done with the connection, seconds

    Raises: NotThere; HostError: the switch cannot be reached
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(timeout)
    try:
        connection.connect(paths.network_control(name))
    except (FileNotFoundError, ConnectionRefusedError) as problem:
        connection.close()
        raise NotThere(str(problem)) from problem
    except OSError as problem:
        connection.close()
        raise HostError(f"network {name} cannot be reached: {problem}") from problem
    return connection


def exchange(connection: socket.socket, request: Message, deadline: float, fd: int = -1) -> Message:
    """Send a request and return its answer.

    Raises: NotThere: the switch ended; HostError: it does not answer
    """
    try:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        data = json.dumps(request).encode()
        if fd < 0:
            connection.send(data)
        else:
            socket.send_fds(connection, [data], [fd])
        answer = connection.recv(MAX_ANSWER_BYTES)
    except TimeoutError as problem:
        raise HostError("the switch does not answer") from problem
    except OSError as problem:
        raise NotThere(str(problem)) from problem
    if not answer:
        raise NotThere("it ended")
    return decode(answer)


def decode(data: bytes) -> Message:
    """The JSON object that a switch has sent or written.

    Raises: HostError
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise HostError(f"no JSON object but {data[:40]!r}: {problem}") from None
    if not isinstance(found, dict):
        raise HostError(f"no JSON object but {data[:40]!r}")
    return found


def readable(fd: int, deadline: float) -> bool:
    """Whether there is something to read, or an end, before a deadline of the monotonic clock."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(max(deadline - time.monotonic(), 0) * 1000))
