"""Whose turn it is in this shard: the tree of fair queues, with weights and gates as tenants, functions and policies say. Volatile."""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from taskservice.core.demand import PACK, Demand, demand_for
from taskservice.core.fair.line import Line
from taskservice.core.fair.tree import Path, Tree, Turn, path_of
from taskservice.core.flow.quota import Owner, QuotaGate, Usage, part_of, within
from taskservice.core.flow.running import AtMost, Running
from taskservice.core.gates import Gates
from taskservice.core.limits import Limits
from taskservice.core.memory import resources_of
from taskservice.core.resources import times
from taskservice.core.specs import (
    ClassPolicy,
    DownstreamPolicy,
    FunctionPolicy,
    FunctionSpec,
    Policy,
    Quota,
    Tenant,
    policy_key,
)
from taskservice.core.spent import Spent
from taskservice.core.types import FunctionName, Leaf, Priority, TenantId
from taskservice.core.versions import SpecKey

CLASS_WEIGHTS = {
    Priority.CRITICAL: 16.0,
    Priority.HIGH: 8.0,
    Priority.NORMAL: 4.0,
    Priority.LOW: 2.0,
    Priority.BATCH: 1.0,
}
"""Relative shares of the priority classes while all have work: a lower class is slowed, never stopped."""


@dataclass(slots=True)
class Turns:
    """The order in which leaves have their turns. What it goes by is durable and kept by others."""

    tenants: Mapping[TenantId, Tenant]
    functions: Mapping[FunctionName, FunctionSpec]
    policies: Mapping[tuple[str, str], Policy]
    running: Running
    limits: Limits
    versions: Mapping[SpecKey, FunctionSpec] = field(default_factory=dict)
    """What each version of an app says of its functions."""
    usage: Usage = field(default_factory=Usage)
    tree: Tree = field(init=False)
    gates: Gates = field(init=False)
    spent: Spent = field(default_factory=Spent)
    refused: dict[Demand, Leaf] = field(default_factory=dict)
    """For what no runner had room, and for which leaf it was asked last."""
    reserved: dict[Owner, Mapping[str, int]] = field(default_factory=dict)
    """Of those for whom anything is kept."""

    def __post_init__(self) -> None:
        stirred: dict[Line, None] = {}
        self.gates = Gates(
            self.tenants,
            self.functions,
            self.policies,
            self.running,
            self.usage,
            stirred,
            self.limits,
            self.function_of,
        )
        self.tree = Tree(self.weight_of, self.gates.lines_of, self.demand_of, stirred)

    def begin(self, now_ms: int) -> None:
        """The shard has been opened: nothing of what happened before is known, but what is durable."""
        self.gates.restart(now_ms)
        self.tree.waits.since_ms = now_ms
        for tenant in self.tenants.values():
            self._quota_changed(("tenant", tenant.id), tenant.quota)
        for policy in self.policies.values():
            self._policy_quota(policy)

    def tenant_changed(self, id: TenantId) -> None:
        """The tenant has perhaps another weight, or other limits."""
        self._quota_changed(("tenant", id), self.tenants[id].quota)
        self.gates.tenant_changed(id)
        for priority in Priority:
            self.tree.changed((priority, id))
        self._changed(None, id, None)

    def function_changed(self, name: FunctionName) -> None:
        """The function's tasks perhaps take something else, or have other limits."""
        self.gates.function_changed(name)
        self._changed(None, None, name)

    def policy_changed(self, policy: Policy) -> None:
        """An operator has said something else than before."""
        self._policy_quota(policy)
        if isinstance(policy, FunctionPolicy):
            self.function_changed(policy.name)
        elif isinstance(policy, ClassPolicy):
            self.tree.changed((policy.name,))
            self._changed(policy.name, None, None)
        else:
            self.gates.downstream_changed(policy)
            if policy.name in self.functions:
                self.function_changed(FunctionName(policy.name))

    def throttled(self, function: FunctionName, now_ms: int) -> None:
        """The function stands before a gate of its own from now on, if it did not before."""
        if self.gates.downstreams.window_of(function, now_ms) is None:
            self.gates.downstreams.open_window(function, now_ms)
            self.function_changed(function)

    def served(self, leaf: Leaf, tasks: int, cost: float, now_ms: int, passed_over: int = 0) -> None:
        """So many of the leaf's tasks were leased at once, and are paid for with `cost` machine seconds. `passed_over`: see
        `Node.charge`."""
        self.tree.served(leaf, tasks, cost, passed_over)
        self.spent.add(leaf, cost, now_ms)

    def correct(self, leaf: Leaf, change: float, now_ms: int, *, over: bool = False) -> None:
        """See `Tree.correct`."""
        self.tree.correct(leaf, change, over=over)
        self.spent.add(leaf, change, now_ms)

    def waiting(self, closed: Iterable[Demand]) -> list[Demand]:
        """What waits for room at the end of a round in which no runner had any for these: they, and what was refused in a round
        before and has no turn now because as many of its tasks' kind run as may. Otherwise whatever is smaller would always
        be there first when one of them ends."""
        found = dict.fromkeys(closed)
        self.refused = {
            demand: leaf for demand, leaf in self.refused.items() if demand in found or self._is_crowded_out(leaf)
        }
        return list(found | dict.fromkeys(self.refused))

    def _is_crowded_out(self, leaf: Leaf) -> bool:
        node = self.tree.find(path_of(leaf))
        lines = () if node is None or not node.ready else (each.parked for each in node.path())
        return any(line is not None and isinstance(line.gate, AtMost | QuotaGate) for line in lines)

    def hungry(self) -> list[Owner]:
        """Those that have less of the pool than is kept for them; the one with the least part of that comes first."""
        parts = {owner: part_of(reserved, self.usage.used(owner)) for owner, reserved in self.reserved.items()}
        return sorted((owner for owner, part in parts.items() if part < 1.0), key=parts.__getitem__)

    def next_of(self, owner: Owner, closed: Container[Demand], now_ms: int) -> Turn | None:
        """Whose turn it is among the owner's leaves, for as much as is kept for it; None if it has no work that fits in that."""
        for path in self.places(owner):
            turn = self.tree.next(closed, now_ms, path)
            if turn and within(self.reserved[owner], self.usage.used(owner), dict(turn.shape.need)):
                return turn
        return None

    def places(self, owner: Owner) -> Iterable[Path]:
        """Where the owner's leaves are in the tree: those first whose class has the least for its weight."""
        kind, name = owner
        if kind == "class":
            return [(name,)]
        if kind == "tenant":
            return [(priority, name) for priority in Priority]
        return dict.fromkeys(path_of(leaf)[:3] for leaf, _ in self.tree.leaves() if leaf.function == name)

    def left_of(self, owner: Owner, need: Mapping[str, int]) -> int:
        """For how many such leases more there is room in what is kept for the owner."""
        used = self.usage.used(owner)
        kept = self.reserved.get(owner, {})
        return times(need, {kind: max(0, amount - used.get(kind, 0)) for kind, amount in kept.items()})

    def _quota_changed(self, owner: Owner, quota: Quota) -> None:
        self.reserved.pop(owner, None)
        if quota.reserved:
            self.reserved[owner] = dict(quota.reserved)

    def _policy_quota(self, policy: Policy) -> None:
        if not isinstance(policy, DownstreamPolicy):
            self._quota_changed(policy_key(policy), policy.quota)

    def _changed(self, *wanted: Hashable) -> None:
        """The nodes of these functions, and their leaves, are as is said now: those without tasks as well, for they may have some
        again. `wanted`: class, tenant and function; None: any."""
        for path, leaves in list(self.tree.functions(wanted)):
            waiting = [leaf for leaf, node in leaves if node.ready]
            for leaf in waiting:
                self.tree.sleep(leaf)
            self.tree.changed(path)
            for leaf, _ in leaves:
                self.tree.changed(path_of(leaf))
            for leaf in waiting:
                self.tree.wake(leaf)

    def weight_of(self, path: Path) -> float:
        """The share of the node there, relative to its siblings'."""
        match path:
            case (Priority() as priority,):
                policy = self.policies.get(("class", priority))
                given = policy.weight if isinstance(policy, ClassPolicy) else None
                return given or CLASS_WEIGHTS[priority]
            case (_, str() as tenant):
                known = self.tenants.get(TenantId(tenant))
                return known.weight if known is not None else 1.0
            case _:
                return 1.0

    def function_of(self, leaf: Leaf) -> FunctionSpec:
        """The leaf's function, as the version says on which its tasks stay, if they do."""
        return self.versions.get((leaf.function, leaf.pin)) or self.functions[leaf.function]

    def demand_of(self, leaf: Leaf) -> Demand:
        """What a lease of the leaf's tasks asks of a runner."""
        function = self.function_of(leaf)
        spread = function.name if function.spread else None
        pack = self.limits.placement == PACK
        return demand_for(resources_of(function, leaf), function.labels, spread, pack=pack)
