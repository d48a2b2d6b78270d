"""The sender of callbacks, against a real HTTP server: signed, retried, told; and over the line."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from helpers.posting import only_here, posting
from helpers.scripted_server import Asked, Scripted, scripted_server
from shells.test_dispatcher import Bench, run
from taskservice.actors.callback_http import Answered
from taskservice.actors.callbacks import CallbackPort, CallbackSender
from taskservice.actors.line_ports import LineDispatcher, serve_dispatcher
from taskservice.core.callback_events import Attempted, Busy, CallbacksAnswer
from taskservice.core.callbacks import DELAYS_S
from taskservice.core.deliveries import DeliveryState
from taskservice.core.lease_wire import LeaseReport
from taskservice.core.operations import OperationKind
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.types import FunctionName, Hooks, NewTask, TaskId
from taskservice.errors import BackOffError
from world.machine import ok

OWED, DELIVERED, _ = DeliveryState


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted_server() as server:
        yield server


def new(id: str, url: str, delay_ms: int | None = None) -> NewTask:
    return NewTask(TaskId(id), FunctionName("app.f"), b"{}", delay_ms=delay_ms, hooks=Hooks(callback_url=url))


async def cancelled(bench: Bench, *ids: str, url: str) -> None:
    """These tasks have ended, and their callbacks are owed."""
    await bench.dispatcher.submit(DEFAULT_TENANT, [new(id, url, delay_ms=10**9) for id in ids])
    await bench.dispatcher.change(DEFAULT_TENANT, OperationKind.CANCEL, [TaskId(id) for id in ids])


async def state_of(bench: Bench, id: str) -> tuple[DeliveryState, list[int], list[str]]:
    (one,) = (await bench.dispatcher.deliveries(DEFAULT_TENANT, TaskId(id))).deliveries or ()
    return one.state, [each.status for each in one.tries], [each.message for each in one.tries]


@asynccontextmanager
async def sending(bench: Bench, dispatcher: CallbackPort | None = None, **options: object):
    async with posting(**options) as http:  # type: ignore[arg-type]
        sender = CallbackSender(dispatcher or bench.dispatcher, http.post, 8, now_ms=lambda: bench.now_ms)
        try:
            yield sender
        finally:
            await sender.close()


async def turn(sender: CallbackSender) -> None:
    """What is due has been sent, and told."""
    await sender.run_once()
    await sender.sent()
    await sender.run_once()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_it_is_signed_as_the_official_library_verifies_it(server: Scripted) -> None:
    async def test() -> None:
        async with Bench() as bench:
            bench.now_ms = now_ms()
            await bench.dispatcher.put_secret(DEFAULT_TENANT, b"s" * 32, True)
            await bench.dispatcher.submit(DEFAULT_TENANT, [new("t", f"{server.url}/told?x=1")])
            lease = await bench.runner.launched.get()
            done = ok(lease.tasks[0].no, '{"n":"ключ"}'.encode())
            await bench.report(LeaseReport(lease.token, (done,), done=True))
            server.answer({}, 200)
            async with sending(bench) as sender:
                await turn(sender)
            (asked,) = server.asked
            assert (asked.method, asked.path) == ("POST", "/told?x=1")
            assert asked.headers["content-type"] == "application/json"
            event = Webhook(b"s" * 32).verify(asked.body, asked.headers)
            assert (event["type"], event["data"]["result"]) == ("task.succeeded", {"n": "ключ"})
            assert event["timestamp"] == event["data"]["ended_at"]
            assert "payload" not in event["data"]
            with pytest.raises(WebhookVerificationError):
                Webhook(b"t" * 32).verify(asked.body, asked.headers)
            with pytest.raises(WebhookVerificationError):
                Webhook(b"s" * 32).verify(asked.body + b" ", asked.headers)
            assert (await state_of(bench, "t"))[0] is DELIVERED

    run(test)


def test_both_secrets_sign_after_a_rotation(server: Scripted) -> None:
    async def test() -> None:
        async with Bench() as bench:
            bench.now_ms = now_ms()
            for secret in (b"a" * 32, b"b" * 32):
                await bench.dispatcher.put_secret(DEFAULT_TENANT, secret, True)
            await cancelled(bench, "t", url=server.url)
            server.answer({}, 204)
            async with sending(bench) as sender:
                await turn(sender)
            (asked,) = server.asked
            for secret in (b"a" * 32, b"b" * 32):
                assert Webhook(secret).verify(asked.body, asked.headers)["type"] == "task.cancelled"

    run(test)


def test_a_tenant_without_a_secret_gets_one_for_all_that_is_due(server: Scripted) -> None:
    """The second callback of such a tenant once waited for two seconds, since it wanted a secret of its own."""

    async def test() -> None:
        async with Bench() as bench:
            bench.now_ms = now_ms()
            await cancelled(bench, "t", "u", url=server.url)
            secrets = iter([b"n" * 32])
            async with posting() as http:
                sender = CallbackSender(bench.dispatcher, http.post, 8, lambda: bench.now_ms, lambda: next(secrets))
                for _ in range(2):
                    server.answer({}, 200)
                await turn(sender)
            assert [Webhook(b"n" * 32).verify(each.body, each.headers)["data"]["id"] for each in server.asked] in (
                ["t", "u"],
                ["u", "t"],
            )
            assert not (await bench.dispatcher.put_secret(DEFAULT_TENANT, b"other", False)).taken

    run(test)


def test_one_whose_secret_somebody_else_makes_at_the_same_moment_is_sent_with_that(server: Scripted) -> None:
    async def test() -> None:
        async with Bench() as bench:
            bench.now_ms = now_ms()
            await cancelled(bench, "t", url=server.url)
            owed = bench.dispatcher.callbacks

            class Late(Away):
                async def callbacks(self, limit: int, busy: Sequence[Busy]) -> CallbacksAnswer:
                    answer = await owed(limit, busy)
                    await bench.dispatcher.put_secret(DEFAULT_TENANT, b"o" * 32, False)
                    return answer

            async with sending(bench, Late(bench.dispatcher, 0)) as sender:  # type: ignore[arg-type]
                assert (await sender.run_once())[1:] == (0, bench.now_ms), "it asks again at once"
                server.answer({}, 200)
                await turn(sender)
            assert Webhook(b"o" * 32).verify(server.asked[0].body, server.asked[0].headers)

    run(test)


def test_it_is_tried_again_when_its_time_has_come_under_the_same_id(server: Scripted) -> None:
    async def test() -> None:
        async with Bench() as bench:
            await cancelled(bench, "t", url=server.url)
            server.answer({}, 500)
            server.hang_up()
            server.answer({}, 302, {"location": "http://elsewhere.example/"})
            server.answer({}, 204)
            async with sending(bench) as sender:
                for delay_s in DELAYS_S[:4]:
                    await turn(sender)
                    bench.now_ms += 1_000 * delay_s - 1
                    assert (await sender.run_once()).started == 0, "its time has not come"
                    bench.now_ms += 100 * delay_s + 1
            state, statuses, messages = await state_of(bench, "t")
            assert (state, statuses) == (DELIVERED, [500, 0, 302, 204])
            assert [bool(message) for message in messages] == [False, True, False, False]
            assert len({asked.headers["webhook-id"] for asked in server.asked}) == 1
            assert len({asked.headers["webhook-timestamp"] for asked in server.asked}) == 4
            assert len({asked.body for asked in server.asked}) == 1

    run(test)


def test_a_crash_between_delivery_and_its_record_delivers_it_twice(server: Scripted) -> None:
    async def test() -> None:
        async with Bench() as bench:
            await cancelled(bench, "t", url=server.url)
            server.answer({}, 200)
            server.answer({}, 200)
            async with sending(bench) as sender:
                await sender.run_once()
                await sender.sent()  # and the sender ends before it has told
            assert await state_of(bench, "t") == (OWED, [], [])
            async with sending(bench) as successor:
                await turn(successor)
            first, second = server.asked
            assert first.headers["webhook-id"] == second.headers["webhook-id"]
            assert (await state_of(bench, "t"))[0] is DELIVERED

    run(test)


def test_a_slow_endpoint_keeps_no_other_waiting() -> None:
    async def test() -> None:
        async with Bench() as bench:
            held: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
            posted: list[str] = []

            async def post(url: str, headers: dict[str, str], body: bytes) -> Answered:
                posted.append(url)
                return await held if "slow" in url else Answered(200)

            await cancelled(bench, *(f"s{at}" for at in range(30)), url="https://slow.example/")
            await cancelled(bench, "q", url="https://quick.example/")
            sender = CallbackSender(bench.dispatcher, post, 20, now_ms=lambda: bench.now_ms)
            running = asyncio.create_task(sender.run())
            while (await state_of(bench, "q"))[0] is not DELIVERED:
                await asyncio.wait([running], timeout=0.01)
            assert posted.count("https://slow.example/") < 20
            assert not running.done()
            running.cancel()
            await sender.close()

    run(test)


class Away:
    """A dispatcher that is away for so many calls."""

    def __init__(self, inner: CallbackPort, calls: int) -> None:
        self._inner = inner
        self._calls = calls

    def __getattr__(self, name: str):
        async def call(*arguments: object) -> object:
            self._calls -= 1
            if self._calls >= 0:
                raise BackOffError("it is away")
            return await getattr(self._inner, name)(*arguments)

        return call


@pytest.mark.parametrize("calls", range(1, 5))
def test_what_was_delivered_while_the_dispatcher_was_away_is_told_afterwards(server: Scripted, calls: int) -> None:
    async def test() -> None:
        async with Bench() as bench:
            await cancelled(bench, "t", url=server.url)
            server.answer({}, 200)
            pauses: list[float] = []

            async def pause(seconds: float) -> None:
                pauses.append(seconds)
                await asyncio.wait([running], timeout=0.001)

            async with posting() as http:
                away: CallbackPort = Away(bench.dispatcher, calls)  # type: ignore[assignment]
                sender = CallbackSender(away, http.post, 8, lambda: bench.now_ms, pause=pause)
                running = asyncio.create_task(sender.run())
                while (await state_of(bench, "t"))[0] is not DELIVERED:
                    await asyncio.wait([running], timeout=0.01)
                running.cancel()
                await sender.close()
            assert pauses
            assert len(server.asked) == 1

    run(test)


def test_all_of_it_goes_over_the_line(server: Scripted, tmp_path: Path) -> None:
    """The dispatcher in one process and the sender in another: woken by an end, and by the clock."""

    async def test() -> None:
        async with Bench() as bench:
            serving = await serve_dispatcher(bench.dispatcher, tmp_path)
            line = LineDispatcher(tmp_path)
            async with sending(bench, line, resolve=only_here) as sender:
                running = asyncio.create_task(sender.run())
                server.answer({}, 500)
                server.answer({}, 200)
                await cancelled(bench, "t", url=server.url)
                while not (await state_of(bench, "t"))[1]:
                    await asyncio.wait([running], timeout=0.01)
                bench.now_ms += 10_000
                await cancelled(bench, "other", url="https://nobody.example.invalid/")
                while (await state_of(bench, "t"))[0] is not DELIVERED:
                    await asyncio.wait([running], timeout=0.01)
                running.cancel()
            assert [
                each.status for each in (await line.deliveries(DEFAULT_TENANT, TaskId("t"))).deliveries[0].tries
            ] == [500, 200]  # type: ignore[index]
            assert (await line.redeliver(DEFAULT_TENANT, TaskId("t"))).deliveries[0].state is OWED  # type: ignore[index]
            await line.callbacks_attempted([Attempted(1, 1, 410, "")])  # type: ignore[arg-type]
            (endpoint,) = [each for each in (await line.endpoints(None)).endpoints if each.disabled_ms]
            assert (await line.enable_endpoint(DEFAULT_TENANT, endpoint.origin)).endpoints[0].failures == 0
            assert (await line.put_secret(DEFAULT_TENANT, b"n" * 32, True)).previous_until_ms > 0
            answer = await line.callbacks(9, [Busy(endpoint.key, (7, 7))])  # type: ignore[arg-type]
            assert isinstance(answer, CallbacksAnswer)
            line.close()
            await serving.stop()

    run(test)


def test_bodies_are_small_json(server: Scripted) -> None:
    async def test() -> None:
        async with Bench() as bench:
            await cancelled(bench, "t", url=server.url)
            server.answer({}, 200)
            async with sending(bench) as sender:
                await turn(sender)
            asked: Asked = server.asked[0]
            assert json.loads(asked.body)["data"]["state"] == "cancelled"
            assert int(asked.headers["content-length"]) == len(asked.body) < 1_000

    run(test)
