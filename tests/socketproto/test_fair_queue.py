"""Whose turn it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from socketproto.fair_queue import Bounds, Node

if TYPE_CHECKING:
    from collections.abc import Iterator

BOUNDS = (Bounds(6, 20, 3), Bounds(4, 12, 2), Bounds(2, 8, 2), Bounds(1, 3, 1))
"""Of all, a user, a process and a socket."""

Leaf = tuple[int, int, int]


def leaf(root: Node[object], path: Leaf) -> Node[object]:
    node = root
    for key, bounds in zip(path, BOUNDS[1:], strict=True):
        node = node.child(key, bounds)
    return node


def deepest(root: Node[object], path: Leaf) -> Node[object]:
    """As much of a path as is there."""
    node = root
    for key in path:
        if key not in node.below:
            break
        node = node.below[key]
    return node


def nodes(node: Node[object]) -> Iterator[Node[object]]:
    yield node
    for each in node.below.values():
        yield from nodes(each)


class Turns(RuleBasedStateMachine):
    """Whatever comes and goes: nothing is lost, no bound is passed, nobody is passed over."""

    def __init__(self) -> None:
        super().__init__()
        self.root: Node[object] = Node(BOUNDS[0])
        self.number = 0
        self.waiting: dict[Leaf, list[int]] = {}
        self.working: list[tuple[Leaf, Node[object], bool, int]] = []

    @rule(user=st.integers(0, 2), process=st.integers(0, 2), socket=st.integers(0, 3))
    def put(self, user: int, process: int, socket: int) -> None:
        path = (user, process, socket)
        if deepest(self.root, path).full:
            return
        self.number += 1
        leaf(self.root, path).put((path, self.number))
        self.waiting.setdefault(path, []).append(self.number)

    @rule()
    def take(self) -> None:
        turn = self.root.take()
        if turn is None:
            assert not list(self.could())
            return
        node, item = turn
        assert isinstance(item, tuple)
        path, number = item
        assert number == self.waiting[path].pop(0), "in order"
        self.working.append((path, node, False, 0))

    def could(self) -> Iterator[Leaf]:
        """Whose turn it may be: something waits there, and all above it may have more."""
        for path, numbers in self.waiting.items():
            node: Node[object] | None = leaf(self.root, path) if numbers else None
            if node is not None and all(each.open for each in node.up()):
                yield path

    def pick(self, data: st.DataObject) -> tuple[Leaf, Node[object], bool, int]:
        return self.working.pop(data.draw(st.integers(0, len(self.working) - 1)))

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        _path, node, aside, stuck = self.pick(data)
        if stuck:
            node.count_unsent(-1)
        node.done(aside=aside)

    @precondition(lambda self: self.working)
    @rule(data=st.data(), stuck=st.booleans())
    def aside(self, data: st.DataObject, stuck: bool) -> None:
        path, node, aside, was_stuck = self.pick(data)
        if not aside:
            node.step_aside()
        if stuck and not was_stuck:
            node.count_unsent(+1)
        self.working.append((path, node, True, was_stuck or int(stuck)))

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        path, node, aside, stuck = self.pick(data)
        if stuck:
            node.count_unsent(-1)
        dropped = [item[1] for item in node.drop() if isinstance(item, tuple)]
        assert dropped == self.waiting.pop(path, [])
        node.done(aside=aside)

    @invariant()
    def counts(self) -> None:
        assert self.root.waiting == sum(map(len, self.waiting.values()))
        assert self.root.working == sum(not aside for _, _, aside, _ in self.working)
        for node in nodes(self.root):
            assert node.working <= node.bounds.working
            assert node.waiting <= node.bounds.waiting

    @invariant()
    def idle_is_empty(self) -> None:
        if not self.working and not self.root.waiting:
            assert not self.root.below

    def teardown(self) -> None:
        while self.working:
            _path, node, aside, stuck = self.working.pop()
            if stuck:
                node.count_unsent(-1)
            node.done(aside=aside)
        while (turn := self.root.take()) is not None:
            turn[0].done()
        assert not self.root.below


TestTurns = Turns.TestCase


@given(st.integers(1, 60), st.integers(1, 5))
def test_who_asks_once_waits_for_one_turn_of_each_other(flood: int, sockets: int) -> None:
    """However much the others have waiting, and on however many sockets."""
    root: Node[object] = Node(Bounds(1, 10_000, 1))
    wide = Bounds(1, 10_000, 1)
    user = root.child(0, wide)
    for number in range(flood):
        for socket in range(sockets):
            user.child("flooder", wide).child(socket, wide).put(("flooder", number))
    user.child("quiet", wide).child(0, wide).put(("quiet", 0))
    taken = []
    while (turn := root.take()) is not None:
        taken.append(turn[1])
        turn[0].done()
    assert ("quiet", 0) in taken[:2]
    assert len(taken) == flood * sockets + 1
