"""Consoles and serial lines: `con` is the guest's /dev/ttyN, `ssl` its /dev/ttySN.

    conN=CHANNEL    conN=INPUT,OUTPUT

    null       nothing to read, and output vanishes
    fd:N       a descriptor that the kernel's process was started with
    pts, pty   a terminal that the kernel makes; the query names it while the line is open
    tty:PATH   a terminal of the host
    none       no line at all; the same as `remove`
    port:N     a TCP port, for anybody; with `insist` only
    xterm      a window; with `insist` only

What a channel needs is opened when the guest opens its line; an error is in the guest's log only.
A line that the guest has open cannot be changed, and a text that the kernel cannot read takes away
the line that was there. Source: arch/um/drivers/line.c, chan_kern.c
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from umlctl.devices import check_request
from umlctl.devices.needs import TTY, Need
from umlctl.devices.values import PATH, PORT, Rule, between, unit
from umlctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

LINE_COUNTS: Final[Mapping[str, int]] = {"con": 16, "ssl": 64}
NO_CHANNEL: Final = "none"

PLAIN_CHANNELS: Final = ("null", "pts", "pty", "xterm")
"""Channels that are a word."""
VALUE_CHANNELS: Final[Mapping[str, Rule]] = {"fd": between(0, 2**31 - 1), "tty": PATH, "port": PORT}
"""Channels that are `word:value`."""
GUARDED_CHANNELS: Final[Mapping[str, str]] = {
    "port": "it listens on every address of the host and asks for no password",
    "xterm": "it needs a display, and an X server that the kernel's user may use",
}
"""Channels that are taken with `insist` only, and why."""


class Line:
    """One console or serial line.

    Fields:
        family: "con" or "ssl"
        number: 0-15, 0-63
        channels: one for both directions, or the input and the output
    """

    __slots__ = ("channels", "family", "number")

    def __init__(self, family: str, number: int, channels: tuple[str, ...]) -> None:
        self.family = family
        self.number = number
        self.channels = channels

    def __str__(self) -> str:
        return f"{self.name}={','.join(self.channels)}"

    def __repr__(self) -> str:
        return f"Line({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Line):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[str, str, str]:
        return self.name, self.channels[0], self.channels[-1]

    @property
    def name(self) -> str:
        return f"{self.family}{self.number}"

    def answers(self, text: str) -> bool:
        """Whether this is the line of which the kernel's query says `text`.

        The kernel says what it was given; while the line is open, it says `channel:device` for
        each.
        """
        theirs = text.split(",")
        if len(theirs) > 2:
            return False
        pairs = zip((self.channels[0], self.channels[-1]), (theirs[0], theirs[-1]), strict=True)
        return all(
            said == ours or (ours in PLAIN_CHANNELS and said.startswith(f"{ours}:"))
            for ours, said in pairs
        )

    def needs(self) -> tuple[Need, ...]:
        """What the host must have."""
        paths = [channel[4:] for channel in self.channels if channel.startswith("tty:")]
        return tuple(Need(TTY, path) for path in dict.fromkeys(paths))


def parse(text: str, *, insist: bool = False) -> Line:
    """Read `conN=...` or `sslN=...`.

    insist: take a channel that is dangerous too

    Raises: UsageError
    """
    check_request(text)
    name, equals, value = text.partition("=")
    family = name[:3]
    if family not in LINE_COUNTS or not equals:
        raise UsageError(f"a line is conN=CHANNEL or sslN=CHANNEL[,CHANNEL], not {text!r}")
    number = unit(name[3:], family, LINE_COUNTS[family], text)
    channels = tuple(value.split(","))
    if len(channels) > 2:
        raise UsageError(f"a line has one channel, or an input and an output: {text!r}")
    if channels != (NO_CHANNEL,):
        for channel in channels:
            _check_channel(channel, text, insist=insist)
    return Line(family, number, channels)


def _check_channel(channel: str, text: str, *, insist: bool) -> None:
    kind, colon, value = channel.partition(":")
    if kind == NO_CHANNEL:
        raise UsageError(f"`none` stands alone; one direction without a use is `null`: {text!r}")
    if kind not in VALUE_CHANNELS and (kind not in PLAIN_CHANNELS or colon):
        raise UsageError(
            "a channel is null, fd:N, pts, pty, tty:PATH, port:N, xterm or none, "
            f"not {channel!r}: {text!r}"
        )
    if kind in VALUE_CHANNELS:
        VALUE_CHANNELS[kind].check(f"{kind}:", value, text)
    if kind in GUARDED_CHANNELS and not insist:
        raise UsageError(
            f"{channel} is refused unless you insist: {GUARDED_CHANNELS[kind]}: {text!r}"
        )
