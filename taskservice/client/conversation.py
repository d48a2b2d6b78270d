"""How one talks to the service: what is asked, again and again if need be, and what is made of the answers.

Each method is a generator of steps (`steps`), so it does no I/O and is the same for `Client` and `AsyncClient`. A
question may be asked again after a failure: ids of tasks are made here, so a task that arrives twice is one task.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from taskservice.client import answers, requests, schedules, triggers
from taskservice.client.answers import BatchAnswer, ItemResult
from taskservice.client.requests import Change, Instant, Line, ListFilters, OnConflict, TaskOptions
from taskservice.client.steps import Conversation, Emit, JsonObject, Pause, Reply, Request, Send, Silence, Stream
from taskservice.errors import BackOffError, TaskServiceError, WaitTimeout

FIRST_PAUSE_S = 0.1
PAUSE_S_MAX = 5.0
TIMEOUT_S = 30.0
REFUSED_S = 5.0
POLL_S = 20.0
"""How long one question for a result stays open: shorter than what usual proxies cut."""
PAGE_TASKS = 200


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try, and how much to say at once."""

    timeout_s: float = TIMEOUT_S
    """For one question with all its repetitions; the time that it asks the service to wait comes on top."""
    refused_s: float = REFUSED_S
    """The same where nothing listens and nothing ever has: a service that once answered is starting again."""
    batch_tasks: int = 1_000
    batch_bytes: int = 8 << 20
    """Of one request that submits many tasks."""
    clock_s: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = random.random


@dataclass(slots=True)
class Talk:
    """All conversations. `Client` and `AsyncClient` have a method for each, and say there what it is for."""

    patience: Patience
    answered: bool = False
    """Something has answered there, so that it is not the wrong place."""

    def trying_s(self, failure: Reply | Silence) -> float:
        """How long a question that fails like this may be repeated."""
        patience = self.patience
        nobody = isinstance(failure, Silence) and not failure.connected and not self.answered
        return min(patience.refused_s, patience.timeout_s) if nobody else patience.timeout_s

    def hear(self, request: Request) -> Conversation[Reply]:
        """The answer, whatever it is, once asking again cannot help. Raises UnreachableError if none came."""
        patience = self.patience
        began_s = patience.clock_s()
        longest_nap_s = FIRST_PAUSE_S
        while True:
            left_s = began_s + patience.timeout_s + request.wait_s - patience.clock_s()
            heard = yield Send(request, max(left_s, 0.0))
            assert heard is not None
            self.answered = self.answered or isinstance(heard, Reply)
            if isinstance(heard, Reply) and not may_repeat(request, heard):
                return heard
            error = answers.error_of(heard)
            nap_s = self._nap_s(error, longest_nap_s)
            if not may_repeat(request, heard) or patience.clock_s() + nap_s > began_s + self.trying_s(heard):
                if isinstance(heard, Reply):
                    return heard
                raise error
            yield Pause(nap_s)
            longest_nap_s = min(2 * longest_nap_s, PAUSE_S_MAX)

    def _nap_s(self, error: TaskServiceError, longest_nap_s: float) -> float:
        """How long to keep quiet: what the service says and a little more, else a random part of the longest nap."""
        if isinstance(error, BackOffError) and error.retry_after_s > 0:
            return error.retry_after_s * (1 + self.patience.draw() / 4)
        return longest_nap_s * (0.5 + self.patience.draw() / 2)

    def ask(self, request: Request) -> Conversation[Reply]:
        """The answer, one of 2xx. Raises the error that any other is."""
        reply = yield from self.hear(request)
        if not reply.ok:
            raise answers.error_of(reply)
        return reply

    def ask_object(self, request: Request) -> Conversation[JsonObject]:
        """The JSON object in the answer."""
        value: JsonObject = answers.read_json((yield from self.ask(request)))
        return value

    def ask_list(self, name: str) -> Conversation[list[JsonObject]]:
        """All there is of `functions`, `tenants` or `keys`."""
        listed: list[JsonObject] = (yield from self.ask_object(requests.get(name)))[name]
        return listed

    def ask_text(self, request: Request) -> Conversation[str]:
        """The text in the answer."""
        return (yield from self.ask(request)).body.decode(errors="replace")

    def submit(
        self, function: str, payload: Mapping[str, Any], options: TaskOptions, on_conflict: OnConflict | None = None
    ) -> Conversation[JsonObject]:
        line = requests.task_line(function, payload, options)
        task = yield from self.ask_object(requests.submit(line, None if line.id_is_new else on_conflict))
        if line.id_is_new:
            task["duplicate"] = False  # it can only be our own earlier attempt
        return task

    def submit_many(
        self, items: Iterable[Mapping[str, Any]], function: str | None, options: TaskOptions
    ) -> Conversation[BatchAnswer]:
        results: list[ItemResult] = []
        for chunk in self.chunks(requests.task_line_of(item, function, options) for item in items):
            results += yield from self.submit_lines(chunk)
        return BatchAnswer(tuple(results))

    def chunks(self, lines: Iterable[Line]) -> Iterator[list[Line]]:
        """Lines in the order given, as many at once as may be."""
        chunk: list[Line] = []
        chunk_bytes = 0
        for line in lines:
            full = len(chunk) >= self.patience.batch_tasks or chunk_bytes + len(line.text) > self.patience.batch_bytes
            if chunk and full:
                yield chunk
                chunk, chunk_bytes = [], 0
            chunk.append(line)
            chunk_bytes += len(line.text) + 1
        if chunk:
            yield chunk

    def submit_lines(self, lines: list[Line], *, patiently: bool = True) -> Conversation[list[ItemResult]]:
        """A result for each line. Patiently: those for which the queue has no room are submitted again for a while."""
        until_s = self.patience.clock_s() + (self.patience.timeout_s if patiently else 0.0)
        results: dict[int, ItemResult] = {}
        places = list(range(len(lines)))
        longest_nap_s = FIRST_PAUSE_S
        while True:
            reply = yield from self.ask(requests.submit_batch(lines[place] for place in places))
            for place, item in zip(places, answers.read_items(reply), strict=True):
                results[place] = answers.read_submitted(lines[place], item)
            places = [place for place in places if isinstance(results[place].error, BackOffError)]
            error = results[places[0]].error if places else None
            nap_s = self._nap_s(error, longest_nap_s) if error is not None else 0.0
            if error is None or self.patience.clock_s() + nap_s > until_s:
                return [results[place] for place in range(len(lines))]
            yield Pause(nap_s)
            longest_nap_s = min(2 * longest_nap_s, PAUSE_S_MAX)

    def result(self, task_id: str, timeout_s: float | None) -> Conversation[Any]:
        clock_s = self.patience.clock_s
        until_s = math.inf if timeout_s is None else clock_s() + timeout_s
        while True:
            wait_s = max(0.0, min(POLL_S, until_s - clock_s()))
            reply = yield from self.hear(requests.get_result(task_id, wait_s))
            if reply.ok:
                return answers.read_json(reply)
            error = answers.no_result(task_id, reply)
            if error.code != answers.NOT_ENDED:
                raise error
            if clock_s() >= until_s:
                message = f"Task {task_id} has not ended within {timeout_s:g} s. It goes on."
                raise WaitTimeout(message, detail=error.message)

    def list_tasks(self, filters: ListFilters, limit: int | None) -> Stream[JsonObject]:
        cursor: str | None = None
        left = math.inf if limit is None else limit
        while left > 0:
            page = yield from self.ask_object(requests.list_tasks(filters, cursor, int(min(PAGE_TASKS, left))))
            for task in page["tasks"]:
                yield Emit(task)
            left -= len(page["tasks"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def list_schedules(self, tenant: str | None) -> Stream[JsonObject]:
        cursor: str | None = None
        while True:
            page = yield from self.ask_object(schedules.listing(tenant, cursor, PAGE_TASKS))
            for schedule in page["schedules"]:
                yield Emit(schedule)
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def list_triggers(self, tenant: str | None) -> Stream[JsonObject]:
        cursor: str | None = None
        while True:
            page = yield from self.ask_object(triggers.listing(tenant, cursor, PAGE_TASKS))
            for trigger in page["triggers"]:
                yield Emit(trigger)
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def change_many(
        self, what: Change, task_ids: Iterable[str], until: Instant | None = None
    ) -> Conversation[BatchAnswer]:
        results: list[ItemResult] = []
        ids = list(task_ids)
        for start in range(0, len(ids), self.patience.batch_tasks):
            request = requests.change_many(what, ids[start : start + self.patience.batch_tasks], until)
            results += answers.read_items((yield from self.ask(request)))
        return BatchAnswer(tuple(results))

    def change_all(
        self,
        what: Change,
        filters: ListFilters,
        *,
        dry_run: bool,
        timeout_s: float | None,
        until: Instant | None = None,
    ) -> Conversation[JsonObject]:
        clock_s = self.patience.clock_s
        until_s = math.inf if timeout_s is None else clock_s() + timeout_s
        operation = yield from self.ask_object(requests.change_all(what, filters, dry_run=dry_run, until=until))
        nap_s = FIRST_PAUSE_S
        while not operation["done"] and clock_s() + nap_s <= until_s:
            yield Pause(nap_s)
            nap_s = min(2 * nap_s, PAUSE_S_MAX)
            operation = yield from self.ask_object(requests.get_operation(operation["operation"]))
        return operation


REPEATED_STATUSES = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}


def may_repeat(request: Request, heard: Reply | Silence) -> bool:
    """Whether asking again may help and cannot harm."""
    if isinstance(heard, Silence):
        return request.repeatable or not heard.connected
    if heard.status == HTTPStatus.TOO_MANY_REQUESTS:
        return True  # it says that nothing was done
    return request.repeatable and heard.status in REPEATED_STATUSES
