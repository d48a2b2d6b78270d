"""A shard: state, and the journal's place between what is decided and what the world may see.

Synchronous and without a clock: the dispatcher actor drives it in production, a simulated world in tests, with the
same calls:

    handle(event) ...  dispatch()  ->  cut()  ->  [append the segment]  ->  durable(number)  ->  release()
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from random import Random
from typing import NamedTuple

from taskservice.core import preemption, schedule
from taskservice.core.apply import apply
from taskservice.core.decide import decide
from taskservice.core.effects import Answer, Effect, Held, ItemsAnswer, ItemStatus, ValuesDropped
from taskservice.core.events import Event, Submitted
from taskservice.core.observe import observe
from taskservice.core.record_sizes import bytes_of
from taskservice.core.records import EpochOpened, Record, TenantSet
from taskservice.core.restore import commit
from taskservice.core.specs import Tenant
from taskservice.core.state import State
from taskservice.core.table import Mark
from taskservice.core.types import TaskNo, TenantId
from taskservice.core.waits import JOURNAL

DEFAULT_TENANT = TenantId("default")

SEGMENT_BYTES = 32 * 1024 * 1024
"""A segment is closed when its records have about so many bytes; those of a single event may have more."""

FOLD_BYTES = 64 * 1024 * 1024
"""What the table's commits may take before they are folded, while a journal is read."""


class Cut(NamedTuple):
    """One group commit to be."""

    number: int
    records: tuple[Record, ...]


class Shard:
    """One shard in one epoch. A record is applied as soon as it is decided, so that the next decision sees it;
    its effects are held until its segment is durable. The table is committed where a segment ends: one commit for each,
    so that the last few can be taken back if their segments never became durable.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self._mark = Mark("", "", 0, -1)
        """Of the last segment that was replayed, or closed."""
        self._open = 0
        """Number of the segment that the next record will be in."""
        self._pending: list[Record] = []
        """Records of the open segment."""
        self._pending_bytes = 0
        self._cuts: deque[Cut] = deque()
        """Segments that were closed because they are full."""
        self._given = -1
        """The last segment that `cut` has given out."""
        self._durable = -1
        self._held: dict[int, list[Effect]] = {}
        """Effects by the segment they wait for; none whose segment is durable."""
        self._ready: deque[Effect] = deque()

    def recover(self, replayed: Iterable[tuple[Mark, Sequence[Record]]]) -> int:
        """The state is what the records of these segments say, on top of what it was; gives the number of segments.

        Effects are dropped: whoever waited for them is gone with the process before. What is replayed is durable, so the
        table is committed seldom, and folded.
        """
        segments = uncommitted_bytes = 0
        for self._mark, records in replayed:
            segments += 1
            for record in records:
                apply(self.state, record)
                uncommitted_bytes += bytes_of(record)
            if uncommitted_bytes >= SEGMENT_BYTES:
                self._commit_recovered()
                uncommitted_bytes = 0
        if segments:
            self._commit_recovered()
        self.state.recovered_no = TaskNo(self.state.next_no)
        return segments

    def _commit_recovered(self) -> None:
        commit(self.state, self._mark)
        if self.state.table.wal_bytes >= FOLD_BYTES:
            self.state.table.fold()

    def open(self, before: Mark, now_ms: int) -> None:
        """An epoch has begun, and there is a default tenant. `before`: the place before the epoch's first segment."""
        self._mark = before
        self.state.begin_turns(now_ms)
        self._append(EpochOpened(now_ms, before.epoch))
        if DEFAULT_TENANT not in self.state.tenants:
            self._append(TenantSet(now_ms, Tenant(DEFAULT_TENANT)))

    def handle(self, event: Event, now_ms: int, rng: Random) -> None:
        """The event has had all its consequences but those that wait for the disk."""
        observe(self.state, event, now_ms)
        decision = decide(self.state, event, now_ms, rng)
        for record in decision.records:
            self._append(record)
        if isinstance(event, Submitted) and isinstance(decision.answer, ItemsAnswer):
            taken = [item.task for item in decision.answer.items if item.status is ItemStatus.ACCEPTED and item.task]
            self.state.turns.gates.submitted(taken, now_ms)
            self.state.meters.answered(event, decision.answer, len(taken), self.state.functions)
        self._close_if_full()
        ref = getattr(event, "ref", 0)
        if decision.answer is not None and ref:
            after = self._durable if decision.near else self._position
            self._hold([(after, Answer(ref, decision.answer))])
        if decision.effects:
            self._hold([(self._position, effect) for effect in decision.effects])
        if decision.dropped:
            self._hold([(self._position, ValuesDropped(decision.dropped))])

    def dispatch(self, now_ms: int) -> int:
        """Whatever may run now and has room somewhere is leased; gives the number of leases."""
        count = 0
        self.state.turns.tree.waits.opened(JOURNAL, now_ms)
        round_ = schedule.begin(self.state, now_ms)
        while (granted := schedule.next_lease(self.state, round_, now_ms)) is not None:
            schedule.charge(self.state, granted, now_ms, round_.passed_over)
            self._append(granted.record)
            self._close_if_full()
            count += 1
        schedule.end(self.state, round_, now_ms)
        orders = preemption.look(self.state, round_.closed, round_.held, now_ms)
        if orders is not None:
            self._append(orders)
        return count

    def hold_back(self, now_ms: int) -> None:
        """Nothing is leased in this turn, because the journal does not keep up."""
        self.state.turns.tree.waits.closed(JOURNAL, "journal.behind", now_ms)

    def cut(self) -> Cut | None:
        """The next segment to append, closed; None if there is no record that waits for one."""
        if not self._cuts and self._pending:
            self._close()
        if not self._cuts:
            return None
        cut = self._cuts.popleft()
        self._given = cut.number
        return cut

    def durable(self, number: int) -> None:
        """Segment `number` and all before it are durable: what waited for them may be seen."""
        for segment in range(self._durable + 1, number + 1):
            self._ready.extend(self._held.pop(segment, ()))
        self._durable = max(self._durable, number)

    def release(self) -> list[Effect]:
        """The effects that may be performed, in the order of their causes; each is given once."""
        released = list(self._ready)
        self._ready.clear()
        return released

    @property
    def pending_records(self) -> int:
        """Records that `cut` has not given out yet."""
        return len(self._pending) + sum(len(cut.records) for cut in self._cuts)

    @property
    def pending_bytes(self) -> int:
        """About how large the records are that `cut` has not given out yet."""
        return self._pending_bytes + SEGMENT_BYTES * len(self._cuts)

    @property
    def opens_ms(self) -> int | None:
        """When there is something to dispatch by the clock, perhaps a little early: it opens a gate behind which tasks wait, or a round
        of preemption is due. None: there is nothing."""
        moments = (self.state.turns.tree.rings_ms, self.state.preemption.due_ms)
        return min((ms for ms in moments if ms is not None), default=None)

    @property
    def operating(self) -> bool:
        """Whether a bulk operation is under way: it goes on with each `OperationTurn`."""
        return bool(self.state.operations.under_way)

    @property
    def awaited(self) -> bool:
        """Whether anything that the world is to see waits for a record that `cut` has not given out yet."""
        return any(segment > self._given for segment in self._held)

    @property
    def _position(self) -> int:
        """The newest segment that has a record."""
        return self._open if self._pending else self._open - 1

    def _append(self, record: Record) -> None:
        self._pending.append(record)
        self._pending_bytes += bytes_of(record)
        self._hold(apply(self.state, record))

    def _close_if_full(self) -> None:
        """Asked between two events only: the records of one are in one segment, all or none of them durable."""
        if self._pending_bytes >= SEGMENT_BYTES:
            self._close()

    def _close(self) -> None:
        self._mark = self._mark._replace(segment=self._open)
        commit(self.state, self._mark)
        self._cuts.append(Cut(self._open, tuple(self._pending)))
        self._pending.clear()
        self._pending_bytes = 0
        self._open += 1
        self.state.segment = self._open

    def _hold(self, effects: list[Held]) -> None:
        for segment, effect in effects:
            if segment <= self._durable:
                self._ready.append(effect)
            else:
                self._held.setdefault(segment, []).append(effect)
