"""Time-outs, hand-backs, stops: a lease ends when it should, and what is not to blame goes on."""

from __future__ import annotations

from time import monotonic, time_ns

import pytest

from helpers.processes import gone
from taskservice.core.types import OutcomeKind as Kind


def test_a_time_out_takes_only_the_culprit(node):
    """The rest goes on in another child."""
    run = node.run("sleep", [{"seconds": 0}, {"seconds": 60}, {"seconds": 0}], timeout_ms=500)
    assert run.kinds == [Kind.SUCCEEDED, Kind.TIMEOUT, Kind.SUCCEEDED]
    assert run.outcomes[2].message == "stopped after its timeout of 0.5 s"
    assert node.log("t2") == "going to sleep\n"


@pytest.mark.parametrize("blocker", [2, 99])
def test_an_async_time_out_hands_its_neighbours_back(node, blocker):
    """Whether it waits or blocks the event loop; those that began together run out of time together."""
    payloads = [{"i": i, "blocker": blocker} for i in range(6)]
    run = node.run("block", payloads, module="rogue", is_async=True, timeout_ms=800)
    assert set(run.kinds) == {Kind.TIMEOUT}
    assert len(run.outcomes) + len(run.handed_back) == 6


def test_what_a_handler_has_started_dies_with_it(node):
    """Even in a session of its own."""
    run = node.run("breed_and_hang", [{}], timeout_ms=1_000)
    assert run.kinds == [Kind.TIMEOUT]
    assert gone(int(node.log()), within_s=1)


def test_a_straggler_does_not_hold_the_others(node):
    node.run("sleep", [{"seconds": 0}])
    run = node.run("sleep", [{"seconds": 1.5}] + [{"seconds": 0}] * 9, slice_ms=100)
    assert run.handed_back == list(range(2, 11))
    handed_back_s = next(at_s for at_s, report in run.reports if report.handed_back)
    assert handed_back_s < 1.0 < run.first_s(1)
    assert run.kinds == [Kind.SUCCEEDED]


def test_after_its_slice_a_lease_does_not_begin_again(node):
    """What is left after a time-out is handed back, not started in another child."""
    run = node.run("sleep", [{"seconds": 0}, {"seconds": 60}, {"seconds": 60}], timeout_ms=400, slice_ms=60_000)
    assert run.kinds == [Kind.SUCCEEDED, Kind.TIMEOUT, Kind.TIMEOUT]
    run = node.run("crash_if", [{"i": i, "crasher": 0} for i in range(4)], slice_ms=0)
    assert run.kinds == [Kind.CRASHED]
    assert run.handed_back == [2, 3, 4]


@pytest.mark.parametrize(("function", "payload"), [("sleep_for", {"seconds": 60}), ("fail", {"how": "exit"})])
def test_a_stopped_or_crashed_attempt_says_when_it_began(node, function, payload):
    began_ms = time_ns() // 1_000_000
    outcome = node.run(function, [payload], timeout_ms=500).outcomes[1]
    assert began_ms - 1 <= outcome.started_ms <= time_ns() // 1_000_000
    assert 0 < outcome.duration_us < 30_000_000


def test_a_short_outcome_does_not_wait_for_a_long_attempt(node):
    node.run("sleep_for", [{"seconds": 0}])
    run = node.run("sleep_for", [{"seconds": 0}, {"seconds": 0}, {"seconds": 2}])
    assert max(run.first_s(1), run.first_s(2)) < 1 < run.first_s(3)


def test_a_silent_supervisor_says_that_it_lives(make_node):
    run = make_node(heartbeat_ms=50).run("sleep_for", [{"seconds": 0.5}])
    assert len([report for _, report in run.reports if report == type(report)(report.token)]) >= 5


def test_a_lease_that_is_to_stop_stops(make_node):
    """Soon, without another word, and nothing of it runs on."""
    node = make_node(heartbeat_ms=200)
    began_s = monotonic()
    run = node.run("breed_and_hang", [{}, {}], stop_after_s=0.5)
    assert monotonic() - began_s < 3
    assert not run.done
    assert not run.outcomes


def test_a_lease_is_heard_of_and_can_be_stopped_while_its_app_loads(make_node):
    node = make_node(heartbeat_ms=100, load_timeout_s=30)
    began_s = monotonic()
    run = node.run("any", [{}], module="never_loads", stop_after_s=1.0)
    assert monotonic() - began_s < 5
    assert not run.done
    assert not run.outcomes
    assert len(run.reports) >= 4


def test_functions_of_one_app_take_turns_in_one_child(node):
    """A lease's tasks are never run by the function of the lease before, however close they follow."""
    for turn in range(150):
        assert node.run("noop", [{"i": turn}] * 2).results() == [turn] * 2
        assert node.run("sleep_for", [{"seconds": 0}] * 2).results() == [0] * 2
