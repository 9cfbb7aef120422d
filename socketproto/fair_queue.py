"""Which request is next: requests of many clients, each client's in order, none at others' cost.

The queue is a tree: all, the users, their processes, the sockets of these. Each node has a bound on
the requests under way, and gives its turns to the nodes below it one after another. So a client
that sends much waits behind its own requests, whether it uses one socket, many, or many processes.

Pure: no I/O, no clock, no tasks.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

_T = TypeVar("_T")


class Bounds(NamedTuple):
    """What one node may have at once.

    Fields:
        working: requests that are being answered
        waiting: requests behind those; more are refused
        stuck: answers that their client is too slow to take; with more, no request is begun
    """

    working: int
    waiting: int
    stuck: int


ALL_BOUNDS: Final = Bounds(64, 8192, 1024)
USER_BOUNDS: Final = Bounds(16, 4096, 512)
PROCESS_BOUNDS: Final = Bounds(2, 2048, 256)
SOCKET_BOUNDS: Final = Bounds(1, 64, 1)


class Node(Generic[_T]):
    """One node of the tree.

    Fields:
        working, waiting, stuck: how much of each is in the node and below it
        below: the nodes below it, by their keys
        items: what waits in the node itself, where no node is below
        listed: it is in `next` of its parent: something in it may have a turn
    """

    __slots__ = (
        "below",
        "bounds",
        "items",
        "key",
        "listed",
        "next",
        "parent",
        "stuck",
        "waiting",
        "working",
    )

    def __init__(self, bounds: Bounds, parent: Node[_T] | None = None, key: object = None) -> None:
        self.bounds = bounds
        self.parent = parent
        self.key = key
        self.items: deque[_T] = deque()
        self.next: deque[Node[_T]] = deque()
        self.listed = False
        self.below: dict[object, Node[_T]] = {}
        self.working = self.waiting = self.stuck = 0

    def child(self, key: object, bounds: Bounds) -> Node[_T]:
        """The node below with this key; made if it is not there. It goes when it is idle."""
        found = self.below.get(key)
        if found is None:
            found = self.below[key] = Node(bounds, self, key)
        return found

    def up(self) -> Iterator[Node[_T]]:
        node: Node[_T] | None = self
        while node is not None:
            yield node
            node = node.parent

    @property
    def full(self) -> bool:
        """Whether no more may wait, here or above."""
        node: Node[_T] | None = self
        while node is not None:  # not `up`: in a flood, this loop is most of what a request costs
            if node.waiting >= node.bounds.waiting:
                return True
            node = node.parent
        return False

    @property
    def open(self) -> bool:
        return self.working < self.bounds.working and self.stuck < self.bounds.stuck

    def put(self, item: _T) -> None:
        """Have an item wait; only nodes with none below them hold items."""
        self.items.append(item)
        for node in self.up():
            node.waiting += 1
        self.line_up()

    def take(self) -> tuple[Node[_T], _T] | None:
        """The next item and where it waited; None if none may have a turn now.

        It is under way from then on, until `done`.
        """
        node = self.pick()
        if node is None:
            return None
        item = node.items.popleft()
        for each in node.up():
            each.working += 1
            each.waiting -= 1
        node.line_up()
        return node, item

    def pick(self) -> Node[_T] | None:
        if not self.open:
            return None  # the node lines up again when it is open
        if self.items:
            return self
        while self.next:
            node = self.next.popleft()
            node.listed = False
            found = node.pick()
            if found is not None:
                return found
        return None

    def done(self, *, aside: bool = False) -> None:
        """Note that a request from here is no longer under way; `aside`: it did not count above."""
        self.working -= 1
        if aside:
            self.line_up()
        else:
            self.step_aside()

    def step_aside(self) -> None:
        """Have a request from here go on without counting above: another may begin there."""
        for node in self._above():
            node.working -= 1
        self.line_up()

    def count_unsent(self, by: int) -> None:
        """Count so many more answers, or fewer, that cannot be sent for now."""
        for node in self._above():
            node.stuck += by
        self.line_up()

    def drop(self) -> list[_T]:
        """Remove the items that wait here; return them."""
        dropped = [*self.items]
        self.items.clear()
        for node in self.up():
            node.waiting -= len(dropped)
        return dropped

    def _above(self) -> Iterator[Node[_T]]:
        return self.parent.up() if self.parent is not None else iter(())

    def line_up(self) -> None:
        """Line up at the parents while there is something to take; leave where there will be
        nothing."""
        for node in self.up():
            parent = node.parent
            if parent is None:
                return
            if node.listed:
                continue
            if node.open and (node.items or node.next):
                node.listed = True
                parent.next.append(node)
            elif not (node.working or node.waiting or node.stuck or node.below):
                parent.below.pop(node.key, None)
