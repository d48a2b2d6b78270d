"""What every store of objects promises, whatever it keeps them in."""

from __future__ import annotations

import hashlib
import itertools
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taskservice.objects import NoSuchObject, ObjectStore
from taskservice.objects.directory import DirectoryObjects
from taskservice.objects.memory import MemoryObjects
from taskservice.objects.probe import probe

Open = Callable[[], ObjectStore]


@pytest.fixture(params=["memory", "directory", "s3"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the one store of this test, anew at each call; all are closed at the end."""
    prefix = f"conformance/{secrets.token_hex(8)}"
    memory = MemoryObjects()
    opened: list[ObjectStore] = []

    def open_it() -> ObjectStore:
        if request.param == "memory":
            opened.append(memory)
        elif request.param == "directory":
            opened.append(DirectoryObjects(tmp_path / "objects"))
        else:
            opened.append(request.getfixturevalue("seaweed").objects(prefix))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()
    shutil.rmtree(tmp_path / "objects", ignore_errors=True)


@pytest.fixture
def store(open_store: Open) -> ObjectStore:
    return open_store()


def keys(store: ObjectStore, prefix: str = "", after: str = "") -> list[str]:
    return [found.key for found in store.list(prefix, after)]


def test_what_is_created_is_read_back(store: ObjectStore):
    assert store.put_if_absent("a/b", b"body") is None
    assert store.get("a/b") == b"body"


def test_the_first_stays_and_the_second_is_shown_it(store: ObjectStore, open_store: Open):
    assert store.put_if_absent("a", b"first") is None
    other = open_store()
    assert other.put_if_absent("a", b"second") == b"first"
    assert store.put_if_absent("a", b"") == b"first"
    assert store.get("a") == other.get("a") == b"first"


def test_the_same_bytes_again_are_ones_own(store: ObjectStore):
    assert [store.put_if_absent("a", b"body") for _ in range(3)] == [None, None, None]
    assert [store.put_if_absent("empty", b"") for _ in range(3)] == [None, None, None]


def test_an_empty_object_is_an_object(store: ObjectStore):
    assert store.put_if_absent("empty", b"") is None
    assert store.put_if_absent("empty", b"body") == b""
    assert store.get("empty") == store.get("empty", 0, 10) == store.get("empty", 3) == b""
    assert [(found.key, found.size_bytes) for found in store.list("")] == [("empty", 0)]


def test_bytes_of_all_values(store: ObjectStore):
    body = bytes(range(256)) * 3 + b"\r\n\r\n0\r\n\r\n"
    store.put_if_absent("a", body)
    assert store.get("a") == body


@pytest.mark.parametrize("size_bytes", [(1 << 20) - 1, 1 << 20, 20_000_000])
def test_big_objects(store: ObjectStore, size_bytes: int):
    body = secrets.token_bytes(size_bytes)
    assert store.put_if_absent("big", body) is None
    assert hashlib.sha256(store.get("big")).digest() == hashlib.sha256(body).digest()
    assert store.put_if_absent("big", b"small") == body
    assert store.get("big", size_bytes - 5) == body[-5:]
    assert store.get("big", 500_000, 500_010) == body[500_000:500_010]


RANGES = [
    (0, None),
    (0, 0),
    (0, 1),
    (3, 7),
    (3, None),
    (4, 4),
    (9, 10),
    (9, 99),
    (0, 10),
    (0, 99),
    (10, None),
    (50, 60),
]


def test_a_range_is_what_there_is_of_it(store: ObjectStore):
    body = b"0123456789"
    store.put_if_absent("a", body)
    for start, end in RANGES:
        assert store.get("a", start, end) == body[start:end], (start, end)


def test_what_is_no_range_is_a_mistake(store: ObjectStore):
    store.put_if_absent("a", b"0123456789")
    for start, end in [(-1, None), (-3, -1), (0, -1), (5, 4)]:
        with pytest.raises(ValueError, match="no bytes from"):
            store.get("a", start, end)


def test_what_is_not_there_cannot_be_read(store: ObjectStore):
    store.put_if_absent("folder/a", b"body")
    for key in ("nothing", "folder", "folder/a/b", "folder/b", "folder/aa"):
        for start, end in [(0, None), (0, 0), (5, 5), (3, 7), (3, None)]:
            with pytest.raises(NoSuchObject, match=key):
                store.get(key, start, end)


GOOD_KEYS = [
    "a",
    "A0._=-",
    "-",
    "=",
    "_",
    "a..b",
    "a./b.",
    "0/1/2/3/4/5/6/7/8/9",
    "a-b/c_d/e=f",
    "w" * 255,
    "x/" * 340 + "x",
]
NO_KEYS = [
    "", "/", "/a", "a/", "a//b", ".", "..", "a/.", "a/../b", ".a", "a/.b", "a b", "a\n", "a\\b", "a%2Fb", "a+b", "a:b",
    "ä", "a*", "a?b", "a#b", "a\0b", "٣", "w" * 256, "x/" * 350 + "x",
]  # fmt: skip


def test_keys(store: ObjectStore):
    for key in GOOD_KEYS:
        assert store.put_if_absent(key, key.encode()) is None
        assert store.get(key) == key.encode()
        assert keys(store) == keys(store, key) == [key]
        store.delete([key])
        assert keys(store) == []


def test_what_is_no_key_is_a_mistake_everywhere(store: ObjectStore):
    store.put_if_absent("good", b"body")
    for key in NO_KEYS:
        with pytest.raises(ValueError, match="is no key"):
            store.put_if_absent(key, b"body")
        with pytest.raises(ValueError, match="is no key"):
            store.get(key)
        with pytest.raises(ValueError, match="is no key"):
            store.delete(["good", key])
    assert keys(store) == ["good"], "nothing is deleted if one key is none"


def test_what_no_key_begins_with_is_a_mistake(store: ObjectStore):
    for prefix in ("/", "../", "a//", ".a", "a b", "a/../b"):
        with pytest.raises(ValueError, match="not the beginning of a key"):
            keys(store, prefix)
        with pytest.raises(ValueError, match="not the beginning of a key"):
            keys(store, "", prefix)


LISTED = sorted(
    [
        "0/1",
        "1",
        "a-b",
        "a.b",
        "a/0",
        "a/b-c",
        "a/b.c",
        "a/b/c",
        "a/b/d",
        "a/b/d0",
        "a/b0",
        "a/c",
        "a0",
        "aa/b",
        "b",
        "Z/a",
        "_",
        "n/1/x",
        "n/12-1",
        "n/12/x",
        "n/123",
        "n/2",
    ]
)


@pytest.fixture
def listed(store: ObjectStore) -> ObjectStore:
    """Holds LISTED, created in another order."""
    for key in LISTED[1::2] + LISTED[::2]:
        store.put_if_absent(key, key.encode())
    return store


def test_lists_are_in_the_order_of_the_keys(listed: ObjectStore):
    assert keys(listed) == LISTED


PREFIXES = ["", "a", "a/", "a/b", "a/b/", "a/b/d", "a/b/c", "Z", "nothing", "a/nothing/", "a/b/c/", "n/"]
AFTERS = ["", *LISTED, "a", "a/", "a/b", "a/b/", "a/b/cc", "0", "z", "n/12", "n/13", "n/10"]


def test_a_list_has_what_begins_with_the_prefix_and_comes_after(listed: ObjectStore):
    for prefix in PREFIXES:
        for after in AFTERS:
            wanted = [key for key in LISTED if key.startswith(prefix) and key > after]
            assert keys(listed, prefix, after) == wanted, (prefix, after)


def test_a_list_says_size_and_when(open_store: Open):
    store = open_store()
    before_ms = time.time_ns() // 1_000_000
    store.put_if_absent("a", b"0123456789")
    (found,) = store.list("a")
    assert found.size_bytes == 10
    if not isinstance(store, MemoryObjects):  # whose clock is a count
        assert before_ms - 2000 <= found.modified_ms <= time.time_ns() // 1_000_000 + 2000


def test_1500_objects(store: ObjectStore):
    """More than S3 lists, or deletes, at once."""
    names = [f"many/{number % 7}/{number:05}" for number in range(1500)]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda key: store.put_if_absent(key, key.encode()), names)) == {None}
    store.put_if_absent("many-more", b"")
    assert keys(store, "many/") == sorted(names)
    middle = sorted(names)[700]
    assert keys(store, "many/", middle) == sorted(names)[701:]
    store.delete(names[:1200])
    assert keys(store, "many/") == sorted(names[1200:])
    store.delete(names)
    assert keys(store) == ["many-more"]


def test_a_list_may_be_left_before_its_end(listed: ObjectStore):
    assert [found.key for found in itertools.islice(listed.list(""), 3)] == LISTED[:3]


def test_deletes_are_of_exact_keys(listed: ObjectStore):
    listed.delete(["a/b/d", "a", "a/b", "a/", "b"][:3])
    assert keys(listed) == [key for key in LISTED if key != "a/b/d"]
    with pytest.raises(NoSuchObject):
        listed.get("a/b/d")


def test_deleting_what_is_not_there_is_no_error(store: ObjectStore):
    store.put_if_absent("a/b", b"body")
    store.delete([])
    store.delete(["nothing", "a", "a/b/c", "a/c", "nothing"])
    assert keys(store) == ["a/b"]
    store.delete(["a/b", "a/b", "nothing"])
    store.delete(["a/b"])
    assert keys(store) == []


def test_what_was_deleted_can_be_created_again(store: ObjectStore):
    for body in (b"first", b"second", b"third"):
        assert store.put_if_absent("a/b", body) is None
        assert store.get("a/b") == body
        store.delete(["a/b"])


def test_another_opening_sees_it_all(store: ObjectStore, open_store: Open):
    store.put_if_absent("a", b"body")
    store.close()
    again = open_store()
    assert again.get("a") == b"body"
    assert keys(again) == ["a"]


def test_of_many_creators_of_each_of_many_keys_one_succeeds(store: ObjectStore):
    """Each thread goes through the keys from another one on, so that some are contended and some are taken already."""
    names = [f"race/{number:02}" for number in range(40)]
    start = threading.Barrier(8)

    def create(thread: int) -> dict[str, bytes | None]:
        start.wait()
        turned = names[thread * 5 :] + names[: thread * 5]
        return {key: store.put_if_absent(key, f"{thread}".encode()) for key in turned}

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(create, range(8)))
    for key in names:
        (winner,) = [f"{thread}".encode() for thread, found in enumerate(seen) if found[key] is None]
        assert store.get(key) == winner
        assert {found[key] for found in seen} == {None, winner}


def test_creators_and_deleters_of_one_key(store: ObjectStore):
    """A creator is told of its own object or of another's, whole; never of anything else."""
    bodies = [bytes([65 + thread]) * 50_000 for thread in range(4)]

    def create_and_delete(body: bytes) -> set[bytes | None]:
        seen = set()
        for _ in range(5):
            seen.add(store.put_if_absent("contended/a", body))
            store.delete(["contended/a"])
        return seen

    with ThreadPoolExecutor(4) as pool:
        seen = set().union(*pool.map(create_and_delete, bodies))
    assert seen <= {None, *bodies}
    assert keys(store) == []


def test_the_probe_is_content_and_leaves_nothing(store: ObjectStore):
    store.put_if_absent("a", b"body")
    latencies = probe(store)
    assert len(latencies.create_ms) == len(latencies.list_ms) == len(latencies.delete_ms) == 1
    assert len(latencies.read_ms) == len(latencies.contended_ms) >= 1
    assert keys(store) == ["a"]
