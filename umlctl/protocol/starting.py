"""What the background supervisor answers to `start`, and says of each guest at `autostart`."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from umlctl.protocol.status import Status, decoded


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `start`.

    Fields:
        code: 0 if it is up; else the exit code of a `start` that ends so
        text: why it is not up
        status: of a guest that is up
    """

    code: int
    text: str = ""
    status: Status | None = None


class AutostartResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one guest at `autostart`.

    Fields:
        umid: its name
        up: it runs
        outcome: what was done
        code: the exit code of a `start` that ended so
        text: why it failed
        pid: of the kernel that was started
    """

    umid: str
    up: bool
    outcome: Literal["started", "ran already", "failed"]
    code: int = 0
    text: str = ""
    pid: int | None = None


# Made here, by one thread: msgspec crashes where several decode into a new type at once.
_STARTED: Final = msgspec.json.Decoder(Started)
_RESULT: Final = msgspec.json.Decoder(AutostartResult)


def read_started(data: bytes) -> Started:
    """An answer to `start`.

    Raises: msgspec.DecodeError: it is none
    """
    return decoded(_STARTED, data)


def read_autostart_result(line: bytes) -> AutostartResult:
    """A line of the answer to `autostart`.

    Raises: msgspec.DecodeError: it is none
    """
    return decoded(_RESULT, line)
