"""Trees to test: of weights, shapes and gates that a test says."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from taskservice.core.fair.line import Line
from taskservice.core.fair.tree import Path, Tree, Turn
from taskservice.core.types import FunctionName, Leaf, Priority, TenantId


def leaf(tenant: str, function: str = "f", priority: Priority = Priority.NORMAL) -> Leaf:
    return Leaf(TenantId(tenant), FunctionName(function), priority)


@dataclass(eq=False)
class Door:
    """A gate that a test opens and closes, or that a clock opens."""

    left: int = 0
    opens: int | None = None

    def room(self, now_ms: int) -> int:
        if self.opens is not None and now_ms >= self.opens:
            return max(self.left, 1)
        return self.left

    def opens_ms(self, now_ms: int) -> int | None:
        return self.opens


@dataclass
class Grove:
    """A tree, and what it asks about its nodes."""

    weights: Mapping[Path, float] = field(default_factory=dict)
    shapes: Mapping[str, Hashable] = field(default_factory=dict)
    """By function."""
    doors: Mapping[Hashable, Sequence[Door]] = field(default_factory=dict)
    """By the last name of a node's path."""

    def __post_init__(self) -> None:
        self.tree = Tree(lambda path: self.weights.get(path, 1.0), self._lines, self._shape, {})
        self.lines: dict[int, Line] = {}

    def _lines(self, path: Path) -> tuple[Line, ...]:
        doors = self.doors.get(path[-1], ())
        return tuple(self.lines.setdefault(id(door), Line(door, self.tree.stirred)) for door in doors)

    def _shape(self, leaf: Leaf) -> Hashable:
        return self.shapes.get(leaf.function, "one")

    def line(self, door: Door) -> Line:
        return self.lines.setdefault(id(door), Line(door, self.tree.stirred))

    def serve(self, cost: float = 1.0, closed: Sequence[Hashable] = (), now_ms: int = 0) -> Turn | None:
        """The next turn is taken by one task, which stays without end."""
        turn = self.tree.next(closed, now_ms)
        if turn is not None:
            self.tree.served(turn.leaf, 1, cost)
        return turn

    def served(self, times: int, cost: float = 1.0, closed: Sequence[Hashable] = ()) -> list[str]:
        """The tenants of the next turns."""
        turns = [self.serve(cost, closed) for _ in range(times)]
        return [turn.leaf.tenant for turn in turns if turn is not None]
