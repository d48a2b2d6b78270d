"""Files of history: every field comes back, what is read is little, and others can read them as well."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from helpers.large import key, reference
from helpers.tables import BOOM, ODD_TAGS, task
from taskservice.core.past import DAY_MS, Past
from taskservice.core.types import Lane, Priority, Task, TaskState
from taskservice.core.values import digest
from taskservice.errors import BackOffError, ServiceBug
from taskservice.history import parquet
from taskservice.history.keys import epoch_of, file_key
from taskservice.history.parquet import Unreadable, Written
from taskservice.history.reader import HistoryReader
from taskservice.objects import ObjectStore, StoreUnavailable
from taskservice.objects.directory import DirectoryObjects
from taskservice.objects.memory import MemoryObjects

KEY = file_key(20_781, 1, 9, 3, "ab12")


def ended(no: int, **fields) -> Task:
    at = {"state": TaskState.SUCCEEDED, "started_ms": 5_000, "ended_ms": 6_000, "duration_us": 7, "result": b'{"r":1}'}
    return task(no, **{**at, **fields})


RICH = ended(
    7,
    id="task@7",
    priority=Priority.CRITICAL,
    state=TaskState.FAILED,
    payload='{"ключ":"値 🙂\\u0000"}'.encode(),
    tags=ODD_TAGS,
    run=2,
    attempt=1,
    crashes=2,
    losses=3,
    result=None,
    error=BOOM,
)
BARE = ended(8, state=TaskState.CANCELLED, started_ms=None, duration_us=None, result=None, payload=b"")
EMPTY = ended(9, result=b"")
EXPIRED = ended(
    10,
    state=TaskState.EXPIRED,
    started_ms=None,
    duration_us=None,
    result=None,
    expires_ms=5_900,
    deadline_ms=5_950,
    lane=Lane.OFF_PEAK,
)


class Counted(MemoryObjects):
    """Objects that say how much of them was read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[int, int | None]] = []
        self.away = False

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        if self.away:
            raise StoreUnavailable("it is slow")
        self.reads.append((start, end))
        return super().get(key, start, end)


def stored(store: ObjectStore, tasks: Sequence[Task], key: str = KEY, each: int = 1_000) -> list[Past]:
    """The tasks are in a file; gives their places."""
    data = parquet.encode([parquet.batch(tasks[at : at + each]) for at in range(0, len(tasks), each)])
    assert store.put_if_absent(key, data) is None
    return [
        Past(
            one.no, one.id, one.tenant, one.function, one.priority, one.state, digest(one.payload), key, len(data), row
        )
        for row, one in enumerate(tasks)
    ]


def test_every_field_comes_back() -> None:
    store = MemoryObjects()
    places = stored(store, [RICH, BARE, EMPTY, EXPIRED])
    reader = HistoryReader(lambda: store)
    assert reader.read([places[1], places[2], places[0], places[3]], whole=True) == [BARE, EMPTY, RICH, EXPIRED]
    listed = reader.read(places, whole=False)
    assert [one.id for one in listed] == ["task@7", "task-8", "task-9", "task-10"]


def test_a_file_that_was_written_before_tasks_could_expire_is_read() -> None:
    older = parquet.batch([RICH, EXPIRED]).drop_columns(["expires_at", "deadline_at", "lane"])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_batches([older]), sink)
    store = MemoryObjects()
    data = sink.getvalue().to_pybytes()
    assert store.put_if_absent(KEY, data) is None
    places = [
        Past(
            one.no, one.id, one.tenant, one.function, one.priority, one.state, digest(one.payload), KEY, len(data), row
        )
        for row, one in enumerate([RICH, EXPIRED])
    ]
    assert HistoryReader(lambda: store).read(places, whole=True) == [
        RICH,
        replace(EXPIRED, expires_ms=None, deadline_ms=None, lane=Lane.MAIN),
    ]


def test_a_large_value_is_an_object_and_not_text() -> None:
    """Its reference comes back as it was; whoever reads the file without the service finds the key."""
    store = MemoryObjects()
    tasks = [
        ended(1, payload=reference(1), result=reference(2)),
        ended(2, result=reference(3)),
        ended(3, payload=reference(4)),
    ]
    places = stored(store, [*tasks, BARE])
    assert HistoryReader(lambda: store).read(places, whole=True) == [*tasks, BARE]
    assert sorted(parquet.value_keys(store.get(KEY))) == [key(no) for no in range(1, 5)]
    table = pq.read_table(pa.BufferReader(store.get(KEY)))
    assert table.column("payload").to_pylist()[0] is None
    assert table.column("result_at").to_pylist()[1]["key"] == key(3)


def test_a_listing_reads_no_payloads() -> None:
    store = Counted()
    places = stored(store, [ended(no, payload=b'"' + bytes([97 + no]) * 50_000 + b'"') for no in range(9)])
    (one,) = HistoryReader(lambda: store).read(places[3:4], whole=False)
    assert (one.no, one.payload, one.result, one.ended_ms) == (3, b"", None, 6_000)


def test_one_task_of_many_takes_two_reads_and_the_next_none() -> None:
    store = Counted()
    tasks = [ended(no, payload=b'{"n":%d}' % (no * no)) for no in range(20_000)]
    places = stored(store, tasks)
    reader = HistoryReader(lambda: store)
    assert reader.read(places[12_345:12_346], whole=True) == tasks[12_345:12_346]
    assert len(store.reads) == 2, store.reads
    group = store.reads[1]
    assert group[1] is not None
    assert group[1] - group[0] < places[0].size_bytes / 3
    assert reader.read(places[12_350:12_351], whole=True) == tasks[12_350:12_351]
    assert [one.no for one in reader.read(places[12_340:12_350], whole=False)] == list(range(12_340, 12_350))
    assert len(store.reads) == 2


def test_a_row_group_is_bounded_by_its_bytes() -> None:
    data = parquet.encode([parquet.batch([ended(no, payload=b'"%s"' % (b"x" * 100_000)) for no in range(200)])])
    metadata = pq.read_metadata(pa.BufferReader(data))
    assert metadata.num_row_groups >= 4
    assert pq.read_metadata(pa.BufferReader(parquet.encode([parquet.batch([RICH])]))).num_row_groups == 1


def test_tasks_of_several_files_come_in_the_order_wanted() -> None:
    store = MemoryObjects()
    first = stored(store, [ended(1), ended(2)])
    second = stored(store, [ended(3)], file_key(1, 3, 3, 3, "cd"))
    reader = HistoryReader(lambda: store)
    assert [one.no for one in reader.read([first[1], second[0], first[0]], whole=True)] == [2, 3, 1]
    assert reader.read([], whole=True) == []


def test_a_file_that_was_dropped_is_left_out() -> None:
    store = MemoryObjects()
    first = stored(store, [ended(1), ended(2)])
    second = stored(store, [ended(3)], file_key(1, 3, 3, 3, "cd"))
    store.delete([KEY])
    assert [one.no for one in HistoryReader(lambda: store).read([*first, *second], whole=True)] == [3]


def test_a_store_that_is_away_is_to_be_asked_again() -> None:
    store = Counted()
    places = stored(store, [ended(1)])
    reader = HistoryReader(lambda: store)
    store.away = True
    with pytest.raises(BackOffError):
        reader.read(places, whole=True)
    store.away = False
    assert len(reader.read(places, whole=True)) == 1


@pytest.mark.parametrize("spoiled", ["cut", "zero", "another"])
def test_a_file_that_is_damaged_is_said_to_be(spoiled: str) -> None:
    store = MemoryObjects()
    (place,) = stored(store, [ended(1)])
    data = store.get(KEY)
    store.delete([KEY])
    other = parquet.encode([parquet.batch([ended(2)])])
    store.put_if_absent(KEY, {"cut": data[:-5], "zero": bytes(len(data)), "another": other}[spoiled])
    with pytest.raises(ServiceBug):
        HistoryReader(lambda: store).read([place], whole=True)


def test_what_a_file_has_row_by_row() -> None:
    data = parquet.encode([parquet.batch([RICH, BARE])])
    assert parquet.written(data) == [Written(7, 2, TaskState.FAILED), Written(8, 1, TaskState.CANCELLED)]
    for bad in (data[:-4], b"", b"PAR1"):
        with pytest.raises(Unreadable):
            parquet.written(bad)


def test_a_newer_file_is_not_guessed_at() -> None:
    table = pa.Table.from_batches([parquet.batch([RICH])])
    for metadata, said in (({b"taskservice.history": b"2"}, "newer"), ({}, "not a file")):
        sink = pa.BufferOutputStream()
        pq.write_table(table.replace_schema_metadata(metadata), sink)
        with pytest.raises(Unreadable, match=said):
            parquet.written(sink.getvalue().to_pybytes())


def test_what_is_not_utf8_does_not_keep_others_from_history() -> None:
    data = parquet.encode([parquet.batch([ended(1, result=b"\xff"), ended(2, result=b"1")])])
    assert [one.result for one in parquet.tasks_of(pq.read_table(pa.BufferReader(data)))] == ["\ufffd".encode(), b"1"]


def test_names_hold_the_day_the_numbers_and_the_writer() -> None:
    assert file_key(20_781, 5, 12, 3, "ab12") == "history/dt=2026-11-24/000000000005-000000000012-00000003-ab12.parquet"
    assert epoch_of(KEY) == 3
    for other in ("history/dt=2026-11-24/x.parquet", "history/x", KEY + ".x", "checkpoint/" + KEY):
        assert epoch_of(other) is None


def test_duckdb_reads_history_by_its_days(tmp_path: Path) -> None:
    """As whoever has the state directory and nothing of ours."""
    store = DirectoryObjects(tmp_path)
    for day in range(3):
        tasks = [
            ended(
                100 * day + n,
                ended_ms=day * DAY_MS + n,
                payload=b'{"size":%d}' % n,
                tags=(("customer", f"c{n % 2}"),),
                state=TaskState.FAILED if n % 5 == 0 else TaskState.SUCCEEDED,
                error=BOOM if n % 5 == 0 else None,
            )
            for n in range(10 + day)
        ]
        stored(store, tasks, file_key(day, 100 * day, 100 * day + 9 + day, 1, "ab"))
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    db.execute(
        f"CREATE VIEW h AS SELECT * FROM read_parquet('{tmp_path}/history/dt=*/*.parquet', hive_partitioning = true)"
    )

    def rows(query: str) -> list[tuple]:
        return db.execute(query).fetchall()

    assert rows("SELECT CAST(dt AS VARCHAR), count(*) FROM h GROUP BY 1 ORDER BY 1") == [
        ("1970-01-01", 10),
        ("1970-01-02", 11),
        ("1970-01-03", 12),
    ]
    assert rows("SELECT count(*) FROM h WHERE strftime(ended_at, '%Y-%m-%d') <> CAST(dt AS VARCHAR)") == [(0,)]
    assert rows("SELECT state, count(*), max(error_reason) FROM h GROUP BY 1 ORDER BY 1") == [
        ("failed", 8, "handler_error"),
        ("succeeded", 25, None),
    ]
    assert rows("SELECT sum(CAST(regexp_extract(payload, '[0-9]+') AS INT)) FROM h WHERE tags['customer'] = 'c1'") == [
        (86,)
    ]
