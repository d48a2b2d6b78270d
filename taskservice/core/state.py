"""All that a shard knows.

Two kinds, kept apart. Durable: what the journal's records say; changed by `apply` only. Volatile: what can be learnt
again after a restart; changed by `observe` and by the scheduler, never journalled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from msgspec import Struct

from taskservice.core.costs import Costs
from taskservice.core.deadlines import Deadlines
from taskservice.core.flow.running import Running
from taskservice.core.limits import Limits
from taskservice.core.meters import Meters
from taskservice.core.operations import Operations
from taskservice.core.orders import Order, OrderKind
from taskservice.core.outbox import Outbox
from taskservice.core.pool import Pool
from taskservice.core.promises import Preemption, Told, owner_of
from taskservice.core.queues import LeafQueue
from taskservice.core.searches import Searches
from taskservice.core.specs import ApiKey, FunctionSpec, Policy, Tenant
from taskservice.core.speed import Speed
from taskservice.core.stock import Stock
from taskservice.core.table import TaskTable
from taskservice.core.timetable import Timetable
from taskservice.core.triggers import Triggers
from taskservice.core.turns import Turns
from taskservice.core.types import FunctionName, Leaf, RunnerId, Task, TaskId, TaskNo, TenantId, Token
from taskservice.core.versions import Apps

NO_TASKS: frozenset[TaskNo] = frozenset()


class OpenAttempt(Struct, frozen=True):
    """A task under a lease, with what deciding about its outcome needs: no look-up when it is reported."""

    no: TaskNo
    id: TaskId
    attempt: int
    crashes: int
    losses: int
    preempted: int
    throttles: int
    max_attempts: int
    due_ms: int
    payload_bytes: int
    expires_ms: int | None
    deadline_ms: int | None
    hooked: bool
    """Whether something follows its end."""
    log: str


@dataclass(slots=True)
class Lease:
    """Tasks of one leaf that a runner was told to run."""

    token: Token
    runner: RunnerId
    leaf: Leaf
    open: dict[TaskNo, OpenAttempt]
    """Those not yet reported: exactly the running tasks that hold this token."""
    orders: tuple[Order, ...] = ()
    """What its supervisor has been told, or is being told."""
    logs: dict[TaskNo, str] = field(default_factory=dict, compare=False)
    """Volatile. Where logs of open attempts are stored, as far as they are: if the lease is lost, that is all there is."""
    version: int = 0
    """Of its function's app: the code that it runs."""
    hooked: bool = field(default=False, compare=False)
    """Whether something follows the end of any of the tasks that it began with."""
    dated: bool = field(default=False, compare=False)
    """Whether any of those has a deadline."""

    @property
    def preempted(self) -> bool:
        """Whether it is to stop for others."""
        return bool(self.orders) and any(order.kind is OrderKind.PREEMPT for order in self.orders)

    @property
    def cancelling(self) -> frozenset[TaskNo]:
        """Those that are cancelled when their attempt ends, unless it succeeds; and perhaps some that have been reported."""
        if not self.orders:
            return NO_TASKS
        return frozenset(no for order in self.orders if order.kind is OrderKind.CANCEL for no in order.nos)


def lease_of(token: Token, runner: RunnerId, leaf: Leaf, tasks: Iterable[Task], version: int) -> Lease:
    """The lease under which these tasks run."""
    lease = Lease(token, runner, leaf, {}, version=version)
    for task in tasks:
        hooked, deadline_ms = task.hooks is not None, task.deadline_ms
        lease.hooked |= hooked
        lease.dated |= deadline_ms is not None
        lease.open[task.no] = OpenAttempt(
            task.no,
            task.id,
            task.attempt,
            task.crashes,
            task.losses,
            task.preempted,
            task.throttles,
            task.max_attempts,
            task.due_ms,
            len(task.payload),
            task.expires_ms,
            deadline_ms,
            hooked,
            task.log,
        )
    return lease


@dataclass(slots=True)
class State:
    """One shard."""

    table: TaskTable
    limits: Limits

    # Durable.
    epoch: int = 0
    next_no: int = 1
    next_lease: int = 1
    tenants: dict[TenantId, Tenant] = field(default_factory=dict)
    keys: dict[str, ApiKey] = field(default_factory=dict)
    functions: dict[FunctionName, FunctionSpec] = field(default_factory=dict)
    policies: dict[tuple[str, str], Policy] = field(default_factory=dict)
    """What operators have set: see `specs.policy_key`."""
    catalog_version: int = 0
    """One more with each change of tenants, keys, functions or policies."""
    leases: dict[Token, Lease] = field(default_factory=dict)
    """Those with an open attempt, in the order in which they were granted."""
    unfinished: dict[TenantId, int] = field(default_factory=dict)
    """Tasks of each tenant that have not ended."""
    running: Running = field(default_factory=Running)
    """The open attempts of `leases`, counted."""
    operations: Operations = field(default_factory=Operations)
    """Bulk operations, under way and done."""
    schedules: Timetable = field(default_factory=Timetable)
    triggers: Triggers = field(default_factory=Triggers)
    deadlines: Deadlines = field(default_factory=Deadlines)
    """How many were kept, and how many missed."""
    outbox: Outbox = field(default_factory=Outbox)
    """Who is to be told of what has ended."""
    apps: Apps = field(default_factory=Apps)
    """The versions of apps; what they have learnt of each is volatile."""
    queues: dict[Leaf, LeafQueue] = field(default_factory=dict)
    """A queue for each leaf that has queued tasks; its head is a cache of the table."""

    # Volatile.
    segment: int = 0
    """The journal segment that the record being applied will be in."""
    recovered_no: TaskNo = TaskNo(0)
    """Tasks below this number were there when this dispatcher started: one of them may have ended its predecessor."""
    pool: Pool = field(default_factory=Pool)
    turns: Turns = field(init=False)
    costs: Costs = field(default_factory=Costs)
    speeds: dict[FunctionName, Speed] = field(default_factory=dict)
    searches: Searches = field(default_factory=Searches)
    preemption: Preemption = field(default_factory=Preemption)
    meters: Meters = field(init=False)
    stock: Stock = field(default_factory=Stock)
    """The tasks of `queues`, counted."""

    def __post_init__(self) -> None:
        self.turns = self._new_turns()
        self.meters = Meters(self.limits.metrics_owners_max)

    def _new_turns(self) -> Turns:
        return Turns(self.tenants, self.functions, self.policies, self.running, self.limits, self.apps.specs)

    def begin_turns(self, now_ms: int) -> None:
        """Everybody's turns begin anew: what was learnt of them while a journal was read is not what happened."""
        self.turns = self._new_turns()
        self.turns.begin(now_ms)
        self.meters = Meters(self.limits.metrics_owners_max)
        self.preemption = Preemption()
        self.preemption.restore(self._told(), self.turns.demand_of, now_ms)
        for leaf in self.queues:
            self.turns.tree.wake(leaf)

    def _told(self) -> Iterator[tuple[Token, Told, Order]]:
        """Leases that have been told to stop for others."""
        for token, lease in self.leases.items():
            for order in lease.orders:
                if order.kind is OrderKind.PREEMPT:
                    yield token, Told(owner_of(lease.leaf), self.turns.demand_of(lease.leaf), lease.runner), order

    def function_of(self, leaf: Leaf, version: int) -> FunctionSpec:
        """What the version says of the leaf's function; the function as it is, if there is no such version."""
        return self.apps.specs.get((leaf.function, version)) or self.functions[leaf.function]

    def queue(self, leaf: Leaf) -> LeafQueue:
        """The leaf's queue, which stands in the order as long as it is not `emptied`."""
        found = self.queues.get(leaf)
        if found is None:
            found = self.queues[leaf] = LeafQueue(leaf, self.limits.head_tasks_max, self.stock.opened(leaf))
            self.turns.tree.wake(leaf)
        return found

    def emptied(self, leaf: Leaf) -> None:
        """If the leaf has no queued task any more, it has no queue and no turn."""
        queue = self.queues.get(leaf)
        if queue is not None and not queue.count:
            del self.queues[leaf]
            self.stock.closed(leaf)
            self.turns.tree.sleep(leaf)
            self.searches.forget(leaf)
