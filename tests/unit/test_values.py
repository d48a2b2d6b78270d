"""Values as objects: written once, found as they were, told apart from what is not there any more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.unreliable_objects import UnreliableObjects
from taskservice.core.values import ValueRef, is_value_key
from taskservice.objects.directory import DirectoryObjects
from taskservice.values import PART_BYTES, ValueLost, Values, ValuesAway, patiently, values_in

NOON_MS = 1_770_120_000_000
TEXT = b'"' + b"x" * (3 * PART_BYTES) + b'"'


@pytest.fixture
def store() -> UnreliableObjects:
    return UnreliableObjects()


@pytest.fixture
def values(store: UnreliableObjects) -> Values:
    return Values(lambda: store, lambda: NOON_MS)


def whole(values: Values, ref: ValueRef) -> bytes:
    return values.read(ref)


def in_parts(values: Values, ref: ValueRef) -> bytes:
    return b"".join(values.parts(ref))


READS = pytest.mark.parametrize("read", [whole, in_parts])
Read = Callable[[Values, ValueRef], bytes]


@READS
@pytest.mark.parametrize("size_bytes", [1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, len(TEXT)])
def test_what_was_written_is_read(values: Values, read: Read, size_bytes: int) -> None:
    assert read(values, values.write(TEXT[:size_bytes])) == TEXT[:size_bytes]


def test_keys_tell_the_day_and_are_never_the_same(values: Values) -> None:
    refs = [values.write(b"{}") for _ in range(100)]
    assert all(is_value_key(ref.key) and ref.key.startswith("value/dt=2026-02-03/") for ref in refs)
    assert len({ref.key for ref in refs}) == 100


@READS
def test_what_is_gone_is_lost(values: Values, read: Read) -> None:
    ref = values.write(TEXT)
    values.remove([ref.key])
    with pytest.raises(ValueLost, match=f"{ref.key}.* is gone"):
        read(values, ref)


@READS
@pytest.mark.parametrize("found", [TEXT[:-1], TEXT + b" ", b"x" + TEXT[1:], TEXT[:-1] + b"x", b"", TEXT[:PART_BYTES]])
def test_what_is_not_as_it_was_written_is_lost(
    values: Values, store: UnreliableObjects, read: Read, found: bytes
) -> None:
    ref = values.write(TEXT)
    store.replace(ref.key, found)
    with pytest.raises(ValueLost, match=f"{ref.key} does not hold"):
        read(values, ref)


def test_nobody_gets_all_parts_of_what_is_not_as_it_was_written(values: Values, store: UnreliableObjects) -> None:
    ref = values.write(TEXT)
    store.replace(ref.key, b"x" + TEXT[1:])
    parts = values.parts(ref)
    assert sum(len(next(parts)) for _ in range(3)) < ref.size_bytes
    with pytest.raises(ValueLost):
        next(parts)


@READS
def test_a_store_that_is_away_or_refuses_is_away(values: Values, store: UnreliableObjects, read: Read) -> None:
    ref = values.write(TEXT)
    store.away = 4
    for call in (lambda: values.write(TEXT), lambda: read(values, ref), lambda: values.remove([ref.key])):
        with pytest.raises(ValuesAway, match="the store is away"):
            call()
    store.away = 0
    store.refusing = {"put", "get"}
    with pytest.raises(ValuesAway, match="no access: put"):
        values.write(TEXT)
    with pytest.raises(ValuesAway, match="no access: get"):
        read(values, ref)


def test_only_values_are_removed(values: Values, store: UnreliableObjects) -> None:
    store.put_if_absent("manifest/000000000001", b"{}")
    ref = values.write(b"{}")
    with pytest.raises(AssertionError, match="no values"):
        values.remove([ref.key, "manifest/000000000001"])
    assert len(store.keys()) == 2


def test_only_values_older_than_asked_are_listed(store: UnreliableObjects, values: Values) -> None:
    """By the store's clock: that of objects in RAM counts them."""
    refs = [values.write(b"{}") for _ in range(3)]
    store.put_if_absent("value/dt=2026-02-03/notes.txt", b"")
    assert sorted(values.older_than(3)) == sorted(ref.key for ref in refs[:2])
    assert len(list(values.older_than(100))) == 3


def test_the_store_is_opened_when_it_is_first_needed(tmp_path: Path) -> None:
    values = values_in(str(tmp_path / "state"), 1.0)
    assert not (tmp_path / "state").exists()
    ref = values.write(TEXT)
    assert DirectoryObjects(tmp_path / "state").get(ref.key) == TEXT


def test_a_bucket_that_cannot_be_used_is_away() -> None:
    """However its client says so: a supervisor that has a result in its hands goes on trying."""
    with pytest.raises(ValuesAway):
        Values(lambda: DirectoryObjects(Path("/proc/nobody/can/write/here"))).write(b"{}")


def test_patience_outlasts_an_outage(values: Values, store: UnreliableObjects) -> None:
    store.away = 3
    assert values.read(patiently(lambda: values.write(TEXT), 20.0, threading.Event())) == TEXT


def test_patience_ends(values: Values, store: UnreliableObjects) -> None:
    store.away = 1_000
    with pytest.raises(ValuesAway):
        patiently(lambda: values.write(TEXT), 0.05, threading.Event())
    stop = threading.Event()
    stop.set()
    with pytest.raises(ValuesAway):
        patiently(lambda: values.write(TEXT), 3_600.0, stop)
