"""Bodies that are sent compressed: unpacked no further than they may be, whatever they claim to hold."""

from __future__ import annotations

import gzip
import io
import zlib

import zstandard
from fastapi import Request

from taskservice.gateway.problems import MALFORMED_BODY, UNSUPPORTED_MEDIA_TYPE, Problem, too_large

PLAIN = "identity"
WINDOW_BYTES_MAX = 8 << 20
"""What a zstd frame may make its reader remember: as much as each has to bear by RFC 8878."""


def encoding_of(request: Request) -> str:
    """How the body is packed. Raises a 415 Problem if nobody here can unpack that."""
    encoding = request.headers.get("content-encoding", PLAIN).strip().lower()
    if encoding not in (PLAIN, "gzip", "zstd"):
        message = f"Content-Encoding {encoding[:100]} is not supported; send gzip, zstd, or the body as it is."
        raise Problem(UNSUPPORTED_MEDIA_TYPE, message)
    return encoding


def unpacked(body: bytes, encoding: str, limit: str, bytes_max: int) -> bytes:
    """The body as it was before it was packed. Raises Problem: 413 if it is longer than `bytes_max`, 400 if it is damaged or
    ends too early."""
    try:
        text = _gunzipped(body, bytes_max) if encoding == "gzip" else _unzstd(body, bytes_max)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise Problem(MALFORMED_BODY, f"The body cannot be unpacked as {encoding}: {error}.") from None
    if text is None:
        raise too_large(f"The body, once unpacked, is longer than {bytes_max} bytes.", limit, bytes_max)
    return text


def _gunzipped(body: bytes, bytes_max: int) -> bytes | None:
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
        text = file.read(bytes_max + 1)
        return text if len(text) <= bytes_max else None


def _unzstd(body: bytes, bytes_max: int) -> bytes | None:
    """First read through, so that no more than `bytes_max` is ever held; then whole, for only that tells a frame's end."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX)
    with decompressor.stream_reader(body) as reader:
        size_bytes = 0
        while part := reader.read(1 << 20):
            size_bytes += len(part)
            if size_bytes > bytes_max:
                return None
    whole = decompressor.decompressobj()
    text = whole.decompress(body)
    if not whole.eof or whole.unused_data:
        raise EOFError("it is not one whole frame")
    return text
