"""Archives of code: the same for the same files, and nothing else than files, wherever they come from."""

from __future__ import annotations

import io
import random
import tarfile

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from taskservice.code.archive import FILES_MAX, BadArchive, Entry, checked, content_sha256, entries, pack

SHOP = [Entry("shop/tasks.py", b"x = 1\n"), Entry("run.sh", b"#!/bin/sh\n", True), Entry("shop/__init__.py", b"")]
MANY = 1 << 20


def member(name: str, **said: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    data = said.pop("data", b"x")
    for attribute, value in said.items():
        setattr(info, attribute, value)
    if info.isreg():
        info.size = len(data)
    return info, data


def archive_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """An archive as somebody hostile would make it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return zstandard.ZstdCompressor().compress(file.getvalue())


def test_what_is_packed_comes_out_in_the_order_of_its_names():
    assert list(entries(pack(SHOP).data, MANY)) == sorted(SHOP)


def test_the_name_follows_from_the_files_alone():
    shuffled = random.Random(7).sample(SHOP, len(SHOP))
    assert pack(shuffled) == pack(SHOP)
    recompressed = zstandard.ZstdCompressor(level=1).compress(zstandard.ZstdDecompressor().decompress(pack(SHOP).data))
    assert recompressed != pack(SHOP).data
    assert content_sha256(recompressed, MANY) == pack(SHOP).sha256


@pytest.mark.parametrize(
    "other",
    [
        [*SHOP[:2]],
        [*SHOP, Entry("a", b"")],
        [SHOP[0], SHOP[1]._replace(executable=False), SHOP[2]],
        [SHOP[0]._replace(data=b"x = 2\n"), *SHOP[1:]],
        [SHOP[0]._replace(path="shop/task.py"), *SHOP[1:]],
    ],
    ids=["one less", "one more", "not executable", "other bytes", "another path"],
)
def test_and_another_one_from_others(other: list[Entry]):
    assert pack(other).sha256 != pack(SHOP).sha256


def test_the_name_of_an_archive_is_the_same_for_ever():
    """Deployed code is found by it: if this fails, every app looks as if it had changed."""
    assert pack(SHOP).sha256 == "5aac8b77a770fb5eaed995e93426fc73cd73959b1120cbf8708cf29866caa8f4"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../up",
        "a/../../up",
        "a//b",
        "./a",
        "a/.",
        "",
        "a/",
        "back\\slash",
        "line\nfeed",
        "x" * 201,
        "/".join(["d" * 99] * 6),
    ],
)
def test_paths_that_lead_elsewhere_are_refused(path: str):
    with pytest.raises(BadArchive):
        list(entries(archive_of(member(path)), MANY))
    with pytest.raises(BadArchive):
        pack([Entry(path, b"")])


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE],
    ids=["symlink", "hard link", "character device", "block device", "pipe", "folder"],
)
def test_nothing_but_plain_files_is_taken(kind: bytes):
    with pytest.raises(BadArchive, match="no plain file"):
        list(entries(archive_of(member("a", type=kind, linkname="/etc/passwd")), MANY))


def test_a_sparse_file_is_refused():
    """Its size says nothing about what it takes."""
    pax = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": str(1 << 40), "GNU.sparse.map": "0,1"}
    with pytest.raises(BadArchive):
        list(entries(archive_of(member("a", pax_headers=pax)), MANY))


@pytest.mark.parametrize(
    "names",
    [("b", "a"), ("a", "a"), ("a", "a/b")],
    ids=["out of order", "twice", "in a folder that is a file"],
)
def test_each_path_is_there_once_in_its_place(names: tuple[str, str]):
    with pytest.raises(BadArchive):
        list(entries(archive_of(*map(member, names)), MANY))


def test_what_is_too_large_when_it_is_unpacked_is_refused_before_it_is():
    bomb = archive_of(member("zeros", data=bytes(64 << 20)))
    assert len(bomb) < 100_000
    with pytest.raises(BadArchive, match="code_unpacked_bytes_max"):
        list(entries(bomb, 1 << 20))


def test_too_many_files_are_refused():
    with pytest.raises(BadArchive, match=f"more than {FILES_MAX} files"):
        pack(Entry(f"{number:06}", b"") for number in range(FILES_MAX + 1))


@pytest.mark.parametrize("cut", [0, 1, 10, -1, -20])
def test_what_is_cut_off_is_no_archive(cut: int):
    whole = pack([*SHOP, Entry("zz", random.Random(1).randbytes(50_000))])
    with pytest.raises(BadArchive):
        list(checked(whole.data[:cut], whole.sha256, MANY))


def test_other_files_than_the_name_says_are_refused():
    with pytest.raises(BadArchive, match="other files"):
        list(checked(pack(SHOP[:1]).data, pack(SHOP).sha256, MANY))


@given(st.binary(max_size=300))
def test_any_bytes_are_an_archive_or_refused(data: bytes):
    try:
        list(entries(zstandard.ZstdCompressor().compress(data), MANY))
        list(entries(data, MANY))
    except BadArchive:
        return
    assert not any(data), "an empty tar is zeros"
