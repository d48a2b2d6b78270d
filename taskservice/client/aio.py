"""`AsyncClient`: the service from asyncio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from taskservice.client import requests, schedules, triggers, wire
from taskservice.client.answers import BatchAnswer
from taskservice.client.conversation import REFUSED_S, TIMEOUT_S, Patience, Talk
from taskservice.client.discovery import discover
from taskservice.client.handle import KnownTask
from taskservice.client.logs import AsyncLogs, LogLine, LogPart
from taskservice.client.mapping import map_results
from taskservice.client.operating_aio import AsyncOperating
from taskservice.client.requests import Instant, ListFilters, OnConflict, TaskOptions
from taskservice.client.schedules import ScheduleChanges, ScheduleOptions
from taskservice.client.steps import Conversation, Emit, Heard, JsonObject, JsonObjects, Pause, Send, Stream
from taskservice.client.transfers import AsyncTransfers

T = TypeVar("T")


class AsyncClient(AsyncOperating, AsyncTransfers, AsyncLogs):
    """What `Client` is, for one event loop: the same methods, to be awaited or iterated over with `async for`."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        refused_s: float = REFUSED_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._place = discover(url, api_key, os.environ)
        self._talk = Talk(Patience(timeout_s, refused_s))
        self._http = httpx.AsyncClient(**wire.client_options(self._place), transport=transport)

    @property
    def url(self) -> str:
        """Where the service is."""
        return self._place.url

    async def submit(
        self,
        function: str,
        payload: Mapping[str, Any],
        *,
        on_conflict: OnConflict | None = None,
        **options: Unpack[TaskOptions],
    ) -> AsyncTaskHandle:
        """See `Client.submit`."""
        return AsyncTaskHandle(self, await self._run(self._talk.submit(function, payload, options, on_conflict)))

    async def submit_many(
        self, tasks: Iterable[Mapping[str, Any]], function: str | None = None, **options: Unpack[TaskOptions]
    ) -> BatchAnswer:
        """See `Client.submit_many`."""
        return await self._run(self._talk.submit_many(tasks, function, options))

    def map(
        self,
        function: str,
        payloads: Iterable[Mapping[str, Any]],
        *,
        in_flight: int = 1_000,
        ordered: bool = True,
        return_exceptions: bool = False,
        **options: Unpack[TaskOptions],
    ) -> AsyncIterator[Any]:
        """See `Client.map`."""
        stream = map_results(
            self._talk,
            function,
            payloads,
            options,
            in_flight=in_flight,
            ordered=ordered,
            return_exceptions=return_exceptions,
        )
        return self._stream(stream)

    async def get(self, id: str) -> AsyncTaskHandle:
        """See `Client.get`."""
        return AsyncTaskHandle(self, await self._run(self._talk.ask_object(requests.get_task(id))))

    async def result(self, id: str, timeout: float | None = None) -> Any:
        """See `Client.result`."""
        return await self._run(self._talk.result(id, timeout))

    async def list(self, *, limit: int | None = None, **filters: Unpack[ListFilters]) -> AsyncIterator[AsyncTaskHandle]:
        """See `Client.list`."""
        async for info in self._stream(self._talk.list_tasks(filters, limit)):
            yield AsyncTaskHandle(self, info)

    async def cancel(self, id: str) -> AsyncTaskHandle:
        """See `Client.cancel`."""
        return AsyncTaskHandle(self, await self._run(self._talk.ask_object(requests.change("cancel", id))))

    async def retry(self, id: str) -> AsyncTaskHandle:
        """See `Client.retry`."""
        return AsyncTaskHandle(self, await self._run(self._talk.ask_object(requests.change("retry", id))))

    async def cancel_many(self, ids: Iterable[str]) -> BatchAnswer:
        """See `Client.cancel_many`."""
        return await self._run(self._talk.change_many("cancel", ids))

    async def pause_many(self, ids: Iterable[str], *, until: Instant | None = None) -> BatchAnswer:
        """See `Client.pause_many`."""
        return await self._run(self._talk.change_many("pause", ids, until))

    async def resume_many(self, ids: Iterable[str]) -> BatchAnswer:
        """See `Client.resume_many`."""
        return await self._run(self._talk.change_many("resume", ids))

    async def retry_many(self, ids: Iterable[str]) -> BatchAnswer:
        """See `Client.retry_many`."""
        return await self._run(self._talk.change_many("retry", ids))

    async def delete_many(self, ids: Iterable[str]) -> BatchAnswer:
        """See `Client.delete_many`."""
        return await self._run(self._talk.change_many("delete", ids))

    async def cancel_all(
        self, *, dry_run: bool = False, timeout: float | None = None, **filters: Unpack[ListFilters]
    ) -> JsonObject:
        """See `Client.cancel_all`."""
        return await self._run(self._talk.change_all("cancel", filters, dry_run=dry_run, timeout_s=timeout))

    async def pause_all(
        self,
        *,
        until: Instant | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
        **filters: Unpack[ListFilters],
    ) -> JsonObject:
        """See `Client.pause_all`."""
        return await self._run(self._talk.change_all("pause", filters, dry_run=dry_run, timeout_s=timeout, until=until))

    async def resume_all(
        self, *, dry_run: bool = False, timeout: float | None = None, **filters: Unpack[ListFilters]
    ) -> JsonObject:
        """See `Client.resume_all`."""
        return await self._run(self._talk.change_all("resume", filters, dry_run=dry_run, timeout_s=timeout))

    async def retry_all(
        self, *, dry_run: bool = False, timeout: float | None = None, **filters: Unpack[ListFilters]
    ) -> JsonObject:
        """See `Client.retry_all`."""
        return await self._run(self._talk.change_all("retry", filters, dry_run=dry_run, timeout_s=timeout))

    async def delete_all(
        self, *, dry_run: bool = False, timeout: float | None = None, **filters: Unpack[ListFilters]
    ) -> JsonObject:
        """See `Client.delete_all`."""
        return await self._run(self._talk.change_all("delete", filters, dry_run=dry_run, timeout_s=timeout))

    async def operation(self, id: str) -> JsonObject:
        """See `Client.operation`."""
        return await self._run(self._talk.ask_object(requests.get_operation(id)))

    async def create_schedule(
        self, function: str, payload: Mapping[str, Any], *, id: str | None = None, **options: Unpack[ScheduleOptions]
    ) -> JsonObject:
        """See `Client.create_schedule`."""
        return await self._run(self._talk.ask_object(schedules.create(function, payload, id, options)))

    def schedules(self, *, tenant: str | None = None) -> AsyncIterator[JsonObject]:
        """See `Client.schedules`."""
        return self._stream(self._talk.list_schedules(tenant))

    async def get_schedule(self, id: str, *, next: int | None = None) -> JsonObject:
        """See `Client.get_schedule`."""
        return await self._run(self._talk.ask_object(schedules.find(id, next)))

    async def change_schedule(self, id: str, **changes: Unpack[ScheduleChanges]) -> JsonObject:
        """See `Client.change_schedule`."""
        return await self._run(self._talk.ask_object(schedules.change(id, changes)))

    async def pause_schedule(self, id: str) -> JsonObject:
        """See `Client.pause_schedule`."""
        return await self.change_schedule(id, paused=True)

    async def resume_schedule(self, id: str) -> JsonObject:
        """See `Client.resume_schedule`."""
        return await self.change_schedule(id, paused=False)

    async def remove_schedule(self, id: str) -> JsonObject:
        """See `Client.remove_schedule`."""
        return await self._run(self._talk.ask_object(schedules.remove(id)))

    async def create_trigger(
        self,
        function: str,
        filter: triggers.Filter,
        payload: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
        priority: str | None = None,
    ) -> JsonObject:
        """See `Client.create_trigger`."""
        return await self._run(self._talk.ask_object(triggers.create(function, filter, payload, id, priority)))

    def triggers(self, *, tenant: str | None = None) -> AsyncIterator[JsonObject]:
        """See `Client.triggers`."""
        return self._stream(self._talk.list_triggers(tenant))

    async def get_trigger(self, id: str) -> JsonObject:
        """See `Client.get_trigger`."""
        return await self._run(self._talk.ask_object(triggers.find(id)))

    async def remove_trigger(self, id: str) -> JsonObject:
        """See `Client.remove_trigger`."""
        return await self._run(self._talk.ask_object(triggers.remove(id)))

    async def send_events(self, *events: Mapping[str, Any]) -> JsonObject:
        """See `Client.send_events`."""
        return await self._run(self._talk.ask_object(triggers.send(events)))

    async def functions(self) -> JsonObjects:
        """See `Client.functions`."""
        return await self._run(self._talk.ask_list("functions"))

    async def status(self) -> JsonObject:
        """See `Client.status`."""
        return await self._run(self._talk.ask_object(requests.get("cluster")))

    async def keys(self) -> JsonObjects:
        """See `Client.keys`."""
        return await self._run(self._talk.ask_list("keys"))

    async def create_key(self, scopes: Iterable[str], *, tenant: str | None = None, name: str = "") -> JsonObject:
        """See `Client.create_key`."""
        return await self._run(self._talk.ask_object(requests.create_key(scopes, tenant, name)))

    async def revoke_key(self, id: str) -> JsonObject:
        """See `Client.revoke_key`."""
        return await self._run(self._talk.ask_object(requests.revoke_key(id)))

    async def close(self) -> None:
        """The connections are closed."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, conversation: Conversation[T]) -> T:
        heard: Heard = None
        while True:
            try:
                step = conversation.send(heard)
            except StopIteration as end:
                value: T = end.value
                return value
            heard = await self._do(step)

    async def _stream(self, stream: Stream[T]) -> AsyncIterator[T]:
        heard: Heard = None
        while True:
            try:
                step = stream.send(heard)
            except StopIteration:
                return
            if isinstance(step, Emit):
                heard = None
                yield step.value
            else:
                heard = await self._do(step)

    async def _do(self, step: Send | Pause) -> Heard:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        try:
            return wire.reply_of(await self._http.request(**wire.outgoing(step)))
        except httpx.TransportError as error:
            return wire.silence_of(error, self._place)


class AsyncTaskHandle(KnownTask):
    """A task of the service. See `TaskHandle`."""

    def __init__(self, client: AsyncClient, info: JsonObject) -> None:
        super().__init__(info)
        self._client = client

    async def refresh(self) -> Self:
        """See `TaskHandle.refresh`."""
        self.info = (await self._client.get(self.id)).info
        return self

    async def result(self, timeout: float | None = None) -> Any:
        """See `TaskHandle.result`."""
        with self._noting_the_end():
            return await self._client.result(self.id, timeout)

    async def logs(self, **part: Unpack[LogPart]) -> str:
        """See `TaskHandle.logs`."""
        return await self._client.logs(self.id, **part)

    async def log_lines(self, **part: Unpack[LogPart]) -> list[LogLine]:
        """See `Client.log_lines`."""
        return await self._client.log_lines(self.id, **part)

    def follow_logs(self, **part: Unpack[LogPart]) -> AsyncIterator[LogLine]:
        """See `Client.follow_logs`."""
        return self._client.follow_logs(self.id, **part)

    async def why(self) -> JsonObject:
        """See `Client.why`."""
        return await self._client.why(self.id)

    async def timeline(self) -> JsonObject:
        """See `Client.timeline`."""
        return await self._client.timeline(self.id)

    async def deliveries(self) -> JsonObject:
        """See `Client.deliveries`."""
        return await self._client.deliveries(self.id)

    async def cancel(self) -> Self:
        """See `TaskHandle.cancel`."""
        self.info = (await self._client.cancel(self.id)).info
        return self

    async def retry(self) -> Self:
        """See `Client.retry`."""
        self.info = (await self._client.retry(self.id)).info
        return self
