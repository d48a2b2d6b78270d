"""Files in a bucket: read by ranges, and written in parts that become an object only at the end.

boto3 and not pyarrow's file system: that one completes an upload that is given up as well, so a half of a file would appear.
"""

from __future__ import annotations

import fnmatch
import io
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from taskservice.datafiles.formats import is_data, is_note
from taskservice.datafiles.places import Opened, is_pattern
from taskservice.errors import BackOffError, RequestError, TaskServiceError

READ_AHEAD_BYTES = 1 << 20
PART_BYTES = 8 << 20
"""Of an upload; S3 takes 10,000 parts, so up to 80 GB for a file."""
FAILURES = (BotoCoreError, ClientError, OSError)


def client() -> Any:
    """S3 as boto3 finds it: credentials, region, AWS_ENDPOINT_URL. It asks again by itself."""
    settings: dict[str, Any] = {
        "retries": {"total_max_attempts": 5, "mode": "standard"},
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    session = boto3.session.Session()
    try:
        found = session.client("s3", config=Config(**settings))
        host = urlsplit(found.meta.endpoint_url).hostname or ""
        if host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
            return found
        return session.client("s3", config=Config(**settings, s3={"addressing_style": "path"}))
    except (*FAILURES, ValueError) as error:
        raise RequestError(f"S3 cannot be used with these settings of AWS: {error}", code="bad_bucket") from error


def split(url: str) -> tuple[str, str]:
    """Bucket and key. Raises RequestError."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise RequestError(f"{url} names no object: write s3://bucket/key.", code="bad_bucket")
    return bucket, key


def names(url: str) -> list[str]:
    """The objects that are meant: one; all that fit a pattern, in which `*` goes beyond slashes; or those below `prefix/`."""
    bucket, key = split(url)
    if not is_pattern(key) and not key.endswith("/"):
        return [url]
    prefix = key[: min(key.find(mark) for mark in "*?[" if mark in key)] if is_pattern(key) else key
    try:
        pages = client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = sorted(each["Key"] for page in pages for each in page.get("Contents", ()))
    except FAILURES as error:
        raise _meaning(url, error) from error
    wanted = [
        each
        for each in keys
        if (fnmatch.fnmatchcase(each, key) and not is_note(each) if is_pattern(key) else is_data(each))
    ]
    return [f"s3://{bucket}/{each}" for each in wanted]


def opener(url: str) -> Callable[[], Opened]:
    """What opens the object, as it is then: once it is another, reading it fails."""

    def open_object() -> Opened:
        bucket, key = split(url)
        s3 = client()
        try:
            head = s3.head_object(Bucket=bucket, Key=key)
        except FAILURES as error:
            raise _meaning(url, error) from error
        size_bytes, etag = int(head["ContentLength"]), str(head["ETag"])
        ranges = _Ranges(s3, url, size_bytes, etag)
        return Opened(cast(BinaryIO, io.BufferedReader(ranges, READ_AHEAD_BYTES)), size_bytes, lambda: etag)

    return open_object


def _meaning(url: str, error: Exception) -> TaskServiceError:
    """What it means for whoever wanted to read or write there."""
    status = error.response["ResponseMetadata"]["HTTPStatusCode"] if isinstance(error, ClientError) else 0
    if status == 412:
        return RequestError(f"{url} was changed while it was read: start again.", code="file_changed")
    if 400 <= status < 500:
        return RequestError(f"{url} cannot be used: {error}", code="no_file")
    return BackOffError(f"{url} cannot be reached: {error}", code="bucket_away")


class _Ranges(io.RawIOBase):
    """An object as a file. Each range is of the object of that ETag, or an error."""

    def __init__(self, s3: Any, url: str, size_bytes: int, etag: str) -> None:
        super().__init__()
        self._s3 = s3
        self._url = url
        self._size_bytes = size_bytes
        self._etag = etag
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size_bytes}[whence] + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size_bytes)
        if end <= self._at:
            return 0
        bucket, key = split(self._url)
        try:
            span = f"bytes={self._at}-{end - 1}"
            answer = self._s3.get_object(Bucket=bucket, Key=key, Range=span, IfMatch=self._etag)
            data = answer["Body"].read()
        except FAILURES as error:
            raise _meaning(self._url, error) from error
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class Upload(io.RawIOBase):
    """An object in the making: written in parts, there only after `complete`."""

    def __init__(self, s3: Any, url: str) -> None:
        super().__init__()
        self._s3 = s3
        self._url = url
        self._bucket, self._key = split(url)
        self._buffer = bytearray()
        self._parts: list[dict[str, Any]] = []
        self._given_up = False
        try:
            self._id = s3.create_multipart_upload(Bucket=self._bucket, Key=self._key)["UploadId"]
        except FAILURES as error:
            raise _meaning(url, error) from error

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._buffer += data
        while len(self._buffer) >= PART_BYTES:
            self._send(bytes(self._buffer[:PART_BYTES]))
            del self._buffer[:PART_BYTES]
        return len(data)

    def close(self) -> None:
        """All of it is there, as parts."""
        if not self.closed and not self._given_up and (self._buffer or not self._parts):
            self._send(bytes(self._buffer))
            self._buffer.clear()
        super().close()

    def complete(self) -> None:
        """The object is there, in place of one that was there before."""
        where = {"Bucket": self._bucket, "Key": self._key, "UploadId": self._id}
        try:
            self._s3.complete_multipart_upload(**where, MultipartUpload={"Parts": self._parts})
        except FAILURES as error:
            raise _meaning(self._url, error) from error

    def abort(self) -> None:
        """Nothing is there of it, as far as the store can be reached."""
        self._given_up = True
        with suppress(*FAILURES):
            self._s3.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=self._id)

    def _send(self, data: bytes) -> None:
        number = len(self._parts) + 1
        where = {"Bucket": self._bucket, "Key": self._key, "UploadId": self._id}
        try:
            answer = self._s3.upload_part(**where, PartNumber=number, Body=data)
        except FAILURES as error:
            raise _meaning(self._url, error) from error
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})


def join(url: str, name: str) -> str:
    return f"{url.rstrip('/')}/{name}" if name else url
