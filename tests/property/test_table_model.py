"""Whatever is asked of them, legal or not, both working tables answer alike and show the same afterwards.

Driven from seeds rather than by hypothesis, which rarely takes tasks far into their lives and needs minutes to make a
failure small. pytest shows the calls that led to a failure as captured output; the seed is in the test's name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from random import Random

import pytest
from msgspec.structs import replace

from helpers.large import key, reference
from helpers.tables import BOOM, EVERYTHING, RUNNER, history_file, mark, seen, task
from taskservice.core.changes import Change
from taskservice.core.history import DEAD, DONE
from taskservice.core.operations import SOURCES, OperationKind
from taskservice.core.past import EndedKey
from taskservice.core.records import DeadRow, RetryRow
from taskservice.core.stretches import Stretch
from taskservice.core.table import IllegalMove, TaskTable
from taskservice.core.types import (
    PRESSED_LANES,
    TERMINAL_STATES,
    Hooks,
    Lane,
    Leaf,
    ListFilter,
    Priority,
    Task,
    TaskState,
    Token,
)
from taskservice.journal.store.memory import MemoryTable
from taskservice.journal.store.sqlite import SqliteTable

STEPS = 800
TASKS_MAX = 40
TIMES_MS = 8
TENANTS = ("acme", "umbrella")
FUNCTIONS = ("mail.send", "mail.read")
PRIORITIES = (Priority.HIGH, Priority.LOW)
LEAVES = [
    Leaf(tenant, function, priority, key, lane)
    for tenant in TENANTS
    for function in FUNCTIONS
    for priority in PRIORITIES
    for key, lane in (("", Lane.MAIN), ("k1", Lane.MAIN), ("", Lane.OFF_PEAK))
]
HOOKS = Hooks("https://a.example/told", "mail.read")
TAGS = (("a", "1"), ("a", "2"), ("b", "1"))
TOKENS = (Token(1, 1), Token(1, 2), Token(2, 1))

Move = Callable[[TaskTable, list[int], Token, int], None]

MOVES: dict[str, tuple[tuple[TaskState, ...], Move]] = {
    "make_due": ((TaskState.SCHEDULED, TaskState.RETRYING), lambda table, nos, _, __: table.make_due(nos)),
    "lease": ((TaskState.QUEUED,), lambda table, nos, token, at_ms: table.lease(nos, token, RUNNER, at_ms)),
    "succeed": (
        (TaskState.RUNNING,),
        lambda table, nos, token, at_ms: table.succeed(
            [(no, reference(100 + no) if no % 3 else b"1" * (no % 2), at_ms, no) for no in nos], token, 9
        ),
    ),
    "retry": (
        (TaskState.RUNNING,),
        lambda table, nos, token, at_ms: table.retry(
            [RetryRow(no, at_ms, BOOM, no, 1, 2, 3, tuple(Lane)[at_ms % 4], at_ms % 3) for no in nos], token
        ),
    ),
    "fail": (
        (TaskState.RUNNING,),
        lambda table, nos, token, at_ms: table.fail([DeadRow(no, BOOM, 1, 2, 3) for no in nos], token, at_ms),
    ),
    "hand_back": ((TaskState.RUNNING,), lambda table, nos, token, _: table.hand_back(nos, token)),
    "preempt": ((TaskState.RUNNING,), lambda table, nos, token, _: table.preempt(nos, token)),
    "stop": ((TaskState.RUNNING,), lambda table, nos, token, at_ms: table.cancel(nos, token, at_ms)),
    "save": (
        (TaskState.RUNNING,),
        lambda table, nos, token, at_ms: table.checkpoints.save(
            [(no, reference((no + at_ms) % 100) if no % 3 else b"%d" % at_ms) for no in nos], token
        ),
    ),
    "expire": (
        (TaskState.SCHEDULED, TaskState.QUEUED, TaskState.PAUSED),
        lambda table, nos, _, at_ms: table.expire(nos, at_ms),
    ),
}
"""The states that each move starts from, and the call."""

KINDS = tuple(OperationKind)

HISTORY = ("archive", "archive", "forget", "drop")

OFTEN = (
    *HISTORY,
    *["insert"] * 4,
    *["lease"] * 2,
    "make_due",
    *MOVES,
    *MOVES,
    *KINDS,
    *[OperationKind.PAUSE] * 2,
    *["change_between"] * 5,
    *["forget_between"] * 2,
    "commit",
    "drop_references",
    "drop_checkpoints",
    "put_off",
    *["press"] * 2,
)
KEYS = [key(no) for no in range(200)]


class Twins:
    """The same random calls to both tables."""

    def __init__(self, rng: Random, sqlite: SqliteTable) -> None:
        self.rng = rng
        self.plain = MemoryTable()
        self.sqlite = sqlite
        self.next_no = 0
        self.happened: Counter[tuple[str, bool]] = Counter()
        """Calls by name, and whether they were made (or refused)."""

    def call_something(self) -> None:
        """One change, made by both tables or refused by both in the same words."""
        name, token, at_ms = self.rng.choice(OFTEN), self.rng.choice(TOKENS), self.rng.randrange(TIMES_MS)
        if name == "insert":
            tasks = self.new_tasks()
            self.both(name, lambda table: table.insert(tasks), tasks)
        elif name in ("press", "put_off"):
            self.press(name, token)
        elif name == "drop_references":
            keys = self.rng.sample(KEYS, 3)
            self.both(name, lambda table: table.drop_references(keys), keys)
        elif name == "drop_checkpoints":
            nos = self.picked(tuple(TaskState), token)
            self.both(name, lambda table: table.checkpoints.drop(nos), nos)
        elif name in HISTORY:
            self.change_history(name)
        elif name == "change_between":
            self.change_between(at_ms)
        elif name == "forget_between":
            self.forget_between()
        elif name in KINDS:
            change = self.change(at_ms)._replace(kind=OperationKind(name))
            nos = self.picked(SOURCES[change.kind], token)
            self.both(name, lambda table: table.change(change, nos), nos, change)
        elif name == "commit":
            self.both(name, lambda table: table.commit(mark(1, at_ms)))
        else:
            states, move = MOVES[name]
            nos = self.picked(states, token)
            self.both(name, lambda table: move(table, nos, token, at_ms), nos, token, at_ms)

    def press(self, name: str, token: Token) -> None:
        """Tasks leave the off-peak lanes, or may stay longer; sometimes others."""
        nos = self.picked((TaskState.QUEUED,), token)
        if self.rng.random() < 0.7:
            queued = self.plain.listing(ListFilter(states=(TaskState.QUEUED,)), None, EVERYTHING)
            nos = [one.no for one in queued if one.lane in PRESSED_LANES][: self.rng.randrange(4)]
        rows = [(no, self.rng.randrange(TIMES_MS)) for no in nos]
        if name == "press":
            self.both(name, lambda table: table.press(nos), nos)
        else:
            self.both(name, lambda table: table.put_off(rows), rows)

    def change_history(self, name: str) -> None:
        """Tasks leave, are forgotten, or files are dropped; sometimes those that must not."""
        rng = self.rng
        if name == "archive":
            nos = self.picked(TERMINAL_STATES, TOKENS[0])
            at = rng.randrange(6)
            file, last = history_file(f"history/{at}", day=at, last_ended_ms=10 * at), rng.random() < 0.3
            rows = [(no, row) for row, no in enumerate(nos)]
            self.both(name, lambda table: table.past.archive(file, rows, last=last), file.key, rows, last)
        elif name == "forget":
            nos = self.plain.past.forgettable(rng.randrange(60), rng.randrange(1, 4))
            if rng.random() < 0.6:
                nos = [*nos, rng.randrange(self.next_no + 1)]
            self.both(name, lambda table: table.past.forget(nos), nos)
        else:
            keys = [file.key for file in self.plain.past.droppable(rng.randrange(7), 2)]
            if rng.random() < 0.3:
                keys = [*keys, f"history/{rng.randrange(6)}"]
            self.both(name, lambda table: table.past.drop(keys), keys)

    def change(self, at_ms: int) -> Change:
        return Change(self.rng.choice(KINDS), at_ms, self.rng.choice((None, self.rng.randrange(TIMES_MS))))

    def change_between(self, at_ms: int) -> None:
        """A range of a leaf's tasks: what is said of it beforehand is what comes of it."""
        change = self.change(at_ms)
        sources = SOURCES[change.kind]
        meant = self.plain.listing(ListFilter(states=sources), None, EVERYTHING)
        leaf, first, last = self.stretch([(one.leaf, one.no) for one in meant])
        wish = self.wish() if self.rng.random() < 0.3 else ListFilter()
        wanted = replace(wish, states=sources[: self.rng.randrange(1, len(sources) + 1)])
        limit, ended_by_ms = self.rng.randrange(1, 6), self.rng.choice((self.rng.randrange(TIMES_MS), EVERYTHING))
        reach = self.plain.reach(leaf, wanted.states, first, last, limit)
        assert reach == self.sqlite.reach(leaf, wanted.states, first, last, limit)
        assert self.plain.queued_since(leaf, first, limit) == self.sqlite.queued_since(leaf, first, limit)
        told = (Stretch(leaf, first, reach.to_no), wanted, ended_by_ms)
        print("change_between", change, *told)
        count = self.plain.count_between(*told)
        assert count == self.sqlite.count_between(*told)
        changed = self.plain.change_between(change, *told)
        assert changed == self.sqlite.change_between(change, *told)
        assert len(changed.ids) == count <= max(limit, len(wanted.states))
        self.happened[f"{change.kind} between", count > 0] += 1

    def forget_between(self) -> None:
        """The same in history."""
        known = self.plain.past.listing(ListFilter(), None, EVERYTHING)
        leaf, first, last = self.stretch([(Leaf(one.tenant, one.function, one.priority), one.no) for one in known])
        limit = self.rng.randrange(1, 6)
        wish = self.wish() if self.rng.random() < 0.5 else ListFilter()
        wanted = replace(wish, states=tuple(self.rng.sample(TERMINAL_STATES, self.rng.randrange(1, 5))))
        reach = self.plain.past.reach(leaf, wanted.states, first, last, limit)
        assert reach == self.sqlite.past.reach(leaf, wanted.states, first, last, limit)
        told = (Stretch(leaf, first, reach.to_no), wanted)
        print("forget_between", *told)
        count = self.plain.past.count_between(*told)
        assert count == self.sqlite.past.count_between(*told)
        assert count == self.plain.past.forget_between(*told) == self.sqlite.past.forget_between(*told)
        self.happened["forget_between", count > 0] += 1

    def stretch(self, places: list[tuple[Leaf, int]]) -> tuple[Leaf, int, int]:
        """Somewhere; mostly where one of these is."""
        leaf, no = self.rng.choice([*places, (self.rng.choice(LEAVES), self.rng.randrange(self.next_no + 1))])
        return leaf, self.rng.randrange(max(-1, no - 9), no), self.rng.randrange(no, self.next_no + 1)

    def both(self, name: str, call: Callable[[TaskTable], object], *told: object) -> None:
        given, refused = outcome(self.plain, call)
        print(name, *told, refused or "")
        assert (given, refused) == outcome(self.sqlite, call)
        self.happened[name, refused is None] += 1

    def new_tasks(self) -> list[Task]:
        """Tasks with new numbers, and ids that are mostly new; sometimes two more, whose number or id may be taken."""
        here = [one.no for one in self.plain.listing(ListFilter(), None, EVERYTHING)]
        tasks = []
        for _ in range(min(self.rng.randrange(5), TASKS_MAX - len(here))):
            self.next_no += 1
            again = self.rng.random() < 0.1
            tasks.append(
                self.new_task(self.next_no, f"task-{self.rng.randrange(self.next_no) if again else self.next_no}")
            )
        if self.rng.random() < 0.2:
            tasks.append(self.new_task(self.rng.choice(here or [self.next_no + 1]), "other"))
            self.next_no += 2
            tasks.append(self.new_task(self.next_no, f"task-{self.rng.randrange(self.next_no)}"))
        return tasks

    def new_task(self, no: int, id: str) -> Task:
        rng = self.rng
        leaf = rng.choice(LEAVES)
        return task(
            no,
            id=id,
            **leaf._asdict(),
            state=rng.choice((TaskState.QUEUED, TaskState.SCHEDULED)),
            due_ms=rng.randrange(TIMES_MS),
            expires_ms=rng.choice((None, rng.randrange(TIMES_MS))),
            deadline_ms=rng.randrange(TIMES_MS),
            press_ms=rng.choice((None, rng.randrange(TIMES_MS))) if leaf.lane else None,
            created_ms=rng.randrange(TIMES_MS),
            payload=rng.choice((reference(no), b"{" + rng.randbytes(rng.randrange(3)))),
            tags=tuple(rng.sample(TAGS, rng.randrange(3))),
            hooks=rng.choice((None, HOOKS)),
        )

    def picked(self, states: tuple[TaskState, ...], token: Token) -> list[int]:
        """Tasks that may make a move from these states; sometimes any tasks, there or not, even twice."""
        if self.rng.random() < 0.35:
            return self.rng.choices(range(self.next_no + 2), k=self.rng.randrange(1, 3))
        tasks = self.plain.listing(ListFilter(states=states), None, EVERYTHING)
        fitting = [one.no for one in tasks if one.token in (None, token)]
        return self.rng.sample(fitting, min(len(fitting), self.rng.randrange(1, 6)))

    def compare(self) -> None:
        """Both show the same, whole and in pieces, and their counts are what a census finds."""
        assert seen(self.plain) == seen(self.sqlite)
        assert self.plain.references(KEYS) == self.sqlite.references(KEYS)
        nos = [one.no for one in self.plain.listing(ListFilter(), None, EVERYTHING)]
        assert self.plain.hooked(nos) == self.sqlite.hooked(nos)
        census = Counter((one.leaf, one.state) for one in self.plain.listing(ListFilter(), None, EVERYTHING))
        assert nonzero(self.plain) == census
        tenant, limit, now_ms = self.rng.choice(TENANTS), self.rng.randrange(1, 4), self.rng.randrange(TIMES_MS)
        assert nonzero(self.plain, tenant) == nonzero(self.sqlite, tenant)
        assert self.plain.due_by(now_ms, limit) == self.sqlite.due_by(now_ms, limit)
        assert self.plain.expired_by(now_ms, limit) == self.sqlite.expired_by(now_ms, limit)
        assert self.plain.resumed_by(now_ms, limit) == self.sqlite.resumed_by(now_ms, limit)
        assert self.plain.pressed_by(now_ms, limit) == self.sqlite.pressed_by(now_ms, limit)
        leaf = self.rng.choice(LEAVES)
        for after in (None, *self.plain.next_queued(leaf, None, EVERYTHING)):
            assert self.plain.next_queued(leaf, after, limit) == self.sqlite.next_queued(leaf, after, limit)
        wanted = self.wish()
        for before_no in (None, *range(0, self.next_no, 5)):
            listed = self.plain.listing(wanted, before_no, limit)
            assert listed == self.sqlite.listing(wanted, before_no, limit), wanted
            after_no = self.rng.choice((None, self.rng.randrange(self.next_no + 1)))
            gone = self.plain.past.listing(wanted, before_no, limit, after_no)
            assert gone == self.sqlite.past.listing(wanted, before_no, limit, after_no), wanted
        states, after = self.rng.choice((DONE, DEAD)), EndedKey(self.rng.randrange(TIMES_MS), self.rng.randrange(9))
        wanted = self.wish()
        assert self.plain.count_running(wanted) == self.sqlite.count_running(wanted)
        held = [one.no for one in self.plain.listing(replace(wanted, tag=None), None, EVERYTHING)]
        self.rng.shuffle(held)
        assert self.plain.passing(held, wanted) == self.sqlite.passing(held, wanted)
        for wish in ((now_ms, None, limit, 99), (now_ms, after, 99, limit), (99, after, limit, 99)):
            assert self.plain.past.ended(states, *wish) == self.sqlite.past.ended(states, *wish)
        nos = range(self.next_no)
        assert self.plain.past.standing(nos) == self.sqlite.past.standing(nos)

    def wish(self) -> ListFilter:
        """A filter by one or two things."""
        rng = self.rng
        some = {
            "tenant": rng.choice(TENANTS),
            "states": tuple(rng.sample(list(TaskState), rng.randrange(1, 4))),
            "function": rng.choice(FUNCTIONS),
            "priority": rng.choice(PRIORITIES),
            "tag": rng.choice(TAGS),
            "created_after_ms": rng.randrange(TIMES_MS),
            "created_before_ms": rng.randrange(TIMES_MS),
        }
        return ListFilter(**{name: some[name] for name in rng.sample(list(some), rng.randrange(1, 3))})


def outcome(table: TaskTable, call: Callable[[TaskTable], object]) -> tuple[object, str | None]:
    """What the table gives, and what it says against the call; None if it is made."""
    try:
        return call(table), None
    except IllegalMove as refused:
        return None, str(refused)


def nonzero(table: TaskTable, tenant: str | None = None) -> dict[tuple[Leaf, TaskState], int]:
    return {place: count for place, count in table.counts(tenant).items() if count}


@pytest.mark.parametrize("seed", range(4))
def test_both_tables_live_through_the_same_story(seed: int) -> None:
    with closing(SqliteTable(":memory:")) as sqlite:
        sqlite._ids.generation = 8
        twins = Twins(Random(seed), sqlite)
        for _ in range(STEPS):
            twins.call_something()
            twins.compare()
    names = (
        "insert",
        "press",
        "put_off",
        "forget_between",
        *MOVES,
        *HISTORY,
        *KINDS,
        *(f"{kind} between" for kind in KINDS),
    )
    made_and_refused = {(name, made) for name in names for made in (True, False)}
    assert made_and_refused <= set(twins.happened), "the driver has become too tame"
