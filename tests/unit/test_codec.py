"""Segment bodies: what is encoded comes back, and what is not ours is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import get_args, get_type_hints

import msgspec
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskservice.core.records import EpochOpened, Record, TasksAccepted
from taskservice.core.types import FunctionName, Priority, Task, TaskId, TaskNo, TaskState, TenantId, Token
from taskservice.journal import JournalCorrupt
from taskservice.journal.codec import COMPRESSED, FORMAT, decode, encode

KINDS = get_args(Record)

# msgpack carries integers of 64 bits and text without lone surrogates, which no JSON text holds either.
st.register_type_strategy(int, st.integers(-(2**63), 2**64 - 1))
st.register_type_strategy(str, st.text(st.characters(exclude_categories=("Cs",)), max_size=20))
st.register_type_strategy(float, st.floats(allow_nan=False))


def some(kind: type[Record]) -> st.SearchStrategy[Record]:
    """Records of one kind, with all that its fields' types allow."""
    return st.builds(kind, **{name: st.from_type(hint) for name, hint in get_type_hints(kind).items()})


def a_task() -> Task:
    return Task(
        no=TaskNo(7),
        id=TaskId("mail-7"),
        tenant=TenantId("acme"),
        function=FunctionName("send"),
        priority=Priority.HIGH,
        state=TaskState.QUEUED,
        payload=b'{"to":"\xc3\xa9"}',
        tags=(("colour", "red"),),
        created_ms=1_700_000_000_000,
        due_ms=1_700_000_000_000,
        max_attempts=5,
        timeout_ms=600_000,
        token=Token(3, 9),
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_record_comes_back_equal(kind: type[Record]):
    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(some(kind), max_size=3))
    def round_trip(records: list[Record]) -> None:
        decoded = decode(encode(records))
        assert decoded == records
        assert [type(record) for record in decoded] == [kind] * len(records)

    round_trip()


def test_the_order_of_mixed_records_is_kept():
    records: list[Record] = [EpochOpened(5, 1), TasksAccepted(6, (a_task(),)), EpochOpened(5, 2)]
    assert decode(encode(records)) == records


def test_types_survive():
    (record,) = decode(encode([TasksAccepted(6, (a_task(),))]))
    assert isinstance(record, TasksAccepted)
    (task,) = record.tasks
    assert (type(task.token), type(task.state), type(task.payload)) == (Token, TaskState, bytes)


def test_the_bytes_of_format_1_do_not_change():
    """Journals outlive versions. If this fails, give the new bytes a new format and go on reading this one."""
    assert encode([EpochOpened(at_ms=5, epoch=2)]) == b"\x01\x91\x93\xa5epoch\x05\x02"


def test_a_newer_format_is_named():
    with pytest.raises(JournalCorrupt, match="newer version"):
        decode(bytes([FORMAT + 1]) + encode([])[1:])


def test_large_bodies_are_compressed_and_come_back():
    tasks = tuple(msgspec.structs.replace(a_task(), no=TaskNo(no), id=TaskId(f"mail-{no}")) for no in range(1_000))
    body = encode([TasksAccepted(6, tasks)])
    assert body[0] == COMPRESSED
    assert len(body) < len(msgspec.msgpack.encode(tasks)) / 4
    assert decode(body) == [TasksAccepted(6, tasks)]


def test_a_body_that_claims_to_be_huge_is_not_believed():
    claimed = zstandard.ZstdCompressor().compressobj(size=1 << 40).compress(b"") or b"\x28\xb5\x2f\xfd\xe0" + (
        1 << 40
    ).to_bytes(8, "little")
    with pytest.raises(JournalCorrupt):
        decode(bytes([COMPRESSED]) + claimed)


def test_bodies_are_encoded_by_several_threads_at_once():
    records: list[Record] = [TasksAccepted(6, (a_task(),) * 500)]
    with ThreadPoolExecutor(8) as threads:
        bodies = list(threads.map(lambda _: encode(records), range(200)))
    assert all(decode(body) == records for body in bodies)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00\x90",
        b"\x02",
        b"\x02\x28\xb5\x2f\xfdgarbage",
        b"\x01",
        b"\x01\x91\x92\xa6unheard",
        b"\x01\x91\x92\xa5epoch\xa1x",
    ],
)
def test_what_is_not_a_body_is_corrupt(body: bytes):
    with pytest.raises(JournalCorrupt):
        decode(body)
