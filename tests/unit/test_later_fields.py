"""What is in journals for ever: how records of deadlines look there, and that what was written before there were any is read."""

from __future__ import annotations

import msgspec
import pytest

from helpers.tables import BOOM, task
from taskservice.core.callback_records import (
    DeliveriesForgotten,
    DeliveriesTried,
    DeliveryRenewed,
    EndpointSet,
    SecretSet,
    TriedRow,
)
from taskservice.core.deliveries import DeliveryKey, DeliveryState, Endpoint, SigningSecret, Try
from taskservice.core.press_records import PressesPutOff, TasksPressed
from taskservice.core.records import Record, RetryRow
from taskservice.core.specs import FunctionSpec
from taskservice.core.types import Hooks, Lane, Leaf, NewTask, Task
from taskservice.journal.codec import decode, encode
from world.machine import function


@pytest.mark.parametrize(
    ("record", "written"),
    [
        (TasksPressed(5, (1, 2)), ["pressed", 5, [1, 2]]),  # type: ignore[arg-type]
        (PressesPutOff(5, ((1, 9), (2, 10))), ["press_put_off", 5, [[1, 9], [2, 10]]]),  # type: ignore[arg-type]
    ],
)
def test_records_are_written_like_that(record: Record, written: list) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(record)) == written
    assert list(decode(encode((record,)))) == [record]


def without_last(struct: msgspec.Struct, fields: int) -> bytes:
    """As it was written when it had so many fields fewer."""
    return msgspec.msgpack.encode(msgspec.msgpack.decode(msgspec.msgpack.encode(struct))[:-fields])


def fields_from(kind: type[msgspec.Struct], name: str) -> int:
    return len(kind.__struct_fields__) - kind.__struct_fields__.index(name)


def test_what_was_written_before_is_as_if_nothing_had_been_said() -> None:
    spec = function()
    assert msgspec.msgpack.decode(without_last(spec, fields_from(FunctionSpec, "off_peak")), type=FunctionSpec) == spec
    new = NewTask("t", "app.f", b"{}")  # type: ignore[arg-type]
    assert msgspec.msgpack.decode(without_last(new, fields_from(NewTask, "deadline_ms")), type=NewTask) == new
    old = task(1)
    assert msgspec.msgpack.decode(without_last(old, fields_from(Task, "deadline_ms")), type=Task) == old


def test_lanes_are_words_in_leases_and_retries() -> None:
    leaf = Leaf("acme", "app.f", "normal", "", Lane.OFF_PEAK_RETRY)  # type: ignore[arg-type]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(leaf))[4] == "off_peak_retry"
    assert [lane.value for lane in Lane] == ["", "retry", "off_peak", "off_peak_retry"]


def test_leaves_and_retries_that_were_written_before_ask_for_no_more_memory() -> None:
    leaf = Leaf("acme", "app.f", "normal", "k", Lane.RETRY)  # type: ignore[arg-type]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(leaf[:-1]), type=Leaf) == leaf
    row = RetryRow(1, 2, BOOM, 1, 0, 0, 7, Lane.RETRY)  # type: ignore[arg-type]
    assert msgspec.msgpack.decode(without_last(row, 1), type=RetryRow) == row


def test_records_of_callbacks_are_written_like_that() -> None:
    tried = TriedRow(1, 2, Try(5, 503, ""), DeliveryState.OWED, 9)  # type: ignore[arg-type]
    for record, written in (
        (DeliveriesTried(5, (tried,)), ["deliveries_tried", 5, [[1, 2, [5, 503, ""], "owed", 9]]]),
        (DeliveryRenewed(5, 1, 2), ["delivery_renewed", 5, 1, 2]),  # type: ignore[arg-type]
        (DeliveriesForgotten(5, (DeliveryKey(1, 2),)), ["deliveries_forgotten", 5, [[1, 2]]]),  # type: ignore[arg-type]
        (
            EndpointSet(5, Endpoint("acme", "https://a.example", 3, 4)),
            ["endpoint", 5, ["acme", "https://a.example", 3, 4, None, ""]],
        ),  # type: ignore[arg-type]
        (SecretSet(5, SigningSecret("acme", b"s", 4)), ["signing_secret", 5, ["acme", b"s", 4, b"", 0]]),  # type: ignore[arg-type]
    ):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(record)) == written
        assert list(decode(encode((record,)))) == [record]


def test_tasks_that_were_written_before_are_followed_by_nothing() -> None:
    old = task(1)
    assert msgspec.msgpack.decode(without_last(old, fields_from(Task, "hooks")), type=Task) == old
    new = NewTask("t", "app.f", b"{}")  # type: ignore[arg-type]
    assert msgspec.msgpack.decode(without_last(new, fields_from(NewTask, "hooks")), type=NewTask) == new
    hooked = task(1, hooks=Hooks("https://a.example", "a.g", "a.h"))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(hooked), type=Task) == hooked
