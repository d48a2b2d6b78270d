"""Where AWS, its directory buckets and what others have made of S3 differ."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import boto3.session
import pytest

from helpers.s3fault import ALWAYS, Does, S3Fault
from taskservice.objects import StoreRefused, StoreUnavailable
from taskservice.objects.s3 import S3Objects, S3Options


@pytest.mark.parametrize(
    ("endpoint_url", "bucket", "host", "path"),
    [
        (None, "bucket", "bucket.s3.amazonaws.com", "/p/a"),
        ("http://minio:9000", "bucket", "minio", "/bucket/p/a"),
        ("https://x.r2.cloudflarestorage.com", "bucket", "x.r2.cloudflarestorage.com", "/bucket/p/a"),
    ],
)
def test_only_aws_has_names_for_buckets(endpoint_url: str | None, bucket: str, host: str, path: str):
    session = boto3.session.Session("key", "secret", region_name="us-east-1")
    with closing(S3Objects(bucket, "p", S3Options(endpoint_url), session=session)) as store:
        url = urlsplit(store._s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "p/a"}))
    assert (url.hostname, url.path) == (host, path)


def page(store: S3Objects, *keys: str, more: str = "") -> bytes:
    """What S3 lists."""
    contents = "".join(
        f"<Contents><Key>{store._prefix}{key}</Key><Size>1</Size><LastModified>2026-11-24T15:10:00.5Z</LastModified></Contents>"
        for key in keys
    )
    token = f"<NextContinuationToken>{more}</NextContinuationToken>" if more else ""
    return f"<ListBucketResult><IsTruncated>{'true' if more else 'false'}</IsTruncated>{token}{contents}</ListBucketResult>".encode()


def answer_pages(store: S3Objects, fault: S3Fault, *pages: tuple[str, ...]) -> None:
    for number, keys in enumerate(pages):
        more = "" if number == len(pages) - 1 else "a+token/=="
        rule = fault.answer(200, "", method="GET")
        rule.body = page(store, *keys, more=more)


def listed(store: S3Objects, prefix: str = "", after: str = "") -> list[str]:
    return [found.key for found in store.list(prefix, after)]


@pytest.fixture
def aws(behind) -> S3Objects:
    """A store that takes what it talks to for AWS."""
    store = behind()
    store._lists_in_order = True
    return store


def test_aws_lists_page_by_page(aws: S3Objects, fault: S3Fault):
    answer_pages(aws, fault, ("a", "b"), ("c", "d"))
    begun: Iterator[object] = aws.list("")
    assert [found.key for found in itertools.islice(begun, 2)] == ["a", "b"]  # type: ignore[attr-defined]
    assert len(fault.seen) == 1
    assert [found.key for found in begun] == ["c", "d"]  # type: ignore[attr-defined]
    assert len(fault.seen) == 2


def test_if_aws_breaks_its_order_nothing_is_listed_wrongly(aws: S3Objects, fault: S3Fault):
    for pages in [("a", "c", "b"),], [("a", "b"), ("b", "c")], [("a", "c"), ("b",)]:  # fmt: skip
        answer_pages(aws, fault, *pages)
        with pytest.raises(StoreRefused, match="no order that can be relied upon"):
            listed(aws)


def test_others_are_listed_whole_and_sorted(behind, fault: S3Fault):
    store = behind()
    answer_pages(store, fault, ("a/b", "a-b", "d"), (), ("c", "b"))
    assert listed(store) == ["a-b", "a/b", "b", "c", "d"]


def test_a_list_that_ends_in_the_middle_is_refused(behind, fault: S3Fault):
    store = behind()
    rule = fault.answer(200, "", method="GET")
    rule.body = page(store, "a", more="token").replace(b"<NextContinuationToken>token</NextContinuationToken>", b"")
    with pytest.raises(StoreRefused, match="does not say how to get the next one"):
        listed(store)


def test_what_is_no_key_is_left_out_of_lists(behind, fault: S3Fault):
    """As the markers of folders that consoles make, and what others have put below the prefix."""
    store = behind()
    answer_pages(store, fault, ("", "a/", "a/b", "a/.x", "c c", "c"))
    assert listed(store) == ["a/b", "c"]


def test_a_page_that_fails_is_asked_for_again(behind, fault: S3Fault):
    store = behind()
    fault.answer(503, "SlowDown", method="GET")
    answer_pages(store, fault, ("a", "b"), ("c",))
    fault.rule(Does.DROP, method="GET", nth=3)
    assert listed(store) == ["a", "b", "c"]


def test_where_a_list_begins():
    """Only where no order leaves out what comes later; whatever comes too early is left out by us."""
    session = boto3.session.Session("key", "secret", region_name="us-east-1")

    def starts(bucket: str, endpoint_url: str | None, *cases: tuple[str, str]) -> list[str]:
        with closing(S3Objects(bucket, "", S3Options(endpoint_url), session=session)) as store:
            return [store._start(prefix, after) for prefix, after in cases]

    cases = [
        ("log/3/", "log/3/0042"),
        ("log/3/", "log/3/00-42"),
        ("log/", "log/3/0042"),
        ("log/3/", "log/3/4"),
        ("", ""),
    ]
    assert starts("bucket", None, *cases) == ["log/3/0042", "log/3/00-42", "log/3/0042", "log/3/4", ""]
    assert starts("bucket", "http://minio:9000", *cases) == ["log/3/004", "", "", "", ""]
    assert starts("bucket--use1-az4--x-s3", "http://x", *cases) == ["", "", "", "", ""]


def test_a_directory_bucket_checks_bodies_too(behind, fault: S3Fault, direct: S3Objects):
    store = behind(deadline_s=0.3)
    store._is_directory = True
    assert store.put_if_absent("a", b"x") is None
    fault.rule(Does.CORRUPT, times=ALWAYS)
    with pytest.raises(StoreUnavailable, match="BadDigest"):
        store.put_if_absent("b", b"x")
    assert listed(direct) == ["a"]
