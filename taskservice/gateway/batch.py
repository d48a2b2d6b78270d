"""Many tasks in one body: taken apart, so that each can be judged on its own."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from taskservice.gateway.body import decode
from taskservice.gateway.canonical import DECODE_ERRORS, unreadable
from taskservice.gateway.problems import Problem, too_large
from taskservice.gateway.requests import BatchRequest

_DECODER = msgspec.json.Decoder(BatchRequest)
_COMMAS_PER_TASK = 100


class Item(NamedTuple):
    """The text of one task, and the line it was on if lines have a meaning."""

    text: bytes
    line: int | None


def json_items(body: bytes, tasks_max: int) -> tuple[BatchRequest, Iterator[Item]]:
    """The request and its tasks. Raises Problem if the body is not such a request, or has more than `tasks_max` tasks."""
    if body.count(b",") > _COMMAS_PER_TASK * tasks_max:
        _refuse_many(body, tasks_max)
    request = decode(body, _DECODER)
    if len(request.tasks) > tasks_max:
        raise _too_many(tasks_max)
    return request, (Item(bytes(raw), None) for raw in request.tasks)


def ndjson_items(body: bytes, tasks_max: int) -> Iterator[Item]:
    """The lines that are not blank. Raises Problem if there are more than `tasks_max` lines, blank ones included."""
    if body.count(b"\n") + (not body.endswith(b"\n")) > tasks_max:
        raise _too_many(tasks_max)
    for number, line in enumerate(io.BytesIO(body), 1):
        text = line.strip()
        if text:
            yield Item(text, number)


def _too_many(tasks_max: int) -> Problem:
    return too_large(f"One batch may have {tasks_max} tasks.", "batch_tasks_max", tasks_max)


class _Counted:
    """A task that is only counted."""


class _CountedBatch(msgspec.Struct):
    tasks: list[_Counted]


def _refuse_many(body: bytes, tasks_max: int) -> None:
    """Raises Problem if there are too many tasks, before a list of them is made.

    Sixty megabytes of `1,1,1,` would be a list of gigabytes. This reads the body once more and keeps nothing, so it is
    done only for bodies with so many commas that the list might be long.
    """
    count = 0

    def count_one(_: type, value: object) -> object:
        nonlocal count
        count += 1
        if count > tasks_max:
            raise _too_many(tasks_max)
        return _Counted()

    try:
        msgspec.json.decode(body, type=_CountedBatch, dec_hook=count_one)
    except DECODE_ERRORS as error:
        raise unreadable(error, "$") from None
