"""What is due by the clock, and the steps of bulk operations: however much there is of both, others have half of the time."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from shells.test_dispatcher import Bench, new, run
from taskservice.actors.bulk import BulkTurns
from taskservice.actors.pauses import PUT_OFF_S, Pauses
from taskservice.actors.ticks import Ticks
from taskservice.core.events import Event, OperationTurn, Ticked
from taskservice.core.limits import Limits
from taskservice.core.operations import OperationKind
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.types import TaskState
from world.machine import Machine, function

TICK_S, STEP_S, TURN_S = 1 / 128, 1 / 64, 1 / 1024
"""Exact in binary, so that nothing is rounded."""
TICK_MS = 8
"""Rounded up, as timers are."""
COST_S = {Ticked: TICK_S, OperationTurn: STEP_S}
DUE_MAX = 10


class Desk:
    """The part of a dispatcher's turn that is tested, on a clock that goes on only by what is done."""

    def __init__(self, **limits: int) -> None:
        self.machine = Machine(Limits(due_batch_max=DUE_MAX, operation_batch_max=DUE_MAX, **limits))
        self.machine.register(function(), function("app.g"))
        self.clock_s = 128.0
        self.took_s: Counter[str] = Counter()
        self.did: list[str] = []
        """The ticks and steps."""
        self.pauses = Pauses(lambda: self.clock_s)
        self.ticks = Ticks(self, self.pauses)  # type: ignore[arg-type]
        self.bulk = BulkTurns(self, self.pauses)  # type: ignore[arg-type]
        self.began_ms = self.machine.now_ms

    # What `Ticks` and `BulkTurns` see of a shard.

    @property
    def state(self) -> object:
        return self.machine.state

    @property
    def operating(self) -> bool:
        return self.machine.shard.operating

    def handle(self, event: Event, now_ms: int, rng: Random) -> None:
        self.machine.shard.handle(event, now_ms, rng)
        self.machine.commit()
        self._takes(type(event).__name__, COST_S[type(event)])
        self.did.append(type(event).__name__)

    def _takes(self, what: str, seconds: float) -> None:
        self.clock_s += seconds
        self.took_s[what] += seconds

    @property
    def now_ms(self) -> int:
        return self.began_ms + int((self.clock_s - 128.0) * 1000)

    def turn(self, *, may: bool = True) -> list[int]:
        """A turn of the dispatcher in which somebody submits one task; gives when it would have another by itself."""
        now_ms = self.now_ms
        self.machine.submit(f"single{self.took_s.total()}")
        self._takes("others", TURN_S)
        moments = [self.ticks.run_once(now_ms, Random(1), may=may), self.bulk.run_once(now_ms, Random(1))]
        return [moment for moment in moments if moment is not None]

    def count(self, state: TaskState) -> int:
        return sum(count for (_, each), count in self.machine.state.table.counts().items() if each is state)


@pytest.mark.parametrize(
    ("options", "after_ms", "becomes"),
    [
        ({"delay_ms": 1_000}, 1_000, TaskState.QUEUED),
        ({"ttl_ms": 1_000}, 1_000, TaskState.EXPIRED),
    ],
    ids=["due", "expired"],
)
def test_ticks_leave_others_half_of_the_time_while_much_is_due(
    options: dict[str, int], after_ms: int, becomes: TaskState
) -> None:
    """Until now they followed each other without a pause."""
    desk = Desk()
    desk.machine.submit(*(f"t{n}" for n in range(100)), function="app.g", **options)
    desk.clock_s += after_ms / 1000
    turns = 0
    while desk.did.count("Ticked") < 10:
        before = len(desk.did)
        desk.turn()
        turns += 1
        assert len(desk.did) - before <= 1, "somebody waited for more than one tick"
    assert turns == 1 + 9 * TICK_S / TURN_S
    assert desk.took_s["others"] >= 0.9 * desk.took_s["Ticked"]
    assert desk.count(becomes) >= 100


def test_tasks_resumed_at_the_same_moment_leave_others_half_of_the_time() -> None:
    desk = Desk()
    desk.machine.submit(*(f"t{n}" for n in range(50)))
    desk.machine.bulk(OperationKind.PAUSE, resume_ms=desk.machine.now_ms + 1_000)
    desk.machine.finish_bulk()
    assert desk.count(TaskState.PAUSED) == 50
    desk.clock_s += 1.0
    turns = 0
    while desk.count(TaskState.PAUSED):
        desk.turn()
        turns += 1
    assert (desk.did, turns) == (["Ticked"] * 5, 1 + 4 * TICK_S / TURN_S)


def test_the_dispatcher_is_woken_when_the_pause_is_over_or_the_next_is_due() -> None:
    desk = Desk()
    desk.machine.submit(*(f"t{n}" for n in range(DUE_MAX + 1)), delay_ms=1_000)
    desk.machine.submit("later", delay_ms=5_000)
    assert desk.turn() == [desk.began_ms + 1_000]
    desk.clock_s = 129.0
    assert desk.turn() == [desk.began_ms + 1_000 + TICK_MS]
    assert desk.turn() == [desk.began_ms + 1_008 + TICK_MS - 1], "in the pause, of which one millisecond is over"
    assert desk.did == ["Ticked"]
    desk.clock_s += TICK_S
    assert desk.turn() == [desk.began_ms + 5_000]
    assert desk.did == ["Ticked"] * 2
    desk.clock_s = 134.0
    assert desk.turn() == []


def test_what_falls_due_in_the_pause_after_the_last_tick_waits_for_its_end() -> None:
    desk = Desk()
    desk.machine.submit("a", delay_ms=1_000)
    desk.machine.submit("b", delay_ms=1_002)
    desk.clock_s = 129.0
    assert desk.turn() == [desk.began_ms + 1_000 + TICK_MS]
    desk.clock_s += TICK_S
    assert desk.turn() == []
    assert desk.did == ["Ticked"] * 2


def test_while_the_journal_is_behind_nothing_is_due_and_the_timer_is_not_set() -> None:
    desk = Desk()
    desk.machine.submit("a", delay_ms=1_000)
    assert desk.turn(may=False) == [desk.began_ms + 1_000]
    desk.clock_s = 130.0
    assert (desk.turn(may=False), desk.did) == ([], [])
    desk.turn()
    assert desk.did == ["Ticked"]


def test_at_a_rest_of_the_table_there_is_neither_a_tick_nor_a_step() -> None:
    """A fold of the table and a tick in one turn were what others waited for the longest."""
    desk = Desk()
    desk.machine.submit("a", delay_ms=1_000)
    desk.machine.bulk(function="app.g")
    desk.clock_s = 129.0
    desk.pauses.put_off()
    now_ms = desk.now_ms
    for moment in (desk.ticks.run_once(now_ms, Random(1), may=True), desk.bulk.run_once(now_ms, Random(1))):
        assert moment is not None
        assert 0 < moment - now_ms <= 2
    assert desk.did == []
    desk.clock_s += 2 * PUT_OFF_S
    desk.turn()
    assert desk.did == ["Ticked"]


def test_a_step_is_followed_by_a_pause_as_long_as_the_step_took() -> None:
    desk = Desk()
    desk.machine.submit(*(f"t{n}" for n in range(3 * DUE_MAX)))
    desk.machine.bulk(OperationKind.PAUSE)
    turns = 0
    while desk.operating:
        desk.turn()
        turns += 1
    assert desk.did == ["OperationTurn"] * len(desk.did)
    assert len(desk.did) >= 3
    assert turns == 1 + (len(desk.did) - 1) * STEP_S / TURN_S


def test_ticks_and_steps_share_their_half_and_take_turns() -> None:
    """Each with a pause of its own, they left nothing to others."""
    desk = Desk()
    desk.machine.submit(*(f"due{n}" for n in range(10 * DUE_MAX)), delay_ms=1_000)
    desk.machine.submit(*(f"held{n}" for n in range(20 * DUE_MAX)), function="app.g")
    desk.clock_s = 129.0
    desk.machine.bulk(OperationKind.PAUSE, function="app.g")
    while len(desk.did) < 20:
        before = len(desk.did)
        desk.turn()
        assert len(desk.did) - before <= 1
    assert desk.did == ["Ticked", "OperationTurn"] * 10
    assert desk.took_s["others"] >= 0.9 * (desk.took_s["Ticked"] + desk.took_s["OperationTurn"])


def test_who_yields_to_somebody_who_does_not_come_has_the_next_turn() -> None:
    clock_s = 0.0
    did: list[str] = []
    pauses = Pauses(lambda: clock_s)

    def work() -> None:
        nonlocal clock_s
        clock_s += 1.0
        did.append("a")

    assert pauses.take_turn("a", work)
    assert not pauses.take_turn("b", work)
    clock_s += 1.0
    assert not pauses.take_turn("a", work)
    assert pauses.over_ms(5_000) == 5_001
    assert pauses.take_turn("a", work)
    assert did == ["a", "a"]


def test_with_nothing_due_and_nothing_under_way_nobody_is_woken() -> None:
    desk = Desk()
    assert (desk.turn(), desk.did) == ([], [])


def test_ten_thousand_tasks_expire_at_the_same_moment_and_single_submits_go_on() -> None:
    """On a clock by which a tick takes a second and everything else nothing: so there is a next one only when the test says that
    its pause is over."""
    turns_each, passed_s = 5, 0.0

    async def test() -> None:
        async with Bench() as bench:
            nonlocal passed_s
            dispatcher, table = bench.dispatcher, bench.dispatcher._shard.state.table

            def count(state: TaskState) -> int:
                return sum(count for (_, each), count in table.counts().items() if each is state)

            def clock_s() -> float:
                return passed_s + count(TaskState.EXPIRED) / dispatcher._shard.state.limits.due_batch_max

            dispatcher._pauses._clock_s = clock_s
            await dispatcher.submit(DEFAULT_TENANT, [new("first")])
            await bench.runner.launched.get()
            await dispatcher.submit(DEFAULT_TENANT, [new(f"t{n}", ttl_ms=1_000) for n in range(10_000)])
            bench.now_ms += 1_000
            for tick in range(1, 11):
                for turn in range(turns_each):
                    answer = await dispatcher.submit(DEFAULT_TENANT, [new(f"single{tick}-{turn}", delay_ms=60_000)])
                    assert answer.items[0].refusal is None
                    assert count(TaskState.EXPIRED) == 1_000 * tick
                passed_s += 1.0
            assert (count(TaskState.EXPIRED), count(TaskState.SCHEDULED)) == (10_000, 10 * turns_each)

    run(test)
