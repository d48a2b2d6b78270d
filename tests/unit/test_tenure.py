"""Two services on one state: which of them stays, in any order of their dispatchers' starts."""

from __future__ import annotations

import uuid
from itertools import product
from pathlib import Path

import pytest

from taskservice.journal.manifest import claim
from taskservice.journal.tenure import Superseded, Tenure
from taskservice.objects.memory import MemoryObjects


class Service:
    """Starts its dispatcher again each time that it is told to."""

    def __init__(self, store: MemoryObjects, path: Path) -> None:
        self._store = store
        self._path = path
        self._started = False
        self.ended = False

    def start(self, *, claims: bool = True) -> None:
        """`claims`: False if the process is killed before its claim is there."""
        tenure = Tenure(self._path, again=self._started)
        self._started = True
        try:
            nonce = tenure.next_nonce(self._store)
        except Superseded:
            self.ended = True
            return
        if claims:
            claim(self._store, log=uuid.uuid4().hex, nonce=nonce, writer=self._path.name, at_ms=0)


def test_a_service_starts_its_own_dispatcher_again_as_often_as_it_dies(tmp_path: Path) -> None:
    store = MemoryObjects()
    Service(store, tmp_path / "before").start()
    service = Service(store, tmp_path / "a")
    for claims in (False, False, True, False, True, True):
        service.start(claims=claims)
        assert not service.ended


def test_one_that_another_has_taken_over_from_ends_and_says_whose_the_state_is(tmp_path: Path) -> None:
    store = MemoryObjects()
    first, second = Service(store, tmp_path / "a"), Service(store, tmp_path / "b")
    first.start()
    second.start()
    with pytest.raises(Superseded, match=r"another service \(b\) took it over by 1970-01-01"):
        Tenure(tmp_path / "a", again=True).next_nonce(store)
    second.start()
    assert not second.ended
    first.ended = True
    anew = Service(store, tmp_path / "a")  # somebody wants it there again, and says so
    anew.start()
    second.start()
    assert (anew.ended, second.ended) == (False, True)


@pytest.mark.parametrize("order", list(product("ab", repeat=5)), ids="".join)
def test_of_two_that_both_go_on_one_stays(order: tuple[str, ...], tmp_path: Path) -> None:
    store = MemoryObjects()
    services = {name: Service(store, tmp_path / name) for name in "ab"}
    for name in order:
        if not services[name].ended:
            services[name].start()
    assert not all(service.ended for service in services.values())
    for name in "abab":
        if not services[name].ended:
            services[name].start()
    assert [service.ended for service in services.values()].count(True) == 1
