"""What a handler has put down is there for its next attempt, however the one before ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from taskservice.core.lease_wire import BYTES
from taskservice.core.types import OutcomeKind as Kind
from taskservice.core.values import MARK, ref_of
from taskservice.runtime.checkpoints import INLINE_BYTES_MAX
from tests.runtime.conftest import Node

UPTO = 1_000
INTERVAL_S = 0.2
SLACK_S = 2.0
"""For a busy machine: until a checkpoint that was sent has been reported."""


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    """With a warm child, and short intervals. Asks for orders often."""
    node = make_node(task_checkpoint_interval_s=INTERVAL_S, heartbeat_ms=20)
    node.run("noop", [{}], module="counting")
    return node


def decoded(text: bytes) -> object:
    return text[1:] if text.startswith(BYTES) else msgspec.json.decode(text)


def test_a_counter_that_is_interrupted_in_five_ways_comes_to_its_end(node, tmp_path):
    """And each time it does again what it did in one interval, at most; nothing if it could say its last."""
    ledger = tmp_path / "ledger"
    payload = {"upto": UPTO, "ledger": str(ledger)}
    interruptions = (
        ({"at": 150, "how": "error"}, {}, Kind.HANDLER_ERROR),
        ({"at": 400, "how": "kill"}, {}, Kind.CRASHED),
        ({"at": 600, "how": "wait"}, {"timeout_ms": 400, "timeout_grace_ms": 10_000}, Kind.TIMEOUT),
        ({"at": 800, "how": "wait"}, {"order_after_s": 0.6, "grace_ms": 10_000}, Kind.PREEMPTED),
        ({"at": 950, "how": "wait"}, {"stop_after_s": 0.6}, None),
    )
    checkpoint, seen = b"", []
    for more, options, kind in interruptions:
        run = node.run("count", [payload | more], module="counting", checkpoint=checkpoint, **options)
        assert run.kinds == ([] if kind is None or run.handed_back else [kind])
        checkpoint = run.checkpoints.get(1, checkpoint)
        restored = decoded(checkpoint)["done"]
        steps = ledger_since(ledger, seen)
        again = [at_s for step, at_s in steps if step >= restored]
        if kind in (Kind.CRASHED, None):
            assert not again or again[-1] - again[0] < INTERVAL_S + SLACK_S
        else:
            assert len(again) <= (kind is Kind.TIMEOUT), "it had said its last, but for the step that it was at"
    assert node.run("count", [payload], module="counting", checkpoint=checkpoint).results() == [UPTO]
    assert sorted({step for step, _ in [*seen, *ledger_since(ledger, seen)]}) == list(range(UPTO))


def ledger_since(ledger: Path, seen: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """The steps that are in it since this was last asked."""
    lines = [line.split() for line in ledger.read_text().splitlines()]
    steps = [(int(step), float(at_s)) for step, at_s in lines][len(seen) :]
    seen += steps
    return steps


@pytest.mark.parametrize("value", [0, "text", {"a": [1, 2.5, None]}, "ü" * 10_000, False])
def test_any_json_comes_back(node, value):
    run = node.run("saves", [{"values": [7, value], "fail": True}], module="counting")
    again = node.run("saves", [{"values": [], "fail": False}], module="counting", checkpoint=run.checkpoints[1])
    if run.checkpoints[1].startswith(MARK):
        assert ref_of(run.checkpoints[1]).size_bytes > INLINE_BYTES_MAX
    assert again.results() == [value]


@pytest.mark.parametrize("crash", [False, True])
def test_large_ones_are_objects_and_are_there_before_the_outcome(node, crash):
    payload = {"size": 5_000_000, "fail": not crash, "crash": crash}
    run = node.run("saves_bytes", [payload], module="counting")
    assert run.kinds == [Kind.CRASHED if crash else Kind.HANDLER_ERROR]
    assert ref_of(run.checkpoints[1]).size_bytes == 5_000_001
    again = node.run("saves_bytes", [{"size": 1, "fail": False}], module="counting", checkpoint=run.checkpoints[1])
    assert again.results() == [5_000_000]


def test_one_whose_object_is_lost_begins_anew_and_says_so(node):
    run = node.run("saves_bytes", [{"size": 100_000, "fail": True}], module="counting")
    node.objects.delete([ref_of(run.checkpoints[1]).key])
    again = node.run("saves_bytes", [{"size": 1, "fail": False}], module="counting", checkpoint=run.checkpoints[1])
    assert again.results() == [0]
    assert node.log(remarks=True).endswith("\n[its checkpoint is lost: it begins anew]\n")


def test_what_cannot_be_a_checkpoint_is_refused_in_words(make_node):
    run = make_node(task_checkpoint_bytes_max=1_000).run("refused", [{}], module="counting")
    none, thing, nan, long = run.results()[0]
    assert none.startswith("TypeError: None cannot be")
    assert (thing[:4], nan[:10]) == ("PydanticSerializationError"[:4], "ValueError")
    assert "2002 bytes, task_checkpoint_bytes_max is 1000" in long


def test_it_may_be_called_in_a_tight_loop(make_node):
    """Few of them leave the process."""
    node = make_node(task_checkpoint_interval_s=60.0)
    run = node.run("often", [{"times": 50_000}], module="counting")
    assert decoded(run.checkpoints[1]) == {"i": 0}
    (each_s,) = run.results()
    assert each_s < 0.001


def test_what_is_kept_is_sent_when_its_time_has_come_whatever_the_handler_does(node):
    run = node.run("once_then_sleeps", [{}], module="counting", stop_after_s=INTERVAL_S + 1.0)
    assert decoded(run.checkpoints[1]) == 2


def test_success_leaves_none(make_node):
    run = make_node(task_checkpoint_interval_s=60.0).run(
        "saves", [{"values": [1, 2, 3], "fail": False}], module="counting"
    )
    assert run.checkpoints in ({}, {1: b"1"}), "only what was sent before"


def test_async_neighbours_have_their_own(node):
    run = node.run("neighbours", [{"i": i} for i in range(1, 5)], module="counting", is_async=True, concurrency=4)
    assert {no: decoded(text) for no, text in run.checkpoints.items()} == {no: [no, no] for no in range(1, 5)}


def test_a_forked_copy_saves_nothing_and_the_attempt_goes_on(node):
    assert node.run("forks", [{}], module="counting").results() == ["1"]
