"""Gates asked how they stand, without anything being changed: what the next round of scheduling would find.

A gate that keeps time of its own is asked by a copy, for even looking at the clock moves it on. Each is asked once for one answer.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from itertools import islice

from taskservice.core.fair.line import Line
from taskservice.core.fair.node import Node
from taskservice.core.flow.gate import Gate, Reason
from taskservice.core.flow.off_peak import OffPeakGate
from taskservice.core.flow.quota import QuotaGate
from taskservice.core.flow.running import AtMost

STILL = (AtMost, QuotaGate, OffPeakGate)
"""Gates that have nothing of their own that could change: they look at counts that others keep."""


def asked(gate: Gate) -> Gate:
    """The gate, or one like it, that can be asked without anything being changed."""
    return gate if isinstance(gate, STILL) else deepcopy(gate)


@dataclass(slots=True)
class Looking:
    """How gates stand at one moment."""

    now_ms: int
    _gates: dict[Line, Gate] = field(default_factory=dict)
    _free: dict[Line, int] = field(default_factory=dict)
    _let_go: dict[Line, dict[Node, None]] = field(default_factory=dict)

    def gate(self, line: Line) -> Gate:
        """The gate behind the line, to be asked."""
        if line not in self._gates:
            self._gates[line] = asked(line.gate)
        return self._gates[line]

    def free(self, line: Line) -> int:
        """How many tasks the gate lets through now."""
        if line not in self._free:
            self._free[line] = self.gate(line).room(self.now_ms)
        return self._free[line]

    def reason(self, line: Line) -> Reason:
        """How the gate stands."""
        return self.gate(line).reason(self.now_ms)

    def keeps(self, line: Line, node: Node) -> bool:
        """Whether the gate lets none of the node's tasks through in the next round: it is closed, or others go first."""
        if self.free(line) <= 0:
            return True
        return node.parked is line and line.waiting().index(node) >= self.free(line) - line.out

    def kept_back(self, node: Node) -> bool:
        """Whether any of its gates surely keeps the node in the next round. In a line it may go though others stand before it: those
        that meet another closed gate, if their turns come before, make place for the next."""
        return any(
            self.free(line) <= 0 or (node.parked is line and node not in self._gone(line)) for line in node.lines
        )

    def _gone(self, line: Line) -> dict[Node, None]:
        """Those that stand in the line and may be let go."""
        if line not in self._let_go:
            count = max(0, self.free(line) - line.out)
            free = (node for node in line.waiting() if self._passes_others(node, line))
            self._let_go[line] = dict.fromkeys(islice(free, count))
        return self._let_go[line]

    def _passes_others(self, node: Node, line: Line) -> bool:
        """Whether none of the gates but that line's keeps the node, nor any of those above it."""
        if any(self.free(other) <= 0 for other in node.lines if other is not line):
            return False
        return not any(self.kept_back(above) for above in node.path() if above is not node)
