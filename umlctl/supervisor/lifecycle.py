"""The life of a guest as a table: its states, the events that lead from one to another, and what
is to be done at each.

Rules of this file:
- This module is pure: no trio, no I/O, no clock. The caller of `handle` passes the time along.
- `Lifecycle.handle` takes an event and returns instructions; its caller obeys them, in order.
- A step that is in no table raises IllegalStep, which says what was tried and the story so far.
- One guest is one Lifecycle, however often it is started again. TRANSITIONS are its steps from
  state to state; OCCURRENCES are events that leave the state as it is.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from umlctl.guest import policy
from umlctl.protocol.status import Ending  # noqa: TC001 - msgspec reads the annotations

if TYPE_CHECKING:
    from collections.abc import Callable

    from umlctl.guest.definition import Definition
    from umlctl.protocol.events import EventName
    from umlctl.protocol.status import State

BOOTING: Final = "booting"
RUNNING: Final = "running"
STOPPED: Final = "stopped"
REBOOTING: Final = "rebooting"
DEAD: Final = "dead"
RESTARTING: Final = "restarting"
ALIVE: Final[tuple[State, ...]] = (BOOTING, RUNNING, STOPPED, REBOOTING)
ENDED: Final[tuple[State, ...]] = (DEAD, RESTARTING)

MAX_STORY_STEPS: Final = 50
"""How many steps are remembered, for a developer who has to explain an illegal one."""

Facts = dict[str, object]
"""What else the history says of an event."""


# Events: what has happened to a guest, or what a user or a policy wants of it


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that has happened to a guest, or is wanted of it.

    Fields:
        facts: what else the history is to say of it
    """

    facts: Facts = {}


class HasSocket(Event, frozen=True):
    """The kernel has notified that it has a socket: it boots, for the first time or again."""


class Ready(Event, frozen=True):
    """The kernel can answer requests, and the guest runs."""


class ReadyStopped(Event, frozen=True):
    """The kernel can answer requests, and the guest waits in `stop`."""


class Stopped(Event, frozen=True):
    """The kernel waits in `stop`."""


class Resumed(Event, frozen=True):
    """The kernel goes on after a `stop`."""


class Resetting(Event, frozen=True):
    """The kernel has answered `reboot`, or was reset."""


class RebootedUnseen(Event, frozen=True):
    """The kernel has rebooted while nobody supervised it."""


class RebootLost(Event, frozen=True, kw_only=True):
    """The kernel has panicked at the last moment, as it was about to reboot, with this message."""

    text: str


class Panicked(Event, frozen=True, kw_only=True):
    """The kernel has panicked, with this message."""

    text: str


class Hung(Event, frozen=True, kw_only=True):
    """The guest does not answer, or its watchdog was not fed."""

    why: str


class WellAgain(Event, frozen=True):
    """A guest that hung answers."""


class EndWanted(Event, frozen=True):
    """A user ends the guest: it is not to be started again."""


class KillWanted(Event, frozen=True, kw_only=True):
    """The processes of the guest are to be killed.

    Fields:
        by_policy: no user wants that, and the guest may be started again
    """

    why: str
    by_policy: bool = False


class Ended(Event, frozen=True, kw_only=True):
    """All processes of this life are gone.

    Fields:
        ending: how it ended
        how: the same in words
    """

    ending: Ending
    how: str


class Cleared(Event, frozen=True):
    """Nothing of this life is left on the host: what comes after it can be decided."""


class Retried(Event, frozen=True, kw_only=True):
    """The guest is to be started again after a while."""

    seconds: float


class GivenUp(Event, frozen=True):
    """The guest is not started again after all."""


class Relaunched(Event, frozen=True, kw_only=True):
    """Another kernel was started for the guest.

    Fields:
        known: see `Lifecycle`
    """

    known: bool = False


# Instructions: what is to be done


class Instruction(msgspec.Struct, frozen=True):
    """Something that the caller of `handle` is to do."""


class Tell(Instruction, frozen=True):
    """Add an event to the history."""

    event: EventName
    facts: Facts = {}


class AnswerRequests(Instruction, frozen=True):
    """The kernel can be asked: requests that wait for that go on."""


class HoldRequests(Instruction, frozen=True):
    """Requests wait until the kernel is ready again; the one in flight ends with this reason."""

    why: str


class RefuseRequests(Instruction, frozen=True):
    """The kernel cannot be asked any more, for this reason."""

    why: str


class AwaitReady(Instruction, frozen=True):
    """Find out when the kernel that boots now is ready."""


class PrepareBoot(Instruction, frozen=True):
    """Prepare what a reboot needs on the host, and begin another boot in the console's log."""


class Terminate(Instruction, frozen=True):
    """Send SIGTERM to the main process."""


class FindHelpers(Instruction, frozen=True):
    """Remember the processes that a signal to the kernel's process group would miss."""


class Kill(Instruction, frozen=True):
    """Kill all processes of the guest."""


class StopOthers(Instruction, frozen=True):
    """End all other guests, for this reason."""

    why: str


class CancelRestart(Instruction, frozen=True):
    """Wake the task that waits to start the guest again: it is not to be started."""


_REBOOTS: Final[dict[type[Event], State]] = {HasSocket: REBOOTING, RebootLost: REBOOTING}
TRANSITIONS: Final[dict[State, dict[type[Event], State]]] = {
    BOOTING: {Ready: RUNNING, ReadyStopped: STOPPED, Ended: DEAD},
    RUNNING: {Stopped: STOPPED, Resetting: REBOOTING, **_REBOOTS, Ended: DEAD},
    STOPPED: {Resumed: RUNNING, **_REBOOTS, Ended: DEAD},
    REBOOTING: {
        **_REBOOTS,
        Ready: RUNNING,
        ReadyStopped: STOPPED,
        Relaunched: REBOOTING,
        Ended: DEAD,
    },
    DEAD: {Retried: RESTARTING, GivenUp: DEAD},
    RESTARTING: {Retried: RESTARTING, GivenUp: DEAD, Relaunched: BOOTING},
}
"""The state after an event, by the state before it. `Lifecycle.since` is the time of the last such
step."""
OCCURRENCES: Final[dict[type[Event], tuple[State, ...]]] = {
    HasSocket: (BOOTING,),
    RebootedUnseen: ALIVE,
    Panicked: ALIVE,
    Hung: (*ALIVE, *ENDED),
    WellAgain: (RUNNING,),
    EndWanted: (*ALIVE, *ENDED),
    KillWanted: (*ALIVE, *ENDED),
    Cleared: (DEAD,),
}
"""The states in which an event can come that leaves the state as it is."""


AFTER_LOSS: Final = (Relaunched, Ended, Cleared, EndWanted, KillWanted, Retried, GivenUp)
"""What still counts of a life whose kernel is lost as it reboots."""


class IllegalStep(RuntimeError):
    """An event came that the state of its guest does not allow: a bug of the supervisor."""

    def __init__(self, event: Event, state: State, story: list[str]) -> None:
        past = "; ".join(story) or "it has just been launched"
        name = type(event).__name__
        super().__init__(f"no {name} while {state}; the story so far: {past}")


class Lifecycle:
    """One guest, through all its lives. A life lasts from the launch of a kernel to its end.

    Fields:
        state: the state of the guest, by TRANSITIONS
        since: when that state began, seconds since 1970
        known: this supervisor or the one before it has seen the guest ready in this life
        had_socket: the kernel of this life has made its socket
        ending: how the last life ended; None while a life goes on
        reboots, restarts: how often the guest has rebooted, and was started again
        tries: restarts in a row that did not help
        again: the guest is to be started again after this life
        reboot_lost: the kernel is lost as it rebooted: the guest is to go on with another
        unwanted: a user has ended the guest: it is not started again
        hung: why the guest counts as hung; empty if it does not
        panic: what this boot of the kernel panicked with; empty if it did not
        last_panic: what the guest last panicked with, in whichever life
        asked_to_end: why a user or a policy has ended the guest; empty if neither has
        forced: the processes of the guest were killed
        halted: a user has had the kernel end itself
        late: that the guest did not end by itself in time, and was synced and halted; empty if it
            did
        unsynced: that the guest was ended with what it had yet to write, and why; empty if not
    """

    def __init__(
        self, definition: Definition, since: float, *, adopted: bool = False, known: bool = False
    ) -> None:
        """since: when the kernel was launched, seconds since 1970

        adopted: another supervisor has launched it
        known: that supervisor has seen the guest ready
        """
        self.state: State = BOOTING
        self.reboots = self.restarts = self.tries = 0
        self.last_panic = ""
        self.unwanted = self.again = False
        self.adopted = adopted
        self._definition = definition
        self._story: deque[str] = deque(maxlen=MAX_STORY_STEPS)
        self._how = ""
        self._begin(since, known=known)
        self.had_socket = adopted
        self._does: dict[type[Event], Callable[..., list[Instruction]]] = {
            HasSocket: self._has_socket,
            Ready: self._ready,
            ReadyStopped: self._ready,
            Stopped: self._told("stopped"),
            Resumed: self._told("resumed"),
            Resetting: lambda _event, _before: [HoldRequests("the guest reboots")],
            RebootLost: self._reboot_lost,
            RebootedUnseen: self._rebooted_unseen,
            Panicked: self._panicked,
            Hung: self._hung,
            WellAgain: self._well_again,
            EndWanted: lambda _event, _before: self._unwant(),
            KillWanted: self._kill_wanted,
            Ended: self._ended,
            Cleared: self._cleared,
            Retried: self._retried,
            GivenUp: self._given_up,
            Relaunched: self._relaunched,
        }

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take an event; return what is to be done about it, in this order.

        now: seconds since 1970

        Raises: IllegalStep: nothing has changed then
        """
        before, kind = self.state, type(event)
        if self.reboot_lost and kind not in AFTER_LOSS:
            return []
        after = TRANSITIONS[before].get(kind)
        strange = after is None and before not in OCCURRENCES.get(kind, ())
        strange |= kind in (Retried, GivenUp) and not self.again
        if strange or (kind is Relaunched and before == REBOOTING and not self.reboot_lost):
            raise self._illegal(event)
        if after is not None:
            self.state, self.since = after, now
        self._story.append(f"{before} -{kind.__name__}-> {self.state}")
        return self._does[kind](event, before)

    @property
    def story(self) -> list[str]:
        """The last steps, the oldest first."""
        return list(self._story)

    @property
    def answers(self) -> bool:
        """Whether the kernel can be asked."""
        return self.state in (RUNNING, STOPPED)

    @property
    def comes(self) -> bool:
        """Whether the kernel may soon be there to be asked: the guest reboots, or was ready before
        it was adopted."""
        return self.state == REBOOTING or (self.state == BOOTING and self.known)

    def pause(self, lasted: float) -> float | None:
        """Seconds to wait before the guest is started again; None: there were too many tries.

        lasted: seconds since its last life began
        """
        if lasted >= policy.RECOVERED_SECONDS:
            self.tries = 0
        if self.tries >= policy.MAX_RESTARTS:
            return None
        self.tries += 1
        return policy.pause(self.tries - 1)

    def _illegal(self, event: Event) -> IllegalStep:
        return IllegalStep(event, self.state, self.story)

    def _begin(self, since: float, *, known: bool) -> None:
        self.since = self._launched = since
        self.known = known
        self.had_socket = False
        self.reboot_lost: bool = False
        self.ending: Ending | None = None
        self.hung = self.panic = self.asked_to_end = self.late = self.unsynced = ""
        self.forced = self.halted = False

    # What follows from each event; `before` is the state in which the event came

    @staticmethod
    def _told(name: EventName) -> Callable[[Event, State], list[Instruction]]:
        return lambda event, _before: [Tell(name, event.facts)]

    def _has_socket(self, _event: HasSocket, before: State) -> list[Instruction]:
        self.had_socket = True
        if before == BOOTING:
            return [AwaitReady()]
        self.reboots += 1
        self.panic = ""
        self.halted = False
        return [
            HoldRequests("the guest rebooted"),
            Tell("rebooting", {"count": self.reboots}),
            PrepareBoot(),
            # It has shut down in order: its init maps Ctrl-Alt-Del to a reboot.
            Terminate() if self.asked_to_end else AwaitReady(),
        ]

    def _ready(self, event: Ready | ReadyStopped, before: State) -> list[Instruction]:
        begun = before == BOOTING and not self.adopted
        after = round(self.since - self._launched, 3) if begun else None
        self.known = True
        return [FindHelpers(), AnswerRequests(), Tell("ready", {"after": after, **event.facts})]

    def _rebooted_unseen(self, _event: RebootedUnseen, _before: State) -> list[Instruction]:
        self.reboots += 1
        return [Tell("rebooted", {"text": "while it had no supervisor"})]

    def _reboot_lost(self, event: RebootLost, _before: State) -> list[Instruction]:
        self.reboot_lost = True
        return [HoldRequests("the guest reboots"), Tell("reboot repeated", {"text": event.text})]

    def _panicked(self, event: Panicked, _before: State) -> list[Instruction]:
        self.panic = self.last_panic = event.text
        steps: list[Instruction] = [
            RefuseRequests(f"the guest panicked: {event.text}"),
            Tell("panicked", {"text": event.text, **event.facts}),
        ]
        kills = policy.on_panic(self._definition) in (policy.KILL, policy.RESTART)
        return [*steps, Kill()] if kills else steps

    def _hung(self, event: Hung, before: State) -> list[Instruction]:
        if self.hung or before in ENDED:
            return []
        self.hung = event.why
        action = policy.on_hang(self._definition)
        steps: list[Instruction] = [Tell("hung", {"text": event.why, "action": action})]
        if action in (policy.KILL, policy.RESTART):
            steps += self._force(f"hung: {event.why}")
        elif action == policy.STOP_OTHERS:
            steps.append(StopOthers(f"{self._definition.umid} hangs"))
        return steps

    def _well_again(self, _event: WellAgain, _before: State) -> list[Instruction]:
        if not self.hung:
            return []
        self.hung = ""
        return [Tell("well again")]

    def _unwant(self) -> list[Instruction]:
        self.unwanted = True
        return [CancelRestart()]

    def _kill_wanted(self, event: KillWanted, _before: State) -> list[Instruction]:
        return ([] if event.by_policy else self._unwant()) + self._force(event.why)

    def _force(self, why: str) -> list[Instruction]:
        if self.state in ENDED:
            return []
        self.forced = True
        self.asked_to_end = self.asked_to_end or why
        return [FindHelpers(), Kill()]

    def _ended(self, event: Ended, _before: State) -> list[Instruction]:
        self.ending, self._how = event.ending, event.how
        known = {"cause": event.ending.cause, "code": event.ending.code, "text": event.ending.text}
        return [RefuseRequests(f"the guest is dead: {event.how}"), Tell("ended", {**known})]

    def _cleared(self, _event: Cleared, _before: State) -> list[Instruction]:
        action = self._action()
        self.again = action == policy.RESTART
        if action == policy.STOP_OTHERS and not self.hung:
            return [StopOthers(f"{self._definition.umid} {self._how}")]
        return []

    def _action(self) -> str:
        """What to do after a life, by the guest's policy."""
        assert self.ending is not None
        failed_at_first = self.ending.cause == "never started" and self.restarts == 0
        if self.unwanted or self.halted or failed_at_first:
            return policy.NOTHING
        if self.ending.cause == "panicked":
            return policy.on_panic(self._definition)
        if self.hung:
            return policy.on_hang(self._definition)
        return policy.on_exit(self._definition, failed=self.ending.code != 0)

    def _retried(self, event: Retried, _before: State) -> list[Instruction]:
        return [
            RefuseRequests(f"the guest has ended ({self._how}) and is to be started again"),
            Tell("restarting", {"seconds": event.seconds, "tries": self.tries}),
        ]

    def _given_up(self, _event: GivenUp, _before: State) -> list[Instruction]:
        self.again = False
        return []

    def _relaunched(self, event: Relaunched, before: State) -> list[Instruction]:
        self.restarts += before != REBOOTING  # its socket will say so
        self.again = self.adopted = False
        self._begin(self.since, known=event.known or before == REBOOTING)
        return []
