"""One request to a guest's supervisor, for a caller that has its answer or an error."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from socketproto.exchange import REFUSED, TRUNCATED, Outcome
from umlctl import exitcodes
from umlctl.client.ask import Deadline, GuestClient
from umlctl.errors import HostError, InDoubt, NotOnBareKernel, Refusal, Refused, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
ANSWER_TIMEOUT: Final = 60.0
"""How long a command may take from each sign of life, seconds. A switch or a slirp4netns may have
to be started first, other guests' devices be plugged, and hooks run."""


def deadline_of(seconds: float | None) -> Deadline:
    """The deadline of a command, for all that it asks together."""
    return Deadline(seconds, ANSWER_TIMEOUT, renewed=True)


def request(
    guest: str, text: str, deadline: Deadline | None = None, *, force: bool = False
) -> bytes:
    """What the guest's supervisor answers.

    Raises: NoGuest, Refused, UsageError, UmlctlError
    """
    with explained(guest, text), GuestClient(guest) as asked:
        outcome = asked.ask(text, deadline or deadline_of(None), force=force)
    return answered(guest, text, outcome)


@contextmanager
def explained(guest: str, text: str) -> Iterator[None]:
    """Have errors say of which guest they are.

    Raises: Refused, UsageError
    """
    try:
        yield
    except InDoubt as problem:
        raise Refused(f"{_verb(text)} {guest}: {problem}", problem.code) from None
    except (NotOnBareKernel, Refusal) as problem:
        raise Refused(f"{guest}: {problem}") from None
    except UsageError as problem:
        raise UsageError(f"{guest}: {problem}; shorter paths fit") from None


def answered(guest: str, text: str, outcome: Outcome) -> bytes:
    """The answer to what was asked.

    Raises: Refused: it is none
    """
    if outcome.ok:
        return outcome.data
    if outcome.kind == REFUSED and outcome.error == exitcodes.ENODATA:
        outcome = Outcome(TRUNCATED, reason="a part of the answer is lost")
    if outcome.kind == REFUSED:
        said = outcome.text.strip() or f"error {outcome.error}"
        raise Refused(f"{guest}: {said}", exitcodes.of_error(outcome.error))
    raise Refused(f"{_verb(text)} {guest}: {outcome}", exitcodes.of(outcome.kind))


def decoded(guest: str, read: Callable[[bytes], T], data: bytes) -> T:
    """An answer, read.

    Raises: HostError
    """
    try:
        return read(data)
    except msgspec.DecodeError:
        raise HostError(f"{guest}: the answer is none that umlctl knows") from None


def _verb(text: str) -> str:
    return text.partition(" ")[0]
