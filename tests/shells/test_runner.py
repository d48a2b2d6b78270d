"""A runner without Ray: what it passes on, in which order, how often, and what it makes of leases that break off."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from helpers.runner_bench import BOUND_S, Bench, ok, outcomes, settle, spec
from taskservice.actors.runner import GO_ON, PAST_TOKENS_MAX, STOP, Sent
from taskservice.core.lease_wire import HeldLease, LeaseReport, Outcome, RunnerReport
from taskservice.core.specs import Resources
from taskservice.core.types import OutcomeKind, RunnerId, TaskNo, Token
from taskservice.errors import BackOffError


def run(test):
    """The test is a coroutine function: runs it on a loop of its own."""

    def wrapper():
        asyncio.run(asyncio.wait_for(test(), 3 * BOUND_S))

    wrapper.__name__, wrapper.__doc__ = test.__name__, test.__doc__
    return wrapper


@run
async def test_a_report_goes_to_the_dispatcher_and_the_lease_is_held_until_it_is_acknowledged():
    bench = Bench()
    assert await bench.launch(spec(1))
    assert await bench.runner.list_leases() == [HeldLease(Token(1, 1), Resources(cpu_m=500))]
    assert await bench.tell(0, LeaseReport(Token(1, 1), (ok(1),), done=True)) == GO_ON
    assert await bench.held() == [Token(1, 1)], "its outcome is not durable yet"
    assert await bench.runner.run_once() == Sent(1, delivered=True)
    assert await bench.held() == []
    assert await bench.dispatcher.next() == RunnerReport(
        RunnerId("r1"), (LeaseReport(Token(1, 1), (ok(1),), done=True),)
    )


@run
async def test_the_launcher_gets_the_lease_as_it_came():
    bench = Bench()
    await bench.launch(spec(1, (1, 2)), spec(2, (3,)))
    assert bench.launcher.bodies == [msgspec.msgpack.encode(spec(1, (1, 2))), msgspec.msgpack.encode(spec(2, (3,)))]


@run
async def test_an_idle_runner_reports_at_once_and_gathers_while_a_call_is_in_flight():
    bench = Bench()
    loop = asyncio.create_task(bench.runner.run())
    assert (await bench.dispatcher.next()).leases == (), "the first call is a sign of life"
    await bench.launch(spec(1, (1, 2, 3)))
    bench.dispatcher.may_answer.clear()
    await bench.tell(0, LeaseReport(Token(1, 1), (ok(1),)))
    assert outcomes(await bench.dispatcher.next()) == [(1, "succeeded")]
    await bench.tell(1, LeaseReport(Token(1, 1), (ok(2),)))
    await bench.tell(2, LeaseReport(Token(1, 1), (ok(3),), done=True))
    await settle()
    assert bench.dispatcher.calls.empty(), "one call in flight at a time"
    bench.dispatcher.may_answer.set()
    assert outcomes(await bench.dispatcher.next()) == [(2, "succeeded"), (3, "succeeded")]
    loop.cancel()


@run
async def test_an_acknowledgement_from_before_the_leases_were_listed_again_does_not_count():
    """Found by seed 107: a dispatcher was told of a lease whose end the one before acknowledged only then. It waited for that
    end for ever, and the lease's CPU stayed taken."""
    bench = Bench()
    await bench.launch(spec(1))
    await bench.tell(0, LeaseReport(Token(1, 1), (ok(1),), done=True))
    bench.dispatcher.may_answer.clear()
    sending = asyncio.create_task(bench.runner.run_once())
    await bench.dispatcher.next()
    assert await bench.held() == [Token(1, 1)]
    bench.dispatcher.may_answer.set()
    assert await sending == Sent(0, delivered=False)
    assert await bench.runner.run_once() == Sent(1, delivered=True)
    assert outcomes(await bench.dispatcher.next()) == [(1, "succeeded")]
    assert await bench.held() == []


@run
async def test_a_heartbeat_is_sent_when_there_is_nothing_to_say():
    bench = Bench(heartbeat_ms=5)
    loop = asyncio.create_task(bench.runner.run())
    for _ in range(3):
        assert (await bench.dispatcher.next()).leases == ()
    loop.cancel()


@run
async def test_a_heartbeat_names_the_leases_that_run():
    """So that a dispatcher which knows nothing of one, because it was not durable, can have it stopped."""
    bench = Bench()
    await bench.launch(spec(1, (1, 2)))
    assert await bench.runner.run_once() == Sent(0, delivered=True)
    assert (await bench.dispatcher.next()).leases == (LeaseReport(Token(1, 1)),)


@pytest.mark.parametrize("failure", [BackOffError("away"), RuntimeError("a bug")])
def test_news_are_sent_again_unchanged_while_the_dispatcher_is_away(failure):
    @run
    async def scene():
        bench = Bench()
        await bench.launch(spec(1, (1, 2)))
        await bench.tell(0, LeaseReport(Token(1, 1), (ok(1),)))
        bench.dispatcher.failure = failure
        assert await bench.runner.run_once() == Sent(0, delivered=False)
        await bench.tell(1, LeaseReport(Token(1, 1), (ok(2),), done=True))
        assert await bench.runner.run_once() == Sent(0, delivered=False)
        bench.dispatcher.failure = None
        assert await bench.runner.run_once() == Sent(1, delivered=True)
        assert await bench.runner.run_once() == Sent(1, delivered=True)
        first, again, once_more, rest = bench.dispatcher.bodies
        assert first == again == once_more
        assert outcomes(msgspec.msgpack.decode(rest, type=RunnerReport)) == [(2, "succeeded")]
        assert await bench.held() == []

    scene()


@run
async def test_the_loop_tries_on_while_the_dispatcher_is_away():
    bench = Bench()
    bench.dispatcher.failure = BackOffError("away")
    loop = asyncio.create_task(bench.runner.run())
    await bench.dispatcher.next()
    await bench.dispatcher.next()
    bench.dispatcher.failure = None
    await bench.launch(spec(1))
    await bench.tell(0, LeaseReport(Token(1, 1), (ok(1),), done=True))
    while not (told := outcomes(await bench.dispatcher.next())):
        pass
    assert told == [(1, "succeeded")]
    loop.cancel()


@run
async def test_reports_that_overtook_each_other_are_passed_on_in_order_and_once():
    bench = Bench()
    await bench.launch(spec(1, (1, 2, 3)))
    await bench.tell(2, LeaseReport(Token(1, 1), (ok(3),), done=True))
    assert await bench.runner.run_once() == Sent(0, delivered=True), "a last report waits for those before it"
    await bench.tell(1, LeaseReport(Token(1, 1), (ok(2),)))
    await bench.tell(0, LeaseReport(Token(1, 1), (ok(1),)))
    assert await bench.tell(0, LeaseReport(Token(1, 1), (ok(1),))) == STOP, "all is said"
    await bench.dispatcher.next()
    await bench.runner.run_once()
    assert outcomes(await bench.dispatcher.next()) == [(1, "succeeded"), (2, "succeeded"), (3, "succeeded")]


@run
async def test_a_lease_that_breaks_off_is_reported_lost_with_the_reason():
    """What it had reported stays; each of the others is lost; what had overtaken a missing report counts."""
    bench = Bench()
    await bench.launch(spec(1, (1, 2, 3, 4)))
    await bench.tell(0, LeaseReport(Token(1, 1), (ok(2),)))
    await bench.tell(2, LeaseReport(Token(1, 1), (ok(4),), done=True))
    bench.launcher.started[Token(1, 1)].end.set_exception(RuntimeError("the worker crashed\nlong story"))
    await settle()
    assert await bench.tell(1, LeaseReport(Token(1, 1), (ok(1),))) == STOP, "too late"
    await bench.runner.run_once()
    _, last = (await bench.dispatcher.next()).leases
    assert last.done
    assert [(o.no, o.kind) for o in last.outcomes] == [(4, "succeeded"), (1, "lost"), (3, "lost")]
    assert last.outcomes[1].message == "RuntimeError: the worker crashed"
    assert await bench.held() == []


@run
async def test_a_checkpoint_alone_is_news():
    """Found with a service whose runner was killed: it was kept until the attempt ended, and lost with the runner."""
    bench = Bench()
    await bench.launch(spec(1))
    report = LeaseReport(Token(1, 1), checkpoints=((TaskNo(1), b"1"),))
    await bench.tell(0, report)
    assert await bench.runner.run_once() == Sent(1, delivered=True)
    assert (await bench.dispatcher.next()).leases == (report,)


@run
async def test_a_supervisor_that_ends_without_a_last_report_has_lost_its_lease():
    bench = Bench()
    await bench.launch(spec(1, (1, 2)))
    await bench.tell(0, LeaseReport(Token(1, 1), (ok(1),), (TaskNo(2),)))
    bench.launcher.started[Token(1, 1)].end.set_result(None)
    await settle()
    await bench.runner.run_once()
    assert (await bench.dispatcher.next()).leases[-1] == LeaseReport(Token(1, 1), done=True)


@run
async def test_a_lease_that_ends_in_good_order_is_not_lost():
    bench = Bench()
    await bench.launch(spec(1))
    await bench.tell(0, LeaseReport(Token(1, 1), (ok(1),), done=True))
    bench.launcher.started[Token(1, 1)].end.set_result(None)
    await settle()
    assert await bench.runner.run_once() == Sent(1, delivered=True)
    assert await bench.runner.run_once() == Sent(0, delivered=True)


@run
async def test_a_lease_that_cannot_be_started_is_lost_and_the_others_start():
    bench = Bench()
    bench.launcher.refuses = ValueError("no such resource")
    await bench.launch(spec(1))
    bench.launcher.refuses = None
    await bench.launch(spec(2))
    await bench.runner.run_once()
    (report,) = (await bench.dispatcher.next()).leases
    assert (report.token, report.done) == (Token(1, 1), True)
    assert report.outcomes[0].message == "ValueError: no such resource"
    assert await bench.held() == [Token(1, 2)]


@run
async def test_a_launch_that_comes_again_starts_nothing():
    bench = Bench()
    assert await bench.launch(spec(1))
    assert await bench.launch(spec(1), spec(2))
    await bench.tell(0, LeaseReport(Token(1, 1), (ok(1),), done=True))
    await bench.runner.run_once()
    assert await bench.launch(spec(1)), "not even when it is over"
    assert list(bench.launcher.started) == [Token(1, 1), Token(1, 2)]


@run
async def test_what_is_remembered_of_past_leases_is_bounded():
    bench = Bench()
    for seq in range(PAST_TOKENS_MAX + 10):
        await bench.launch(spec(seq))
        await bench.tell(0, LeaseReport(Token(1, seq), done=True))
    while (await bench.runner.run_once()).reports:
        pass
    assert len(bench.runner._past) == PAST_TOKENS_MAX


@run
async def test_an_epoch_lower_than_one_seen_is_refused():
    bench = Bench()
    assert await bench.launch(spec(1, epoch=3), epoch=3)
    assert not await bench.launch(spec(9, epoch=2), epoch=2)
    assert await bench.launch(spec(2, epoch=3), epoch=3)
    assert list(bench.launcher.started) == [Token(3, 1), Token(3, 2)]


@run
async def test_a_lease_that_is_gone_is_told_to_stop_by_its_next_answer():
    bench = Bench()
    await bench.launch(spec(1, (1, 2)), spec(2, (3,)))
    assert await bench.tell(0, LeaseReport(Token(1, 1), (ok(1),))) == GO_ON
    bench.dispatcher.gone = (Token(1, 1),)
    await bench.runner.run_once()
    assert await bench.tell(1, LeaseReport(Token(1, 1))) == STOP, "an empty report is a question"
    assert await bench.tell(0, LeaseReport(Token(1, 2))) == GO_ON, "its neighbour goes on"
    assert await bench.tell(2, LeaseReport(Token(1, 1), handed_back=(TaskNo(2),), done=True)) == STOP
    await bench.runner.run_once()
    assert await bench.held() == [Token(1, 2)]


@run
async def test_a_lease_that_does_not_stop_is_killed():
    bench = Bench(kill_after_ms=1)
    await bench.launch(spec(1, (1, 2)))
    await bench.tell(0, LeaseReport(Token(1, 1), (ok(1),)))
    bench.dispatcher.gone = (Token(1, 1),)
    await bench.runner.run_once()
    with pytest.raises(RuntimeError, match="killed"):
        await asyncio.wait_for(asyncio.shield(bench.launcher.started[Token(1, 1)].end), BOUND_S)
    await settle()
    assert await bench.runner.run_once() == Sent(1, delivered=True)
    assert await bench.held() == []


@run
async def test_a_supervisor_nobody_knows_is_told_to_stop():
    bench = Bench()
    assert await bench.tell(0, LeaseReport(Token(1, 7), (ok(1),))) == STOP
    assert await bench.runner.run_once() == Sent(0, delivered=True)


@run
async def test_draining_lets_leases_end_and_waits_until_what_they_reported_is_durable():
    bench = Bench()
    await bench.launch(spec(1, (1, 2)))
    draining = asyncio.create_task(bench.runner.drain(60_000))
    await settle()
    assert await bench.tell(0, LeaseReport(Token(1, 1), (ok(1), ok(2)), done=True)) == GO_ON
    await settle()
    assert not draining.done()
    await bench.runner.run_once()
    await asyncio.wait_for(draining, BOUND_S)


@run
async def test_what_a_lease_has_not_done_by_the_end_of_the_grace_is_handed_back():
    bench = Bench()
    await bench.launch(spec(1, (1, 2, 3)))
    await bench.tell(0, LeaseReport(Token(1, 1), (ok(1),)))
    draining = asyncio.create_task(bench.runner.drain(0))
    await settle()
    assert await bench.tell(1, LeaseReport(Token(1, 1))) == STOP
    bench.launcher.started[Token(1, 1)].end.set_result(None)
    await settle()
    await bench.runner.run_once()
    await asyncio.wait_for(draining, BOUND_S)
    last = (await bench.dispatcher.next()).leases[-1]
    assert last == LeaseReport(Token(1, 1), handed_back=(TaskNo(2), TaskNo(3)), done=True)


@run
async def test_news_beyond_the_limit_of_a_call_go_with_the_next():
    bench = Bench()
    await bench.launch(spec(1, (1, 2, 3)))
    large = b"1" * (5 * 1024**2)
    for seq, no in enumerate((1, 2, 3)):
        outcome = Outcome(TaskNo(no), OutcomeKind.SUCCEEDED, result=large)
        await bench.tell(seq, LeaseReport(Token(1, 1), (outcome,), done=no == 3))
    assert [(await bench.runner.run_once()).reports for _ in range(4)] == [1, 1, 1, 0]
    assert await bench.held() == []


@run
async def test_what_is_stored_of_logs_of_running_attempts_is_passed_on_and_told_to_who_asks_for_the_leases():
    """A dispatcher that has just started knows it from there: if the lease is lost, it is all there is of its logs."""
    bench = Bench()
    await bench.launch(spec(1, (1, 2)))
    logs = ((TaskNo(1), "20261130-abc-7"),)
    await bench.tell(0, LeaseReport(Token(1, 1), logs=logs))
    assert await bench.runner.run_once() == Sent(1, delivered=True)
    assert [report.logs for report in (await bench.dispatcher.next()).leases] == [logs]
    assert await bench.runner.list_leases() == [HeldLease(Token(1, 1), Resources(cpu_m=500), logs)]


@run
async def test_of_a_lease_that_breaks_off_the_logs_that_are_left_are_kept():
    """Of what it had not reported; its processes cannot do it any more."""
    bench = Bench(salvages=True)
    await bench.launch(spec(1, (1, 2)))
    await bench.tell(0, LeaseReport(Token(1, 1), (ok(1),)))
    bench.launcher.started[Token(1, 1)].end.set_exception(RuntimeError("killed"))
    await settle()
    await bench.runner.run_once()
    last = (await bench.dispatcher.next()).leases[-1]
    assert outcomes(RunnerReport(RunnerId("r1"), (last,))) == [(2, "lost")]
    assert last.logs == ((TaskNo(2), "20261130-abc-2"),)
