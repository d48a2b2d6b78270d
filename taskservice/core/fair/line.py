"""The line before a gate: nodes of the tree whose tasks may not start now, in the order in which their turns come.

They stand in no heap, so that nobody looks at them in vain. When the gate has room for n tasks, n of them go back into the order,
each with a ticket; whoever is served, or cannot be served for another reason, gives it back, and the next one goes. So a gate
behind which ten thousand wait, and which opens for one task, lets one go, and not all of them. Among those that wait for
the same gate the turns are fair as well: start-time fair queueing, in tasks and not in time, since what is scarce there is a place.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from math import prod

from taskservice.core.fair.node import Node
from taskservice.core.flow.gate import Gate


class Line:
    """Nodes that wait for one gate."""

    __slots__ = (
        "__weakref__",
        "_finish",
        "_order",
        "_stirred",
        "_virtual",
        "_waiting",
        "gate",
        "name",
        "of",
        "out",
        "rings_ms",
    )

    def __init__(self, gate: Gate, stirred: dict[Line, None], name: str = "", of: str = "") -> None:
        """`stirred` collects the lines in which somebody's turn may have come. `name`: what users know the gate by; `of`: whose it
        is."""
        self.gate = gate
        self.name = name
        self.of = of
        self.rings_ms: int | None = None
        """When the clock will open the gate, as far as that has been asked."""
        self.out = 0
        """Tickets that were not given back yet."""
        self._stirred = stirred
        self._waiting: list[tuple[float, int, Node]] = []
        self._finish: dict[Node, float] = {}
        """Where the last service of each ends, in tasks for each unit of weight; empty while nobody waits."""
        self._virtual = 0.0
        self._order = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def park(self, node: Node) -> None:
        """The node stands in the line, and nowhere else. Nor does anything below it need its own turn meanwhile."""
        for holder in list(node.holders):
            holder.give_back()
        node.give_back()
        node.leave_all()
        node.parked = self
        self._order += 1
        heappush(self._waiting, (max(self._virtual, self._finish.get(node, 0.0)), self._order, node))

    def drop(self, node: Node) -> None:
        """The node does not stand in the line any more: its gates are others now."""
        self._waiting = [entry for entry in self._waiting if entry[2] is not node]
        heapify(self._waiting)
        self._release(node)

    def waiting(self) -> Sequence[Node]:
        """Those that stand in it, in the order in which they will be let go."""
        return [node for _, _, node in sorted(self._waiting)]

    def let_go(self, room: int) -> Sequence[Node]:
        """As many as there is room for stand in the order again, those included that have tickets already; gives them."""
        gone: list[Node] = []
        while self._waiting and self.out < room:
            self._virtual, _, node = heappop(self._waiting)
            self._release(node)
            gone.append(node)
        if not self._waiting and not self.out:
            self._finish.clear()
            self._virtual = 0.0
        return gone

    def stir(self) -> None:
        """There may be room for others: they are looked after before the next turn."""
        if self._waiting:
            self._stirred[self] = None

    def served(self, node: Node, tasks: int) -> None:
        """So many tasks of the node have passed the gate."""
        if self._waiting:
            begun = max(self._virtual, self._finish.get(node, 0.0))
            self._finish[node] = begun + tasks / prod(each.weight for each in node.path())

    def _release(self, node: Node) -> None:
        node.parked = None
        if not node.ready:
            return
        for shape in list(node.ready):
            node.enter(shape)
        if all(above.parked is None for above in node.path()):
            node.take_ticket(self)
