"""A file into the store and back, and every way in which what is there may be damaged."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import zstandard

from helpers.unreliable_objects import UnreliableObjects
from taskservice.journal import JournalFailed, Position
from taskservice.journal.checkpoint import CheckpointDamaged, Index
from taskservice.journal.chunks import load, save
from taskservice.journal.crew import Crew
from taskservice.journal.patience import PatientObjects, Stopped
from taskservice.objects import ObjectStore

CHUNK = 100


def saved(
    store: ObjectStore,
    path: Path,
    number: int = 0,
    base: Index | None = None,
    *,
    threads: int = 1,
    stop: threading.Event | None = None,
) -> Index:
    return save(
        store,
        path,
        Position(1, number, bytes(16)),
        base,
        log="log",
        stop=stop or threading.Event(),
        threads=threads,
        cpu_ratio_max=float(threads),
        chunk_bytes=CHUNK,
    )


def loaded(store: ObjectStore, index: Index, path: Path, *, threads: int = 1) -> bytes:
    assert load(store, index.ref, path, stop=threading.Event(), threads=threads) == index
    return path.read_bytes()


def pattern(length: int) -> bytes:
    """Bytes of which no two chunks are alike."""
    return b"".join(b"%07d " % at for at in range(length // 8 + 1))[:length]


@pytest.fixture
def store() -> UnreliableObjects:
    return UnreliableObjects()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A file of four chunks, the last of which is short."""
    path = tmp_path / "table"
    path.write_bytes(pattern(3 * CHUNK + 50))
    return path


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("length", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 7 * CHUNK, 7 * CHUNK + 3])
def test_a_file_comes_back_as_it_was(store: UnreliableObjects, tmp_path: Path, length: int, threads: int):
    path = tmp_path / "table"
    path.write_bytes(pattern(length))
    index = saved(store, path, threads=threads)
    assert len(index.chunks) == -(-length // CHUNK)
    assert loaded(store, index, tmp_path / "other", threads=threads) == pattern(length)


def test_only_chunks_that_changed_are_uploaded(store: UnreliableObjects, table: Path, tmp_path: Path):
    first = saved(store, table, 0)
    assert store.done["put"] == 4 + 1
    data = bytearray(table.read_bytes())
    data[CHUNK + 5] ^= 1
    table.write_bytes(data)
    second = saved(store, table, 1, first)
    assert store.done["put"] == 5 + 1 + 1
    assert [a.key == b.key for a, b in zip(first.chunks, second.chunks, strict=True)] == [True, False, True, True]
    assert loaded(store, second, tmp_path / "other") == data
    assert loaded(store, first, tmp_path / "other") == pattern(3 * CHUNK + 50)


def test_a_chunk_that_is_in_several_places_is_put_once_and_fetched_once(store: UnreliableObjects, tmp_path: Path):
    path = tmp_path / "table"
    path.write_bytes(bytes(5 * CHUNK))
    index = saved(store, path)
    assert store.done["put"] == 1 + 1
    store.done.clear()
    assert loaded(store, index, tmp_path / "other") == bytes(5 * CHUNK)
    assert store.done["get"] == 1 + 1


def test_no_name_is_used_twice(store: UnreliableObjects, table: Path):
    first = saved(store, table, 0)
    second = saved(store, table, 1)
    assert first.chunk_keys.isdisjoint(second.chunk_keys)


def test_a_store_that_is_away_is_waited_for(store: UnreliableObjects, table: Path, tmp_path: Path):
    patient = PatientObjects(store, threading.Event(), pause_s_max=0.0)
    store.away = 3
    index = saved(patient, table)
    store.away = 3
    assert loaded(patient, index, tmp_path / "other") == table.read_bytes()
    assert patient.requests == 5 + 3 + 5 + 3
    assert not patient.trouble


class StopsWaiting(threading.Event):
    """Set by whoever waits for it: the process is told to stop just then."""

    def wait(self, timeout: float | None = None) -> bool:
        self.set()
        return True


def test_work_ends_when_the_process_stops(store: UnreliableObjects, table: Path):
    """While the store is away, and while all is well; and what it has put so far serves nobody."""
    stop = StopsWaiting()
    store.away = 1
    with pytest.raises(Stopped):
        saved(PatientObjects(store, stop), table, stop=stop)
    assert stop.is_set()
    with pytest.raises(Stopped):
        saved(store, table, stop=stop)
    assert not store.keys("checkpoint/")


@pytest.mark.parametrize("threads", [1, 4])
def test_what_a_piece_of_work_raises_ends_the_others(threads: int):
    done: list[int] = []

    def work(item: int) -> None:
        if item == 5:
            raise KeyError(item)
        done.append(item)

    with pytest.raises(KeyError):
        Crew(threads, float(threads), threading.Event()).do(range(100_000), lambda: work)
    assert len(done) < 100_000


def test_a_crew_rests_in_proportion_to_its_work():
    """Two threads that together may take a fifth of a core each rest nine times as long as they have worked."""
    rests: list[float] = []

    class Rests(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            rests.append(timeout)
            return False

    def work(item: int) -> None:
        sum(range(1_000_000))

    Crew(2, 0.2, Rests()).do(range(10), lambda: work)
    assert len(rests) == 10
    assert all(rest > 9 * 0.001 for rest in rests)
    rests.clear()
    Crew(2, 2.0, Rests()).do(range(10), lambda: work)
    assert not rests


def test_a_file_that_changes_meanwhile_is_no_checkpoint(store: UnreliableObjects, table: Path):
    class Meddling(UnreliableObjects):
        def put_if_absent(self, key: str, data: bytes) -> bytes | None:
            table.write_bytes(table.read_bytes() + b"more")
            return super().put_if_absent(key, data)

    meddling = Meddling()
    with pytest.raises(JournalFailed, match="written to"):
        saved(meddling, table)
    assert not meddling.keys("checkpoint/")


def test_a_name_that_somebody_else_has_taken_ends_it(store: UnreliableObjects, table: Path):
    store.put_if_absent("chunk/00000001-0000000000/000002", b"strange")
    with pytest.raises(JournalFailed, match="chunk/00000001-0000000000/000002 is there already"):
        saved(store, table)
    assert not store.keys("checkpoint/")


def test_a_file_that_is_not_there_is_named(store: UnreliableObjects, tmp_path: Path):
    with pytest.raises(JournalFailed, match=str(tmp_path / "none")):
        saved(store, tmp_path / "none")


Damage = Callable[[UnreliableObjects, Index], None]


def on_index(change: Callable[[bytes], bytes]) -> Damage:
    return lambda store, index: store.replace(index.ref.key, change(store.get(index.ref.key)))


def on_chunk(change: Callable[[bytes], bytes]) -> Damage:
    return lambda store, index: store.replace(index.chunks[2].key, change(store.get(index.chunks[2].key)))


def edited(**fields: object) -> Damage:
    """The index says something else in some of its fields."""
    return on_index(lambda data: msgspec.json.encode(msgspec.json.decode(data) | fields))


def flip(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


DAMAGES: dict[str, tuple[Damage, str]] = {
    "no index": (lambda store, index: store.delete([index.ref.key]), "is missing"),
    "half an index": (on_index(lambda data: data[: len(data) // 2]), "garbled or cut short"),
    "an empty index": (on_index(lambda data: b""), "garbled or cut short"),
    "an index of no text": (on_index(lambda data: b"\xff" + data), "garbled or cut short"),
    "a newer index": (edited(version=2, more=[]), "a newer version of taskservice"),
    "an index of version 0": (edited(version=0), "is not the index"),
    "an index of another place": (edited(segment=7), "is not the index"),
    "another chain": (edited(chain="00"), "is not the index"),
    "fewer bytes": (edited(file_bytes=120), "is not the index"),
    "a few bytes fewer": (edited(file_bytes=349), "is not what was put there|does not hold"),
    "negative bytes": (edited(file_bytes=-1), "is not the index"),
    "chunks of nothing": (edited(chunk_bytes=0), "is not the index"),
    "other chunks": (edited(chunk_bytes=90), "is not what was put there|does not hold"),
    "a field that is not known": (edited(unknown=1), "garbled or cut short"),
    "no chunk": (lambda store, index: store.delete([index.chunks[2].key]), "000002, needed by .* is missing"),
    "half a chunk": (on_chunk(lambda data: data[: len(data) // 2]), "garbled or cut short"),
    "an empty chunk": (on_chunk(lambda data: b""), "garbled or cut short"),
    "a chunk and more": (on_chunk(lambda data: data + b"!"), "garbled or cut short"),
    "a chunk's magic": (on_chunk(flip(0)), "garbled or cut short"),
    "a chunk's length": (on_chunk(flip(5)), "does not hold"),
    "another chunk's bytes": (
        lambda store, index: store.replace(index.chunks[2].key, store.get(index.chunks[1].key)),
        "is not what was put there",
    ),
    "a chunk of more": (on_chunk(lambda data: zstandard.compress(bytes(CHUNK + 1))), "does not hold 100 bytes"),
}


@pytest.mark.parametrize(("damage", "complaint"), DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("threads", [1, 3])
def test_damage_is_seen_and_named(
    store: UnreliableObjects, table: Path, tmp_path: Path, damage: Damage, complaint: str, threads: int
):
    index = saved(store, table)
    damage(store, index)
    with pytest.raises(CheckpointDamaged, match=complaint) as raised:
        load(store, index.ref, table, stop=threading.Event(), threads=threads)
    assert index.ref.key in str(raised.value)
    assert table.read_bytes() == pattern(350), "what was there is there"
    assert [path.name for path in tmp_path.iterdir()] == ["table"]


def test_any_flipped_bit_of_a_chunk_is_seen_or_does_not_matter(store: UnreliableObjects, table: Path, tmp_path: Path):
    index = saved(store, table)
    good = store.get(index.chunks[2].key)
    seen = 0
    for at in range(len(good) * 8):
        store.replace(index.chunks[2].key, flip_bit(good, at))
        try:
            assert loaded(store, index, tmp_path / "other") == table.read_bytes()
        except CheckpointDamaged:
            seen += 1
    assert seen > len(good) * 7


def flip_bit(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


def test_what_lay_beside_the_file_before_is_gone(store: UnreliableObjects, table: Path):
    """The write-ahead log of another database must not be folded into this one."""
    index = saved(store, table)
    table.write_bytes(b"another")
    beside = [table.with_name(f"table{suffix}") for suffix in ("-wal", "-shm", "-journal", ".part")]
    for path in beside:
        path.write_bytes(b"of another")
    assert loaded(store, index, table) == pattern(350)
    assert not any(path.exists() for path in beside)


def test_a_disk_that_does_not_take_it_is_named(store: UnreliableObjects, table: Path, tmp_path: Path):
    index = saved(store, table)
    with pytest.raises(JournalFailed, match=str(tmp_path / "none" / "table")):
        load(store, index.ref, tmp_path / "none" / "table", stop=threading.Event())
