"""Whose turn it is in this shard: the tree of fair queues with its weights and gates, as tenants and functions say. Volatile."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from taskservice.core.fair.line import Line
from taskservice.core.fair.node import Shape
from taskservice.core.fair.tree import Path, Tree, path_of
from taskservice.core.flow.gate import Gate
from taskservice.core.flow.running import AtMost, Running
from taskservice.core.resources import amounts
from taskservice.core.specs import FunctionSpec, Tenant
from taskservice.core.types import FunctionName, Leaf, Priority, TenantId

CLASS_WEIGHTS = {
    Priority.CRITICAL: 16.0,
    Priority.HIGH: 8.0,
    Priority.NORMAL: 4.0,
    Priority.LOW: 2.0,
    Priority.BATCH: 1.0,
}
"""Relative shares of the priority classes while all have work: a lower class is slowed, never stopped."""

UNKNOWN_TENANT = Tenant(TenantId(""))
"""Stands for a tenant that is not known any more: its tasks run on, with no weight or limits of its own."""


@dataclass(slots=True)
class Turns:
    """The order in which leaves have their turns. It reads tenants, functions and counts, which others keep."""

    tenants: Mapping[TenantId, Tenant]
    functions: Mapping[FunctionName, FunctionSpec]
    running: Running
    tree: Tree = field(init=False)
    _lines: dict[Hashable, Line] = field(default_factory=dict)
    """One for each gate that anybody may have to wait for."""

    def __post_init__(self) -> None:
        self.tree = Tree(self._weight_of, self._lines_of, self._shape_of)

    def ended(self, leaf: Leaf) -> None:
        """Some of the leaf's tasks run no more: there may be room behind its gates."""
        for name in (("tenant.running_max", leaf.tenant), ("function.max_running", leaf.function)):
            line = self._lines.get(name)
            if line is not None:
                line.stir()

    def tenant_changed(self, tenant: TenantId) -> None:
        """The tenant has perhaps another weight, or other limits."""
        self._lines.pop(("tenant.running_max", tenant), None)
        for priority in Priority:
            self.tree.changed((priority, tenant))

    def function_changed(self, name: FunctionName) -> None:
        """The function's tasks perhaps take something else, or have other limits."""
        for leaf in [leaf for leaf, _ in self.tree.leaves() if leaf.function == name]:
            self.tree.sleep(leaf)
            self.tree.changed(path_of(leaf)[:-1])
            self.tree.wake(leaf)

    def _weight_of(self, path: Path) -> float:
        match path:
            case (Priority() as priority,):
                return CLASS_WEIGHTS[priority]
            case (_, str() as tenant):
                return self._tenant(tenant).weight
            case _:
                return 1.0

    def _lines_of(self, path: Path) -> tuple[Line, ...]:
        match path:
            case (_, str() as tenant):
                return self._limited(
                    "tenant.running_max", self.running.tenants, tenant, self._tenant(tenant).running_max
                )
            case _:
                return ()

    def _tenant(self, id: str) -> Tenant:
        return self.tenants.get(TenantId(id), UNKNOWN_TENANT)

    def _limited(self, name: str, counts: Mapping[str, int], of: str, most: int | None) -> tuple[Line, ...]:
        return () if most is None else (self._line((name, of), AtMost(counts, of, most)),)

    def _line(self, name: Hashable, gate: Gate) -> Line:
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = Line(gate, self.tree.stirred)
        return line

    def _shape_of(self, leaf: Leaf) -> Shape:
        return tuple(sorted(amounts(self.functions[leaf.function].resources).items()))
