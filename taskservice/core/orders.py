"""Orders: what a lease is told while it runs. One way for all kinds of them.

    decided -> OrdersGiven in the journal -> runner -> supervisor -> child         ... outcome of each attempt that it means

An order is on record before anybody hears of it, and stands until the lease has reported all that it means: so a dispatcher
that starts again sends it again, and whoever has it already does nothing more. First the handler is asked to stop; what still
runs after the grace is ended by force.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from taskservice.core.types import Leaf, TaskNo, Token


class OrderKind(StrEnum):
    """What is to become of the attempts that are stopped."""

    PREEMPT = "preempt"
    """They are made again later, and are not charged."""
    CANCEL = "cancel"
    """They were the last ones: their tasks are cancelled. Names its tasks; goes before what else they were told."""


class Order(Struct, frozen=True, array_like=True):
    """Stop attempts of a lease. A field is added at the end with a default, never removed or moved."""

    token: Token
    kind: OrderKind
    grace_ms: int
    """What they have from the moment when their supervisor hears of it."""
    why: str = ""
    """In words, for whoever reads the task's story."""
    nos: tuple[TaskNo, ...] = ()
    """Empty: all that have not ended."""
    heir: Leaf | None = None
    """Whose room that will be, if it is to be somebody's: known by who is restored as well."""

    def means(self, no: TaskNo) -> bool:
        """Whether that task is to stop."""
        return not self.nos or no in self.nos


class OrdersGiven(Struct, frozen=True, array_like=True, tag="orders"):
    """These leases are told to stop. What comes of it, they report."""

    at_ms: int
    orders: tuple[Order, ...]


class TasksPreempted(Struct, frozen=True, array_like=True, tag="preempted"):
    """running -> queued, in their old place: they were stopped for others. The attempt is taken off again, the stop is counted."""

    at_ms: int
    token: Token
    nos: tuple[TaskNo, ...]
    log: str = ""
    """As in the other `records`."""


class TasksStopped(Struct, frozen=True, array_like=True, tag="stopped"):
    """running -> cancelled: somebody had asked for it, and their attempts ended in any way but success."""

    at_ms: int
    token: Token
    nos: tuple[TaskNo, ...]
    log: str = ""
    """As in the other `records`."""


OrderRecord = OrdersGiven | TasksPreempted | TasksStopped
"""Those of orders, and of what came of them where that is no other record's business."""
