"""The sender of callbacks: asks the shard what is owed, signs it, posts it, and tells what came of it.

    ask what is due -> sign (Standard Webhooks) -> POST -> tell the shard, some at a time

It keeps nothing: what it has not told when it ends is owed still, and is sent again under the same id. Beside the gateway, on
another process than the dispatcher: slow endpoints and the price of TLS are not the scheduler's.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from standardwebhooks import Webhook

from taskservice.actors.callback_http import Answered
from taskservice.core.callback_events import Attempted, Busy, CallbacksAnswer, SecretAnswer
from taskservice.core.deliveries import Delivery, DeliveryKey
from taskservice.core.outcome import iso
from taskservice.core.types import TenantId
from taskservice.errors import BackOffError

log = logging.getLogger(__name__)

SECRET_BYTES = 32
"""As Standard Webhooks wants it: from 24 to 64."""
WAIT_S = 20.0
"""How long one question for news stays open."""
RETRY_S = 2.0
"""After the dispatcher could not be reached."""

USER_AGENT = "taskservice-callbacks/1"


class CallbackPort(Protocol):
    """The part of a `DispatcherPort` that the sender uses."""

    async def callbacks(self, limit: int, busy: Sequence[Busy]) -> CallbacksAnswer: ...

    async def callbacks_attempted(self, attempts: Sequence[Attempted]) -> None: ...

    async def callbacks_owed(self, known_version: int, wait_s: float) -> int: ...

    async def put_secret(self, tenant: TenantId, secret: bytes, rotate: bool) -> SecretAnswer: ...


Post = Callable[[str, dict[str, str], bytes], Awaitable[Answered]]
"""See `CallbackHttp.post`."""


class Counts(NamedTuple):
    """What one turn did."""

    told: int
    started: int
    next_ms: int | None
    """When something is due that is not yet."""


@dataclass(frozen=True, slots=True)
class _Sending:
    """A callback on its way."""

    busy: Busy
    task: asyncio.Task[Attempted]


class CallbackSender:
    """Belongs to one event loop, which it never blocks."""

    def __init__(
        self,
        dispatcher: CallbackPort,
        post: Post,
        at_once_max: int,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        new_secret: Callable[[], bytes] = lambda: secrets.token_bytes(SECRET_BYTES),
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._dispatcher = dispatcher
        self._post = post
        self._at_once_max = at_once_max
        self._now_ms = now_ms
        self._new_secret = new_secret
        self._pause = pause
        self._sending: dict[DeliveryKey, _Sending] = {}
        self._version = 0
        """Of what was owed when the shard was asked last."""
        self._news: asyncio.Task[int] | None = None
        """The question for a later one."""

    async def run(self) -> None:
        """Never returns. While the dispatcher is away it waits; what was attempted meanwhile is told afterwards."""
        while True:
            try:
                counts = await self.run_once()
                await self._rest(counts.next_ms)
            except BackOffError as error:
                log.info("callbacks: the dispatcher does not answer, they wait: %s", error)
                await self._pause(RETRY_S)

    async def run_once(self) -> Counts:
        """What has been attempted is told, and what is due is on its way."""
        told = await self._tell()
        room = self._at_once_max - len(self._sending)
        if room <= 0:
            return Counts(told, 0, None)
        busy = [each.busy for each in self._sending.values()]
        answer = await self._dispatcher.callbacks(room, busy)
        await self._give_secrets(answer)
        started, next_ms = 0, answer.next_ms
        for delivery in answer.deliveries:
            signing = answer.secrets.get(delivery.tenant)
            if signing is None:
                next_ms = self._now_ms()  # somebody else has given it one in this moment: to be asked for
                continue
            task = asyncio.create_task(self._send(delivery, signing), name=delivery.webhook_id)
            self._sending[delivery.key] = _Sending(Busy(delivery.endpoint, delivery.key), task)
            started += 1
        return Counts(told, started, next_ms)

    async def sent(self) -> None:
        """What is on its way has been attempted, and is not told yet."""
        tasks = [each.task for each in self._sending.values()]
        if tasks:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Nothing is on its way any more; what was is owed still."""
        tasks: list[asyncio.Task[Attempted] | asyncio.Task[int]] = [each.task for each in self._sending.values()]
        if self._news is not None:
            tasks.append(self._news)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell(self) -> int:
        done = {key: each.task for key, each in self._sending.items() if each.task.done()}
        if not done:
            return 0
        attempts = [task.result() for task in done.values()]
        await self._dispatcher.callbacks_attempted(attempts)
        for key in done:
            del self._sending[key]
        return len(attempts)

    async def _rest(self, next_ms: int | None) -> None:
        """Something has been attempted, or may be due: the shard says so, or the clock."""
        if self._news is None:
            self._news = asyncio.create_task(self._dispatcher.callbacks_owed(self._version, WAIT_S))
        waited_s = None if next_ms is None else max(0.001, (next_ms - self._now_ms()) / 1000)
        sending = [each.task for each in self._sending.values()]
        await asyncio.wait([self._news, *sending], timeout=waited_s, return_when=asyncio.FIRST_COMPLETED)
        if self._news.done():
            news, self._news = self._news, None
            self._version = news.result()

    async def _send(self, delivery: Delivery, signing: Sequence[bytes]) -> Attempted:
        body = body_of(delivery)
        try:
            answered = await self._post(delivery.url, headers_of(delivery, body, signing, self._now_ms()), body)
        except Exception as error:  # a bug; but one callback must not keep all others from being sent
            log.exception("callbacks: %s could not be sent", delivery.webhook_id)
            answered = Answered(0, f"it could not be sent, for a reason that is a bug: {type(error).__name__}")
        return Attempted(*delivery.key, answered.status, answered.message, 1000 * answered.retry_after_s)

    async def _give_secrets(self, answer: CallbacksAnswer) -> None:
        """Tenants that have none yet have one: made here, and told to nobody before it is asked for by a rotation."""
        for tenant in dict.fromkeys(each.tenant for each in answer.deliveries):
            if tenant not in answer.secrets:
                secret = self._new_secret()
                if (await self._dispatcher.put_secret(tenant, secret, False)).taken:
                    answer.secrets[tenant] = (secret,)


def body_of(delivery: Delivery) -> bytes:
    """The event, as Standard Webhooks has it: its type, when it happened, and what."""
    head = f'{{"type":"task.{delivery.state_told}","timestamp":"{iso(delivery.ended_ms)}","data":'
    return head.encode() + delivery.task + b"}"


def headers_of(delivery: Delivery, body: bytes, signing: Sequence[bytes], now_ms: int) -> dict[str, str]:
    """The headers by which the receiver knows the event and who sent it: a signature with each secret that signs now."""
    at = datetime.fromtimestamp(now_ms // 1000, UTC)
    signatures = [Webhook(secret).sign(delivery.webhook_id, at, body.decode()) for secret in signing]
    return {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "webhook-id": delivery.webhook_id,
        "webhook-timestamp": str(now_ms // 1000),
        "webhook-signature": " ".join(signatures),
    }
