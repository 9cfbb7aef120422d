"""What `umlctl exec` and its program in the guest say to each other on a serial line, in lines; and
the end of the streams beside it. Pure.

    guest   up                    it listens
            failed STEP ERRNO     it cannot do a step of what it was told to do
            unprepared STATUS     what a shell had to do before the command has failed
            began                 the command is being executed
            noexec ERRNO          it could not be
            nowhere ERRNO         nor could its directory be entered
            status STATUS         it has ended, as wait(2) says it
            stopped SIGNAL        it was stopped, at a terminal
            heard SIGNAL          the command was sent it
            taken N               piece N of its standard input was read
            closed N              nobody reads that any more
            frozen COUNT MISSED   so many file systems are frozen, and so many could not be
            over                  it listens no longer; in a guest that goes on
    host    go                    what is to be done is written down
            in N                  piece N of its standard input is there; 0: that was all
            signal N              for the command; 0: only say that you hear
            size ROWS COLUMNS     of its terminal
            shut N                nobody reads its standard output (0) or error (1) any more
            bye                   all has come: power off, or leave the guest as it is

A serial line has no end that can be seen, and what goes over this one may be sooner there than what
was written before to another. So each stream ends with a token that the host has made up.
"""

from __future__ import annotations

from typing import Final, NamedTuple

SAYS: Final = {
    "up": 0,
    "failed": 2,
    "unprepared": 1,
    "began": 0,
    "noexec": 1,
    "nowhere": 1,
    "status": 1,
    "stopped": 1,
    "heard": 1,
    "taken": 1,
    "closed": 1,
    "frozen": 2,
    "over": 0,
}
"""What a guest can say, and how many numbers it says with it."""
LONGEST_BYTES: Final = 256
"""No line is longer, bytes."""
_MOST: Final = 1 << 32


class Said(NamedTuple):
    """A line of the guest's."""

    word: str
    numbers: tuple[int, ...] = ()


def line(word: str, *numbers: int) -> bytes:
    """A line for the guest."""
    return " ".join([word, *map(str, numbers)]).encode() + b"\n"


def parse(data: bytes) -> Said | None:
    """A line of the guest's, without its end; None if it is none that is known: what is printed
    on the line by a command that has found it is not an error of ours."""
    words = data.split(b" ")
    name = words[0].decode("ascii", "replace")
    if SAYS.get(name) != len(words) - 1:
        return None
    if not all(word.isdigit() and len(word) < 12 for word in words[1:]):
        return None
    numbers = tuple(map(int, words[1:]))
    return Said(name, numbers) if all(number < _MOST for number in numbers) else None


class Lines:
    """Cuts what comes into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Said]:
        """What the guest has said since."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-LONGEST_BYTES:]
        return [said for each in whole if (said := parse(each.rstrip(b"\r"))) is not None]


class Stream:
    """What a command writes, up to the token.

    Fields:
        ended: the token has come
    """

    def __init__(self, token: bytes) -> None:
        self.ended = False
        self._token = token
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What of it is the command's. What may be the token's beginning is held back."""
        if self.ended:
            return b""
        if self._held:
            data, self._held = self._held + data, b""
        where = data.find(self._token)
        if where >= 0:
            self.ended = True
            return data[:where]
        for size in range(min(len(self._token) - 1, len(data)), 0, -1):
            if data.endswith(self._token[:size]):
                self._held = data[-size:]
                return data[:-size]
        return data

    def rest(self) -> bytes:
        """What was held back, where the stream has ended without the token."""
        held, self._held = self._held, b""
        return held
