"""Where a queued task stands by fair order, as things are now: how many have their turns before it, and what they will take.

A look at the tree that changes nothing. Start tags say it: with `n` tasks of its own child before it a task's tag is the child's
start and what those cost, for each unit of weight; whatever of the other children has a lesser tag comes first. The same again for
each node above. What comes later, and what waits at closed gates, is not reckoned with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, inf
from typing import NamedTuple

from taskservice.core.fair.line import Line
from taskservice.core.fair.node import Node
from taskservice.core.fair.tree import Path, Tree
from taskservice.core.types import Leaf

NODES_MAX = 5_000
"""Nodes that are looked at for one answer."""

Cost = Callable[[Leaf], float]
"""Machine seconds that one task of the leaf takes."""


class Load(NamedTuple):
    """So many tasks, and the machine seconds that they take."""

    tasks: int
    seconds: float

    def __add__(self, other: object) -> Load:
        assert isinstance(other, Load)
        return Load(self.tasks + other.tasks, self.seconds + other.seconds)


NONE = Load(0, 0.0)


class TooMany(Exception):
    """There are more queues than are looked at for one answer."""


@dataclass(slots=True)
class Order:
    """The fair order as it is now."""

    queued: Callable[[Leaf], int]
    """How many tasks the leaf has."""
    cost: Cost
    fits: Callable[[Leaf], bool]
    """Whether some runner could have such a task: who fits nowhere comes before nobody."""
    kept_back: Callable[[Node], bool]
    """Whether a closed gate keeps the node: it comes before nobody either."""
    seen: dict[Leaf, None] = field(default_factory=dict)
    """The leaves whose tasks were counted."""
    _loads: dict[tuple[Node, bool], Load] = field(default_factory=dict)
    """What has been counted."""
    _looked_at: int = 0

    def within(self, leaf_node: Node, own: int) -> list[Load]:
        """What has its turn before the leaf's task that has `own` others before it: in its leaf, in its function, its tenant, its
        class, and in all. Raises TooMany."""
        assert isinstance(leaf_node.name, Leaf)
        load = Load(own, own * self.cost(leaf_node.name))
        loads = [load]
        for node in leaf_node.path():
            load = load + self._siblings(node, load.seconds)
            loads.append(load)
        return loads

    def passing(self, line: Line, node: Node, own: int) -> int:
        """How many tasks pass the line's gate before that one of the node which has `own` of its own before it: of those that stand in
        the line, as many as their weights give them meanwhile, and one more of each that stands before the node. Raises TooMany."""
        waiting = line.waiting()
        at = waiting.index(node) if node.parked is line else -1
        count = own
        for place, other in enumerate(waiting):
            if other is not node:
                share = own * _weight(other) / _weight(node) + (1 if place < at else 0)
                count += min(self._under(other, standing=False).tasks, ceil(share))
        return count

    def kept(self, tree: Tree, paths: Iterable[Path], left: Callable[[Leaf], int]) -> Load:
        """What stands there and fits into what is kept for it. Raises TooMany."""
        load = NONE
        for path in paths:
            node = tree.find(path)
            if node is None or node.parent is None or any(map(self.kept_back, node.path())):
                continue
            whole = self._under(node, standing=True)
            if whole.tasks:
                tasks = min(whole.tasks, max(map(left, self._leaves(node)), default=0))
                load = load + Load(tasks, whole.seconds * tasks / whole.tasks)
        return load

    def _siblings(self, node: Node, seconds: float) -> Load:
        """What the node's siblings are served before `seconds` of its own are over."""
        parent = node.parent
        assert parent is not None
        tag, number = _start(node, parent) + seconds / node.weight, _number(node)
        load = NONE
        for other in self._children(parent):
            if other is node or self.kept_back(other):
                continue
            before = (tag - _start(other, parent)) * other.weight
            if before > 0 or (before == 0 and not seconds and _number(other) <= number):
                load = load + self._part(other, before)
        return load

    def _part(self, node: Node, seconds: float) -> Load:
        """So much of what stands below the node, but a task at least if there is one."""
        whole = self._under(node, standing=True)
        if not whole.tasks or seconds >= whole.seconds:
            return whole
        tasks = max(1, ceil(whole.tasks * seconds / whole.seconds))
        return Load(tasks, tasks * whole.seconds / whole.tasks)

    def _under(self, node: Node, *, standing: bool) -> Load:
        """All that is queued below the node; `standing`: and that no gate below it keeps back."""
        if isinstance(node.name, Leaf):
            tasks = self.queued(node.name) if self.fits(node.name) else 0
            if tasks:
                self.seen[node.name] = None
            return Load(tasks, tasks * self.cost(node.name))
        known = self._loads.get((node, standing))
        if known is not None:
            return known
        tasks, seconds = 0, 0.0
        for child in self._children(node):
            if not standing or not self.kept_back(child):
                more = self._under(child, standing=standing)
                tasks, seconds = tasks + more.tasks, seconds + more.seconds
        load = self._loads[node, standing] = Load(tasks, seconds)
        return load

    def _leaves(self, node: Node) -> Iterator[Leaf]:
        """The leaves below the node that stand in the order and have tasks."""
        if isinstance(node.name, Leaf):
            if self.queued(node.name):
                yield node.name
            return
        for child in self._children(node):
            if not self.kept_back(child):
                yield from self._leaves(child)

    def _children(self, node: Node) -> Sequence[Node]:
        self._looked_at += len(node.children)
        if self._looked_at > NODES_MAX:
            raise TooMany
        return list(node.children.values())


def _start(node: Node, parent: Node) -> float:
    """Its start tag, now or when it will stand in the order."""
    return node.start if node.numbers else max(parent.virtual, node.finish)


def _number(node: Node) -> float:
    """By which those with equal tags have their turns."""
    return min(node.numbers.values(), default=inf)


def _weight(node: Node) -> float:
    """As the line reckons it."""
    weight = 1.0
    for each in node.path():
        weight *= each.weight
    return weight
