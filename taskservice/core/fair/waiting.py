"""Who stands in the order and is refused, because there is no room for tasks like theirs."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from taskservice.core.fair.line import Line
from taskservice.core.fair.node import Node, Shape
from taskservice.core.fair.tree import Tree
from taskservice.core.flow.gate import ROOM_MAX
from taskservice.core.types import FunctionName, Leaf, Priority, TenantId

LEAVES_MAX = 64
"""Leaves of one function that are counted: a function may have as many as its tenants have users."""


class Refused(NamedTuple):
    """A function's tasks, of one tenant and class, for which there is no room."""

    priority: Priority
    tenant: TenantId
    function: FunctionName
    shape: Shape
    leaves: tuple[Leaf, ...]
    """Those that wait; not all if they are very many."""
    room: int
    """How many tasks the gates would let through."""


def refused(tree: Tree, closed: Container[Shape], now_ms: int) -> Iterator[Refused]:
    """All of them, for tasks of these shapes. Takes time with the functions that wait, for each tenant and class."""
    for priority in _standing(tree.root, closed):
        for tenant in _standing(priority, closed):
            for function in _standing(tenant, closed):
                room = _room((*priority.lines, *tenant.lines, *function.lines), now_ms)
                if room > 0:
                    yield from _of_function(priority, tenant, function, closed, room)


def _of_function(
    priority: Node, tenant: Node, function: Node, closed: Container[Shape], room: int
) -> Iterator[Refused]:
    assert isinstance(priority.name, Priority)
    for shape in function.ready:
        if shape in closed:
            entries = function.heaps.get(shape, ())
            valid = (child for _, number, child in entries if child.numbers.get(shape) == number)
            leaves = tuple(node.name for node in islice(valid, LEAVES_MAX) if isinstance(node.name, Leaf))
            if leaves:
                yield Refused(priority.name, leaves[0].tenant, leaves[0].function, shape, leaves, room)


def _standing(parent: Node, closed: Container[Shape]) -> Iterable[Node]:
    """Children that stand in the order with tasks of these shapes. Of those that are parked, none does."""
    return [child for child in parent.children.values() if any(shape in closed for shape in child.numbers)]


def _room(lines: Iterable[Line], now_ms: int) -> int:
    return min((line.gate.room(now_ms) for line in lines), default=ROOM_MAX)
