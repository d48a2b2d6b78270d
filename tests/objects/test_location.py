"""Where objects are, as people write it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from taskservice.objects import StoreRefused
from taskservice.objects.directory import DirectoryObjects
from taskservice.objects.location import open_objects, open_to_look
from taskservice.objects.s3 import S3Objects


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("s3://my.bucket-2--use1-az4--x-s3/a", "s3://my.bucket-2--use1-az4--x-s3/a"),
    ],
)
def test_a_bucket_and_a_prefix(location: str, url: str):
    with closing(open_objects(location)) as store:
        assert isinstance(store, S3Objects)
        assert store.url == url


def test_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for location, path in [("rel/ative", "rel/ative"), (f"{tmp_path}/a b", "a b"), ("~/x", "home/x"), ("./s3", "s3")]:
        store = open_objects(location)
        assert isinstance(store, DirectoryObjects)
        assert store.url == str(tmp_path / path)
        assert (tmp_path / path).is_dir()


@pytest.mark.parametrize("location", ["", "gs://bucket", "http://localhost/x", "file:///tmp/x", "S3://bucket", "az:x"])
def test_other_places_are_refused_with_what_to_write(location: str):
    with pytest.raises(ValueError, match="write s3://bucket/prefix, or the path"):
        open_objects(location)


@pytest.mark.parametrize("location", ["s3:", "s3://", "s3:///prefix", "s3://-/x", "s3:bucket"])
def test_a_location_without_a_bucket_is_refused(location: str):
    with pytest.raises(ValueError, match="names no bucket"):
        open_objects(location)


@pytest.mark.parametrize("location", ["s3://bucket/a//x", "s3://bucket/.a", "s3://bucket/a/../b", "s3://bucket/a b"])
def test_a_prefix_that_is_no_key_is_refused(location: str):
    with pytest.raises(ValueError, match="is no key"):
        open_objects(location)


def test_what_is_opened_to_look_is_left_as_it_is(tmp_path: Path):
    """Also if it is not there, or holds what a writer that died has begun."""
    nowhere = open_to_look(str(tmp_path / "nowhere"))
    assert list(nowhere.list("")) == []
    assert not (tmp_path / "nowhere").exists()
    DirectoryObjects(tmp_path / "there").put_if_absent("a/b", b"1")
    draft = tmp_path / "there" / ".drafts" / "0123"
    draft.touch()
    os.utime(draft, (0, 0))
    there = open_to_look(str(tmp_path / "there"))
    assert (there.get("a/b"), [info.key for info in there.list("a/")]) == (b"1", ["a/b"])
    with pytest.raises(StoreRefused, match="look only"):
        there.put_if_absent("a/c", b"")
    with pytest.raises(StoreRefused, match="look only"):
        there.delete(["a/b"])
    there.close()
    assert draft.exists()
    with pytest.raises(ValueError, match="write s3://bucket/prefix"):
        open_to_look("gs://bucket")


def test_a_path_does_not_load_boto3(tmp_path: Path):
    code = "import sys; from taskservice.objects.location import open_objects; open_objects(sys.argv[1])"
    code += "; assert not {'boto3', 'botocore'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
