"""What is counted as things happen, for those who watch the service: per tenant and function, up to a bound. Volatile.

Counted by the batch, and from when the shard's epoch began. Whoever asks is given sums; no task is looked at for that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence

from taskservice.core.effects import ItemsAnswer, ItemStatus
from taskservice.core.events import Submitted
from taskservice.core.histogram import Histogram
from taskservice.core.lease_wire import Outcome
from taskservice.core.types import FunctionName, Leaf, OutcomeKind, TaskState, TenantId

WAIT_BOUNDS_S = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600, 14_400)
RUN_BOUNDS_S = (0.001, 0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600)

REST = "_other"
"""The name of those that are not shown apart. Neither a tenant nor a function can be called that."""

HANDED_BACK = "handed_back"
"""An attempt that did not begin, beside the kinds of outcomes."""


Owner = tuple[TenantId, FunctionName]
"""Whose tasks are counted together."""

REST_OWNER: Owner = (TenantId(REST), FunctionName(REST))


class Series:
    """What is counted of one owner."""

    __slots__ = ("accepted", "attempts", "dead", "duplicates", "ended", "refused", "runs", "waits")

    def __init__(self) -> None:
        self.accepted = 0
        self.duplicates = 0
        self.refused: Counter[str] = Counter()
        """By `Refusal`."""
        self.attempts: Counter[str] = Counter()
        """By `OutcomeKind`, or handed back."""
        self.ended: Counter[TaskState] = Counter()
        """By the state in which they ended."""
        self.dead: Counter[str] = Counter()
        """Dead letters by reason."""
        self.waits = Histogram(WAIT_BOUNDS_S, 1_000)
        """From when a task was due until its attempt began."""
        self.runs = Histogram(RUN_BOUNDS_S, 1_000_000)
        """What attempts took."""


class Meters:
    """All of a shard's counts."""

    def __init__(self, owners_max: int) -> None:
        """`owners_max` owners have a series of their own, in the order in which something happens to them."""
        self.owners_max = owners_max
        self._found: dict[Owner, Series] = {}
        self._rest = Series()

    def label(self, tenant: TenantId, function: FunctionName) -> Owner:
        """Under whose name the owner's tasks are counted, from now on: once shown apart, they always are."""
        return REST_OWNER if self.of(tenant, function) is self._rest else (tenant, function)

    def of(self, tenant: TenantId, function: FunctionName) -> Series:
        """The owner's series; that of the rest, if as many have one as may."""
        found = self._found.get((tenant, function))
        if found is None:
            if len(self._found) >= self.owners_max:
                return self._rest
            found = self._found[tenant, function] = Series()
        return found

    def all(self) -> dict[Owner, Series]:
        """All series by owner, that of the rest with them."""
        return {**self._found, REST_OWNER: self._rest}

    def accepted(self, counts: Iterable[tuple[Owner, int]]) -> None:
        """So many tasks of each owner are in the table."""
        for owner, count in counts:
            self.of(*owner).accepted += count

    def answered(self, event: Submitted, answer: ItemsAnswer, accepted: int, known: Container[FunctionName]) -> None:
        """A submit was answered like that; so many of its tasks were accepted. Functions that are not `known` are the rest."""
        if accepted == len(answer.items):
            return
        for new, item in zip(event.tasks, answer.items, strict=True):
            if item.status is ItemStatus.ACCEPTED:
                continue
            series = self.of(event.tenant, new.function) if new.function in known else self._rest
            if item.refusal is None:
                series.duplicates += 1
            else:
                series.refused[item.refusal.value] += 1

    def attempted(self, leaf: Leaf, outcomes: Sequence[Outcome], waits_ms: Sequence[int], back: int, lost: int) -> None:
        """These attempts of the leaf have ended, some of which had waited so long; others did not begin, or were lost."""
        series = self.of(leaf.tenant, leaf.function)
        runs_us = []
        for outcome in outcomes:
            series.attempts[outcome.kind] += 1
            if outcome.started_ms:
                runs_us.append(outcome.duration_us)
        if back:
            series.attempts[HANDED_BACK] += back
        if lost:
            series.attempts[OutcomeKind.LOST] += lost
        series.waits.observe_all(waits_ms)
        series.runs.observe_all(runs_us)

    def ended(self, leaf: Leaf, state: TaskState, count: int) -> None:
        """So many of the leaf's tasks have reached that state, which is their last."""
        self.of(leaf.tenant, leaf.function).ended[state] += count

    def died(self, leaf: Leaf, reasons: Iterable[str]) -> None:
        """Tasks of the leaf are dead letters, for these reasons."""
        self.of(leaf.tenant, leaf.function).dead.update(reasons)
