from __future__ import annotations

import re
from itertools import permutations
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from socketproto import exchange as module
from socketproto.exchange import (
    ANSWERED,
    DONE,
    GONE,
    MAX_ANSWER_BYTES,
    RECEIVING,
    REFUSED,
    TIMED_OUT,
    TRANSITIONS,
    TRUNCATED,
    WAITING,
    Exchange,
    Outcome,
    pieces,
)
from socketproto.wire import MAX_TEXT_BYTES, Reply, WireError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from socketproto.exchange import Event, Kind, State

EVENTS: tuple[Event, ...] = ("life", "more", "last", "silence", "closed", "too much")

answers = st.binary(max_size=3 * MAX_TEXT_BYTES).map(lambda data: data.replace(b"\0", b"x"))
long_answers = st.integers(1, 7).flatmap(
    lambda count: st.binary(min_size=1, max_size=8).map(
        lambda seed: (seed.replace(b"\0", b"x") * MAX_TEXT_BYTES)[: MAX_TEXT_BYTES + 1] * count
    )
)
errors = st.sampled_from([0, 1, -1, -2, -16, -19, -22]) | st.integers(-(2**31), 2**31 - 1)


def no_reply(datagram: bytes) -> bool:
    try:
        Reply.decode(datagram)
    except WireError:
        return True
    return False


garbage = st.binary(max_size=40).filter(no_reply)


def feed(exchange: Exchange, datagrams: Iterable[bytes]) -> Outcome | None:
    """Give an exchange what a client would: it stops reading once it has its outcome."""
    for datagram in datagrams:
        if exchange.outcome is not None:
            break
        try:
            exchange.receive(datagram)
        except WireError:
            continue
    return exchange.outcome


def sent(data: bytes, error: int = 0, *, more: bool = False) -> list[bytes]:
    return [reply.encode() for reply in pieces(data, error, more=more)]


# Both roles against each other


@given(answers | long_answers, errors)
def test_answer_comes_out_as_it_went_in(data: bytes, error: int) -> None:
    outcome = feed(Exchange(), sent(data, error))
    kind: Kind = REFUSED if error else ANSWERED
    count = max(1, -(-len(data) // MAX_TEXT_BYTES))
    assert outcome == Outcome(kind, error, data, "", count)


@given(st.lists(answers.map(lambda data: data[:MAX_TEXT_BYTES]), min_size=1, max_size=9), errors)
def test_any_split_of_an_answer_gives_the_same_text(parts: list[bytes], error: int) -> None:
    """`proc`, `stack` and `sysrq` send pieces of any size, empty ones too."""
    exchange = Exchange()
    for index, part in enumerate(parts):
        more = index < len(parts) - 1
        exchange.receive(Reply(0 if index else error, more, part).encode())
    assert exchange.outcome is not None
    assert exchange.outcome.data == b"".join(parts)
    assert exchange.outcome.error == error
    assert exchange.outcome.pieces == len(parts)


@pytest.mark.parametrize("size", [0, 1, 510, 511, 512, 1021, 1022, 1023, 1533])
def test_answers_at_the_edges_of_a_piece(size: int) -> None:
    replies = list(pieces(b"x" * size))
    assert [len(reply.data) for reply in replies[:-1]] == [511] * (len(replies) - 1)
    assert sum(len(reply.data) for reply in replies) == size
    assert [reply.more for reply in replies] == [True] * (len(replies) - 1) + [False]
    assert all(reply.data for reply in replies) or size == 0


@given(answers, errors)
def test_every_piece_carries_the_error(data: bytes, error: int) -> None:
    """A kernel has it in the first alone; the stock client looks at the last."""
    assert {reply.error for reply in pieces(data, error)} == {error}


@given(st.binary(max_size=2000))
def test_nul_bytes_are_left_out_of_an_answer(data: bytes) -> None:
    outcome = feed(Exchange(), sent(data))
    assert outcome is not None
    assert outcome.data == data.replace(b"\0", b"")


@given(answers)
def test_part_of_an_answer_leaves_the_exchange_open(data: bytes) -> None:
    exchange = Exchange()
    assert feed(exchange, sent(data, more=True)) is None
    assert exchange.state == (RECEIVING if data else WAITING)
    assert feed(exchange, sent(b"end")) == Outcome(
        ANSWERED, 0, data + b"end", "", len(sent(data)) + 1
    )


# Loss, order, doubles, rubbish


@given(long_answers, errors, st.data())
def test_answer_that_lost_its_tail_is_truncated(
    data: bytes, error: int, draw: st.DataObject
) -> None:
    datagrams = sent(data, error)
    kept = draw.draw(st.integers(0, len(datagrams) - 1))
    exchange = Exchange()
    assert feed(exchange, datagrams[:kept]) is None
    outcome = exchange.silence("nothing came")
    assert outcome == Outcome(
        TRUNCATED if kept else TIMED_OUT,
        error if kept else 0,
        data[: kept * MAX_TEXT_BYTES],
        "nothing came",
        kept,
    )


@given(long_answers, st.sampled_from([1, -22]))
def test_kernels_answer_that_lost_its_first_piece_lost_its_error(data: bytes, error: int) -> None:
    """The wire cannot tell: this is why our own server never drops a piece."""
    datagrams = [
        Reply(0 if index else error, reply.more, reply.data).encode()
        for index, reply in enumerate(pieces(data, error))
    ]
    others = datagrams[1:]
    assume(others)
    assert feed(Exchange(), others) == Outcome(ANSWERED, 0, data[MAX_TEXT_BYTES:], "", len(others))


@given(long_answers, st.data())
def test_any_loss_gives_a_subsequence_and_a_lost_end_is_seen(
    data: bytes, draw: st.DataObject
) -> None:
    datagrams = sent(data)
    lost = draw.draw(st.sets(st.integers(0, len(datagrams) - 1)))
    kept = [datagram for index, datagram in enumerate(datagrams) if index not in lost]
    exchange = Exchange()
    outcome = feed(exchange, kept) or exchange.silence("")
    assert outcome.ok == (len(datagrams) - 1 not in lost)
    assert outcome.pieces == len(kept)
    assert outcome.data == b"".join(Reply.decode(datagram).data for datagram in kept)


def test_every_order_ends_with_the_last_piece() -> None:
    datagrams = sent(b"a" * MAX_TEXT_BYTES + b"b" * MAX_TEXT_BYTES + b"c" * MAX_TEXT_BYTES + b"d")
    for order in permutations(range(4)):
        exchange = Exchange()
        outcome = feed(exchange, [datagrams[index] for index in order])
        until = order[: order.index(3) + 1]
        assert outcome is not None
        assert outcome.ok
        assert outcome.pieces == len(until)
        assert outcome.data == b"".join(Reply.decode(datagrams[i]).data for i in until)


@given(long_answers, st.data())
def test_doubled_pieces_are_counted_and_a_doubled_end_is_not_taken(
    data: bytes, draw: st.DataObject
) -> None:
    datagrams = sent(data)
    doubled = [
        copy
        for datagram in datagrams
        for copy in [datagram] * draw.draw(st.integers(1, 3), label="copies")
    ]
    exchange = Exchange()
    outcome = feed(exchange, doubled)
    until = doubled.index(datagrams[-1]) + 1
    assert outcome is not None
    assert outcome.ok
    assert outcome.pieces == until
    with pytest.raises(WireError, match="over"):
        exchange.receive(datagrams[-1])
    assert exchange.outcome is outcome


@given(answers | long_answers, errors, st.data())
def test_foreign_rubbish_between_the_pieces_changes_nothing(
    data: bytes, error: int, draw: st.DataObject
) -> None:
    mixed: list[bytes] = []
    for datagram in sent(data, error):
        mixed += draw.draw(st.lists(garbage, max_size=2))
        mixed.append(datagram)
    assert feed(Exchange(), mixed) == feed(Exchange(), sent(data, error))


@given(st.lists(garbage, max_size=5))
def test_rubbish_alone_leaves_the_exchange_waiting(datagrams: list[bytes]) -> None:
    exchange = Exchange()
    assert feed(exchange, datagrams) is None
    assert exchange.state == WAITING
    assert exchange.silence("").kind == TIMED_OUT


def test_bare_text_of_a_kernel_is_not_an_answer() -> None:
    exchange = Exchange()
    with pytest.raises(WireError, match="does not know our requests"):
        exchange.receive(b"ERR Version 0 mconsole clients are not supported by this driver")
    assert exchange.outcome is None


# States


def documented() -> dict[tuple[str, str], tuple[str, str]]:
    """The table of the module's docstring: state and event to next state and outcome."""
    table: dict[tuple[str, str], tuple[str, str]] = {}
    row = re.compile(
        r"    (WAITING|RECEIVING|either) +(\w+(?: much)?) +(WAITING|RECEIVING|DONE) *(.*)"
    )
    for found in filter(None, map(row.fullmatch, (module.__doc__ or "").splitlines())):
        state, event, after, outcome = found.groups()
        states = ("WAITING", "RECEIVING") if state == "either" else (state,)
        for each in states:
            assert (each, event) not in table
            table[each, event] = (after, outcome.partition(",")[0])
    return table


def test_documentation_has_every_transition_and_no_other() -> None:
    names = {WAITING: "WAITING", RECEIVING: "RECEIVING", DONE: "DONE"}
    assert documented() == {
        (names[state], event): (names[after], kind or "")
        for state, row in TRANSITIONS.items()
        for event, (after, kind) in row.items()
    }


def test_every_state_but_done_knows_every_event() -> None:
    assert set(TRANSITIONS) == {WAITING, RECEIVING}
    for row in TRANSITIONS.values():
        assert set(row) == set(EVENTS)
        for after, kind in row.values():
            assert (after == DONE) == (kind is not None)


def happen(exchange: Exchange, event: Event) -> None:
    match event:
        case "life":
            exchange.receive(Reply(0, True, b"").encode())
        case "more":
            exchange.receive(Reply(0, True, b"x").encode())
        case "last":
            exchange.receive(Reply(0, False, b"").encode())
        case "silence":
            exchange.silence("silence")
        case "closed":
            exchange.closed("closed")
        case "too much":
            exchange.receive(Reply(0, True, b"x" * 9).encode())


@given(st.lists(st.sampled_from(EVENTS), max_size=6))
def test_any_course_of_events_follows_the_table(events: list[Event]) -> None:
    exchange = Exchange(cap=8)
    state: State = WAITING
    for event in events:
        if state == DONE:
            outcome = exchange.outcome
            with pytest.raises(WireError, match="over"):
                happen(exchange, event)
            assert exchange.outcome is outcome
            continue
        happen(exchange, event)
        state, kind = TRANSITIONS[state][event]
        assert exchange.state == state
        assert (exchange.outcome.kind if exchange.outcome else None) == kind


@pytest.mark.parametrize("first", [1, -22])
def test_error_in_the_first_piece_makes_the_answer_a_refusal(first: int) -> None:
    exchange = Exchange()
    exchange.receive(Reply(first, True, b"half ").encode())
    exchange.receive(Reply(0, False, b"done").encode())
    assert exchange.outcome == Outcome(REFUSED, first, b"half done", "", 2)


@pytest.mark.parametrize("before", [b"", b"a"])
def test_error_in_a_later_piece_is_one_too(before: bytes) -> None:
    """The server has given signs of life, or a part, before it knew."""
    exchange = Exchange()
    exchange.receive(Reply(0, True, before).encode())
    exchange.receive(Reply(-22, False, b"b").encode())
    assert exchange.outcome == Outcome(REFUSED, -22, before + b"b", "", 2)


def test_signs_of_life_are_no_part_of_an_answer() -> None:
    exchange = Exchange()
    for _ in range(3):
        exchange.receive(Reply(0, True, b"").encode())
    assert exchange.silence("nothing came").kind == TIMED_OUT


def test_endless_answer_is_cut_at_the_cap() -> None:
    exchange = Exchange(cap=1000)
    outcome = feed(exchange, (Reply(0, True, b"x" * 400).encode() for _ in range(100)))
    assert outcome == Outcome(TRUNCATED, 0, b"x" * 1200, "more than 1000 bytes", 3)


def test_answer_that_ends_just_above_the_cap_is_whole() -> None:
    assert MAX_ANSWER_BYTES >= 16 << 20  # the longest honest answer seen is 11.8 MB
    outcome = feed(Exchange(cap=1000), sent(b"x" * 1010))
    assert outcome is not None
    assert outcome.ok


def test_data_that_is_not_kept_is_not_counted_against_the_cap() -> None:
    exchange = Exchange(cap=10)
    for _ in range(100):
        reply = exchange.receive(Reply(0, True, b"event").encode(), keep=False)
        assert reply.data == b"event"
    exchange.receive(Reply(0, False, b"").encode(), keep=False)
    assert exchange.outcome == Outcome(ANSWERED, pieces=101)


def test_server_that_is_gone_ends_the_exchange_with_what_came() -> None:
    exchange = Exchange()
    exchange.receive(Reply(0, True, b"half").encode())
    assert exchange.closed("it died") == Outcome(GONE, 0, b"half", "it died", 1)


# Outcomes


@given(st.binary(max_size=300))
def test_text_of_any_bytes_survives_a_round_trip(data: bytes) -> None:
    assert Outcome(ANSWERED, data=data).text.encode("utf-8", "surrogateescape") == data


def test_outcome_tells_the_answer_or_what_went_wrong() -> None:
    assert str(Outcome(ANSWERED, data=b"yes")) == "yes"
    assert str(Outcome(REFUSED, -22, b"no")) == "no"
    assert str(Outcome(TIMED_OUT, reason="no answer")) == "timed out: no answer"
    assert str(Outcome(TRUNCATED, data=b"half", reason="lost")) == "truncated: lost"
    assert str(Outcome(GONE)) == "guest gone"


def test_kinds_are_those_of_the_type() -> None:
    assert {ANSWERED, REFUSED, TRUNCATED, TIMED_OUT, GONE} == set(
        re.findall(r'"([a-z ]+)"', kind_line())
    )


def kind_line() -> str:
    with open(module.__file__) as file:
        return next(line for line in file if "Kind = Literal" in line)
