"""Large values, as requests need them: written and fetched on threads, a bounded number at once, for a bounded time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from msgspec.structs import replace

from taskservice.core.effects import ItemAnswer
from taskservice.core.types import NewTask, Task, TaskState
from taskservice.core.values import ValueRef, keys_of, ref_of, referring
from taskservice.gateway.answers import TaskValues
from taskservice.gateway.problems import VALUE_LOST, VALUES_AWAY, Problem
from taskservice.gateway.settings import GatewaySettings
from taskservice.values import ValueLost, ValuesAway

_LOG = logging.getLogger(__name__)

T = TypeVar("T")


class ValueStore(Protocol):
    """The part of `Values` that a gateway uses. All calls block."""

    def write(self, text: bytes) -> ValueRef: ...

    def read(self, ref: ValueRef) -> bytes: ...

    def parts(self, ref: ValueRef) -> Iterator[bytes]: ...

    def remove(self, keys: Sequence[str]) -> None: ...


class GatewayValues:
    """The values that come and go with requests. Belongs to one event loop, which it never blocks."""

    def __init__(self, store: ValueStore, settings: GatewaySettings) -> None:
        self._store = store
        self._settings = settings
        self._threads = ThreadPoolExecutor(settings.values_at_once_max, "values")
        self._in_hand_bytes = 0
        """Of values that are being written or fetched, or wait for a thread."""
        self._removals: dict[asyncio.Future[None], None] = {}

    async def put_away(self, task: NewTask) -> NewTask:
        """The task as it is submitted: a large payload is durable, and a reference in its place. Raises a 503 Problem.

        Whoever is told that it did not work in time may have left an object that nobody refers to, for the sweeper.
        """
        if len(task.payload) <= self._settings.inline_bytes_max:
            return task
        ref = await self._call(len(task.payload), lambda: self._store.write(task.payload))
        return replace(task, payload=referring(ref))

    def settle(self, task: NewTask, item: ItemAnswer) -> None:
        """The dispatcher has said what became of the task: if its payload's object is not the task's, it is going.

        A submit may reach the dispatcher twice, and be a duplicate of itself: then the object is the task's. Whose object
        that of a task in history is only its file says: then it is left to the sweeper, which knows what is referred to.
        """
        if item.past is not None:
            return
        kept = keys_of(item.task.payload) if item.task is not None else ()
        unwanted = [key for key in keys_of(task.payload) if key not in kept]
        if unwanted:
            removal = asyncio.ensure_future(self._remove(unwanted))
            self._removals[removal] = None
            removal.add_done_callback(self._removals.pop)

    async def text(self, value: bytes) -> bytes:
        """The JSON text. Raises a 503 Problem, or ValueLost."""
        ref = ref_of(value)
        if ref is None:
            return value
        return await self._call(ref.size_bytes, lambda: self._store.read(ref))

    async def parts(self, ref: ValueRef) -> AsyncIterator[bytes]:
        """The JSON text, part by part; all of it only if it is what was written. Raises as `text` does."""
        parts = self._store.parts(ref)
        while part := await self._call(0, lambda: next(parts, b"")):
            yield part

    async def of(self, task: Task, payload: bytes | None = None) -> TaskValues:
        """The task's payload and, if it has succeeded, its result. `payload`: its text, if it is at hand.

        Raises a 503 Problem.
        """
        wanted = {"payload": payload or task.payload}
        if task.state is TaskState.SUCCEEDED:
            wanted["result"] = task.result or b"null"
        if not any(map(ref_of, wanted.values())):
            return TaskValues(wanted["payload"], wanted.get("result"))
        found = dict(zip(wanted, await asyncio.gather(*map(self._found, wanted.values())), strict=True))
        payload, result = (text if isinstance(text, bytes) else None for text in map(found.get, ("payload", "result")))
        lost = {name: str(why) for name, why in found.items() if isinstance(why, ValueLost)}
        return TaskValues(payload, result, lost)

    async def removed(self) -> None:
        """What was going is gone, or left to the sweeper."""
        while self._removals:
            await asyncio.wait(self._removals)

    async def _found(self, value: bytes) -> bytes | ValueLost:
        try:
            return await self.text(value)
        except ValueLost as error:
            return error

    async def _call(self, size_bytes: int, call: Callable[[], T]) -> T:
        """What `call` gives, on a thread."""
        settings = self._settings
        if self._in_hand_bytes and self._in_hand_bytes + size_bytes > settings.values_in_hand_bytes_max:
            raise self._away(f"more than {settings.values_in_hand_bytes_max} bytes of them are on their way")
        self._in_hand_bytes += size_bytes
        try:
            calling = asyncio.get_running_loop().run_in_executor(self._threads, call)
            return await asyncio.wait_for(calling, settings.value_timeout_s)
        except TimeoutError:
            raise self._away(f"the store has not answered within {settings.value_timeout_s:g} s") from None
        except ValuesAway as error:
            raise self._away(str(error)) from error
        finally:
            self._in_hand_bytes -= size_bytes

    def _away(self, why: str) -> Problem:
        _LOG.warning("a large payload or result cannot be had or kept: %s", why)
        detail = "Payloads and results of this size cannot be read or written at the moment; nothing is lost."
        return Problem(VALUES_AWAY, detail, retry_after_s=self._settings.values_retry_after_s)

    async def _remove(self, keys: Sequence[str]) -> None:
        try:
            await self._call(0, lambda: self._store.remove(keys))
        except Problem:
            _LOG.info("left to the sweeper: %s", ", ".join(keys))


def inline_values(task: Task) -> TaskValues:
    """The task's payload and result, without those that are objects of their own."""
    result = (task.result or b"null") if task.state is TaskState.SUCCEEDED else None
    return TaskValues(
        task.payload if ref_of(task.payload) is None else None,
        result if result is not None and ref_of(result) is None else None,
    )


def lost(task: Task, why: ValueLost) -> Problem:
    """The problem of whoever wants what is lost."""
    return Problem(VALUE_LOST, f"Task {task.id}: {why}.", state=task.state.value)
