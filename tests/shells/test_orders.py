"""Orders between dispatcher, runner and supervisor: each arrives once, whatever overtakes what; over a real socket."""

from __future__ import annotations

import asyncio
import select
from pathlib import Path

import msgspec

from helpers.runner_bench import BOUND_S, Bench, ok, outcomes, settle, spec
from taskservice.actors.lease_task import RunnerLine, RunnerReports
from taskservice.actors.line_ports import LineRunners, runner_socket, serve_runner
from taskservice.core.lease_wire import LeaseReport
from taskservice.core.orders import Order, OrderKind
from taskservice.core.types import RunnerId, TaskNo, Token

FIRST, SECOND = Token(1, 1), Token(1, 2)
STOP_ALL = Order(FIRST, OrderKind.PREEMPT, 1_000, "others are to have their own")
STOP_ONE = Order(FIRST, OrderKind.PREEMPT, 1_000, nos=(TaskNo(2),))


def order(bench: Bench, *orders: Order, epoch: int = 1):
    return bench.runner.order(epoch, msgspec.msgpack.encode(orders))


def test_an_order_waits_for_whoever_asks_and_is_told_once() -> None:
    async def scene() -> None:
        bench = Bench()
        await bench.launch(spec(1))
        asked = asyncio.create_task(bench.runner.orders(FIRST, 0))
        await settle()
        assert not asked.done()
        assert await order(bench, STOP_ALL)
        assert await asked == [STOP_ALL]
        assert await order(bench, STOP_ALL), "it comes again"
        again = asyncio.create_task(bench.runner.orders(FIRST, 1))
        await settle()
        assert not again.done()
        assert await order(bench, STOP_ONE)
        assert await again == [STOP_ONE]
        last = asyncio.create_task(bench.runner.orders(FIRST, 2))
        await bench.tell(0, LeaseReport(FIRST, (ok(1),), done=True))
        assert await last == [], "the lease is over"
        assert await bench.runner.orders(FIRST, 0) == []
        assert await order(bench, STOP_ALL), "too late, and no harm done"

    asyncio.run(asyncio.wait_for(scene(), BOUND_S))


def test_an_order_that_overtakes_its_lease_is_kept_for_it() -> None:
    async def scene() -> None:
        bench = Bench()
        assert await order(bench, STOP_ALL)
        await bench.launch(spec(1))
        assert await bench.runner.orders(FIRST, 0) == [STOP_ALL]

    asyncio.run(asyncio.wait_for(scene(), BOUND_S))


def test_a_dispatcher_that_was_replaced_orders_nothing() -> None:
    async def scene() -> None:
        bench = Bench()
        await bench.launch(spec(1), epoch=2)
        assert not await order(bench, STOP_ALL, epoch=1)
        assert await order(bench, STOP_ALL, epoch=3)
        assert not await bench.launch(spec(2), epoch=2), "who gives orders is heard of, too"

    asyncio.run(asyncio.wait_for(scene(), BOUND_S))


def test_a_supervisor_that_does_nothing_about_it_is_killed() -> None:
    async def scene() -> None:
        bench = Bench(kill_after_ms=0)
        await bench.launch(spec(1, (1, 2)))
        await order(bench, Order(FIRST, OrderKind.PREEMPT, 0))
        while not (told := outcomes(await _next(bench))):
            pass
        assert told == [(1, "lost"), (2, "lost")], "the core knows that they were to stop"

    asyncio.run(asyncio.wait_for(scene(), BOUND_S))


def test_a_supervisor_that_does_nothing_is_killed_for_one_task_only_if_that_is_all_it_has() -> None:
    """Its neighbours would be lost with it."""

    async def scene() -> None:
        bench = Bench(kill_after_ms=0)
        await bench.launch(spec(1, (1, 2)), spec(2, (3,)))
        await order(bench, Order(FIRST, OrderKind.CANCEL, 0, nos=(TaskNo(1),)))
        await order(bench, Order(SECOND, OrderKind.CANCEL, 0, nos=(TaskNo(3),)))
        while not (told := outcomes(await _next(bench))):
            pass
        assert told == [(3, "lost")]
        await order(bench, Order(FIRST, OrderKind.CANCEL, 0, nos=(TaskNo(1), TaskNo(2))))
        while not (told := outcomes(await _next(bench))):
            pass
        assert told == [(1, "lost"), (2, "lost")]

    asyncio.run(asyncio.wait_for(scene(), BOUND_S))


async def _next(bench: Bench):
    await bench.runner.run_once()
    return await bench.dispatcher.next()


def test_over_the_socket_the_lease_hears_of_orders_at_once_and_of_its_own_only(tmp_path: Path) -> None:
    async def scene() -> None:
        bench = Bench()
        server = await serve_runner(bench.runner, tmp_path)
        runners = LineRunners(tmp_path)
        await bench.launch(spec(1), spec(2))
        line = await asyncio.to_thread(RunnerLine, runner_socket(tmp_path, RunnerId("r1")))
        try:
            await asyncio.to_thread(_first_lease, line)
            assert await runners.order(RunnerId("r1"), 1, msgspec.msgpack.encode([STOP_ALL]))
            assert await asyncio.to_thread(_heard, line) == [STOP_ALL]
            await asyncio.to_thread(_report_done, line, FIRST)
            await asyncio.to_thread(_second_lease, line)
            second = msgspec.structs.replace(STOP_ALL, token=SECOND)
            assert await runners.order(RunnerId("r1"), 1, msgspec.msgpack.encode([STOP_ONE, second]))
            assert await asyncio.to_thread(_heard, line) == [second]
            await asyncio.to_thread(_report_done, line, SECOND)
        finally:
            line.close()
            await server.stop()

    asyncio.run(asyncio.wait_for(scene(), BOUND_S))


def _first_lease(line: RunnerLine) -> None:
    line.begin()
    RunnerReports(line).listen(FIRST)


def _second_lease(line: RunnerLine) -> None:
    line.begin()
    assert line.take_orders() == []
    RunnerReports(line).listen(SECOND)


def _heard(line: RunnerLine) -> list[Order]:
    """What comes first, without asking again and again."""
    while not (orders := line.take_orders()):
        assert select.select([line._socket], [], [], BOUND_S)[0], "nothing was told"
    return orders


def _report_done(line: RunnerLine, token: Token) -> None:
    reports = RunnerReports(line)
    reports.send(LeaseReport(token, done=True))
    reports.flush()
    assert not line.stop
