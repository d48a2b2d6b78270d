"""Schedules in the dispatcher's shell: its timer wakes for them, and thousands at once do not keep others waiting."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from random import Random

import pytest

from shells.test_dispatcher import Bench, new, run
from taskservice.actors.line_ports import LineDispatcher, serve_dispatcher
from taskservice.core.effects import ItemStatus, Refusal
from taskservice.core.events import FunctionsRegistered, SchedulePut, Ticked
from taskservice.core.fire import PLAN_STEPS
from taskservice.core.limits import Limits
from taskservice.core.preempt_round import ROUND_MS
from taskservice.core.recurrence import task_id
from taskservice.core.schedules import CatchUp, ScheduleId, ScheduleKey
from taskservice.core.shard import DEFAULT_TENANT, Shard
from taskservice.core.state import State
from taskservice.core.table import Mark
from taskservice.core.ticks import next_tick_ms
from taskservice.core.types import TaskId
from taskservice.errors import BackOffError
from taskservice.journal.memory import MemoryStore
from taskservice.journal.store.sqlite import SqliteTable
from world.machine import START_MS, function, spec

MANY = 5_000
MINUTE = 60_000
LIMITS = Limits(schedules_max=MANY)


async def put(bench: Bench, id: str, **said: object) -> None:
    answer = await bench.dispatcher.put_schedule(DEFAULT_TENANT, ScheduleId(id), spec(**said), None)
    assert answer.refusal is None, answer


def test_a_schedule_is_launched_by_the_timer_again_and_again() -> None:
    async def test() -> None:
        async with Bench() as bench:
            began_ms = bench.now_ms
            await put(bench, "s", interval_ms=1_000)
            assert bench.dispatcher._timer_ms == began_ms + 1_000
            for number in (1, 2):
                bench.now_ms = began_ms + 1_000 * number
                bench.dispatcher.run_once()
                answer = await bench.dispatcher.get(DEFAULT_TENANT, task_id(ScheduleId("s"), bench.now_ms))
                assert answer.task is not None
                next_ms = bench.dispatcher._timer_ms - bench.now_ms
                assert next_ms == (1_000 if number == 1 else ROUND_MS), "the second waits, and may have a claim to room"
            assert (await bench.runner.launched.get()).tasks[0].id == task_id(ScheduleId("s"), began_ms + 1_000)

    run(test)


def test_the_timer_rings_by_itself() -> None:
    async def test() -> None:
        async with Bench() as bench:
            await put(bench, "s", interval_ms=1_000, anchor_ms=bench.now_ms + 20)
            bench.now_ms += 20
            lease = await bench.runner.launched.get()
            assert lease.tasks[0].id == task_id(ScheduleId("s"), bench.now_ms)

    run(test)


def test_while_the_journal_is_behind_nothing_fires_and_then_the_policy_says_what() -> None:
    async def test() -> None:
        async with Bench(commit_timeout_s=0.05) as bench:
            began_ms = bench.now_ms
            await put(bench, "s", interval_ms=MINUTE, catch_up=CatchUp.ALL)
            bench.journal.may_write.clear()
            with pytest.raises(BackOffError):
                await bench.dispatcher.submit(DEFAULT_TENANT, [new("a", delay_ms=10**9)])
            for _ in range(3):
                bench.now_ms += MINUTE
                bench.dispatcher.run_once()
            assert bench.dispatcher._timer is None
            known = bench.dispatcher._shard.state.schedules.find(ScheduleKey(DEFAULT_TENANT, ScheduleId("s")))
            assert known is not None
            assert known.progress.fired == 0
            bench.journal.may_write.set()
            lease = await bench.runner.launched.get()
            assert lease.tasks[0].id == task_id(ScheduleId("s"), began_ms + MINUTE)
            answer = await bench.dispatcher.schedule(DEFAULT_TENANT, ScheduleId("s"))
            assert answer.found is not None
            assert (answer.found.progress.fired, answer.found.progress.skipped.late) == (3, 0)

    run(test)


def test_a_successor_goes_on_with_the_schedules() -> None:
    async def test() -> None:
        store = MemoryStore()
        async with Bench(store) as bench:
            await put(bench, "s", interval_ms=MINUTE)
        async with Bench(store) as successor:
            successor.now_ms += MINUTE
            successor.dispatcher.run_once()
            answer = await successor.dispatcher.get(DEFAULT_TENANT, task_id(ScheduleId("s"), successor.now_ms))
            assert answer.task is not None

    run(test)


def test_schedules_are_spoken_of_over_the_line(tmp_path: Path) -> None:
    async def test() -> None:
        async with Bench() as bench:
            server = await serve_dispatcher(bench.dispatcher, tmp_path)
            line = LineDispatcher(tmp_path)
            id, wanted = ScheduleId("s"), spec(cron="30 2 * * *", zone="Europe/Berlin", task={"tags": (("a", "b"),)})
            made = await line.put_schedule(DEFAULT_TENANT, id, wanted, None)
            assert made.found is not None
            assert made.found.schedule.spec == wanted
            assert await line.schedule(DEFAULT_TENANT, id) == made
            page = await line.schedules(None, ScheduleKey(DEFAULT_TENANT, ScheduleId("a")), 10)
            assert (page.schedules, page.more) == ((made.found,), False)
            refused = await line.put_schedule(DEFAULT_TENANT, id, wanted, 7)
            assert refused.refusal is Refusal.SCHEDULE_CHANGED
            assert await line.remove_schedule(DEFAULT_TENANT, id) == made
            line.close()
            await server.stop()

    run(test)


def test_others_get_in_between_when_thousands_are_due_in_one_second() -> None:
    async def test() -> None:
        async with Bench() as bench:
            bench.dispatcher._shard.state.limits = LIMITS
            starts_ms = bench.now_ms + MINUTE
            puts = [put(bench, f"s{n}", interval_ms=MINUTE, starts_ms=starts_ms + n % 1_000) for n in range(MANY)]
            await asyncio.gather(*puts)
            bench.now_ms = starts_ms + 1_000
            bench.dispatcher._timer_rang()
            answer = await bench.dispatcher.submit(DEFAULT_TENANT, [new("in between")])
            assert answer.items[0].status is ItemStatus.ACCEPTED
            waiting_then = next_tick_ms(bench.dispatcher._shard.state)
            assert waiting_then is not None
            assert waiting_then < bench.now_ms, "it had to wait for all of them"
            while (await bench.dispatcher.status()).counts["queued"] < MANY:
                pass
            task = (await bench.dispatcher.get(DEFAULT_TENANT, TaskId("in between"))).task
            assert task is not None

    run(test)


def test_thousands_of_schedules_due_in_one_second_and_none_due(tmp_path: Path) -> None:
    """On the table that a service has. Half are cron expressions in a time zone."""
    shard = Shard(State(SqliteTable(tmp_path / "tasks.sqlite"), LIMITS))
    shard.open(Mark("log", "writer", 1, -1), START_MS)
    shard.handle(FunctionsRegistered(0, (function(),)), START_MS, Random(1))
    cron, interval = (
        {"cron": "17 * * * *", "zone": "Europe/Berlin"},
        {"interval_ms": 10 * MINUTE, "anchor_ms": 17 * MINUTE},
    )
    for number in range(MANY):
        wanted = spec(**(cron if number % 2 else interval))
        shard.handle(SchedulePut(0, DEFAULT_TENANT, ScheduleId(f"s{number:04}"), wanted, None), START_MS, Random(1))
    due_ms = 17 * MINUTE
    assert next_tick_ms(shard.state) == due_ms

    began_s = time.perf_counter()
    for _ in range(1_000):
        next_tick_ms(shard.state)
    idle_us = (time.perf_counter() - began_s) * 1_000

    turns_ms = []
    while (next_ms := next_tick_ms(shard.state)) is not None and next_ms <= due_ms:
        began_s = time.perf_counter()
        shard.handle(Ticked(), due_ms, Random(1))
        shard.cut()
        turns_ms.append((time.perf_counter() - began_s) * 1_000)
    print(
        f"{MANY} schedules due at once: {len(turns_ms)} turns, {sum(turns_ms):.0f} ms in all, the longest {max(turns_ms):.0f} ms; "
        f"with none due, {idle_us:.1f} us a turn"
    )
    ids = [task_id(ScheduleId(f"s{number:04}"), due_ms) for number in range(MANY)]
    assert len(shard.state.table.find(DEFAULT_TENANT, ids)) == MANY
    assert sum(shard.state.table.counts().values()) == MANY
    assert len(turns_ms) == MANY // (LIMITS.due_batch_max // (PLAN_STEPS + 1))
    assert all(known.progress.fired == 1 for known in shard.state.schedules.of(None))
    assert idle_us < 200
