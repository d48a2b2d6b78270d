"""Transfers carried out by threads and on an event loop, alike."""

from __future__ import annotations

import asyncio
import threading

import pytest

from helpers.conversing import ok
from taskservice.client.flights import carry_out, carry_out_async
from taskservice.client.steps import Await, Begin, Call, Pause, Request, Send

ASK = Send(Request("GET", "/x"), 1.0)


def asking(name, said):
    yield ASK
    said.append(name)
    return name


def failing():
    yield ASK
    raise ValueError("no")


def carried_out(kind, transfer, send=lambda step: ok(1)):
    """The transfer's result, by threads or on an event loop."""
    if kind == "threads":
        return carry_out(transfer, send)

    async def do(step):
        return None if isinstance(step, Pause) else await asyncio.to_thread(send, step)

    async def run(conversation):
        heard = None
        while True:
            try:
                step = conversation.send(heard)
            except StopIteration as end:
                return end.value
            heard = await do(step)

    return asyncio.run(carry_out_async(transfer, do, run))


@pytest.fixture(params=["threads", "loop"])
def kind(request):
    return request.param


def test_results_come_in_the_order_in_which_they_were_begun(kind):
    said = []

    def transfer():
        for name in "abc":
            yield Begin(asking(name, said))
        reply = yield ASK
        called = yield Call(lambda: 7)
        yield Pause(0.0)
        return [reply.status, called, (yield Await()), (yield Await()), (yield Await())]

    assert carried_out(kind, transfer()) == [200, 7, "a", "b", "c"]
    assert sorted(said) == ["a", "b", "c"]


def test_what_is_begun_is_under_way_at_the_same_time(kind):
    together = threading.Barrier(3, timeout=10)

    def send(step):
        together.wait()
        return ok(1)

    def transfer():
        for name in "abc":
            yield Begin(asking(name, []))
        return [(yield Await()), (yield Await()), (yield Await())]

    assert carried_out(kind, transfer(), send) == ["a", "b", "c"]


@pytest.mark.parametrize("step", [Begin(failing()), Call(lambda: int("x"))])
def test_an_error_is_raised_where_its_result_is_wanted(kind, step):
    fresh = Begin(failing()) if isinstance(step, Begin) else step

    def transfer():
        try:
            yield fresh
            yield Await()
        except ValueError:
            return (yield Call(lambda: "cleaned up"))

    assert carried_out(kind, transfer()) == "cleaned up"


def test_nothing_is_under_way_after_a_failure():
    """Not even what would have waited for an hour."""
    ended = threading.Event()

    def endless():
        while True:
            yield Pause(3_600)

    def transfer():
        try:
            yield Begin(endless())
            yield Call(lambda: int("x"))
        finally:
            ended.set()

    with pytest.raises(ValueError, match="invalid literal"):
        carry_out(transfer(), lambda step: ok(1))
    assert ended.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("taskservice-transfer")]
