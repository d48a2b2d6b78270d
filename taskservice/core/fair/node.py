"""One fair queue: start-time fair queueing of a node's children (Goyal, Vin, Cheng, "Start-time Fair Queueing", SIGCOMM 1996).

Each child carries a start tag in the virtual time of its parent. The least one is served, pays `cost / weight`, and its next
start tag is where that ends. A child that comes back from having no work starts at the virtual time of now: idleness earns no
credit. For two children that both have work, over any interval, |W1/w1 - W2/w2| <= l1/w1 + l2/w2, where W is what they
were charged, and l the largest single charge.

Children differ in the shapes of their tasks: what one task takes of a machine. Of those shapes for which there is room now,
the fairest child is wanted, without looking at the others. So a node has one heap for each shape, in which those children
stand that have such tasks; a child has one start tag, whatever the heap. Entries go stale when a tag changes; they are
mended when they come to the top.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable
from heapq import heappop, heappush, heapreplace
from math import inf
from typing import TYPE_CHECKING

from taskservice.core.demand import Demand

if TYPE_CHECKING:
    from taskservice.core.fair.line import Line

Shape = Demand
"""What decides whether there is room for a task: equal shapes fit or fit not alike."""

CATCH_UP = 60.0
"""How far a child may fall behind its parent's virtual time, in machine seconds for each unit of weight. Only one that has fitted
nowhere falls behind: it has been kept waiting and catches up; but not for hours, at everybody else's cost, after a node was away."""

SWEEP_MIN = 32
"""Children without work that are kept at least before they are looked through."""


class Node:
    """A node of the tree. Its own tags are in its parent's virtual time; `virtual` is that of its children."""

    __slots__ = (
        "children",
        "credit",
        "finish",
        "heaps",
        "holders",
        "latest",
        "leases",
        "lines",
        "name",
        "numbers",
        "order",
        "parent",
        "parked",
        "ready",
        "start",
        "sweep_at",
        "ticket",
        "virtual",
        "weight",
    )

    def __init__(self, name: Hashable, parent: Node | None, weight: float = 1.0, lines: tuple[Line, ...] = ()) -> None:
        self.name = name
        """What it is among its parent's children."""
        self.parent = parent
        self.weight = weight
        self.lines = lines
        """Before the gates that all of its tasks must pass."""
        self.children: dict[Hashable, Node] = {}
        self.ready: dict[Shape, int] = {}
        """Shapes of which it has tasks that no gate below keeps back; for an inner node, how many children stand there."""
        self.heaps: dict[Shape, list[tuple[float, int, Node]]] = {}
        """Children by start tag, then by when they came: entries may be stale."""
        self.virtual = 0.0
        """The start tag of the child that was served last, or where the last service ended if none has work."""
        self.latest = 0.0
        """Where the last service of a child ends."""
        self.start = 0.0
        self.finish = 0.0
        """Where what it was charged last ends."""
        self.credit = 0.0
        """How much of what it is behind was charged too much before, and given back: that is not lost, see `CATCH_UP`."""
        self.numbers: dict[Shape, int] = {}
        """Of its valid entries in the parent's heaps. Empty: it does not stand in the order."""
        self.order = 0
        """The number of the last entry in its own heaps."""
        self.parked: Line | None = None
        """The line in which it stands instead."""
        self.ticket: Line | None = None
        """The line that has let it go, until it is served or cannot be."""
        self.holders: dict[Node, None] = {}
        """Nodes below it that have tickets."""
        self.leases = 0
        """Of its tasks, leases that are not over: what they really cost is still to be told."""
        self.sweep_at = SWEEP_MIN

    def path(self) -> Iterable[Node]:
        """The node and those above it, but for the root."""
        node = self
        while node.parent is not None:
            yield node
            node = node.parent

    def enter(self, shape: Shape) -> None:
        """It stands in its parent's order with tasks of this shape, and so do all above it."""
        parent = self.parent
        if parent is None or shape in self.numbers:
            return
        if not self.numbers:
            self.start = max(parent.virtual, self.finish)
            self.credit = 0.0
        parent.push(self, shape)
        parent.ready[shape] = parent.ready.get(shape, 0) + 1
        if parent.parked is None:
            parent.enter(shape)

    def leave(self, shape: Shape) -> None:
        """It does not stand there with tasks of this shape any more; nor does a node above that has no others of it."""
        parent = self.parent
        if parent is None or self.numbers.pop(shape, None) is None:
            return
        if self.ticket is not None and not self.numbers:
            self.give_back()
        left = parent.ready[shape] - 1
        if left:
            parent.ready[shape] = left
            return
        del parent.ready[shape], parent.heaps[shape]
        if not parent.ready:
            parent.virtual = max(parent.virtual, parent.latest)
        parent.leave(shape)

    def leave_all(self) -> None:
        """It does not stand in its parent's order at all."""
        for shape in list(self.numbers):
            self.leave(shape)

    def take_ticket(self, line: Line) -> None:
        """It is on its way from the line to its turn."""
        self.ticket = line
        line.out += 1
        for node in self.path():
            assert node.parent is not None
            node.parent.holders[self] = None

    def give_back(self) -> None:
        """If it has a ticket, somebody else may have that."""
        line, self.ticket = self.ticket, None
        if line is None:
            return
        line.out -= 1
        line.stir()
        for node in self.path():
            assert node.parent is not None
            del node.parent.holders[self]

    def push(self, child: Node, shape: Shape) -> None:
        """The child has an entry, the only valid one, with its start tag of now."""
        self.order += 1
        child.numbers[shape] = self.order
        heappush(self.heaps.setdefault(shape, []), (child.start, self.order, child))

    def first(self, closed: Container[Shape]) -> Node | None:
        """The child with the least start tag among those that stand with tasks of other shapes than these."""
        best: tuple[float, int, Node] | None = None
        for shape in self.ready:
            if shape in closed:
                continue
            start, number, child = entry = self.heaps[shape][0]
            valid = child.numbers.get(shape) == number and start >= child.start
            top = entry if valid else self._top(shape)
            if top is not None and (best is None or top < best):
                best = top
        return None if best is None else best[2]

    def _top(self, shape: Shape) -> tuple[float, int, Node] | None:
        heap = self.heaps.get(shape)
        while heap:
            top = heap[0]
            start, number, child = top
            if child.numbers.get(shape) != number:
                heappop(heap)
            elif start < child.start:
                heapreplace(heap, (child.start, number, child))
            else:
                return top
        return None

    def charge(self, cost: float, passed_over: int = 0) -> None:
        """It was served and pays for it, and so do all above it.

        `passed_over`: among so many of them, from the top down, it was not their turn. Then virtual time goes no further than to
        whoever comes next: or others would have lost what they are behind the one that was preferred.
        """
        in_turn = len(list(self.path())) - passed_over if passed_over else inf
        node = self
        while (parent := node.parent) is not None:  # for each lease that is granted: no generator, no `max`
            start, virtual = node.start, parent.virtual
            if start > virtual:
                next_ = parent.first(()) if in_turn <= 0 else None
                parent.virtual = start if next_ is None else max(virtual, min(start, next_.start))
            elif start < virtual - CATCH_UP:
                start = max(start, virtual - CATCH_UP - node.credit)
            node.start = node.finish = finish = start + cost / node.weight
            if node.credit:
                node.credit = max(0.0, min(node.credit, parent.virtual - CATCH_UP - finish))
            parent.latest = max(parent.latest, finish)
            node = parent
            in_turn -= 1

    def correct(self, change: float) -> None:
        """What it was charged was so much too little, or too much if this is negative."""
        node = self
        while (parent := node.parent) is not None:
            by = change / node.weight
            node.finish += by
            parent.latest = max(parent.latest, node.finish)
            if node.numbers:
                node.start += by
                node.credit = max(0.0, node.credit - by)
                if by < 0:
                    for shape in list(node.numbers):
                        parent.push(node, shape)
            node = parent

    def sweep(self) -> None:
        """Children that have nothing to do and owe nothing are forgotten; to be looked for when there are `sweep_at`."""
        gone = [name for name, child in self.children.items() if child.idle and child.finish <= self.virtual]
        for name in gone:
            del self.children[name]
        self.sweep_at = max(SWEEP_MIN, 2 * len(self.children))

    @property
    def idle(self) -> bool:
        """Whether it has neither work nor a lease of which the price is still open."""
        return not self.ready and not self.leases and self.parked is None
