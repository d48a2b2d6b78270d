"""`Client`: the service from Python."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from taskservice.client import requests, schedules, wire
from taskservice.client.answers import BatchAnswer
from taskservice.client.conversation import REFUSED_S, TIMEOUT_S, Patience, Talk
from taskservice.client.discovery import discover
from taskservice.client.handle import KnownTask
from taskservice.client.logs import LogLine, LogPart, Logs
from taskservice.client.mapping import map_results
from taskservice.client.operating import Operating
from taskservice.client.requests import Instant, ListFilters, TaskOptions
from taskservice.client.schedules import ScheduleChanges, ScheduleOptions
from taskservice.client.steps import Conversation, Emit, Heard, JsonObject, JsonObjects, Pause, Send, Stream
from taskservice.client.transfers import Transfers

T = TypeVar("T")


class Client(Operating, Transfers, Logs):
    """The service at `url`, as the owner of `api_key`.

    What is not given comes from TASKSERVICE_URL and TASKSERVICE_API_KEY, else from this machine's own service. Each
    call is repeated for up to `timeout_s` seconds while the service is busy, away or starting again, but for `refused_s`
    seconds only where nothing listens and nothing ever has. Submitting is safe to repeat: a task has its id before it
    is sent.

    All methods raise `taskservice.errors`: RequestError (fix the request), AuthError, NotFoundError, ConflictError,
    BackOffError (come back later), UnreachableError, ServiceBug. Threads may share a client.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        refused_s: float = REFUSED_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._place = discover(url, api_key, os.environ)
        self._talk = Talk(Patience(timeout_s, refused_s))
        self._http = httpx.Client(**wire.client_options(self._place), transport=transport)

    @property
    def url(self) -> str:
        """Where the service is."""
        return self._place.url

    def submit(self, function: str, payload: Mapping[str, Any], **options: Unpack[TaskOptions]) -> TaskHandle:
        """The task is durable: it will run until it succeeds, is dead-lettered, is cancelled, or expires."""
        return TaskHandle(self, self._run(self._talk.submit(function, payload, options)))

    def submit_many(
        self, tasks: Iterable[Mapping[str, Any]], function: str | None = None, **options: Unpack[TaskOptions]
    ) -> BatchAnswer:
        """Each of these tasks is durable, or refused: the answer says which and why.

        With `function`, `tasks` are payloads; without, mappings with `function`, `payload` and what `submit` takes.
        `options` are for all of them. They are sent in batches, so `tasks` may be a generator.
        """
        return self._run(self._talk.submit_many(tasks, function, options))

    def map(
        self,
        function: str,
        payloads: Iterable[Mapping[str, Any]],
        *,
        in_flight: int = 1_000,
        ordered: bool = True,
        return_exceptions: bool = False,
        **options: Unpack[TaskOptions],
    ) -> Iterator[Any]:
        """The result of each payload, in their order, or (`ordered=False`) about as they come.

        No more than `in_flight` tasks are under way, so `payloads` may be endless. A task that failed raises
        TaskFailed in its place, or is returned as one with `return_exceptions`. Tasks that were submitted go on when
        the caller stops early.
        """
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

    def get(self, id: str) -> TaskHandle:
        """The task of that id. Raises NotFoundError."""
        return TaskHandle(self, self._run(self._talk.ask_object(requests.get_task(id))))

    def result(self, id: str, timeout: float | None = None) -> Any:
        """What the handler returned, once the task has ended; at most `timeout` seconds are waited (None: for ever).

        Raises TaskFailed, TaskCancelled, TaskExpired, WaitTimeout.
        """
        return self._run(self._talk.result(id, timeout))

    def list(self, *, limit: int | None = None, **filters: Unpack[ListFilters]) -> Iterator[TaskHandle]:
        """The tasks that fit the filters, newest first, `limit` at most; pages are fetched as they are needed."""
        return (TaskHandle(self, info) for info in self._stream(self._talk.list_tasks(filters, limit)))

    def cancel(self, id: str) -> TaskHandle:
        """The task will not run. If it runs (`info["cancelling"]`), it is asked to stop, ended by force after its grace, and cancelled
        then, unless it succeeds before. Raises ConflictError if it has ended."""
        return TaskHandle(self, self._run(self._talk.ask_object(requests.change("cancel", id))))

    def retry(self, id: str) -> TaskHandle:
        """The task runs again, as if it were new, if it failed, was cancelled or has expired; what has not ended goes on.
        Raises ConflictError if it has succeeded, or is in history."""
        return TaskHandle(self, self._run(self._talk.ask_object(requests.change("retry", id))))

    def cancel_many(self, ids: Iterable[str]) -> BatchAnswer:
        """Each of these tasks will not run, or says why not; those that run are asked to stop."""
        return self._run(self._talk.change_many("cancel", ids))

    def pause_many(self, ids: Iterable[str], *, until: Instant | None = None) -> BatchAnswer:
        """Each of these tasks waits until it is resumed, or until that time, or says why not. Tasks that run go on."""
        return self._run(self._talk.change_many("pause", ids, until))

    def resume_many(self, ids: Iterable[str]) -> BatchAnswer:
        """Each of these tasks waits as it did before it was paused, or says why not."""
        return self._run(self._talk.change_many("resume", ids))

    def retry_many(self, ids: Iterable[str]) -> BatchAnswer:
        """Each of these tasks runs again, as `retry` says, or says why not."""
        return self._run(self._talk.change_many("retry", ids))

    def delete_many(self, ids: Iterable[str]) -> BatchAnswer:
        """Each of these tasks is as if it had never been, or says why not: those that run cannot be deleted."""
        return self._run(self._talk.change_many("delete", ids))

    def cancel_all(
        self, *, dry_run: bool = False, timeout: float | None = None, **filters: Unpack[ListFilters]
    ) -> JsonObject:
        """None of the tasks that there are and that fit the filters will run, however many: `matched`, `changed`, `running`,
        `done`.

        That holds from the moment in which the service has the request. At most `timeout` seconds (None: as many as it
        takes) are waited until each of them is `cancelled`; see `operation`. Tasks that run go on, and are counted. At least one
        filter has to be given. `dry_run`: they are only counted.
        """
        return self._run(self._talk.change_all("cancel", filters, dry_run=dry_run, timeout_s=timeout))

    def pause_all(
        self,
        *,
        until: Instant | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
        **filters: Unpack[ListFilters],
    ) -> JsonObject:
        """None of these tasks starts before it is resumed, or before that time. All else as in `cancel_all`."""
        return self._run(self._talk.change_all("pause", filters, dry_run=dry_run, timeout_s=timeout, until=until))

    def resume_all(
        self, *, dry_run: bool = False, timeout: float | None = None, **filters: Unpack[ListFilters]
    ) -> JsonObject:
        """All of these tasks that are paused wait as they did before. All else as in `cancel_all`."""
        return self._run(self._talk.change_all("resume", filters, dry_run=dry_run, timeout_s=timeout))

    def retry_all(
        self, *, dry_run: bool = False, timeout: float | None = None, **filters: Unpack[ListFilters]
    ) -> JsonObject:
        """All of these tasks that failed, were cancelled or have expired run again, as if they were new. All else as in
        `cancel_all`."""
        return self._run(self._talk.change_all("retry", filters, dry_run=dry_run, timeout_s=timeout))

    def delete_all(
        self, *, dry_run: bool = False, timeout: float | None = None, **filters: Unpack[ListFilters]
    ) -> JsonObject:
        """All of these tasks but those that run are as if they had never been, whether they wait or have ended. All else as in
        `cancel_all`."""
        return self._run(self._talk.change_all("delete", filters, dry_run=dry_run, timeout_s=timeout))

    def operation(self, id: str) -> JsonObject:
        """How far the operation has come that an answer of `cancel_all` or its like names. Raises NotFoundError."""
        return self._run(self._talk.ask_object(requests.get_operation(id)))

    def create_schedule(
        self, function: str, payload: Mapping[str, Any], *, id: str | None = None, **options: Unpack[ScheduleOptions]
    ) -> JsonObject:
        """There is such a schedule: it makes a task at each of its times, which `cron` or `interval` says.

        The same again under the same `id` is there once; raises ConflictError if there is another of that id.
        """
        return self._run(self._talk.ask_object(schedules.create(function, payload, id, options)))

    def schedules(self, *, tenant: str | None = None) -> Iterator[JsonObject]:
        """All schedules, by id, without payloads; for admins of another tenant than the own, or of all (`*`)."""
        return self._stream(self._talk.list_schedules(tenant))

    def get_schedule(self, id: str, *, next: int | None = None) -> JsonObject:
        """The schedule: its next times (`next` of them), the last one that came to a task, and what was skipped and why.

        Raises NotFoundError.
        """
        return self._run(self._talk.ask_object(schedules.find(id, next)))

    def change_schedule(self, id: str, **changes: Unpack[ScheduleChanges]) -> JsonObject:
        """The schedule is as before but for this. What was due and was paused is not made up for. Raises NotFoundError."""
        return self._run(self._talk.ask_object(schedules.change(id, changes)))

    def pause_schedule(self, id: str) -> JsonObject:
        """The schedule makes no tasks until it is resumed. Raises NotFoundError."""
        return self.change_schedule(id, paused=True)

    def resume_schedule(self, id: str) -> JsonObject:
        """The schedule goes on with its next time. Raises NotFoundError."""
        return self.change_schedule(id, paused=False)

    def remove_schedule(self, id: str) -> JsonObject:
        """There is no such schedule any more; gives it as it was. Its tasks go on. Raises NotFoundError."""
        return self._run(self._talk.ask_object(schedules.remove(id)))

    def functions(self) -> JsonObjects:
        """What can be submitted to: `name`, `doc`, `payload_schema` and limits of each."""
        return self._run(self._talk.ask_list("functions"))

    def status(self) -> JsonObject:
        """Tasks by state, unfinished tasks by function and state; for admins of all tenants, and the runners."""
        return self._run(self._talk.ask_object(requests.get("cluster")))

    def keys(self) -> JsonObjects:
        """All keys, without their secrets. For admins."""
        return self._run(self._talk.ask_list("keys"))

    def create_key(self, scopes: Iterable[str], *, tenant: str | None = None, name: str = "") -> JsonObject:
        """A new key for the tenant (by default the own one); only this answer holds its `secret`. For admins."""
        return self._run(self._talk.ask_object(requests.create_key(scopes, tenant, name)))

    def revoke_key(self, id: str) -> JsonObject:
        """The key is refused from now on. For admins."""
        return self._run(self._talk.ask_object(requests.revoke_key(id)))

    def close(self) -> None:
        """The connections are closed."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, conversation: Conversation[T]) -> T:
        heard: Heard = None
        while True:
            try:
                step = conversation.send(heard)
            except StopIteration as end:
                value: T = end.value
                return value
            heard = self._do(step)

    def _stream(self, stream: Stream[T]) -> Iterator[T]:
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
                heard = self._do(step)

    def _do(self, step: Send | Pause) -> Heard:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        try:
            return wire.reply_of(self._http.request(**wire.outgoing(step)))
        except httpx.TransportError as error:
            return wire.silence_of(error, self._place)


class TaskHandle(KnownTask):
    """A task of the service."""

    def __init__(self, client: Client, info: JsonObject) -> None:
        super().__init__(info)
        self._client = client

    def refresh(self) -> Self:
        """What is known of the task is what the service knows now."""
        self.info = self._client.get(self.id).info
        return self

    def result(self, timeout: float | None = None) -> Any:
        """What the handler returned, once the task has ended; at most `timeout` seconds are waited (None: for ever).

        Raises TaskFailed, TaskCancelled, TaskExpired, WaitTimeout.
        """
        with self._noting_the_end():
            return self._client.result(self.id, timeout)

    def logs(self, **part: Unpack[LogPart]) -> str:
        """What the task's attempts have written, as text: all of it, or the part that is wanted."""
        return self._client.logs(self.id, **part)

    def log_lines(self, **part: Unpack[LogPart]) -> list[LogLine]:
        """See `Client.log_lines`."""
        return self._client.log_lines(self.id, **part)

    def follow_logs(self, **part: Unpack[LogPart]) -> Iterator[LogLine]:
        """See `Client.follow_logs`."""
        return self._client.follow_logs(self.id, **part)

    def why(self) -> JsonObject:
        """Why the task does not run yet: see `Client.why`."""
        return self._client.why(self.id)

    def timeline(self) -> JsonObject:
        """What the task has gone through: see `Client.timeline`."""
        return self._client.timeline(self.id)

    def deliveries(self) -> JsonObject:
        """What became of the task's callbacks: see `Client.deliveries`."""
        return self._client.deliveries(self.id)

    def cancel(self) -> Self:
        """See `Client.cancel`."""
        self.info = self._client.cancel(self.id).info
        return self

    def retry(self) -> Self:
        """The task runs again: see `Client.retry`."""
        self.info = self._client.retry(self.id).info
        return self
