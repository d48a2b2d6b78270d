"""Records for people and their tools: as JSON, or as the story of one task; those of one tenant or task alone if wanted."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from taskservice.core import records as r
from taskservice.core.callback_records import (
    DeliveriesForgotten,
    DeliveriesTried,
    DeliveryRenewed,
    EndpointSet,
    SecretSet,
)
from taskservice.core.checkpoints import CheckpointsSaved
from taskservice.core.deliveries import Endpoint, SigningSecret
from taskservice.core.filters import touches
from taskservice.core.orders import Order, OrdersGiven, TasksPreempted, TasksStopped
from taskservice.core.schedule_records import ScheduleFired, ScheduleRemoved, ScheduleSet
from taskservice.core.story import story
from taskservice.core.trigger_records import TriggerRemoved, TriggerSet
from taskservice.core.types import Leaf, Task, TaskId, TaskNo, TenantId, Token
from taskservice.journal.folding import Folding, decode_at
from taskservice.journal.reader import Kept, Reader, standing

R = TypeVar("R", bound=r.Record)

LEASES_MAX = 100_000
"""Leases that may still be running, of those that were shown."""

SECRETS = ("secret_sha256", "whsec", "previous_whsec")
"""Fields that are not shown: who has a key's digest can try keys against it, and who has a signing secret can sign."""


class Entry(NamedTuple):
    """One record, and where it is."""

    epoch: int
    segment: int
    at: int
    """Its index in the segment."""
    record: r.Record


class Wanted:
    """What is to be shown: records of one tenant, of one task, or all. Follows the log from its beginning.

    It knows tasks by their acceptance. What the segments say of tasks that were accepted before them is not shown if
    a tenant or task is wanted; `strangers` counts it.
    """

    def __init__(
        self, tenant: TenantId | None = None, task: TaskId | None = None, earlier: Iterable[Task] = ()
    ) -> None:
        """`earlier`: tasks that are wanted and were accepted earlier."""
        self.strangers = 0
        self.tenant = tenant
        self.task = task
        self.leaves = {each.no: each.leaf for each in earlier}
        """Of the one task that is wanted; several if tenants have one of that id each."""
        self._operations: set[str] = set()
        """Bulk operations whose beginning was shown."""
        self._passed: set[tuple[str, TaskNo]] = set()
        """Bulk operations that have come past a task that is wanted."""
        self._leases: dict[Token, None] = {}
        """The last leases that were shown: orders name no tasks."""
        self._numbers = _Numbers()
        self._others = _Numbers()

    @property
    def all(self) -> bool:
        return self.tenant is None and self.task is None

    def part_of(self, record: r.Record) -> r.Record | None:
        """The record as far as it is wanted; None if nothing of it is."""
        if self.all:
            return record
        match record:
            case r.TasksAccepted():
                return _with_rows(record, "tasks", [task for task in record.tasks if self._accepts(task)])
            case r.LeaseGranted():
                shown = _with_rows(record, "nos", list(filter(self._has, record.nos)))
                if shown is not None:
                    self._leased(record.token)
                return shown
            case TasksPreempted() | TasksStopped():
                return _with_rows(record, "nos", list(filter(self._has, record.nos)))
            case OrdersGiven():
                return _with_rows(record, "orders", list(filter(self._means, record.orders)))
            case r.TasksDue() | r.TasksHandedBack() | r.TasksCancelled() | r.OperationCaught() | r.HistoryForgotten():
                return _with_rows(record, "nos", list(filter(self._has, record.nos)))
            case r.TasksChanged() | r.TasksExpired():
                return _with_rows(record, "nos", list(filter(self._has, record.nos)))
            case r.TasksSucceeded() | r.TasksArchived() | CheckpointsSaved():
                return _with_rows(record, "rows", [row for row in record.rows if self._has(row[0])])
            case r.TasksRetrying() | r.TasksFailed():
                return _with_rows(record, "rows", [row for row in record.rows if self._has(row.no)])
            case r.TenantSet(tenant=tenant):
                return record if self.task is None and tenant.id == self.tenant else None
            case r.KeySet(key=key):
                return record if self.task is None and key.tenant == self.tenant else None
            case r.OperationBegun():
                return record if self._may_change(record) else None
            case r.OperationStep():
                return record if self._comes_past(record) else None
            case ScheduleSet(schedule=schedule):
                return record if self.task is None and schedule.tenant == self.tenant else None
            case TriggerSet(trigger=trigger):
                return record if self.task is None and trigger.tenant == self.tenant else None
            case ScheduleRemoved(tenant=tenant) | ScheduleFired(tenant=tenant) | TriggerRemoved(tenant=tenant):
                return record if self.task is None and tenant == self.tenant else None
            case DeliveriesTried():
                return _with_rows(record, "rows", [row for row in record.rows if self._has(row.no)])
            case DeliveriesForgotten():
                return _with_rows(record, "keys", [key for key in record.keys if self._has(key.no)])
            case DeliveryRenewed(no=no):
                return record if self._has(no) else None
            case EndpointSet(endpoint=Endpoint(tenant=tenant)) | SecretSet(secret=SigningSecret(tenant=tenant)):
                return record if self.task is None and tenant == self.tenant else None
            case _:
                return None

    def _accepts(self, task: Task) -> bool:
        wanted = self.tenant in {None, task.tenant} and self.task in {None, task.id}
        (self._numbers if wanted else self._others).add(task.no)
        if wanted and self.task is not None:
            self.leaves[task.no] = task.leaf
        return wanted

    def _leased(self, token: Token) -> None:
        self._leases[token] = None
        if len(self._leases) > LEASES_MAX:
            del self._leases[next(iter(self._leases))]

    def _means(self, order: Order) -> bool:
        return order.token in self._leases and (not order.nos or any(map(self._has, order.nos)))

    def _may_change(self, record: r.OperationBegun) -> bool:
        """Whether a bulk operation means tasks of the tenant, or may mean the task."""
        wanted = (
            record.filter.tenant in {None, self.tenant}
            if self.task is None
            else any(no <= record.upto_no and touches(leaf, record.filter) for no, leaf in self.leaves.items())
        )
        if wanted:
            self._operations.add(record.id)
        return wanted

    def _comes_past(self, record: r.OperationStep) -> bool:
        """Whether it is a step among the tenant's tasks, or the one with which a bulk operation came past the task."""
        if self.task is None:
            return record.id in self._operations if record.leaf is None else record.leaf.tenant == self.tenant
        past = {(record.id, no) for no, leaf in self.leaves.items() if leaf == record.leaf and no <= record.to_no}
        news = past - self._passed
        self._passed |= news
        return bool(news)

    def _has(self, no: TaskNo) -> bool:
        if no in self._numbers or no in self.leaves:
            return True
        self.strangers += no not in self._others
        return False


class _Numbers:
    """A set of task numbers, a bit each: a log may speak of tens of millions."""

    def __init__(self) -> None:
        self._first = -1
        self._bits = bytearray()

    def add(self, no: int) -> None:
        if self._first < 0:
            self._first = no
        at = no - self._first
        if at < 0:
            return  # numbers only rise
        if at // 8 >= len(self._bits):
            self._bits.extend(bytes(at // 8 + 1 - len(self._bits)))
        self._bits[at // 8] |= 1 << at % 8

    def __contains__(self, no: int) -> bool:
        at = no - self._first
        return 0 <= at < 8 * len(self._bits) and bool(self._bits[at // 8] >> at % 8 & 1)


def _with_rows(record: R, field: str, rows: list[Any]) -> R | None:
    return replace(record, **{field: tuple(rows)}) if rows else None


def entries(
    segments: Iterable[Kept], wanted: Wanted, first: tuple[int, int], last: tuple[int, int] | None
) -> Iterator[Entry]:
    """The records that are wanted, of the segments from `first` to `last`. What the earlier ones say is noted all the same,
    for they tell whose a task is. Raises JournalCorrupt."""
    for kept in segments:
        if last is not None and kept.place > last:
            return
        for at, record in enumerate(decode_at(kept)):
            part = wanted.part_of(record)
            if part is not None and kept.place >= first:
                yield Entry(kept.epoch, kept.number, at, part)


def accepted_before(reader: Reader, id: TaskId, tenant: TenantId | None) -> list[Task]:
    """The tasks of that id which are in the older checkpoint: those that the segments do not show the acceptance of."""
    refs = standing(reader)
    if not refs or reader.start.epoch == 0:
        return []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="taskservice-dump-")))
        state = stack.enter_context(closing(Folding(reader, refs[-1], folder / "table.sqlite"))).state
        tenants = state.tenants if tenant is None else [tenant]
        return [task for each in tenants for task in state.table.find(each, [id]).values()]


def as_line(entry: Entry, payload_bytes_max: int) -> str:
    """The record as a line of JSON. Bytes are shown as text, cut at so many of them."""
    named = {"epoch": entry.epoch, "segment": entry.segment, "record": entry.at, "kind": kind_of(entry.record)}
    fields = _plain(entry.record, _shortener(payload_bytes_max))
    return msgspec.json.encode(named | fields).decode()


def kind_of(record: r.Record) -> str:
    """What the record says, in a word: its tag."""
    return str(record.__struct_config__.tag)


def story_lines(entry: Entry, leaves: Mapping[TaskNo, Leaf]) -> list[str]:
    """What the record says of these tasks, for people."""
    return [line for no, leaf in sorted(leaves.items()) for line in story([entry.record], no, leaf)]


def _shortener(most: int) -> Callable[[bytes], str]:
    def shorten(data: bytes) -> str:
        text = data[:most].decode("utf-8", "replace")
        return text if len(data) <= most else f"{text}... ({len(data)} bytes)"

    return shorten


def _plain(value: Any, text_of: Callable[[bytes], str]) -> Any:
    """The value in JSON's types: structs become objects with their fields' names, without SECRETS."""
    if isinstance(value, msgspec.Struct):
        fields = ((name, getattr(value, name)) for name in value.__struct_fields__ if name not in SECRETS)
        return {name: _plain(field, text_of) for name, field in fields}
    if isinstance(value, bytes):
        return text_of(value)
    if isinstance(value, Token):
        return f"{value.epoch}.{value.seq}"
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(field, text_of) for name, field in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [_plain(each, text_of) for each in value]
    return value
