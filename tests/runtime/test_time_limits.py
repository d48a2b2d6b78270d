"""When its timeout is over, an attempt is asked to stop, and ended by force after its grace, with all that it has started."""

from __future__ import annotations

from time import monotonic

import pytest

from helpers.processes import gone
from taskservice.core.types import OutcomeKind as Kind

LONG_MS = 20_000


@pytest.fixture
def node(node):
    """With a warm child."""
    node.run("noop", [{}], module="timely")
    return node


def test_a_handler_hears_that_its_time_is_over(node):
    began_s = monotonic()
    run = node.run("tidies_up", [{"how": "raise"}], module="timely", timeout_ms=300, timeout_grace_ms=LONG_MS)
    assert 0.3 <= monotonic() - began_s < 10
    assert run.kinds == [Kind.TIMEOUT]
    assert run.outcomes[1].message == "TimeLimitExceeded: its timeout of 0.3 s is over"
    assert "time.sleep(60)" in run.outcomes[1].detail
    assert run.outcomes[1].duration_us >= 300_000
    assert node.log() == "tidy: its timeout of 0.3 s is over\n"


def test_the_next_of_the_lease_goes_on_in_the_same_child(node):
    process = node.run("pid", [{}], module="timely").results()
    payloads = [{"how": "raise"}, {"how": "return"}, {"how": "raise"}]
    run = node.run("tidies_up", payloads, module="timely", timeout_ms=200, timeout_grace_ms=LONG_MS)
    assert run.kinds == [Kind.TIMEOUT, Kind.SUCCEEDED, Kind.TIMEOUT]
    assert node.run("pid", [{}], module="timely").results() == process
    assert node.run("noop", [{"i": 4}], module="timely").results() == [4], "asked of nobody else"


@pytest.mark.parametrize(
    ("how", "kind"),
    [("return", Kind.SUCCEEDED), ("final", Kind.NON_RETRYABLE), ("other", Kind.TIMEOUT), ("exit", Kind.TIMEOUT)],
)
def test_what_it_makes_of_its_grace(node, how, kind):
    run = node.run("tidies_up", [{"how": how}], module="timely", timeout_ms=200, timeout_grace_ms=LONG_MS)
    assert run.kinds == [kind]


def test_one_that_does_not_end_within_its_grace_is_ended_by_force(node):
    began_s = monotonic()
    run = node.run("tidies_up", [{"how": "deaf"}], module="timely", timeout_ms=200, timeout_grace_ms=300)
    assert 0.5 <= monotonic() - began_s < 10
    assert run.kinds == [Kind.TIMEOUT]
    assert run.outcomes[1].message == "stopped after its timeout of 0.2 s and its grace of 0.3 s"
    assert node.log() == "tidy: its timeout of 0.2 s is over\n"


@pytest.mark.parametrize("how", ["compute", "log"])
def test_it_hears_in_the_midst_of_its_work_and_no_message_is_torn(node, how):
    run = node.run("busy", [{"how": how}] * 3, module="timely", timeout_ms=150, timeout_grace_ms=LONG_MS)
    assert run.kinds == [Kind.TIMEOUT] * 3
    assert {outcome.message for outcome in run.outcomes.values()} == {
        "TimeLimitExceeded: its timeout of 0.15 s is over"
    }


def test_async_handlers_are_cancelled_one_by_one(node):
    payloads = [{"seconds": 60}, {"seconds": 0.1}, {"seconds": 60}]
    run = node.run(
        "awaits", payloads, module="timely", is_async=True, concurrency=4, timeout_ms=400, timeout_grace_ms=LONG_MS
    )
    assert [run.outcomes[no].kind for no in (1, 2, 3)] == [Kind.TIMEOUT, Kind.SUCCEEDED, Kind.TIMEOUT]
    assert run.outcomes[1].message == "TimeLimitExceeded: its timeout of 0.4 s is over"
    assert node.log("t1") == "tidy: True its timeout of 0.4 s is over\n"
    assert node.log("t2") == ""


def test_a_handler_knows_what_time_it_has_left(node):
    ((left_s, by_the_clock_s, less),) = node.run("reckons", [{}], module="timely", timeout_ms=30_000).results()
    assert 25 < left_s <= 30
    assert 25 < by_the_clock_s <= 30
    assert less


@pytest.mark.parametrize("session", [False, True])
@pytest.mark.parametrize("heed", [False, True])
def test_what_it_has_started_ends_with_it(node, session, heed):
    """Whether it lets the exception pass, and forgets its own child, or has to be ended by force."""
    payload = {"session": session, "heed": heed}
    run = node.run("leaves_a_child", [payload], module="timely", timeout_ms=500, timeout_grace_ms=500)
    assert run.kinds == [Kind.TIMEOUT]
    assert gone(int(node.log()), within_s=1)


@pytest.mark.parametrize("crash", [False, True])
def test_a_daemon_that_it_has_left_ends_with_it(node, crash):
    """Also when its own process has crashed, so that nobody could be asked whose child it is."""
    run = node.run("leaves_a_daemon", [{"crash": crash}], module="timely", timeout_ms=1_000, timeout_grace_ms=100)
    assert run.kinds == [Kind.CRASHED if crash else Kind.TIMEOUT]
    assert gone(int(node.log()), within_s=1)


def test_the_neighbours_of_one_that_leaves_something_behind_begin_again(node):
    payloads = [{"session": True, "heed": True}, {"session": True, "heed": True}]
    run = node.run("leaves_a_child", payloads, module="timely", timeout_ms=500, timeout_grace_ms=LONG_MS)
    assert run.outcomes[1].kind is Kind.TIMEOUT
    assert run.handed_back == [2] or run.outcomes[2].kind is Kind.TIMEOUT, "it had begun already, or not yet"
    assert gone(int(node.log("t1")), within_s=1)
