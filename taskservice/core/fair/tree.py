"""The tree of fair queues over all leaves that have tasks: whose turn is it, and what has been paid for it.

Everything here takes time that grows with the logarithm of the number of queues, times the few shapes and gates there are.
Volatile: after a restart everybody starts level.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterable
from heapq import heappop, heappush
from itertools import islice
from typing import NamedTuple

from taskservice.core.fair.line import Line
from taskservice.core.fair.node import Node, Shape
from taskservice.core.flow.gate import ROOM_MAX
from taskservice.core.types import Leaf
from taskservice.core.waits import Waits

Path = tuple[Hashable, ...]
"""The names of a node and those above it, from the root's child down."""

HOLDERS_MAX = 200
"""Tickets that are looked at in one turn."""

SIBLINGS_MAX = 256
"""Of more children of a node, none is asked for its weight where a part has only to be estimated."""


def path_of(leaf: Leaf) -> Path:
    """Where the leaf stands in the tree."""
    return (leaf.priority, leaf.tenant, leaf.function, leaf)


def names_of(node: Node) -> Path:
    """The node's name, and those of the nodes above it."""
    return tuple(each.name for each in node.path())


class Turn(NamedTuple):
    """Whose turn it is, and how many of its tasks may start at once."""

    leaf: Leaf
    shape: Shape
    room: int


class Tree:
    """All fair queues, and the lines before their gates."""

    def __init__(
        self,
        weight_of: Callable[[Path], float],
        lines_of: Callable[[Path], tuple[Line, ...]],
        shape_of: Callable[[Leaf], Shape],
        stirred: dict[Line, None],
    ) -> None:
        """`stirred`: lines in which somebody's turn may have come, as they say. What a node's weight is, before which gates it stands, and what its tasks take: asked when a node is made."""
        self.weight_of = weight_of
        self._lines_of = lines_of
        self._shape_of = shape_of
        self.root = Node("", None)
        self._leaves: dict[Leaf, Node] = {}
        """Nodes of leaves that have been looked for, none of which is forgotten."""
        self.stirred = stirred
        self.waits = Waits()
        """What kept its nodes back, by their names from the node up."""
        self._dropped: list[Path] = []
        """Of `waits`: those whose gates are others now."""
        self._bells: list[tuple[int, int, Line]] = []
        """Lines by when the clock opens their gates."""
        self._bell = 0

    def find(self, path: Path) -> Node | None:
        """The node there, if there is one: a node that has nothing to do and owes nothing is forgotten."""
        node: Node | None = self.root
        for name in path:
            node = node.children.get(name) if node is not None else None
        return node

    def wake(self, leaf: Leaf) -> None:
        """The leaf has tasks, and stands in the order unless a gate keeps it back."""
        node = self._leaves.get(leaf) or self._made(path_of(leaf))
        if node.ready:
            return
        shape = self._shape_of(leaf)
        node.ready[shape] = 1
        if node.parked is None:
            node.enter(shape)

    def sleep(self, leaf: Leaf) -> None:
        """The leaf has no tasks."""
        node = self._leaves.get(leaf) or self.find(path_of(leaf))
        if node is None:
            return
        node.leave_all()
        node.ready.clear()
        while (above := node.parent) is not None:
            if len(above.children) >= above.sweep_at:
                above.sweep()
                self._leaves.clear()
            node = above

    def next(self, closed: Container[Shape], now_ms: int, under: Path = ()) -> Turn | None:
        """Whose turn it is below that node, but for leaves with tasks of these shapes, for which there is no room; None if nobody
        else may run."""
        while self._dropped:
            self.waits.opened(self._dropped.pop(), now_ms)
        if self._bells:
            self._ring(now_ms)
        if self.stirred:
            self._let_go(now_ms)
        node, room = self._top(under, now_ms) if under else (self.root, ROOM_MAX)
        while room:
            child = node.first(closed)
            if child is None:
                return None
            line: Line | None = None
            if child.lines:
                line, room = self._pass(child, room, now_ms)
            if line is not None:
                self._park(child, line, now_ms)
                self._let_go(now_ms)
                node, room = self._top(under, now_ms)
            elif isinstance(child.name, Leaf):
                (shape,) = child.ready
                return Turn(child.name, shape, room)
            else:
                node = child
        return None

    def served(self, leaf: Leaf, tasks: int, cost: float, passed_over: int = 0) -> None:
        """So many of the leaf's tasks were leased at once, and are paid for with `cost` machine seconds. `passed_over`: see
        `Node.charge`."""
        each = self._leaves.get(leaf) or self._made(path_of(leaf))
        each.charge(cost, passed_over)
        while each.parent is not None:  # for each lease: no generator
            each.leases += 1
            if each.ticket is not None:
                each.give_back()
            for line in each.lines:
                line.served(each, tasks)
            each = each.parent

    def set_aside(self, leaf: Leaf) -> None:
        """The leaf has no turn until it is put back."""
        node = self.find(path_of(leaf))
        if node is not None:
            node.leave_all()

    def put_back(self, leaf: Leaf) -> None:
        """The leaf has its turns again, if it has tasks and no gate keeps it back."""
        node = self.find(path_of(leaf))
        if node is not None and node.parked is None:
            for shape in list(node.ready):
                node.enter(shape)

    def correct(self, leaf: Leaf, change: float, *, over: bool = False) -> None:
        """A lease of the leaf has cost so much more than was charged, or less; `over`: no more will be heard of it."""
        node = self._leaves.get(leaf) or self.find(path_of(leaf))
        if node is None:
            return
        if change:
            node.correct(change)
        while over and node.parent is not None:
            node.leases -= 1
            node = node.parent

    def pass_on(self, closed: Container[Shape]) -> None:
        """Nodes with tickets that have only tasks of these shapes, for which there is no room, let others have their tickets."""
        for node in list(islice(self.root.holders, HOLDERS_MAX)):
            if all(shape in closed for shape in node.ready):
                node.give_back()

    def part_of(self, path: Path) -> float:
        """What part of all service the node there has while all have work that have some now, itself included."""
        part, node = 1.0, self.root
        for depth, name in enumerate(path, start=1):
            own, others = self.weight_of(path[:depth]), node.children
            child = others.get(name)
            if len(others) > SIBLINGS_MAX:
                part /= len(others)
            else:
                part *= own / (own + sum(each.weight for each in others.values() if each.ready and each is not child))
            if child is None:
                break
            node = child
        return part

    @property
    def rings_ms(self) -> int | None:
        """When the clock opens the next gate before which somebody waits; perhaps a little early."""
        return self._bells[0][0] if self._bells else None

    def changed(self, path: Path) -> None:
        """The node's weight or gates may be others than before; who waits before one of them asks again."""
        node = self.find(path)
        if node is None:
            return
        node.weight, node.lines = self.weight_of(path), self._lines_of(path)
        if node.parked is not None and node.parked not in node.lines:
            node.parked.drop(node)
            self._dropped.append(names_of(node))
        for line in node.lines:
            line.stir()

    def leaves(self) -> Iterable[tuple[Leaf, Node]]:
        """Those that have tasks, in the tree's order; for checks."""
        stack = [self.root]
        while stack:
            node = stack.pop()
            if isinstance(node.name, Leaf):
                if node.ready:
                    yield node.name, node
            else:
                stack.extend(node.children.values())

    def functions(self, wanted: Path) -> Iterable[tuple[Path, list[tuple[Leaf, Node]]]]:
        """The nodes of functions by class, tenant and name, of which those that are None may be any; with their leaves."""
        nodes: list[tuple[Path, Node]] = [((), self.root)]
        for name in wanted:
            nodes = [
                ((*path, child.name), child)
                for path, node in nodes
                for child in (node.children.values() if name is None else filter(None, [node.children.get(name)]))
            ]
        for path, node in nodes:
            yield path, [(leaf.name, leaf) for leaf in node.children.values() if isinstance(leaf.name, Leaf)]

    def _made(self, path: Path) -> Node:
        node = self.root
        for depth, name in enumerate(path, start=1):
            child = node.children.get(name)
            if child is None:
                here = path[:depth]
                child = node.children[name] = Node(name, node, self.weight_of(here), self._lines_of(here))
            node = child
        if isinstance(node.name, Leaf):
            self._leaves[node.name] = node
        return node

    def _top(self, under: Path, now_ms: int) -> tuple[Node, int]:
        """The node there, and how many tasks its own gates and those above let through; 0 if there is no such node."""
        node, room = self.root, ROOM_MAX
        for name in under:
            child = node.children.get(name)
            if child is None or child.parked is not None:
                return node, 0
            line, room = self._pass(child, room, now_ms)
            if line is not None:
                return node, 0
            node = child
        return node, room

    def _pass(self, node: Node, room: int, now_ms: int) -> tuple[Line | None, int]:
        """The first gate that is closed to the node, or how many tasks all of them let through."""
        for line in node.lines:
            left = line.gate.room(now_ms)
            if left <= 0:
                return line, 0
            room = min(room, left)
        return None, room

    def _park(self, node: Node, line: Line, now_ms: int) -> None:
        line.park(node)
        self.waits.closed(names_of(node), line.name, now_ms)
        self._set_bell(line, now_ms)

    def _ring(self, now_ms: int) -> None:
        """Lines whose gates the clock has opened are looked after."""
        while self._bells and self._bells[0][0] <= now_ms:
            _, _, line = heappop(self._bells)
            line.rings_ms = None
            line.stir()

    def _let_go(self, now_ms: int) -> None:
        while self.stirred:
            line, _ = self.stirred.popitem()
            room = line.gate.room(now_ms)
            for node in line.let_go(room):
                self.waits.opened(names_of(node), now_ms)
            if room <= 0:
                self._set_bell(line, now_ms)

    def _set_bell(self, line: Line, now_ms: int) -> None:
        opens_ms = line.gate.opens_ms(now_ms) if len(line) else None
        if opens_ms is not None and (line.rings_ms is None or opens_ms < line.rings_ms):
            line.rings_ms = opens_ms
            self._bell += 1
            heappush(self._bells, (opens_ms, self._bell, line))
