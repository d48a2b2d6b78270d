"""Code on a node: fetched once, whole or not at all, and removed when nobody has used it for long."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace

from helpers.unreliable_objects import UnreliableObjects
from taskservice.code.archive import Entry, Packed, pack
from taskservice.code.cache import CodeCache
from taskservice.code.store import CodeStore
from taskservice.core.specs import Bundle
from taskservice.objects.memory import MemoryObjects
from taskservice.values import ValueLost, ValuesAway

MANY = 1 << 20
UNUSED_S = 1_000.0
CODE = pack([Entry("shop/tasks.py", b"x = 1\n"), Entry("run.sh", b"", True)])


class Gets(MemoryObjects):
    """Objects that know how often they were read."""

    def __init__(self) -> None:
        super().__init__()
        self.gets = 0

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        self.gets += 1
        return super().get(key, start, end)


@pytest.fixture
def objects() -> Gets:
    return Gets()


def cache_of(folder: Path, objects: MemoryObjects) -> CodeCache:
    return CodeCache(folder / "code", CodeStore(lambda: objects), MANY, UNUSED_S)


def kept(objects: MemoryObjects, archive: Packed = CODE) -> Bundle:
    key = CodeStore(lambda: objects).put(archive)
    return Bundle("shop.tasks", "app", "", archive.sha256, key, len(archive.data))


def unpacked(folder: Path) -> list[str]:
    """The hashes of the code that is there, and whatever else is."""
    return sorted(path.name for path in (folder / "code").glob("*/*") if not path.name.endswith(".lock"))


def test_code_is_there_as_it_was_packed_and_fetched_once(tmp_path: Path, objects: Gets):
    cache, bundle = cache_of(tmp_path, objects), kept(objects)
    assert cache.here(bundle) is None
    held = cache.fetch(bundle)
    assert Path(held.path, "shop/tasks.py").read_bytes() == b"x = 1\n"
    assert os.access(Path(held.path, "run.sh"), os.X_OK)
    assert not Path(held.path, "shop/tasks.py").stat().st_mode & 0o222
    again = cache_of(tmp_path, objects).here(bundle)
    assert again is not None
    assert (again.path, objects.gets) == (held.path, 1)
    assert cache.fetch(bundle).path == held.path
    assert objects.gets == 1


def test_many_at_once_find_the_same(tmp_path: Path, objects: Gets):
    bundle = kept(objects)
    with ThreadPoolExecutor(8) as threads:
        paths = list(threads.map(lambda _: cache_of(tmp_path, objects).fetch(bundle).path, range(16)))
    assert len(set(paths)) == 1
    assert unpacked(tmp_path) == [bundle.sha256]


def test_what_is_not_what_its_name_says_is_never_there(tmp_path: Path, objects: Gets):
    other = kept(objects, pack([Entry("other.py", b"")]))
    bundle = replace(kept(objects), key=other.key)
    with pytest.raises(ValueLost, match="other files"):
        cache_of(tmp_path, objects).fetch(bundle)
    assert unpacked(tmp_path) == []


def test_code_that_is_gone_is_lost_and_a_store_that_is_away_is_not(tmp_path: Path):
    objects = UnreliableObjects()
    bundle = kept(objects)
    with pytest.raises(ValueLost, match="is gone"):
        cache_of(tmp_path, objects).fetch(replace(bundle, key=bundle.key.replace("-", "-0")[:-9] + ".tar.zst"))
    objects.away = 1
    with pytest.raises(ValuesAway):
        cache_of(tmp_path, objects).fetch(bundle)
    assert cache_of(tmp_path, objects).fetch(bundle)


def test_what_nobody_has_used_for_long_goes_when_other_code_comes(tmp_path: Path, objects: Gets):
    cache = cache_of(tmp_path, objects)
    old, held, fresh = (kept(objects, pack([Entry("a", bytes([n]))])) for n in range(3))
    cache.fetch(old).close()
    holding = cache.fetch(held)
    cache.fetch(fresh).close()
    for bundle in (old, held):
        (lock,) = (tmp_path / "code").glob(f"*/{bundle.sha256}.lock")
        os.utime(lock, (1, 1))
    cache.fetch(kept(objects))
    assert set(unpacked(tmp_path)) == {held.sha256, fresh.sha256, CODE.sha256}
    holding.close()
    assert cache.here(old) is None
    assert cache.fetch(old).path


def test_what_a_crash_left_and_what_was_there_before_the_machine_started_goes(tmp_path: Path, objects: Gets):
    cache = cache_of(tmp_path, objects)
    cache.fetch(kept(objects)).close()
    (boot,) = (tmp_path / "code").iterdir()
    draft, before = boot / f".{CODE.sha256}.0badc0de", tmp_path / "code" / "another"
    for path in (draft, before):
        (path / "x").mkdir(parents=True)
        os.utime(path, (1, 1))
    assert cache.fetch(kept(objects, pack([Entry("b", b"")])))
    assert not draft.exists()
    assert not before.exists()


def test_archives_are_listed_and_removed_by_age(objects: Gets):
    store = CodeStore(lambda: objects)
    key = store.put(CODE)
    objects.put_if_absent("code/something-else", b"")
    assert list(store.older_than(100)) == [key]
    assert list(store.older_than(0)) == []
    store.remove([key])
    assert list(store.older_than(100)) == []
    with pytest.raises(AssertionError):
        store.remove(["journal/1"])
