"""A guest, for tasks of trio that ask it; the policy is that of `umlctl.client.ask`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Self

import trio

from socketproto.blocking import Unreachable
from socketproto.client import Client
from socketproto.wire import WireError
from umlctl.client.ask import (
    ADOPT,
    Deadline,
    absent,
    adopt,
    conversation,
    prepare,
)
from umlctl.client.target import Target
from umlctl.errors import NoGuest, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from socketproto.exchange import Outcome

_in_thread = partial(trio.to_thread.run_sync, abandon_on_cancel=True)


class AsyncGuestClient:
    """The same as `umlctl.client.ask.GuestClient`, but other tasks go on while one waits.

    Fields:
        name: as the user named the guest: its umid, or the path of a socket
        link: to the server that answers for it
    """

    def __init__(self, name: str, *, looks: bool = False) -> None:
        """looks: the guest is only looked at, and is not to be adopted"""
        self.name = name
        self._looks = looks
        self._target = Target(name)
        self._client = Client(self._target.socket)
        self.link = self._client.link

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    async def ask(
        self,
        text: str,
        deadline: Deadline | None = None,
        *,
        force: bool = False,
        each: Callable[[bytes], None] | None = None,
    ) -> Outcome:
        """Send one command and wait for its outcome; if the supervisor dies, ask the next one.

        Raises: NoGuest, NotOnBareKernel, Refusal, InDoubt, UsageError; OSError: this process lacks
        what it takes
        """
        deadline = deadline or Deadline()
        steps = conversation(self.name, text, self.link, deadline)
        try:
            step = next(steps)
            while True:
                if step == ADOPT:
                    adopted = not self._looks and await _in_thread(adopt, self.name)
                    self.link.redirect(self._target.socket)
                    step = steps.send(adopted)
                    continue
                ended: Outcome | Unreachable
                try:
                    line = prepare(self.link, text, force=force)
                    timeout, renew = deadline.left()
                    ended = await self._client.request(line, timeout, renew=renew, each=each)
                except Unreachable as problem:
                    ended = problem
                step = steps.send(ended)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
        except Unreachable as problem:
            if self._looks:
                raise NoGuest(str(problem)) from None
            raise NoGuest(await _in_thread(absent, self.name, problem)) from None
        except WireError as problem:
            raise UsageError(str(problem)) from None
