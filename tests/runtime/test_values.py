"""Large payloads and results in a lease with real children: fetched and written by its supervisor, never by them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import monotonic

import msgspec
import pytest

from helpers.large import key, reference, values_of
from helpers.unreliable_objects import UnreliableObjects
from taskservice.core.types import OutcomeKind as Kind
from taskservice.core.values import keys_of, ref_of, referring
from taskservice.values import Values

SIZE_BYTES = 200_000


def put(node, *payloads: object) -> list[bytes]:
    """The payloads are objects, as a gateway makes them; gives what stands for them."""
    values = values_of(node.objects)
    return [referring(values.write(msgspec.json.encode(payload))) for payload in payloads]


def text(letter: str) -> dict[str, str]:
    return {"text": letter * SIZE_BYTES}


def results(node, run) -> list[str]:
    """The first letters of the results, which are all objects of the right length."""
    values = values_of(node.objects)
    found = []
    for no in sorted(run.outcomes):
        ref = ref_of(run.outcomes[no].result)
        assert ref is not None, run.outcomes[no]
        found.append(msgspec.json.decode(values.read(ref)))
    assert {len(each) for each in found} <= {SIZE_BYTES}
    return [each[0] for each in found]


def test_large_payloads_come_and_large_results_go(node):
    run = node.run("echo", put(node, *map(text, "abc")), module="rogue")
    assert results(node, run) == list("abc")
    assert len(node.objects.keys()) == 6


def test_large_and_small_go_together(node):
    (large,) = put(node, text("a"))
    run = node.run("echo", [{"text": "small"}, large, {"text": "x" * SIZE_BYTES}], module="rogue")
    assert run.outcomes[1].result == b'"small"'
    assert [keys_of(run.outcomes[no].result) != () for no in (1, 2, 3)] == [False, True, True]


def test_nothing_is_opened_for_small_values(node):
    """Opening a bucket imports boto3, which takes longer than most leases."""

    class Untouched(UnreliableObjects):
        def __init__(self) -> None:
            raise AssertionError("opened")

    node.values = Values(Untouched)
    assert node.run("noop", [{"i": i} for i in range(50)]).results() == list(range(50))


def test_no_more_payloads_than_the_bound_are_fetched_at_a_time(make_node):
    """The child gets them in several goes."""
    node = make_node(fetched_bytes_max=2 * SIZE_BYTES + 100)
    run = node.run("echo", put(node, *map(text, "abcdefg")), module="rogue")
    assert results(node, run) == list("abcdefg")


def test_what_was_not_fetched_is_handed_back_after_the_slice(make_node):
    """A straggler holds none of those either for which there was no room beside it."""
    node = make_node(fetched_bytes_max=1)
    node.run("noop", [{}])
    (large,) = put(node, {"seconds": 1.5})
    run = node.run("sleep", [large, large, large], slice_ms=100)
    assert run.kinds == [Kind.SUCCEEDED]
    assert run.handed_back == [2, 3]
    assert next(at_s for at_s, report in run.reports if report.handed_back) < run.first_s(1)


def test_a_child_that_dies_is_followed_by_one_that_gets_the_rest(fresh):
    run = fresh.run("crash_if", put(fresh, *({"i": i, "crasher": 1} for i in range(4))))
    assert run.outcomes.pop(2).kind == Kind.CRASHED
    assert run.results() == [0, 2, 3]
    assert fresh.objects.done["get"] == 4, "each payload was fetched once"


@pytest.mark.parametrize("damage", ["gone", "cut short", "another"])
def test_a_payload_that_is_lost_ends_its_task_with_the_reason_and_no_other(node, damage):
    first, second = put(node, text("a"), text("b"))
    (lost,) = keys_of(first)
    if damage == "gone":
        node.objects.delete([lost])
    else:
        node.objects.replace(lost, b"{}" if damage == "cut short" else msgspec.json.encode(text("z")))
    run = node.run("echo", [first, second], module="rogue")
    assert run.kinds == [Kind.VALUE_LOST, Kind.SUCCEEDED]
    assert f"its payload is lost: {lost}" in run.outcomes[1].message


def test_a_store_that_is_away_for_a_moment_is_waited_for(node):
    payloads = put(node, text("a"))
    node.objects.away = 3
    assert results(node, node.run("echo", payloads, module="rogue")) == ["a"]


def test_a_payload_that_cannot_be_read_in_time_is_tried_again_later(make_node):
    """Uncharged, by the table of rules; the tasks that need no store go on."""
    node = make_node(value_timeout_s=0.2)
    payloads = put(node, text("a"))
    node.objects.refusing = {"get"}
    run = node.run("echo", [*payloads, {"text": "b"}], module="rogue")
    assert run.kinds == [Kind.STORE_AWAY, Kind.SUCCEEDED]
    assert run.outcomes[1].retry_after_ms == 10_000
    assert "its payload cannot be read: no access" in run.outcomes[1].message


def test_a_result_waits_in_memory_until_the_store_takes_it(node):
    """And those after it, which are small, are told meanwhile."""
    node.objects.away = 5
    run = node.run("echo", [text("a"), {"text": "b"}], module="rogue")
    assert run.first_s(2) < run.first_s(1)
    assert run.outcomes[2].result == b'"b"'
    assert keys_of(run.outcomes[1].result) == tuple(node.objects.keys())


def test_a_result_that_cannot_be_written_in_time_is_told_and_made_again(make_node):
    node = make_node(result_patience_s=0.3)
    node.objects.refusing = {"put"}
    run = node.run("echo", [text("a"), {"text": "b"}], module="rogue")
    assert run.kinds == [Kind.STORE_AWAY, Kind.SUCCEEDED]
    assert (run.outcomes[1].result, run.outcomes[1].retry_after_ms) == (b"", 10_000)
    assert f"its result of {SIZE_BYTES + 2} bytes could not be written within 0.3 s" in run.outcomes[1].message


def test_results_that_pile_up_end_the_lease_early(make_node):
    """What has not been started is handed back, rather than to be made in vain or to fill the memory."""
    node = make_node(unwritten_bytes_max=2 * SIZE_BYTES)
    node.objects.away = 8
    payloads = [{"i": i, "seconds": 0.05, "size": SIZE_BYTES} for i in range(40)]
    run = node.run("slowly_large", payloads, module="rogue")
    assert set(run.kinds) == {Kind.SUCCEEDED}
    assert len(run.outcomes) + len(run.handed_back) == 40
    assert len(run.outcomes) < 40
    assert all(keys_of(outcome.result) for outcome in run.outcomes.values())


class Hanging(UnreliableObjects):
    """Objects whose calls return when the test says so, or after a while."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.may_return = threading.Event()

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        self.may_return.wait(self.seconds)
        return super().get(key, start, end)

    def put_if_absent(self, key: str, data: bytes) -> bytes | None:
        self.may_return.wait(self.seconds)
        return super().put_if_absent(key, data)

    def delete(self, keys: Sequence[str]) -> None:
        raise AssertionError("a supervisor removes nothing")


@pytest.mark.parametrize("large", ["payload", "result"])
def test_the_runner_hears_of_a_lease_that_waits_for_the_store(make_node, large):
    node = make_node(heartbeat_ms=50)
    node.run("noop", [{}])
    payloads = [text("a")] if large == "result" else put(node, {"text": "b"})
    hanging = Hanging(1.0)
    hanging._objects = node.objects._objects
    node.objects = hanging
    run = node.run("echo", payloads, module="rogue")
    assert run.kinds == [Kind.SUCCEEDED]
    heartbeats = [at_s for at_s, report in run.reports if not report.outcomes]
    assert len([at_s for at_s in heartbeats if run.first_s(1) - 0.9 < at_s]) >= 4


@pytest.mark.parametrize("large", ["payload", "result"])
def test_a_lease_that_waits_for_the_store_can_be_stopped(make_node, large):
    node = make_node()
    node.run("noop", [{}])
    payloads = [text("a")] if large == "result" else put(node, {"text": "b"})
    hanging = Hanging(60.0)
    hanging._objects = node.objects._objects
    node.objects = hanging
    began_s = monotonic()
    run = node.run("echo", payloads, module="rogue", stop_after_s=0.5)
    hanging.may_return.set()
    assert monotonic() - began_s < 10
    assert run.outcomes == {}
    assert not run.done


@pytest.mark.parametrize("kind", [Kind.SUCCEEDED, Kind.HANDLER_ERROR, Kind.LOST])
@pytest.mark.parametrize("result", [reference(7), b"\x01", b"\x01garbage"])
def test_user_code_that_speaks_for_us_cannot_make_a_reference(fresh, kind, result):
    """Neither to read another tenant's value, nor to have it removed as if it were its own."""
    fresh.objects.put_if_absent(key(7), b'"secret"')
    run = fresh.run("forge", [{"kind": kind, "result": result.hex()}], module="rogue")
    assert run.kinds == [Kind.BAD_RESULT]
    assert run.outcomes[1].result == b""
    assert fresh.objects.done["get"] == 0


def test_user_code_that_speaks_for_us_keeps_to_the_limit(make_node):
    node = make_node(result_bytes_max=100)
    run = node.run("forge", [{"kind": "succeeded", "result": (b"1" * 101).hex()}], module="rogue")
    assert run.kinds == [Kind.BAD_RESULT]
    assert "101 bytes, result_bytes_max is 100" in run.outcomes[1].message


def test_the_child_is_told_neither_where_the_store_is_nor_how_to_enter_it(make_node, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    node = make_node(state_dir="s3://the-bucket/prefix")
    (seen,) = node.run("all_i_see", [{}], module="rogue").results()
    assert "the-bucket" not in seen
    assert "AWS_SECRET" not in seen
