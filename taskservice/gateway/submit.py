"""POST /v1/tasks and POST /v1/tasks/batch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from taskservice.core.effects import ItemAnswer, ItemStatus
from taskservice.core.types import NewTask, OnConflict, TenantId
from taskservice.errors import BackOffError
from taskservice.gateway.access import Gateway, Here, Submitter
from taskservice.gateway.admit import Admission
from taskservice.gateway.answers import BatchView, ItemView, TaskView, json_answer, task_view
from taskservice.gateway.batch import Item, json_items, ndjson_items
from taskservice.gateway.body import JSON, NDJSON, decode, media_type, read_body
from taskservice.gateway.history import here_or_past
from taskservice.gateway.openapi import documented, reference
from taskservice.gateway.problems import Problem, ProblemDocument, refusal_problem
from taskservice.gateway.requests import BatchRequest, SubmitRequest

routes = APIRouter(prefix="/v1", tags=["submit"])

_DECODER = msgspec.json.Decoder(SubmitRequest)
_TASKS_PER_TURN = 200
"""After so many tasks, other requests get their turn."""


class SubmitQuery(BaseModel):
    """What to do with an id that is known already; the body's `on_conflict` comes first."""

    model_config = ConfigDict(extra="forbid")
    on_conflict: OnConflict = OnConflict.RETURN


@routes.post(
    "/tasks",
    **documented({202: TaskView, 200: TaskView}, (400, 409, 413, 415, 429), body=SubmitRequest),
)
async def submit(
    request: Request, gateway: Here, caller: Submitter, query: Annotated[SubmitQuery, Query()]
) -> Response:
    """Accepts a task: 202. If its id is known with the same function and payload: 200 and `duplicate: true`.

    With `on_conflict: reject` that is 409. With `rerun` the next run of a task that has ended begins: 202, or 429 as for a new one.
    """
    settings = gateway.settings
    media_type(request, JSON)
    if settings.task_text_bytes_max < settings.body_bytes_max:
        body = await read_body(request, "payload_bytes_max", settings.task_text_bytes_max)
    else:
        body = await read_body(request, "body_bytes_max", settings.body_bytes_max)
    wanted = decode(body, _DECODER)
    task = await Admission(gateway.catalog, settings).admit(wanted)
    on_conflict = wanted.on_conflict or query.on_conflict
    stored = await gateway.values.put_away(task)
    item = (await gateway.dispatcher.submit(caller.key.tenant, [stored], on_conflict)).items[0]
    gateway.values.settle(stored, item)
    if item.status is ItemStatus.REFUSED:
        raise refusal_problem(item, settings.queue_retry_after_s)
    accepted = await here_or_past(gateway.history, item.task, item.past)
    if accepted is None:
        message = f"task {item.id} was known until this moment: submit it again"
        raise BackOffError(message, retry_after_s=1.0, code="just_forgotten")
    duplicate = item.status is ItemStatus.DUPLICATE
    values = await gateway.values.of(accepted, task.payload)
    return json_answer(task_view(accepted, gateway.now_ms(), values, duplicate), 200 if duplicate else 202)


@routes.post(
    "/tasks/batch",
    **documented(
        {200: BatchView},
        (400, 413, 415),
        body={JSON: reference(BatchRequest), NDJSON: {"type": "string", "description": "A task on each line."}},
    ),
)
async def submit_batch(
    request: Request, gateway: Here, caller: Submitter, query: Annotated[SubmitQuery, Query()]
) -> Response:
    """Accepts tasks, each for itself: a bad one is refused alone, and its result says why."""
    settings = gateway.settings
    kind = media_type(request, JSON, NDJSON)
    body = await read_body(request, "body_bytes_max", settings.body_bytes_max)
    on_conflict = query.on_conflict
    if kind == NDJSON:
        items: Iterable[Item] = ndjson_items(body, settings.batch_tasks_max)
    else:
        wanted, items = json_items(body, settings.batch_tasks_max)
        on_conflict = wanted.on_conflict or on_conflict
    batch = _Batch(gateway)
    await batch.admit(items)
    await batch.put_away()
    await batch.hand_over(caller.key.tenant, on_conflict)
    return json_answer(batch.view())


class _Batch:
    """The tasks of one request on their way: each has a result in the end, at its own place."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._results: list[ItemView | None] = []
        self._admitted: list[NewTask] = []
        self._places: list[int] = []

    async def admit(self, items: Iterable[Item]) -> None:
        """Each task is either admitted or refused."""
        admission = Admission(self._gateway.catalog, self._gateway.settings)
        for item in items:
            place = len(self._results)
            try:
                self._admitted.append(await admission.admit_text(item.text))
            except Problem as problem:
                self._results.append(_refused(item, problem.document))
            else:
                self._places.append(place)
                self._results.append(None)
            if place % _TASKS_PER_TURN == _TASKS_PER_TURN - 1:
                await asyncio.sleep(0)

    async def put_away(self) -> None:
        """Large payloads are durable, each in an object of its own, or their task is refused."""
        inline_bytes_max = self._gateway.settings.inline_bytes_max
        large = [at for at, task in enumerate(self._admitted) if len(task.payload) > inline_bytes_max]
        if not large:
            return
        stored = await asyncio.gather(*(self._put_away(self._places[at], self._admitted[at]) for at in large))
        by_place = dict(zip(large, stored, strict=True))
        tasks = [by_place.get(at, task) for at, task in enumerate(self._admitted)]
        self._places = [place for place, task in zip(self._places, tasks, strict=True) if task is not None]
        self._admitted = [task for task in tasks if task is not None]

    async def _put_away(self, place: int, task: NewTask) -> NewTask | None:
        try:
            return await self._gateway.values.put_away(task)
        except Problem as problem:
            self._results[place] = ItemView(task.id, ItemStatus.REFUSED, problem.document)
            return None

    async def hand_over(self, tenant: TenantId, on_conflict: OnConflict) -> None:
        """What was admitted is durable, or refused by the dispatcher."""
        if not self._admitted:
            return
        answer = await self._gateway.dispatcher.submit(tenant, self._admitted, on_conflict)
        retry_after_s = self._gateway.settings.queue_retry_after_s
        for place, task, item in zip(self._places, self._admitted, answer.items, strict=True):
            self._gateway.values.settle(task, item)
            self._results[place] = item_view(item, retry_after_s)

    def view(self) -> BatchView:
        """The answer."""
        results = [result for result in self._results if result is not None]
        counts = dict.fromkeys(ItemStatus, 0)
        for result in results:
            counts[result.status] += 1
        return BatchView(results, counts[ItemStatus.ACCEPTED], counts[ItemStatus.DUPLICATE], counts[ItemStatus.REFUSED])


def item_view(item: ItemAnswer, retry_after_s: float) -> ItemView:
    """What the dispatcher says of one item."""
    refused = item.status is ItemStatus.REFUSED
    error = refusal_problem(item, retry_after_s).document if refused else None
    return ItemView(item.id, item.status, error)


class _OnlyId(msgspec.Struct):
    id: str | None = None


_ID_DECODER = msgspec.json.Decoder(_OnlyId)


def _refused(item: Item, document: ProblemDocument) -> ItemView:
    """A result for a task that could not be admitted, with its id if that much can be read."""
    try:
        task_id = _ID_DECODER.decode(item.text).id
    except (ValueError, RecursionError):
        task_id = None
    if item.line is not None:
        detail = f"Line {item.line}: {document.detail}"
        document = msgspec.structs.replace(document, line=item.line, detail=detail)
    return ItemView(task_id[:200] if task_id else None, ItemStatus.REFUSED, document)
