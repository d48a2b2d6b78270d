"""What the probe finds out about stores that do not keep their promise."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

from taskservice.objects import ObjectInfo, StoreRefused, StoreUnavailable
from taskservice.objects.memory import MemoryObjects
from taskservice.objects.probe import CREATORS, ROUNDS_MAX, probe


class Overwriting(MemoryObjects):
    """Ignores the condition, as a server that does not know the header."""

    def put_if_absent(self, key: str, data: bytes) -> bytes | None:
        self.delete([key])
        return super().put_if_absent(key, data)


class OverwritingInRaces(MemoryObjects):
    """Looks first and writes then; in the round of that number, all look before the first writes."""

    def __init__(self, bad_round: int) -> None:
        super().__init__()
        self._bad = f"/{bad_round}"
        self._looked = threading.Barrier(CREATORS)

    def put_if_absent(self, key: str, data: bytes) -> bytes | None:
        if not key.endswith(self._bad):
            return super().put_if_absent(key, data)
        self._looked.wait()
        self.delete([key])
        super().put_if_absent(key, data)
        return None


class Forgetful(MemoryObjects):
    """Two see themselves refused by something that is not there in the end."""

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        return b"another" if key.endswith("/2") else super().get(key, start, end)


class Unlisted(MemoryObjects):
    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        return iter([])


@pytest.mark.parametrize(
    "store",
    [Overwriting(), OverwritingInRaces(1), OverwritingInRaces(ROUNDS_MAX), Forgetful()],
    ids=lambda s: type(s).__name__,
)
def test_a_broken_promise_is_found_and_explained(store: MemoryObjects):
    with pytest.raises(
        StoreRefused, match=r"memory: does not keep its promise about conditional writes .* both take themselves"
    ):
        probe(store)
    assert list(MemoryObjects.list(store, "")) == []


def test_a_list_without_what_was_created_is_found():
    with pytest.raises(StoreRefused, match="does not list what was just created"):
        probe(Unlisted())


def test_rounds_end_when_a_round_takes_long():
    """A store that lets racers wait for each other has decided the race; starts should not take long."""
    now_s = 0.0

    def clock() -> float:
        nonlocal now_s
        now_s += 0.3
        return now_s

    latencies = probe(MemoryObjects(), clock=clock)
    assert 1 <= len(latencies.contended_ms) < ROUNDS_MAX
    assert latencies.create_ms == [pytest.approx(300)]
    assert len(probe(MemoryObjects()).contended_ms) == ROUNDS_MAX


class Ending(MemoryObjects):
    """Cannot be reached any more after the first creation; deletes are noted."""

    deleted: Sequence[str] = ()

    def put_if_absent(self, key: str, data: bytes) -> bytes | None:
        if data == b"second":
            raise StoreUnavailable("come back")
        return super().put_if_absent(key, data)

    def delete(self, keys: Sequence[str]) -> None:
        self.deleted = keys
        super().delete(keys)


def test_what_was_created_is_deleted_even_if_the_probe_ends_early():
    store = Ending()
    with pytest.raises(StoreUnavailable, match="come back"):
        probe(store)
    assert len(store.deleted) == 1
    assert list(store.list("")) == []
