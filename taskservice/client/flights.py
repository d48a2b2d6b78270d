"""Carries out a transfer: with threads, or on an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from taskservice.client.steps import Await, Begin, Call, Conversation, Heard, Pause, Send, Transfer

T = TypeVar("T")

AT_ONCE_MAX = 16


def carry_out(transfer: Transfer[T], send: Callable[[Send], Heard]) -> T:
    """The transfer's result. Whatever ends it, nothing of it is under way any more."""
    stop = threading.Event()
    under_way: deque[Future[Any]] = deque()
    crew = ThreadPoolExecutor(AT_ONCE_MAX, "taskservice-transfer")
    try:
        heard: Any = None
        error: Exception | None = None
        while True:
            try:
                step = transfer.send(heard) if error is None else transfer.throw(error)
            except StopIteration as end:
                value: T = end.value
                return value
            heard, error = None, None
            try:
                if isinstance(step, Begin):
                    under_way.append(crew.submit(_converse, step.conversation, send, stop))
                elif isinstance(step, Await):
                    heard = under_way.popleft().result()
                elif isinstance(step, Call):
                    heard = step.call()
                elif isinstance(step, Pause):
                    time.sleep(step.seconds)
                else:
                    heard = send(step)
            except Exception as failure:
                error = failure
    finally:
        stop.set()
        transfer.close()
        crew.shutdown(cancel_futures=True)


def _converse(conversation: Conversation[T], send: Callable[[Send], Heard], stop: threading.Event) -> T:
    """The conversation's result. Raises CancelledError at its next step once it is to stop."""
    heard: Heard = None
    while True:
        try:
            step = conversation.send(heard)
        except StopIteration as end:
            value: T = end.value
            return value
        heard = None
        if isinstance(step, Pause):
            stop.wait(step.seconds)
        if stop.is_set():
            raise CancelledError
        if isinstance(step, Send):
            heard = send(step)


async def carry_out_async(
    transfer: Transfer[T],
    do: Callable[[Send | Pause], Awaitable[Heard]],
    run: Callable[[Conversation[Any]], Awaitable[Any]],
) -> T:
    """The transfer's result, as `carry_out` says. Files are read and written on threads."""
    under_way: deque[asyncio.Future[Any]] = deque()
    try:
        heard: Any = None
        error: Exception | None = None
        while True:
            try:
                step = transfer.send(heard) if error is None else transfer.throw(error)
            except StopIteration as end:
                value: T = end.value
                return value
            heard, error = None, None
            try:
                if isinstance(step, Begin):
                    under_way.append(asyncio.ensure_future(run(step.conversation)))
                elif isinstance(step, Await):
                    heard = await under_way.popleft()
                elif isinstance(step, Call):
                    heard = await asyncio.to_thread(step.call)
                else:
                    heard = await do(step)
            except Exception as failure:
                error = failure
    finally:
        for flight in under_way:
            flight.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        transfer.close()
