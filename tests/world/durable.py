"""The durable half of a state, to compare two of them, and what a machine's disk keeps of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

from taskservice.core.check import check
from taskservice.core.limits import Limits
from taskservice.core.restore import restore
from taskservice.core.shard import Shard
from taskservice.core.state import State
from taskservice.core.table import TaskTable
from taskservice.core.ticks import next_tick_ms
from taskservice.core.types import ListFilter, Task, TaskNo, TenantId
from taskservice.journal.codec import decode
from taskservice.journal.marks import mark_at
from taskservice.journal.memory import MemoryJournal
from taskservice.journal.store.file import Stored
from taskservice.journal.store.memory import MemoryTable
from taskservice.journal.store.sqlite import SqliteTable

SNAPSHOT_RATIO = 0.05
"""Of a simulated table's commits, those of which the disk keeps a copy."""


def durable(state: State) -> dict[str, object]:
    """What the state knows that is durable; where an order is, as a list."""
    return {
        "numbers": (state.epoch, state.next_no, state.next_lease, state.catalog_version),
        "tenants": list(state.tenants.items()),
        "keys": list(state.keys.items()),
        "functions": list(state.functions.items()),
        "leases": [(token, lease, list(lease.open)) for token, lease in state.leases.items()],
        "unfinished": _positive(state.unfinished),
        "running": state.running.tenants,
        "queues": {leaf: (queue.count, queue.payload_bytes) for leaf, queue in state.queues.items() if queue.count},
        "operations": {owner: list(group.values()) for owner, group in state.operations.by_owner.items()},
        "under way": dict(state.operations.under_way),
        "schedules": {each.schedule.key: each for each in state.schedules.of(None)},
        "triggers": state.triggers,
        "turns": dict(state.schedules.turns),
        "watched": dict(state.schedules.watched),
        "next tick": next_tick_ms(state),
        "deadlines": state.deadlines.by_owner,
        "troubled": dict(state.outbox.troubled),
        "secrets": dict(state.outbox.secrets),
        "owed": dict(state.outbox.first_ms),
        "deliveries": [state.table.deliveries.get([key]) for key in state.table.deliveries.old(2**62, 1_000_000)],
        "versions": [(app, list(versions.items())) for app, versions in state.apps.versions.items() if versions],
        "rollouts": state.apps.rollouts,
        "specs of versions": state.apps.specs,
        "history": state.table.past.listing(ListFilter(), None, 1_000_000),
        "files": state.table.past.files(),
        "unfinished files": state.table.past.unfinished(),
    }


def all_tasks(state: State) -> list[Task]:
    return state.table.listing(ListFilter(), None, 1_000_000)


def all_checkpoints(state: State) -> dict[TaskNo, bytes]:
    return state.table.checkpoints.of([task.no for task in all_tasks(state)])


def check_same(one: State, other: State) -> None:
    """What is durable of two states of one shard is the same."""
    assert durable(one) == durable(other)
    assert all_tasks(one) == all_tasks(other)
    assert all_checkpoints(one) == all_checkpoints(other)


def _positive(counts: dict[TenantId, int]) -> dict[TenantId, int]:
    return {tenant: count for tenant, count in counts.items() if count}


def check_restored(state: State) -> None:
    """What the table holds is enough to go on from. For the moment after a commit."""
    restored = restore(state.table, state.limits)
    check(restored)
    assert durable(restored) == durable(state)


def folded(journal: MemoryJournal, limits: Limits, table: TaskTable | None = None) -> Shard:
    """A shard that has read the journal: from its beginning, or from where a table stands."""
    table = MemoryTable() if table is None else table
    after = (0, 0) if table.mark is None else (table.mark.epoch, table.mark.segment)
    shard = Shard(restore(table, limits))
    tail = (each for each in journal.replay() if (each.epoch, each.number) > after)
    shard.recover((mark_at(None, each.epoch, each.number), decode(each.body)) for each in tail)
    return shard


def check_recovered(restored: Shard, shard: Shard) -> None:
    """Recovered in another way, it is the same shard."""
    check(restored.state)
    check_same(restored.state, shard.state)
    assert restored.state.recovered_no == shard.state.recovered_no


class Disk:
    """What outlives a simulated process besides the journal: copies of its table, as some commits left it."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._copies: list[MemoryTable] = []

    def committed(self, table: TaskTable) -> None:
        """The table may be copied."""
        assert isinstance(table, MemoryTable)
        if self._rng.random() < SNAPSHOT_RATIO:
            self._copies = [*self._copies[-3:], table.copy()]

    def crashed(self, table: TaskTable) -> None:
        """The process whose table it is has ended."""

    def recovered(self, journal: MemoryJournal, limits: Limits) -> Shard:
        """A shard that has read the journal, all of it or what the newest copy does not have yet: it is the same."""
        shard = folded(journal, limits)
        newest = self._newest(journal)
        if newest is None:
            return shard
        restored = folded(journal, limits, newest.copy())
        check_recovered(restored, shard)
        return restored if self._rng.random() < 0.5 else shard

    def _newest(self, journal: MemoryJournal) -> MemoryTable | None:
        """The newest copy that is not ahead of the journal."""
        places = {(each.epoch, each.number) for each in journal.replay()}
        fitting = [copy for copy in self._copies if copy.mark and (copy.mark.epoch, copy.mark.segment) in places]
        return max(fitting, key=lambda copy: copy.mark or (), default=None)


class FileDisk(Disk):
    """A disk with the real table in a file, which is gone on from wherever that can be done."""

    def __init__(self, path: Path, rng: Random) -> None:
        super().__init__(rng)
        self._path = path
        self._taken: dict[Path, SqliteTable] = {}
        """Files of processes that live, or are not known to have ended."""
        self.taken_up: list[int] = []
        """Of each start that went on from the file: how many commits were taken back."""

    def committed(self, table: TaskTable) -> None:
        """It is in the file."""

    def crashed(self, table: TaskTable) -> None:
        assert isinstance(table, SqliteTable)
        table.close()
        self._taken = {path: other for path, other in self._taken.items() if other is not table}

    def recovered(self, journal: MemoryJournal, limits: Limits) -> Shard:
        sealed = Counter(each.epoch for each in journal.replay())
        cuts: list[int] = []

        def keep(stored: Stored) -> int:
            cuts.append(max(0, stored.mark.segment + 1 - sealed[stored.mark.epoch]))
            return cuts[-1]

        # Of one that lives on, though it was believed to be dead, the successor does not take the file: see `place`.
        path = self._path if self._path not in self._taken else self._path.with_suffix(f".{journal.epoch}.sqlite")
        table = self._taken[path] = SqliteTable.open(path, keep)
        if table.mark is not None:
            self.taken_up.append(cuts[0])
        restored = folded(journal, limits, table)
        check_recovered(restored, folded(journal, limits))
        if self._rng.random() < 0.5:
            table.fold()
        return restored
