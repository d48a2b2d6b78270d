"""Objects in a bucket of S3, or of what speaks its language: MinIO, SeaweedFS, R2.

All that it needs of the store: a PutObject with `If-None-Match: *` that is decided once, reads and lists that see what
was put, and deletes. `probe` finds out whether the first holds.
"""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import boto3.session
from botocore.config import Config

from taskservice.objects import NoSuchObject, ObjectInfo, StoreRefused
from taskservice.objects.keys import check_key, check_prefix, check_range, is_key
from taskservice.objects.retry import Left, Retries, Undecided
from taskservice.objects.s3_errors import FAILURES, BeyondTheEnd, Place, Taken

DELETED_AT_ONCE_MAX = 1000
"""S3's bound on one DeleteObjects."""
READ_AT_ONCE_BYTES = 1 << 20
SENT_IN_BLOCKS_BYTES_MIN = 1 << 20
"""From here on a body is sent block by block, each within the connection's time-out; a shorter one in one go, which
has the time-out for all of it, and saves the round trip of asking first whether the body is wanted."""

_ALWAYS_SAID = {
    "put_object": {"ETag"},
    "get_object": {"ETag", "ContentLength"},
    "list_objects_v2": {"IsTruncated"},
}
"""Without these an answer with status 200 is somebody else's, and to believe it would be to see an empty bucket."""
_PLAIN = re.compile(r"[A-Za-z0-9=_]{2,}", re.ASCII)


@dataclass(frozen=True, slots=True)
class S3Options:
    """How to talk to the store. Where it is, and who asks, boto3 finds out by itself: AWS_ENDPOINT_URL, AWS_PROFILE ..."""

    endpoint_url: str | None = None
    """Instead of what boto3 finds."""
    deadline_s: float = 30.0
    """How long one call goes on trying. It may end later, by the time that an attempt's time-outs allow."""
    connect_timeout_s: float = 2.0
    read_timeout_s: float = 5.0
    """For each wait for some bytes of an answer, not for all of it."""
    connections_max: int = 16
    """How many are kept open; as many threads can call at once without opening new ones."""


class S3Objects:
    """An `ObjectStore` in the objects of `bucket` whose keys begin with `prefix` and a slash. Asks nothing yet.

    Raises StoreRefused if the settings that boto3 finds make no sense, and ValueError for a prefix that is no key.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        options: S3Options | None = None,
        *,
        session: boto3.session.Session | None = None,
        retries: Retries | None = None,
    ) -> None:
        options = options or S3Options()
        self._bucket = bucket
        self._prefix = f"{check_key(prefix)}/" if prefix else ""
        self._retries = retries or Retries(options.deadline_s)
        self._place = Place(self.url, bucket, options.endpoint_url or "")
        try:
            self._s3 = _client(session or boto3.session.Session(), options)
        except (*FAILURES, ValueError) as error:
            raise StoreRefused(f"{self.url} cannot be used with these settings of AWS: {error}") from error
        self._place = Place(self.url, bucket, str(self._s3.meta.endpoint_url))
        self._is_directory = bucket.endswith("--x-s3")
        """A directory bucket (S3 Express One Zone): lists in no order, and cannot begin in the middle."""
        self._lists_in_order = _is_aws(self._s3) and not self._is_directory
        """So it is promised by AWS. Others may list folder by folder, where `a/b` comes before `a-b`, as SeaweedFS does."""

    @property
    def url(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    @property
    def trouble(self) -> str:
        return self._retries.trouble

    def put_if_absent(self, key: str, data: bytes) -> bytes | None:
        name = self._prefix + check_key(key)
        digest = self._digest(data)

        def attempt(left_s: Left) -> bytes | None:
            body = data if len(data) < SENT_IN_BLOCKS_BYTES_MIN else io.BytesIO(data)
            try:
                self._call("put_object", Key=name, Body=body, ContentLength=len(data), IfNoneMatch="*", **digest)
            except Taken:
                there = self._read(name, 0, None, left_s)
                return None if there == data else there
            return None

        def attempt_again_if_deleted(left_s: Left) -> bytes | None:
            try:
                return attempt(left_s)
            except NoSuchObject as gone:
                raise Undecided(f"somebody deletes it at the same time: {gone}") from gone

        return self._retries.until_decided(f"creating {self.url}/{key}", attempt_again_if_deleted)

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        check_range(start, end)
        name = self._prefix + check_key(key)
        return self._retries.until_decided(
            f"reading {self.url}/{key}", lambda left_s: self._read(name, start, end, left_s)
        )

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """Page by page where pages come in order; elsewhere all are fetched and sorted before the first is given."""
        check_prefix(prefix)
        check_prefix(after)
        pages = itertools.chain.from_iterable(self._pages(prefix, after))
        last = ""
        for found in pages if self._lists_in_order else sorted(pages):
            if found.key <= last:
                raise StoreRefused(f"{self.url} lists {found.key} after {last}: no order that can be relied upon.")
            last = found.key
            yield found

    def delete(self, keys: Sequence[str]) -> None:
        names = [self._prefix + check_key(key) for key in dict.fromkeys(keys)]
        for at in range(0, len(names), DELETED_AT_ONCE_MAX):
            self._delete(names[at : at + DELETED_AT_ONCE_MAX])

    def close(self) -> None:
        self._s3.close()

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """S3's answer. Raises what its refusal, or its silence, means."""
        try:
            answer: dict[str, Any] = getattr(self._s3, operation)(Bucket=self._bucket, **parameters)
        except FAILURES as error:
            named = self._s3.meta.method_to_api_mapping[operation]
            raise self._place.meaning(named, error) from error
        if not answer.keys() >= _ALWAYS_SAID.get(operation, set()):
            raise Undecided(f"what {self._place.endpoint} answered is not S3's language; is it a proxy's?")
        return answer

    def _digest(self, data: bytes) -> dict[str, str]:
        """What the store compares the body with that comes in: so that damage on the way is refused, and not kept.

        The MD5 is what all stores know; only directory buckets do not take it. (That the signature covers the body is not
        enough: SeaweedFS for one does not look.)
        """
        if self._is_directory:
            return {"ChecksumCRC32": base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()}
        return {"ContentMD5": _md5(data)}

    def _read(self, name: str, start: int, end: int | None, left_s: Left) -> bytes:
        whole = start == 0 and end is None
        last = "" if end is None else max(end, start + 1) - 1
        try:
            answer = self._call("get_object", Key=name, **({} if whole else {"Range": f"bytes={start}-{last}"}))
        except BeyondTheEnd:
            return b""
        except NoSuchObject as absent:
            raise NoSuchObject(f"there is no object s3://{self._bucket}/{name}: {absent}") from absent
        with answer["Body"] as stream:
            data = b"".join(self._pieces(stream, left_s))
        if len(data) != answer["ContentLength"]:
            raise Undecided(f"{len(data)} of {answer['ContentLength']} bytes came from {self._place.endpoint}")
        if "ContentRange" not in answer:  # the whole object: asked for, or given all the same
            return data[start:end]
        if not _is_asked_for(answer["ContentRange"], start, end, len(data)):
            raise Undecided(f"{len(data)} bytes came, as {answer['ContentRange']}, for {start}-{last}")
        return data[: None if end is None else end - start]

    def _pieces(self, stream: Any, left_s: Left) -> Iterator[bytes]:
        """The body, as it comes in: so that one which comes byte by byte is left at the deadline."""
        while True:
            try:
                piece: bytes = stream.read1(READ_AT_ONCE_BYTES)
            except FAILURES as error:
                raise self._place.meaning("GetObject", error) from error
            if not piece:
                return
            if left_s() <= 0:
                raise Undecided(f"the body came too slowly from {self._place.endpoint}")
            yield piece

    def _pages(self, prefix: str, after: str) -> Iterator[Sequence[ObjectInfo]]:
        start = self._start(prefix, after)
        where = {"StartAfter": self._prefix + start} if start else {}
        more = True
        while more:
            asked = {"Prefix": self._prefix + prefix, **where}
            answer = self._page(prefix, asked)
            yield self._infos(answer.get("Contents", []), after)
            more = answer["IsTruncated"]
            if more and not answer.get("NextContinuationToken"):
                raise StoreRefused(f"{self.url} lists in pages, but does not say how to get the next one.")
            where = {"ContinuationToken": answer["NextContinuationToken"]} if more else {}

    def _start(self, prefix: str, after: str) -> str:
        """A key that the store may begin after, so as not to list all; "" for none. What it lists too much is left out."""
        if self._lists_in_order:
            return after
        folder, _, word = after.rpartition("/")
        if self._is_directory or f"{folder}/" != prefix or not _PLAIN.fullmatch(word):
            return ""
        # A store that lists folder by folder leaves out the folders up to this one; not too many, if the word has no
        # character that sorts before a slash, and is cut so that it is itself no folder.
        return after[:-1]

    def _page(self, prefix: str, asked: dict[str, str]) -> dict[str, Any]:
        return self._retries.until_decided(
            f"listing {self.url}/{prefix}", lambda _: self._call("list_objects_v2", **asked)
        )

    def _infos(self, contents: Iterable[dict[str, Any]], after: str) -> Sequence[ObjectInfo]:
        """What is listed and is ours: not the folders that consoles make."""
        found = (
            ObjectInfo(each["Key"][len(self._prefix) :], each["Size"], int(each["LastModified"].timestamp() * 1000))
            for each in contents
        )
        return [each for each in found if is_key(each.key) and each.key > after]

    def _delete(self, names: Sequence[str]) -> None:
        """The answer may be 200 and yet say of some that they could not be deleted: those are asked for again."""
        left = names

        def attempt(_: Left) -> None:
            nonlocal left
            asked = {"Objects": [{"Key": name} for name in left], "Quiet": True}
            errors = self._call("delete_objects", Delete=asked).get("Errors", [])
            meanings = [
                (each["Key"], self._place.meaning_of("DeleteObjects", each.get("Code", ""), each.get("Message", "")))
                for each in errors
            ]
            for name, meaning in meanings:
                if not isinstance(meaning, Undecided | NoSuchObject):
                    raise StoreRefused(f"{name}: {meaning}") from meaning
            undecided = [(name, meaning) for name, meaning in meanings if isinstance(meaning, Undecided)]
            if undecided:
                left = [name for name, _ in undecided]
                raise undecided[0][1]

        self._retries.until_decided(f"deleting {len(names)} objects of {self.url}", attempt)


def _is_asked_for(content_range: str, start: int, end: int | None, length: int) -> bool:
    """Whether the answer (`bytes first-last/size`) and its length are what there is of what was asked for."""
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", content_range)
    if match is None:
        return False
    first, last, size = map(int, match.groups())
    wanted = size if end is None else min(size, max(end, start + 1))
    return first == start and last == wanted - 1 and length == last - first + 1


def _client(session: boto3.session.Session, options: S3Options) -> Any:
    """One attempt per call, since only this module knows what may be asked again.

    Checksums "when required", which is never but for deletes: what boto3 does by itself travels as a trailer, which many
    clones do not take. Bodies are checked all the same, see `_digest`. What is read is checked by its length; our formats
    have digests of their own.
    """
    settings: dict[str, Any] = {
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "connect_timeout": options.connect_timeout_s,
        "read_timeout": options.read_timeout_s,
        "max_pool_connections": options.connections_max,
        "tcp_keepalive": True,
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    client = session.client("s3", endpoint_url=options.endpoint_url, config=Config(**settings))
    if _is_aws(client):
        return client
    # Elsewhere buckets seldom have names in DNS, and a batch of deletions may need the older of two checksums.
    client.close()
    style = Config(**settings, s3={"addressing_style": "path"})
    client = session.client("s3", endpoint_url=options.endpoint_url, config=style)
    client.meta.events.register("before-sign.s3.DeleteObjects", _add_md5)
    return client


def _is_aws(client: Any) -> bool:
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _add_md5(request: Any, **_: Any) -> None:
    request.headers["Content-MD5"] = _md5(request.data)


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
