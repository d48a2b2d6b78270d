"""A lease that is told to stop for others: asked first, ended by force after the grace, and nobody else suffers."""

from __future__ import annotations

from time import monotonic

import pytest

from helpers.processes import gone
from taskservice.core.types import OutcomeKind as Kind


@pytest.fixture
def node(make_node):
    """With a warm child. Asks for orders often: there is nothing here that would wake it."""
    node = make_node(heartbeat_ms=20)
    node.run("noop", [{}])
    return node


def test_a_handler_that_heeds_the_signal_is_out_at_once(node):
    began_s = monotonic()
    run = node.run("polite", [{}], order_after_s=0.3, grace_ms=20_000)
    assert monotonic() - began_s < 15
    assert run.kinds == [Kind.PREEMPTED]
    assert run.outcomes[1].message == "Cancelled: the attempt was asked to stop"
    assert run.outcomes[1].duration_us > 0
    again = node.run("noop", [{"i": 1}])
    assert again.results() == [1], "the child is good for others"


def test_an_attempt_that_comes_again_to_the_same_child_is_a_new_one(node):
    node.run("polite", [{}], order_after_s=0.3, grace_ms=20_000)
    run = node.run("finishes_first", [{}], order_after_s=0.5, grace_ms=20_000)
    assert run.results() == ["finished"]
    assert run.first_s(1) >= 0.4, "not asked to stop before it was"


def test_what_ends_within_the_grace_has_ended(node):
    assert node.run("finishes_first", [{}], order_after_s=0.3, grace_ms=20_000).results() == ["finished"]


def test_one_that_does_not_hear_is_ended_by_force_and_what_had_not_begun_is_handed_back(node):
    began_s = monotonic()
    run = node.run("sleep", [{"seconds": 60}, {"seconds": 0}, {"seconds": 0}], order_after_s=0.3, grace_ms=400)
    assert 0.7 <= monotonic() - began_s < 15
    assert run.kinds == [Kind.PREEMPTED]
    assert run.outcomes[1].message == "ended by force after its grace"
    assert sorted(run.handed_back) == [2, 3]


def test_nothing_of_it_runs_on(node):
    run = node.run("breed_and_hang", [{}], order_after_s=0.5, grace_ms=200)
    assert run.kinds == [Kind.PREEMPTED]
    assert gone(int(node.log()), within_s=1)


def test_async_handlers_are_cancelled_as_asyncio_does_it(node):
    payloads = [{"seconds": 60}, {"seconds": 0}, {"seconds": 60}]
    run = node.run("tidies_up", payloads, is_async=True, concurrency=4, order_after_s=0.5, grace_ms=20_000)
    assert [run.outcomes[no].kind for no in (1, 2, 3)] == [Kind.PREEMPTED, Kind.SUCCEEDED, Kind.PREEMPTED]
    assert (node.log("t1"), node.log("t2")) == ("tidy: True\n", "tidy: False\n")


def test_a_lease_whose_app_is_still_loading_is_handed_back(make_node):
    run = make_node(heartbeat_ms=20).run("noop", [{}, {}], order_after_s=0.0, grace_ms=20_000)
    assert run.handed_back == [1, 2]
    assert run.kinds == []


def test_of_a_lease_only_the_one_that_is_to_be_cancelled_is_stopped(node):
    """What had not begun is handed back, so that nobody waits for it longer than before."""
    payloads = [{"seconds": 60}, {"seconds": 0}]
    run = node.run("sleep", payloads, order_after_s=0.3, grace_ms=200, order_nos=(1,))
    assert run.kinds == [Kind.CANCELLED]
    assert run.handed_back == [2]


def test_of_async_neighbours_only_the_one_that_is_to_be_cancelled_is_stopped(node):
    """The others run on, in the same child."""
    payloads = [{"seconds": 60}, {"seconds": 1.5}, {"seconds": 60}]
    run = node.run(
        "tidies_up", payloads, is_async=True, concurrency=4, order_after_s=0.5, grace_ms=20_000, order_nos=(1, 3)
    )
    assert [run.outcomes[no].kind for no in (1, 2, 3)] == [Kind.CANCELLED, Kind.SUCCEEDED, Kind.CANCELLED]
    assert run.handed_back == []
    assert (node.log("t1"), node.log("t2"), node.log("t3")) == ("tidy: True\n", "tidy: False\n", "tidy: True\n")
