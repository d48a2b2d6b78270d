"""Which gates stand before which tasks, as tenants, functions and policies say. Volatile: learnt again after a restart.

- a tenant: its rate, its running_max
- a function: paused, its rate, its max_running, its downstream's window; and, since it says what a task takes: the maximum of
  its class, of its tenant and of itself
- a leaf: that the current version has its function; key_max_running; for retries the function's budget; for the off-peak lanes the hours, or an idle pool
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from taskservice.core.downstreams import Downstreams
from taskservice.core.fair.line import Line
from taskservice.core.fair.lines import Lines, Name
from taskservice.core.fair.tree import Path
from taskservice.core.flow.bucket import Bucket, RateLimit
from taskservice.core.flow.gate import Closed, Reason
from taskservice.core.flow.off_peak import NAME, OffPeak, OffPeakGate
from taskservice.core.flow.quota import Owner, QuotaGate, Usage, owners
from taskservice.core.flow.running import AtMost, Running, key_name
from taskservice.core.lease_wire import Outcome
from taskservice.core.limits import Limits
from taskservice.core.memory import resources_of
from taskservice.core.resources import amounts
from taskservice.core.specs import (
    ClassPolicy,
    DownstreamPolicy,
    FunctionPolicy,
    FunctionSpec,
    Policy,
    Quota,
    Rate,
    Tenant,
)
from taskservice.core.types import PRESSED_LANES, RETRY_LANES, FunctionName, Leaf, Priority, Task, TenantId


@dataclass(slots=True)
class Gates:
    """All gates of a shard, and the lines before them; each is made when somebody first comes to it."""

    tenants: Mapping[TenantId, Tenant]
    functions: Mapping[FunctionName, FunctionSpec]
    policies: Mapping[tuple[str, str], Policy]
    running: Running
    usage: Usage
    stirred: dict[Line, None]
    limits: Limits
    function_of: Callable[[Leaf], FunctionSpec]
    """A leaf's function, as its tasks have it."""
    downstreams: Downstreams = field(init=False)
    off_peak: OffPeak = field(init=False)
    buckets: dict[Name, Bucket] = field(default_factory=dict)
    now_ms: int = 0
    """The time of the last turn: what is made in it begins there."""
    _open: bool = False
    _lines: Lines = field(init=False)
    _maxima: dict[Owner, dict[Name, None]] = field(default_factory=dict)
    """The gates that keep each owner below its maximum: one for each need that came up."""
    _off_peak_lines: dict[Name, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lines = Lines(self.stirred)
        self.downstreams = Downstreams(self.functions, self.policies, self.running)
        self.off_peak = OffPeak(self.limits, self.usage)

    def restart(self, now_ms: int) -> None:
        """What was let through before is not known, and may have been all that was to be had."""
        self._open = True
        self.now_ms = now_ms
        for id in self.tenants:
            self.tenant_changed(id, full=False)
        for name in self.functions:
            self.function_changed(name, full=False)

    def tenant_changed(self, id: TenantId, *, full: bool = True) -> None:
        """The tenant's buckets are as it says now; `full`: so are those that it did not have before."""
        tenant = self.tenants[id]
        self._bucket("tenant.rate", id, tenant.rate, full=full)
        self._bucket("tenant.submit_rate", id, tenant.submit_rate, full=full)

    def function_changed(self, name: FunctionName, *, full: bool = True) -> None:
        """Likewise the function's; what an operator has said comes first."""
        self._bucket("function.rate", name, self._rate(name), full=full)
        self._bucket("function.submit_rate", name, self.functions[name].submit_rate, full=full)
        self.downstreams.function_changed(name)

    def lines_of(self, path: Path) -> tuple[Line, ...]:
        """The lines before the gates of the node there. None before `restart`: while a journal is read nobody has a turn."""
        if not self._open:
            return ()
        match path:
            case (_, str() as tenant):
                return tuple(self._of_tenant(TenantId(tenant)))
            case (Priority() as priority, str() as tenant, str() as function):
                return tuple(self._of_function(priority, TenantId(tenant), FunctionName(function)))
            case (_, _, _, Leaf() as leaf):
                return tuple(self._of_leaf(leaf))
            case _:
                return ()

    def submit_refusal(
        self, tenant: TenantId, function: FunctionName, taken: Counter[Name], now_ms: int
    ) -> Reason | None:
        """Why one more of these tasks comes too soon when so many before it are `taken`; None if it does not. Of several gates it
        is the one that opens last."""
        closed = [
            bucket.reason_after(taken[name], now_ms)
            for name, bucket in self.submit_buckets(tenant, function)
            if bucket.room(now_ms) <= taken[name]
        ]
        return max(closed, key=lambda reason: reason.clears_ms or 0, default=None)

    def submit_buckets(self, tenant: TenantId, function: FunctionName) -> list[tuple[Name, Bucket]]:
        """What bounds how fast such tasks may be submitted; mostly nothing does."""
        names: tuple[Name, Name] = ("tenant.submit_rate", tenant), ("function.submit_rate", function)
        return [(name, self.buckets[name]) for name in names if name in self.buckets]

    def submitted(self, tasks: Sequence[Task], now_ms: int) -> None:
        """These tasks were accepted: what may be submitted is less by them."""
        if not self.buckets:
            return
        for (tenant, function), count in Counter([(task.tenant, task.function) for task in tasks]).items():
            for _, bucket in self.submit_buckets(tenant, function):
                bucket.take(count, now_ms)

    def started(self, leaf: Leaf, tasks: int, now_ms: int) -> None:
        """So many of the leaf's tasks have passed all their gates."""
        for name in rate_gates(leaf) if self.buckets else ():
            bucket = self.buckets.get(name)
            if bucket is not None:
                bucket.take(tasks, now_ms)
        self.downstreams.started(leaf, tasks, now_ms)
        if self._lines:
            self._lines.stir(("function.retries", leaf.function))

    def ended(self, leaf: Leaf, outcomes: Sequence[Outcome], back: int, vanished: int, now_ms: int) -> None:
        """See `Downstreams.ended`. What was handed back has not started, so its tokens are there again."""
        for name in rate_gates(leaf) if back else ():
            bucket = self.buckets.get(name)
            if bucket is not None:
                bucket.give_back(back, now_ms)
                self._lines.stir(name)
        self.downstreams.ended(leaf, outcomes, back, vanished, now_ms)
        if self._lines:
            self._lines.stir(("function.retries", leaf.function))
            self._lines.stir(("downstream.window", self.downstreams.name_of(leaf.function)))

    def downstream_changed(self, policy: DownstreamPolicy) -> None:
        """The window is as the operator says now."""
        self.downstreams.policy_changed(policy, self.now_ms)
        self._lines.stir(("downstream.window", policy.name))

    def most(self, leaf: Leaf, kind: str) -> int | None:
        """The most of the resource that quotas let one lease of the leaf have; None: they say nothing of it."""
        quotas = self._quotas(leaf.priority, leaf.tenant, leaf.function)
        return min((most for _, quota in quotas for name, most in quota.maximum if name == kind), default=None)

    def look(self, capacity: Mapping[str, int], now_ms: int) -> None:
        """A round begins, or ends: the gates know what the pool has, and what time it is."""
        self.now_ms = now_ms
        if self.off_peak.look(capacity, now_ms):
            self._stir_off_peak()

    def freed(self, leaf: Leaf) -> None:
        """Tasks of the leaf run no more, or a lease of it is over: there may be room behind what counts them."""
        if not self._lines:
            return
        self._lines.stir(("tenant.running_max", leaf.tenant))
        self._lines.stir(("function.max_running", leaf.function))
        if leaf.key:
            self._lines.stir(("key.max_running", key_name(leaf)))
        for owner in owners(leaf):
            for name in self._maxima.get(owner, ()):
                self._lines.stir(name)
        self._stir_off_peak()

    def _of_tenant(self, id: TenantId) -> Iterator[Line]:
        tenant = self.tenants.get(id)
        if tenant is None:
            return
        yield from self._rated("tenant.rate", id)
        yield from self._at_most("tenant.running_max", self.running.tenants, id, tenant.running_max)

    def _of_function(self, priority: Priority, tenant: TenantId, name: FunctionName) -> Iterator[Line]:
        function, policy = self.functions[name], self._policy(name)
        if policy.paused:
            yield self._lines.before(Closed("function.paused"), ("function.paused", name))
        yield from self._rated("function.rate", name)
        max_running = function.max_running if policy.max_running is None else policy.max_running
        yield from self._at_most("function.max_running", self.running.functions, name, max_running)
        window = self.downstreams.window_of(name, self.now_ms)
        if window is not None:
            yield self._lines.before(window, ("downstream.window", self.downstreams.name_of(name)))
        yield from self._maxima_of(priority, tenant, name, amounts(function.resources))

    def _maxima_of(
        self, priority: Priority, tenant: TenantId, name: FunctionName, need: Mapping[str, int]
    ) -> Iterator[Line]:
        for owner, quota in self._quotas(priority, tenant, name):
            yield from self._maximum(f"{owner[0]}.maximum", owner, quota, need)

    def _quotas(self, priority: Priority, tenant: TenantId, name: FunctionName) -> Iterator[tuple[Owner, Quota]]:
        known = self.tenants.get(tenant)
        yield ("class", priority), self._class_quota(priority)
        yield ("tenant", tenant), known.quota if known else Quota()
        yield ("function", name), self._policy(name).quota

    def _of_leaf(self, leaf: Leaf) -> Iterator[Line]:
        function = self.functions[leaf.function]
        if leaf.key:
            yield from self._at_most("key.max_running", self.running.keys, key_name(leaf), function.key_max_running)
        if function.missing and not leaf.pin:
            yield self._lines.before(Closed("function.missing"), ("function.missing", leaf.function))
        resources = resources_of(self.function_of(leaf), leaf)
        if resources != function.resources:
            yield from self._maxima_of(leaf.priority, leaf.tenant, leaf.function, amounts(resources))
        if leaf.lane in RETRY_LANES.values():
            yield self._lines.before(
                self.downstreams.budget_of(leaf.function, self.now_ms), ("function.retries", leaf.function)
            )
        if leaf.lane in PRESSED_LANES:
            gate = OffPeakGate(self.off_peak, tuple(sorted(amounts(function.resources))))
            self._off_peak_lines[NAME, gate.need] = None
            yield self._lines.before(gate, (NAME, gate.need))

    def _rated(self, what: str, of: str) -> Iterable[Line]:
        bucket = self.buckets.get((what, of))
        return () if bucket is None else (self._lines.before(bucket, (what, of)),)

    def _at_most(self, what: str, counts: Mapping[str, int], of: str, most: int | None) -> Iterable[Line]:
        return () if most is None else (self._lines.before(AtMost(what, counts, of, most), (what, of)),)

    def _maximum(self, what: str, owner: Owner, quota: Quota, need: Mapping[str, int]) -> Iterable[Line]:
        maximum = {kind: most for kind, most in quota.maximum if need.get(kind)}
        if not maximum:
            return ()
        name: Name = (what, owner[1], tuple(sorted(need.items())))
        self._maxima.setdefault(owner, {})[name] = None
        return (self._lines.before(QuotaGate(what, self.usage, owner, maximum, need), name),)

    def _bucket(self, what: str, of: str, rate: Rate | None, *, full: bool) -> None:
        name: Name = (what, of)
        if rate is None:
            self.buckets.pop(name, None)
            return
        limit = RateLimit(what, rate.per_s, rate.burst)
        bucket = self.buckets.get(name)
        if bucket is None:
            self.buckets[name] = Bucket(limit, self.now_ms, full=full)
        elif (bucket.limit.per_s, bucket.limit.burst) != (limit.per_s, limit.burst):
            bucket.change(limit, self.now_ms)

    def _stir_off_peak(self) -> None:
        for name in self._off_peak_lines:
            self._lines.stir(name)

    def _policy(self, function: FunctionName) -> FunctionPolicy:
        policy = self.policies.get(("function", function))
        return policy if isinstance(policy, FunctionPolicy) else FunctionPolicy(function)

    def _rate(self, function: FunctionName) -> Rate | None:
        return self._policy(function).rate or self.functions[function].rate

    def _class_quota(self, priority: Priority) -> Quota:
        policy = self.policies.get(("class", priority))
        return policy.quota if isinstance(policy, ClassPolicy) else Quota()


def rate_gates(leaf: Leaf) -> tuple[Name, Name]:
    """What bounds how many of the leaf's tasks start in a second."""
    return ("tenant.rate", leaf.tenant), ("function.rate", leaf.function)
