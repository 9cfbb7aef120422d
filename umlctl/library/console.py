"""A guest's console as a stream: what it prints is waited for, and something is typed."""

from __future__ import annotations

import codecs
import json
import re
import select
import time
from typing import TYPE_CHECKING, Any, Final

from umlctl.client.attach import Attachment
from umlctl.errors import GuestEnded, HostError, TimedOut, UsageError
from umlctl.protocol.console_socket import NOTICE, OUTPUT, console_name

if TYPE_CHECKING:
    from typing import Self

EXPECT_TIMEOUT: Final = 30.0
"""How long something is waited for unless told otherwise, seconds."""
MAX_LETTERS: Final = 1 << 22
"""How much of what was printed is kept that nobody has waited for."""
SHOWN_LETTERS: Final = 400
"""How much of it an error shows."""


class Console:
    """A console of a guest. It is closed by `close`, or at the end of `with`.

    Fields:
        before: what was printed before the last match
        unread: what was printed since, and has not been waited for
    """

    def __init__(self, umid: str, name: str, *, past: bool, force: bool) -> None:
        """name: as con0, or 0

        past: begin with all that was printed, and not with what comes
        force: take the keyboard from who has it

        Raises: UsageError, NoGuest, HostError
        """
        try:
            found = console_name(name)
        except ValueError as problem:
            raise UsageError(str(problem)) from None
        self.before = self.unread = ""
        self._umid = umid
        self._ended = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._attachment = Attachment(umid, found, force=force)
        self._attachment.connect(None)
        try:
            self._offset = 0
            self._attachment.greet(0, 0 if past else None)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Look at it no more."""
        self._attachment.close()

    def send(self, text: str) -> None:
        """Type something."""
        self._attachment.type(text.encode("utf-8", "surrogateescape"))

    def sendline(self, text: str = "") -> None:
        """Type a line."""
        self.send(f"{text}\n")

    def expect(
        self, pattern: str | re.Pattern[str], timeout: float = EXPECT_TIMEOUT
    ) -> re.Match[str]:
        """Wait until what was printed matches; what comes behind is for the next time.

        pattern: a regular expression
        timeout: seconds

        Raises: TimedOut; GuestEnded; HostError: somebody else has the keyboard, or it is lost
        """
        compiled = re.compile(pattern) if isinstance(pattern, str) else pattern
        end = time.monotonic() + timeout
        while (match := compiled.search(self.unread)) is None:
            tail = self.unread[-SHOWN_LETTERS:]
            if self._ended:
                raise GuestEnded(
                    f"{self._umid} has ended before its console had {compiled.pattern!r}: "
                    f"{self._ended}",
                    console=tail,
                )
            if not self._hear(end - time.monotonic()):
                raise TimedOut(
                    f"the console of {self._umid} has not printed {compiled.pattern!r} within "
                    f"{timeout:g} seconds, but: {tail!r}"
                )
        self.before, self.unread = self.unread[: match.start()], self.unread[match.end() :]
        return match

    def _hear(self, seconds: float) -> bool:
        """Take what comes, within some time; False if nothing has."""
        attachment = self._attachment
        if not self._wait(max(0.0, seconds)):
            return False
        attachment.flush()
        packet = attachment.receive()
        if packet is None:
            return True
        if packet[:1] == OUTPUT:
            self._take(packet[1:])
        elif packet[:1] == NOTICE:
            self._heed(json.loads(packet[1:]))
        elif not packet:
            self._go_on()
        return True

    def _wait(self, seconds: float) -> bool:
        """Whether the supervisor has said something, or takes what is typed, within some time."""
        poll = select.poll()
        wanted = select.POLLIN | (select.POLLOUT if self._attachment.is_sending else 0)
        poll.register(self._attachment, wanted)
        return bool(poll.poll(seconds * 1000))

    def _take(self, data: bytes) -> None:
        self._offset += len(data)
        text = self._decoder.decode(data).replace("\r\n", "\n")
        self.unread = (self.unread + text)[-MAX_LETTERS:]

    def _heed(self, notice: dict[str, Any]) -> None:
        """Raises: HostError"""
        self._offset = notice.get("offset", self._offset) + notice.get("lost", 0)
        if notice.get("keyboard"):
            self._attachment.hear_keyboard(notice["keyboard"])
        if notice.get("problem"):
            raise HostError(f"{self._umid}: {notice['problem']}")
        self._ended = notice.get("ended") or self._ended

    def _go_on(self) -> None:
        """The supervisor has ended, and there may be another."""
        if self._ended:
            return
        if self._attachment.reconnect():
            self._attachment.greet(0, self._offset)
        else:
            self._ended = self._attachment.ending() or "nobody supervises it any more"
