"""POST /v1/events: events come to tasks, by the triggers of the caller's tenant."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from fastapi import APIRouter, Request, Response
from msgspec import UNSET, Raw

from taskservice.core.effects import ItemStatus, Refusal
from taskservice.core.trigger_template import BadTemplate, payload_of
from taskservice.core.triggers import CloudEvent, Trigger, Triggers
from taskservice.core.types import NewTask, TenantId
from taskservice.gateway.access import Gateway, Here, Submitter
from taskservice.gateway.admit import Admission
from taskservice.gateway.answers import json_answer
from taskservice.gateway.body import JSON, read_body
from taskservice.gateway.cloud_events import BATCHED, STRUCTURED, events_of
from taskservice.gateway.openapi import documented
from taskservice.gateway.problems import Problem, invalid, refusal_problem, too_large
from taskservice.gateway.requests import TaskRequest
from taskservice.gateway.settings import GatewaySettings
from taskservice.gateway.trigger_views import EventsView, EventView, TriggeredTask, TriggerRefusedView

routes = APIRouter(prefix="/v1", tags=["triggers"])

_EVENT = {"type": "object", "description": "A CloudEvent (structured), or a notification of S3 with its `Records`."}
_RETRIED = (429, 503)


@routes.post(
    "/events",
    **documented(
        {200: EventsView},
        (400, 413, 415, 429),
        body={STRUCTURED: _EVENT, BATCHED: {"type": "array", "items": {"type": "object"}}, JSON: _EVENT},
    ),
)
async def take_events(request: Request, gateway: Here, caller: Submitter) -> Response:
    """Each event has come to the tasks of the triggers that it matches; the answer says which. Sent again, it makes none anew.

    If a task has no room now, the whole is answered 429: send it again, and only what is missing is made.
    """
    settings = gateway.settings
    body = await read_body(request, "request_bytes_max", settings.request_bytes_max)
    events = events_of(request.headers, body, settings)
    delivery = _Delivery(gateway, caller.key.tenant, events)
    await delivery.match()
    await delivery.admit()
    await delivery.put_away()
    await delivery.hand_over()
    return json_answer(EventsView(delivery.views))


class _Made(NamedTuple):
    """A task on its way, and whose it is."""

    task: NewTask
    trigger: Trigger
    view: EventView


class _Delivery:
    """The events of one request on their way to tasks."""

    def __init__(self, gateway: Gateway, tenant: TenantId, events: list[CloudEvent]) -> None:
        self._gateway = gateway
        self._tenant = tenant
        self._events = events
        self._matches: list[list[Trigger]] = []
        self._made: list[_Made] = []
        self.views: list[EventView] = []

    async def match(self) -> None:
        """It is known which triggers each event matches. Raises Problem if they are too many for one request."""
        types = list(dict.fromkeys(event.attributes["type"] for event in self._events))
        met = Triggers()
        for trigger in (await self._gateway.dispatcher.triggers_met(self._tenant, types)).triggers:
            met.put(trigger)
        for event in self._events:
            await asyncio.sleep(0)  # other requests get their turn
            self._matches.append(met.matching(self._tenant, event))
        count, most = sum(map(len, self._matches)), self._gateway.settings.batch_tasks_max
        if count > most:
            message = f"These events match {count} times, and one request may make {most} tasks: send fewer at a time."
            raise too_large(message, "batch_tasks_max", most)

    async def admit(self) -> None:
        """There is a task for each match, or a refusal that says why not. Raises Problem if they are too large together."""
        settings = self._gateway.settings
        admission = Admission(self._gateway.catalog, settings)
        bytes_left = most = settings.body_bytes_max
        for event, triggers in zip(self._events, self._matches, strict=True):
            view = EventView(event.attributes["id"], event.attributes["source"], len(triggers), [], [], [])
            self.views.append(view)
            for trigger in triggers:
                await asyncio.sleep(0)  # other requests get their turn
                try:
                    task = await admission.admit(_request(trigger, event, settings))
                except Problem as problem:
                    view.refused.append(TriggerRefusedView(trigger.id, problem.document))
                    continue
                self._made.append(_Made(task, trigger, view))
                bytes_left -= len(task.payload)
                if bytes_left < 0:
                    message = f"These events make payloads of more than {most} bytes: send fewer at a time."
                    raise too_large(message, "body_bytes_max", most)

    async def put_away(self) -> None:
        """Large payloads are durable, each in an object of its own. Raises a 503 Problem."""
        inline_bytes_max = self._gateway.settings.inline_bytes_max
        large = [at for at, made in enumerate(self._made) if len(made.task.payload) > inline_bytes_max]
        stored = await asyncio.gather(*(self._gateway.values.put_away(self._made[at].task) for at in large))
        for at, task in zip(large, stored, strict=True):
            self._made[at] = self._made[at]._replace(task=task)

    async def hand_over(self) -> None:
        """What was admitted is durable, or known, or refused by the dispatcher."""
        if not self._made:
            return
        answer = await self._gateway.dispatcher.submit(self._tenant, [made.task for made in self._made])
        no_room: Problem | None = None
        for (task, trigger, view), item in zip(self._made, answer.items, strict=True):
            self._gateway.values.settle(task, item)
            if item.status is ItemStatus.REFUSED and item.refusal is not Refusal.CONFLICT:
                problem = refusal_problem(item, self._gateway.settings.queue_retry_after_s)
                if problem.document.status in _RETRIED:
                    no_room = problem
                else:
                    view.refused.append(TriggerRefusedView(trigger.id, problem.document))
            else:
                # An event is its source and id: one that brings other data under them, or meets its trigger changed, is known.
                into = view.tasks if item.status is ItemStatus.ACCEPTED else view.duplicates
                into.append(TriggeredTask(trigger.id, item.id))
        if no_room is not None:
            raise no_room


def _request(trigger: Trigger, event: CloudEvent, settings: GatewaySettings) -> TaskRequest:
    """The task that is wanted. Raises Problem if the event does not give the payload, or a far too large one."""
    try:
        payload = payload_of(trigger.spec, event)
    except BadTemplate as why:
        raise invalid("$.payload", str(why)) from None
    if len(payload) > settings.task_text_bytes_max:
        message = f"The payload has {len(payload)} bytes; {settings.payload_bytes_max} are allowed."
        raise too_large(message, "payload_bytes_max", settings.payload_bytes_max)
    priority = UNSET if trigger.spec.priority is None else trigger.spec.priority
    return TaskRequest(
        function=trigger.spec.function, payload=Raw(payload), id=event.task_id(trigger.id), priority=priority
    )
