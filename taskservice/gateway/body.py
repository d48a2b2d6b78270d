"""Bodies, read no further than they may be."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec
from fastapi import Request
from msgspec import Struct

from taskservice.gateway.canonical import DECODE_ERRORS, refuse_duplicate_keys, unreadable
from taskservice.gateway.encodings import PLAIN, encoding_of, unpacked
from taskservice.gateway.problems import UNSUPPORTED_MEDIA_TYPE, Problem, too_large
from taskservice.gateway.settings import GatewaySettings

JSON = "application/json"
NDJSON = "application/x-ndjson"

_DISCARDED_FACTOR = 4
"""A body that is too long is read to so many times its limit before the connection is closed."""

S = TypeVar("S", bound=Struct)


async def read_body(request: Request, limit: str, bytes_max: int) -> bytes:
    """The whole body, unpacked. Raises a 413 Problem if it is longer than `bytes_max`, whatever its Content-Length promised.

    What is too long is not kept, but some of it is still read: a client that is busy sending when the connection is
    closed never sees the answer. One that asks first (`Expect: 100-continue`) is told at once.
    """
    declared = request.headers.get("content-length", "")
    fits = not (declared.isascii() and declared.isdigit() and int(declared[:20]) > bytes_max)
    if not fits and "expect" in request.headers:
        raise _body_too_large(limit, bytes_max)
    chunks: list[bytes] = []
    size_bytes = 0
    async for chunk in request.stream():
        size_bytes += len(chunk)
        fits = fits and size_bytes <= bytes_max
        if fits:
            chunks.append(chunk)
        elif size_bytes > _DISCARDED_FACTOR * bytes_max:
            break
        else:
            chunks.clear()
    if not fits:
        raise _body_too_large(limit, bytes_max)
    body, encoding = b"".join(chunks), encoding_of(request)
    # Off the loop: what is small on the way may be large.
    return body if encoding == PLAIN else await asyncio.to_thread(unpacked, body, encoding, limit, bytes_max)


def _body_too_large(limit: str, bytes_max: int) -> Problem:
    return too_large(f"The body is longer than {bytes_max} bytes.", limit, bytes_max)


def media_type(request: Request, *accepted: str) -> str:
    """Which of `accepted` the body is; JSON if the caller does not say. Raises a 415 Problem for anything else."""
    given = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    encoding_of(request)
    if given not in accepted:
        wanted = " or ".join(accepted)
        raise Problem(UNSUPPORTED_MEDIA_TYPE, f"Content-Type {given[:100]} is not understood here; send {wanted}.")
    return given


async def read_json(request: Request, decoder: msgspec.json.Decoder[S], settings: GatewaySettings) -> S:
    """The small JSON body of a request that does not bring tasks."""
    media_type(request, JSON)
    return decode(await read_body(request, "request_bytes_max", settings.request_bytes_max), decoder)


def decode(text: bytes, decoder: msgspec.json.Decoder[S]) -> S:
    """The struct that `text` is. Raises Problem: 400 if it is not JSON, 422 if it is not such a struct."""
    try:
        value = decoder.decode(text)
    except DECODE_ERRORS as error:
        raise unreadable(error, "$") from None
    refuse_duplicate_keys(text, msgspec.json.encode(value))
    return value
