"""Whatever is asked of them, legal or not, both working tables answer alike and show the same afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from helpers.tables import BOOM, EVERYTHING, seen, task
from taskservice.core.records import DeadRow, RetryRow
from taskservice.core.table import IllegalMove, QueueKey, TaskTable
from taskservice.core.types import Leaf, ListFilter, Priority, Task, TaskState, Token
from taskservice.journal.store.memory import MemoryTable
from taskservice.journal.store.sqlite import SqliteTable

TENANTS = ("acme", "umbrella")
FUNCTIONS = ("mail.send", "mail.read")
PRIORITIES = (Priority.HIGH, Priority.LOW)
TAGS = (("a", "1"), ("a", "2"), ("b", "1"))

nos = st.integers(0, 30)
times = st.integers(0, 9)
tokens = st.builds(Token, st.just(1), st.integers(0, 1))
new_tasks = st.lists(
    st.builds(
        task,
        nos,
        id=st.sampled_from([f"task-{no}" for no in range(16)]),
        tenant=st.sampled_from(TENANTS),
        function=st.sampled_from(FUNCTIONS),
        priority=st.sampled_from(PRIORITIES),
        state=st.sampled_from([TaskState.QUEUED, TaskState.SCHEDULED]),
        due_ms=times,
        created_ms=times,
        payload=st.binary(max_size=3),
        tags=st.lists(st.sampled_from(TAGS), max_size=2, unique=True).map(tuple),
    ),
    min_size=1,
    max_size=6,
)
filters = st.builds(
    ListFilter,
    tenant=st.none() | st.sampled_from(TENANTS),
    states=st.lists(st.sampled_from(TaskState), max_size=3, unique=True).map(tuple),
    function=st.none() | st.sampled_from(FUNCTIONS),
    priority=st.none() | st.sampled_from(PRIORITIES),
    tag=st.none() | st.sampled_from(TAGS),
    created_after_ms=st.none() | times,
    created_before_ms=st.none() | times,
)


class Twins(RuleBasedStateMachine):
    """The same calls to both tables. Tasks are picked from those that may make the move, and sometimes from all."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = MemoryTable()
        self.sqlite = SqliteTable(":memory:")
        self.next_no = 16

    def teardown(self) -> None:
        self.sqlite.close()

    def both(self, call: Callable[[TaskTable], None]) -> None:
        assert refusal(self.plain, call) == refusal(self.sqlite, call)

    def picked(self, data: st.DataObject, *states: TaskState, token: Token | None = None) -> list[int]:
        fitting = [
            one.no
            for one in self.plain.listing(ListFilter(states=states), None, EVERYTHING)
            if one.token == token or token is None
        ]
        legal = st.lists(st.sampled_from(fitting), max_size=4, unique=True) if fitting else st.just([])
        return data.draw(legal | legal | legal | st.lists(nos, max_size=2))

    @rule(tasks=new_tasks)
    def insert_anything(self, tasks: list[Task]) -> None:
        self.both(lambda table: table.insert(tasks))

    @rule(tasks=new_tasks)
    def insert(self, tasks: list[Task]) -> None:
        numbers = range(self.next_no, self.next_no + len(tasks))
        self.next_no += len(tasks)
        fresh = [replace(one, no=no, id=f"task-{no}") for no, one in zip(numbers, tasks, strict=True)]
        self.both(lambda table: table.insert(fresh))

    @rule(data=st.data())
    def make_due(self, data: st.DataObject) -> None:
        chosen = self.picked(data, TaskState.SCHEDULED, TaskState.RETRYING)
        self.both(lambda table: table.make_due(chosen))

    @rule(data=st.data(), token=tokens, at_ms=times)
    def lease(self, data: st.DataObject, token: Token, at_ms: int) -> None:
        chosen = self.picked(data, TaskState.QUEUED)
        self.both(lambda table: table.lease(chosen, token, at_ms))

    @rule(data=st.data(), at_ms=times)
    def cancel(self, data: st.DataObject, at_ms: int) -> None:
        chosen = self.picked(data, TaskState.SCHEDULED, TaskState.QUEUED, TaskState.RETRYING)
        self.both(lambda table: table.cancel(chosen, at_ms))

    @rule(data=st.data(), token=tokens)
    def hand_back(self, data: st.DataObject, token: Token) -> None:
        chosen = self.picked(data, TaskState.RUNNING, token=token)
        self.both(lambda table: table.hand_back(chosen, token))

    @rule(data=st.data(), token=tokens, at_ms=times)
    def succeed(self, data: st.DataObject, token: Token, at_ms: int) -> None:
        rows = [(no, b"" if no % 2 else b"1", at_ms, no) for no in self.picked(data, TaskState.RUNNING, token=token)]
        self.both(lambda table: table.succeed(rows, token, at_ms))

    @rule(data=st.data(), token=tokens, due_ms=times)
    def retry(self, data: st.DataObject, token: Token, due_ms: int) -> None:
        rows = [RetryRow(no, due_ms, BOOM, no, 1, 2, 3) for no in self.picked(data, TaskState.RUNNING, token=token)]
        self.both(lambda table: table.retry(rows, token))

    @rule(data=st.data(), token=tokens, at_ms=times)
    def fail(self, data: st.DataObject, token: Token, at_ms: int) -> None:
        rows = [DeadRow(no, BOOM, 1, 2, 3) for no in self.picked(data, TaskState.RUNNING, token=token)]
        self.both(lambda table: table.fail(rows, token, at_ms))

    @rule(wanted=filters, before_no=st.none() | nos, limit=st.integers(0, 5))
    def listing(self, wanted: ListFilter, before_no: int | None, limit: int) -> None:
        assert self.plain.listing(wanted, before_no, limit) == self.sqlite.listing(wanted, before_no, limit)

    @rule(now_ms=times, after=st.none() | st.builds(QueueKey, times, nos), limit=st.integers(0, 3))
    def queues(self, now_ms: int, after: QueueKey | None, limit: int) -> None:
        assert self.plain.due_by(now_ms, limit) == self.sqlite.due_by(now_ms, limit)
        for leaf in [Leaf(t, f, p) for t in TENANTS for f in FUNCTIONS for p in PRIORITIES]:
            assert self.plain.next_queued(leaf, after, limit) == self.sqlite.next_queued(leaf, after, limit)

    @rule()
    def commit(self) -> None:
        self.both(lambda table: table.commit(1, 0))

    @invariant()
    def both_show_the_same(self) -> None:
        assert seen(self.plain) == seen(self.sqlite)
        for tenant in TENANTS:
            assert nonzero(self.plain, tenant) == nonzero(self.sqlite, tenant)

    @invariant()
    def counts_are_what_a_census_finds(self) -> None:
        census = Counter((one.leaf, one.state) for one in self.plain.listing(ListFilter(), None, EVERYTHING))
        assert nonzero(self.plain) == census


def refusal(table: TaskTable, call: Callable[[TaskTable], None]) -> str | None:
    """What the table says against the call; None if it is done."""
    try:
        call(table)
    except IllegalMove as refused:
        return str(refused)
    return None


def nonzero(table: TaskTable, tenant: str | None = None) -> dict[tuple[Leaf, TaskState], int]:
    return {place: count for place, count in table.counts(tenant).items() if count}


TestTwins = Twins.TestCase
TestTwins.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True, database=None, print_blob=False
)
