"""Bulk operations in the dispatcher's shell: they go on by themselves, and others get in between."""

from __future__ import annotations

import asyncio

from shells.test_dispatcher import Bench, new, run
from taskservice.core.limits import Limits
from taskservice.core.operations import OperationKind
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.types import ListFilter, TaskId, TaskState
from taskservice.journal.memory import MemoryStore


def test_a_bulk_operation_goes_on_by_itself_and_lets_others_in() -> None:
    async def test() -> None:
        async with Bench() as bench:
            bench.dispatcher._shard.state.limits = Limits(operation_batch_max=10)
            await bench.dispatcher.submit(DEFAULT_TENANT, [new(f"t{n}", delay_ms=60_000) for n in range(500)])
            waiting = asyncio.create_task(bench.dispatcher.get(DEFAULT_TENANT, TaskId("t499"), wait_s=10))
            answer = await bench.dispatcher.bulk(OperationKind.CANCEL, ListFilter(DEFAULT_TENANT))
            assert answer.operation is not None
            assert (answer.operation.matched, answer.operation.done_ms) == (500, None)
            await bench.dispatcher.submit(DEFAULT_TENANT, [new("later")])
            assert (await bench.runner.launched.get()).tasks[0].id == "later"
            assert bench.dispatcher._shard.operating, "it was done before anybody else had a turn"
            task = (await waiting).task
            assert task is not None
            assert task.state is TaskState.CANCELLED
            done = await bench.dispatcher.operation(DEFAULT_TENANT, answer.operation.id)
            assert done is not None
            assert (done.changed, bench.dispatcher._shard.operating) == (500, False)

    run(test)


def test_closing_leaves_bulk_operations_to_the_next_dispatcher() -> None:
    async def test() -> None:
        store = MemoryStore()
        async with Bench(store) as bench:
            bench.dispatcher._shard.state.limits = Limits(operation_batch_max=1)
            await bench.dispatcher.submit(DEFAULT_TENANT, [new(f"t{n}", delay_ms=60_000) for n in range(500)])
            answer = await bench.dispatcher.bulk(OperationKind.CANCEL, ListFilter(DEFAULT_TENANT))
            assert answer.operation is not None
        assert bench.dispatcher._shard.operating
        async with Bench(store) as successor:
            task = (await successor.dispatcher.get(DEFAULT_TENANT, TaskId("t499"), wait_s=10)).task
            assert task is not None
            assert task.state is TaskState.CANCELLED

    run(test)


def test_whoever_waits_for_a_task_is_told_that_it_is_deleted() -> None:
    async def test() -> None:
        async with Bench() as bench:
            await bench.dispatcher.submit(
                DEFAULT_TENANT, [new("named", delay_ms=60_000), new("other", delay_ms=60_000)]
            )
            waiting = [
                asyncio.create_task(bench.dispatcher.get(DEFAULT_TENANT, TaskId(id), wait_s=10))
                for id in ("named", "other")
            ]
            await bench.dispatcher.status()
            await bench.dispatcher.change(DEFAULT_TENANT, OperationKind.DELETE, [TaskId("named")])
            await bench.dispatcher.bulk(OperationKind.DELETE, ListFilter(DEFAULT_TENANT))
            answers = await asyncio.gather(*waiting)
            assert [(answer.task, answer.past) for answer in answers] == [(None, None)] * 2
            assert bench.dispatcher.waits == 0

    run(test)


def test_a_pause_ends_by_itself_at_its_time() -> None:
    async def test() -> None:
        async with Bench() as bench:
            await bench.dispatcher.submit(DEFAULT_TENANT, [new("t", delay_ms=10)])
            await bench.dispatcher.change(DEFAULT_TENANT, OperationKind.PAUSE, [TaskId("t")], bench.now_ms + 20)
            bench.now_ms += 20
            assert (await bench.runner.launched.get()).tasks[0].id == "t"

    run(test)


def test_a_task_expires_at_its_time_and_whoever_waits_is_told() -> None:
    async def test() -> None:
        async with Bench() as bench:
            await bench.dispatcher.submit(DEFAULT_TENANT, [new("first")])
            await bench.runner.launched.get()
            await bench.dispatcher.submit(DEFAULT_TENANT, [new("t", ttl_ms=20)])
            waiting = asyncio.create_task(bench.dispatcher.get(DEFAULT_TENANT, TaskId("t"), wait_s=10))
            await bench.dispatcher.status()
            bench.now_ms += 20
            task = (await waiting).task
            assert task is not None
            assert task.state is TaskState.EXPIRED

    run(test)
