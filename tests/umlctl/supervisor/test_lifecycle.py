"""A guest's lives as a table: each step by example, and any sequence of them by hypothesis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from umlctl.guest import policy
from umlctl.guest.definition import Definition
from umlctl.protocol.events import row
from umlctl.protocol.status import CAUSES, STATES, Ending
from umlctl.supervisor import lifecycle as module
from umlctl.supervisor.lifecycle import (
    AFTER_LOSS,
    ALIVE,
    DEAD,
    ENDED,
    OCCURRENCES,
    REBOOTING,
    RESTARTING,
    RUNNING,
    TRANSITIONS,
    AnswerRequests,
    AwaitReady,
    Cleared,
    Ended,
    EndWanted,
    Event,
    GivenUp,
    HasSocket,
    HoldRequests,
    Hung,
    IllegalStep,
    Instruction,
    Kill,
    KillWanted,
    Lifecycle,
    Panicked,
    Ready,
    ReadyStopped,
    RebootLost,
    RefuseRequests,
    Relaunched,
    Resetting,
    Resumed,
    Retried,
    StopOthers,
    Stopped,
    Tell,
    Terminate,
    WellAgain,
)

if TYPE_CHECKING:
    from umlctl.protocol.status import State

KINDS = [
    kind
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
]


def made(**fields: Any) -> Lifecycle:
    return Lifecycle(Definition(umid="demo", kernel="/linux", **fields), 100.0)


def ended(cause: str = "exited", code: int = 0) -> Ended:
    return Ended(ending=Ending(cause=cause, code=code), how=f"{cause}, code {code}")


def goes(life: Lifecycle, *events: Event) -> list[Instruction]:
    """Hand over these events, a second between them; what is to be done after the last."""
    found: list[Instruction] = []
    for event in events:
        found = life.handle(event, life.since + 1.0)
    return found


def told(instructions: list[Instruction]) -> list[str]:
    return [each.event for each in instructions if isinstance(each, Tell)]


# The tables


@pytest.mark.parametrize(
    "events",
    [
        [Ready(), Stopped(), Resumed(), HasSocket(), Ready(), Resetting(), HasSocket()],
        [Ready(), Panicked(text="oops"), ended("panicked"), Cleared(), Retried(seconds=1.0)],
        [Ready(), Hung(why="no answer"), WellAgain()],
    ],
)
def test_event_that_is_told_has_the_state_after_it(events: list[Event]) -> None:
    life = made(restart="always")
    for event in events:
        for each in told(life.handle(event, life.since + 1.0)):
            state = "hung" if life.hung else life.state
            assert row(each).state in (None, state), each


def test_every_event_has_its_place() -> None:
    moving = {kind for steps in TRANSITIONS.values() for kind in steps}
    assert moving | OCCURRENCES.keys() == set(KINDS)
    assert set(TRANSITIONS) <= STATES


def test_no_event_is_a_step_and_an_occurrence_in_one_state() -> None:
    for kind, states in OCCURRENCES.items():
        assert not [state for state in states if kind in TRANSITIONS[state]]


def test_every_state_that_is_alive_can_end_and_every_state_can_be_reached() -> None:
    assert all(TRANSITIONS[state][Ended] == DEAD for state in ALIVE)
    reached = {"booting"} | {after for steps in TRANSITIONS.values() for after in steps.values()}
    assert reached == set(TRANSITIONS)


# Booting and rebooting


def test_guest_that_boots_answers_once_it_is_ready() -> None:
    life = made()
    assert goes(life, HasSocket()) == [AwaitReady()]
    assert (life.state, life.since, life.known) == ("booting", 100.0, False)
    *_, answers, tells = life.handle(Ready(facts={"pid": 7}), 103.5)
    assert answers == AnswerRequests()
    assert tells == Tell("ready", {"after": 3.5, "pid": 7})
    assert (life.state, life.since, life.known) == ("running", 103.5, True)


def test_adopted_guest_may_be_ready_and_stopped_and_nobody_knows_how_long_it_took() -> None:
    life = Lifecycle(Definition(umid="demo", kernel="/linux"), 100.0, adopted=True, known=True)
    assert life.comes
    assert goes(life, ReadyStopped())[-1] == Tell("ready", {"after": None})
    assert life.state == "stopped"


def test_guest_that_reboots_holds_requests_until_it_is_ready_again() -> None:
    life = made()
    goes(life, HasSocket(), Ready(), Panicked(text="oops"))
    hold, tells, _prepare, then = goes(life, HasSocket())
    assert hold == HoldRequests("the guest rebooted")
    assert tells == Tell("rebooting", {"count": 1})
    assert then == AwaitReady()
    assert (life.state, life.panic, life.last_panic) == ("rebooting", "", "oops")
    assert told(goes(life, Ready())) == ["ready"]


def test_guest_that_loses_its_kernel_as_it_reboots_goes_on_with_another() -> None:
    life = made(restart="no")
    goes(life, Ready())
    found = goes(life, RebootLost(text="Segfault with no mm"))
    assert found[0] == HoldRequests("the guest reboots")
    assert told(found) == ["reboot repeated"]
    assert life.state == REBOOTING
    assert (life.panic, life.last_panic, life.reboots) == ("", "", 0)
    goes(life, Relaunched())
    assert (life.state, life.reboots, life.restarts, life.reboot_lost) == (REBOOTING, 0, 0, False)
    assert told(goes(life, HasSocket())) == ["rebooting"]
    goes(life, Ready())
    assert (life.state, life.reboots, life.restarts) == (RUNNING, 1, 0)
    with pytest.raises(IllegalStep):
        goes(life, Resetting(), Relaunched())


def test_kernel_that_is_lost_says_what_it_likes_in_vain() -> None:
    life = made()
    goes(life, Ready(), RebootLost(text="Segfault with no mm"))
    for event in (HasSocket(), Ready(), Panicked(text="oops"), RebootLost(text="oops")):
        assert goes(life, event) == []
    assert (life.state, life.reboots, life.panic) == (REBOOTING, 0, "")


def test_guest_that_has_no_other_kernel_for_one_that_is_lost_has_ended() -> None:
    life = made(restart="always")
    goes(life, Ready(), RebootLost(text="Segfault with no mm"), ended("reboot failed", 127))
    assert life.state == DEAD


def test_guest_that_reboots_though_it_was_asked_to_end_is_terminated() -> None:
    life = made()
    goes(life, Ready())
    life.asked_to_end = "a user wants it"
    assert goes(life, HasSocket())[-1] == Terminate()


def test_kernel_that_has_answered_reboot_takes_no_requests() -> None:
    life = made()
    assert goes(life, Ready(), Resetting()) == [HoldRequests("the guest reboots")]
    assert life.state == "rebooting"


def test_stop_and_go_are_told() -> None:
    life = made()
    assert goes(life, Ready(), Stopped(facts={"uid": 1})) == [Tell("stopped", {"uid": 1})]
    assert goes(life, Resumed()) == [Tell("resumed")]
    assert goes(life, Stopped(), HasSocket())[0] == HoldRequests("the guest rebooted")


# Panics, hangs and kills


@pytest.mark.parametrize(
    ("action", "killed"), [("nothing", 0), ("kill", 1), ("restart", 1), ("stop-others", 0)]
)
def test_panic_is_told_and_ends_what_its_policy_says(action: str, killed: int) -> None:
    life = made(on_panic=action)
    found = goes(life, Ready(), Panicked(text="oops"))
    assert found[:2] == [
        RefuseRequests("the guest panicked: oops"),
        Tell("panicked", {"text": "oops"}),
    ]
    assert found.count(Kill()) == killed
    assert not life.forced


@pytest.mark.parametrize(
    ("action", "killed", "stopped"),
    [("nothing", 0, 0), ("kill", 1, 0), ("restart", 1, 0), ("stop-others", 0, 1)],
)
def test_hang_is_told_once_and_ends_what_its_policy_says(
    action: str, killed: int, stopped: int
) -> None:
    life = made(on_hang=action)
    found = goes(life, Ready(), Hung(why="no answer"))
    assert found[0] == Tell("hung", {"text": "no answer", "action": action})
    assert found.count(Kill()) == killed
    assert found.count(StopOthers("demo hangs")) == stopped
    assert life.asked_to_end == ("hung: no answer" if killed else "")
    assert goes(life, Hung(why="again")) == []


def test_guest_that_was_never_hung_is_not_well_again() -> None:
    life = made()
    assert goes(life, Ready(), WellAgain()) == []
    assert told(goes(life, Hung(why="no answer"), WellAgain())) == ["well again"]
    assert not life.hung


def test_first_reason_to_end_it_stands() -> None:
    life = made()
    assert Kill() in goes(life, KillWanted(why="first", by_policy=True))
    assert not life.unwanted
    goes(life, KillWanted(why="second"))
    assert (life.asked_to_end, life.forced, life.unwanted) == ("first", True, True)


def test_guest_that_has_ended_is_not_killed() -> None:
    life = made()
    goes(life, ended())
    assert Kill() not in goes(life, KillWanted(why="too late"))
    assert (life.forced, life.asked_to_end) == (False, "")


# Ends and restarts


def test_end_refuses_requests_and_is_told() -> None:
    life = made()
    found = goes(life, Ready(), ended("killed", 137))
    assert found == [
        RefuseRequests("the guest is dead: killed, code 137"),
        Tell("ended", {"cause": "killed", "code": 137, "text": ""}),
    ]
    assert life.state == "dead"


@pytest.mark.parametrize(
    ("cause", "code", "hung", "field"),
    [
        ("panicked", 255, False, "on_panic"),
        ("killed", 137, True, "on_hang"),
        ("killed", 137, False, "on_exit"),
        ("exited", 0, False, "on_exit"),
    ],
)
@pytest.mark.parametrize("wanted", [True, False])
def test_each_ending_has_its_policy(
    cause: str, code: int, hung: bool, field: str, wanted: bool
) -> None:
    life = made(restart="no", **{field: "restart"})
    goes(life, Ready(), *([Hung(why="no answer")] if hung else []))
    goes(life, *([] if wanted else [EndWanted()]), ended(cause, code), Cleared())
    assert life.again == wanted


@pytest.mark.parametrize(
    ("restart", "code", "again"),
    [
        ("no", 1, False),
        ("on-failure", 0, False),
        ("on-failure", 1, True),
        ("always", 0, True),
        ("always", 1, True),
    ],
)
def test_short_policy_is_for_any_end(restart: str, code: int, again: bool) -> None:
    life = made(restart=restart)
    goes(life, Ready(), ended("exited", code), Cleared())
    assert life.again == again


def test_guest_that_a_user_has_halted_is_not_started_again() -> None:
    life = made(restart="always")
    goes(life, Ready())
    life.halted = True
    goes(life, ended(), Cleared())
    assert not life.again


@pytest.mark.parametrize("hung", [True, False])
def test_others_are_stopped_once(hung: bool) -> None:
    """At the hang, where it hung; else at the end."""
    life = made(on_hang="stop-others", on_exit="stop-others")
    at_once = goes(life, Ready(), *([Hung(why="no answer")] if hung else []))
    assert any(isinstance(each, StopOthers) for each in at_once) == hung
    last = goes(life, ended("exited", 3), Cleared())
    assert last == ([] if hung else [StopOthers("demo exited, code 3")])


def test_guest_that_never_started_is_not_started_again_but_for_later_lives() -> None:
    life = made(restart="always")
    never = ended("never started", 125)
    goes(life, never, Cleared())
    assert not life.again
    with pytest.raises(IllegalStep):
        goes(life, Retried(seconds=1.0))

    life = made(restart="always")
    goes(life, Ready(), ended(), Cleared(), Retried(seconds=1.0), Relaunched(), never, Cleared())
    assert life.again


def test_another_life_begins_without_the_past_of_the_last() -> None:
    life = made(restart="always", on_hang="restart")
    goes(life, HasSocket(), Ready(), Panicked(text="oops"), Hung(why="no answer"), ended())
    life.late, life.unsynced = "late", "not synced"
    goes(life, Cleared())
    found = goes(life, Retried(seconds=4.0))
    assert found[0] == RefuseRequests(
        "the guest has ended (exited, code 0) and is to be started again"
    )
    assert found[1] == Tell("restarting", {"seconds": 4.0, "tries": 0})
    life.handle(Relaunched(), 500.0)
    fresh = made()
    fresh.handle(HasSocket(), 0.0)
    fields = ("hung", "panic", "asked_to_end", "late", "unsynced", "forced", "halted", "known")
    assert [getattr(life, each) for each in fields] == [getattr(fresh, each) for each in fields]
    assert (life.state, life.since, life.restarts) == ("booting", 500.0, 1)
    assert (life.last_panic, life.ending, life.had_socket) == ("oops", None, False)


def test_restart_that_is_not_to_be_after_all_leaves_it_dead() -> None:
    life = made(restart="always")
    goes(life, Ready(), ended(), Cleared(), Retried(seconds=1.0), Retried(seconds=2.0), GivenUp())
    assert (life.state, life.again) == ("dead", False)


def test_too_many_restarts_in_a_row_are_given_up() -> None:
    life = made(restart="always")
    pauses = [life.pause(1.0) for _ in range(policy.MAX_RESTARTS)]
    assert pauses == [policy.pause(tries) for tries in range(policy.MAX_RESTARTS)]
    assert life.pause(1.0) is None


@given(st.lists(st.floats(0.0, 2 * policy.RECOVERED_SECONDS), max_size=30))
def test_pauses_never_shrink_but_after_a_life_that_went_well(lives: list[float]) -> None:
    life = made(restart="always")
    last: float | None = 0.0
    for lasted in lives:
        pause = life.pause(lasted)
        if lasted >= policy.RECOVERED_SECONDS:
            assert pause == policy.pause(0)
        else:
            assert pause is None or (last is not None and pause >= last)
        last = pause


# Illegal steps


@pytest.mark.parametrize("event", [Stopped(), Resumed(), WellAgain(), Cleared(), Relaunched()])
def test_step_that_no_table_has_is_refused_with_the_story_and_changes_nothing(
    event: Event,
) -> None:
    life = made()
    goes(life, HasSocket())
    before = seen(life)
    with pytest.raises(IllegalStep) as caught:
        goes(life, event)
    assert str(caught.value) == (
        f"no {type(event).__name__} while booting; the story so far: booting -HasSocket-> booting"
    )
    assert seen(life) == before


EVENTS: dict[type[Event], st.SearchStrategy[Event]] = {
    kind: st.just(kind())
    for kind in KINDS
    if kind not in (RebootLost, Panicked, Hung, KillWanted, Ended, Retried, Relaunched)
} | {
    RebootLost: st.just(RebootLost(text="oops")),
    Panicked: st.just(Panicked(text="oops")),
    Hung: st.just(Hung(why="no answer")),
    KillWanted: st.builds(KillWanted, why=st.just("why"), by_policy=st.booleans()),
    Ended: st.builds(ended, st.sampled_from(CAUSES), st.sampled_from([0, 1, 137, 255])),
    Retried: st.builds(Retried, seconds=st.floats(0.5, 60.0)),
    Relaunched: st.builds(Relaunched, known=st.booleans()),
}


class Lives(RuleBasedStateMachine):
    """Any events in any order."""

    @initialize(
        restart=st.sampled_from(sorted(policy.RESTARTS)),
        actions=st.tuples(*(st.sampled_from(("", *policy.ACTIONS)),) * 3),
        adopted=st.booleans(),
        known=st.booleans(),
    )
    def launch(self, restart: str, actions: tuple[str, ...], adopted: bool, known: bool) -> None:
        definition = Definition(
            umid="demo",
            kernel="/linux",
            restart=restart,
            on_panic=actions[0],
            on_hang=actions[1],
            on_exit=actions[2],
        )
        self.now = 1000.0
        self.life = Lifecycle(definition, self.now, adopted=adopted, known=known)

    @rule(event=st.one_of(*EVENTS.values()))
    def something_happens(self, event: Event) -> None:
        if is_legal(self.life, type(event)):
            self._happens(event)
            return
        before = seen(self.life)
        with pytest.raises(IllegalStep) as caught:
            self.life.handle(event, self.now)
        assert seen(self.life) == before, "it changes nothing"
        assert all(step in str(caught.value) for step in self.life.story)

    @rule(data=st.data())
    def next_step_happens(self, data: st.DataObject) -> None:
        """Otherwise few get far."""
        steps = TRANSITIONS[self.life.state]
        ways = [EVENTS[kind] for kind in steps if is_legal(self.life, kind)]
        self._happens(data.draw(st.one_of(ways or [EVENTS[Cleared]])))

    def _happens(self, event: Event) -> None:
        life, before = self.life, seen(self.life)
        if life.reboot_lost and type(event) not in AFTER_LOSS:
            assert life.handle(event, self.now) == []
            assert seen(life) == before, "the kernel is lost, whatever it says"
            return
        self.now += 1.0
        found = life.handle(event, self.now)
        state: State = before["state"]
        expected = TRANSITIONS[state].get(type(event), state)
        assert life.state == expected
        assert life.since == (self.now if type(event) in TRANSITIONS[state] else before["since"])
        if state in ENDED:
            assert not {Kill(), Terminate(), AwaitReady(), AnswerRequests()} & set_of(found)
        if life.answers != (state in ("running", "stopped")) and life.answers:
            assert AnswerRequests() in found
        if life.state == "rebooting":
            assert type(event) not in (HasSocket, Resetting) or isinstance(found[0], HoldRequests)
        if isinstance(event, Cleared) and (before["unwanted"] or before["halted"]):
            assert not life.again
        if isinstance(event, Relaunched):
            assert state == RESTARTING or before["reboot_lost"]
            assert not life.reboot_lost

    @invariant()
    def is_whole(self) -> None:
        life = self.life
        assert life.state in TRANSITIONS
        assert (life.ending is not None) == (life.state in ENDED)
        assert life.again or life.state != RESTARTING
        assert not (life.again and life.state in ALIVE)
        assert life.tries <= policy.MAX_RESTARTS
        assert not life.answers or life.known
        assert not life.forced or life.asked_to_end
        assert len(life.story) <= module.MAX_STORY_STEPS


def is_legal(life: Lifecycle, kind: type[Event]) -> bool:
    if life.reboot_lost and kind not in AFTER_LOSS:
        return True
    has_place = kind in TRANSITIONS[life.state] or life.state in OCCURRENCES.get(kind, ())
    if kind is Relaunched and life.state == REBOOTING:
        return life.reboot_lost
    return has_place and (life.again or kind not in (Retried, GivenUp))


def seen(life: Lifecycle) -> dict[str, Any]:
    """All that there is to it."""
    return vars(life) | {"_story": life.story}


def set_of(instructions: list[Instruction]) -> set[Instruction]:
    """Those that can be compared at once: Tell has a dict."""
    return {each for each in instructions if not isinstance(each, Tell)}


test_any_events_lead_to_a_known_state = Lives.TestCase
