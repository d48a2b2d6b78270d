"""Calls over a unix socket: typed, in any order, refused in words, and never left hanging when the other side goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from taskservice.actors.line import Line, LineServer, Method
from taskservice.actors.line_ports import LineDispatcher, refuse_callers
from taskservice.core.types import NewTask
from taskservice.errors import BackOffError, ServiceBug

METHODS = {
    "add": Method(tuple[int, int], int),
    "echo": Method(tuple[list[NewTask]], list[NewTask]),
    "wait": Method(tuple[str], str),
    "refuse": Method(tuple[()], None),
    "fail": Method(tuple[()], None),
}


class Callee:
    def __init__(self) -> None:
        self.may_answer: dict[str, asyncio.Event] = {}

    async def add(self, a: int, b: int) -> int:
        return a + b

    async def echo(self, tasks: list[NewTask]) -> list[NewTask]:
        return tasks

    async def wait(self, name: str) -> str:
        await self.may_answer.setdefault(name, asyncio.Event()).wait()
        return name

    async def refuse(self) -> None:
        raise BackOffError("not now", code="busy", retry_after_s=7.0)

    async def fail(self) -> None:
        raise ZeroDivisionError("by nothing")


@asynccontextmanager
async def serving(path: Path, callee: Callee) -> AsyncIterator[LineServer]:
    server = LineServer({name: getattr(callee, name) for name in METHODS}, METHODS)
    await server.start(path)
    yield server
    await server.stop()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(bounded())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Longer than a unix socket's address may be."""
    return tmp_path / ("x" * 100) / "callee.sock"


def test_arguments_and_results_arrive_as_their_types(path: Path) -> None:
    async def test() -> None:
        async with serving(path, Callee()):
            line = Line(path, METHODS)
            assert await line.call("add", 1, 2, timeout_s=5) == 3
            tasks = [NewTask(id=f"t{n}", function="app.f", payload=b"x" * 1_000) for n in range(2_000)]  # type: ignore[arg-type]
            assert await line.call("echo", tasks, timeout_s=5) == tasks
            line.close()

    run(test)


def test_only_its_user_can_reach_the_socket(path: Path) -> None:
    path.parent.mkdir(mode=0o755)

    async def test() -> None:
        async with serving(path, Callee()):
            pass

    run(test)
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_slow_call_holds_no_other_up(path: Path) -> None:
    async def test() -> None:
        callee = Callee()
        async with serving(path, callee):
            line = Line(path, METHODS)
            slow = asyncio.create_task(line.call("wait", "slow", timeout_s=5))
            assert await line.call("add", 1, 1, timeout_s=5) == 2
            assert not slow.done()
            callee.may_answer["slow"].set()
            assert await slow == "slow"
            line.close()

    run(test)


def test_a_refusal_arrives_as_itself_and_a_bug_as_one(path: Path) -> None:
    async def test() -> None:
        async with serving(path, Callee()):
            line = Line(path, METHODS)
            with pytest.raises(BackOffError, match="not now") as refused:
                await line.call("refuse", timeout_s=5)
            assert (refused.value.code, refused.value.retry_after_s, refused.value.__cause__) == ("busy", 7.0, None)
            with pytest.raises(ServiceBug, match="ZeroDivisionError: by nothing"):
                await line.call("fail", timeout_s=5)
            with pytest.raises(ServiceBug, match="ValidationError"):
                await line.call("add", "one", "two", timeout_s=5)
            line.close()

    run(test)


def test_who_is_not_there_or_goes_away_or_is_silent_is_away(path: Path) -> None:
    """With a cause, by which callers tell it from a refusal: the call may be made again."""

    async def test() -> None:
        callee = Callee()
        line = Line(path, METHODS)
        with pytest.raises(BackOffError) as absent:
            await line.call("add", 1, 2, timeout_s=5)
        assert absent.value.__cause__ is not None
        async with serving(path, callee) as server:
            with pytest.raises(BackOffError, match="no answer within"):
                await line.call("wait", "never", timeout_s=0.05)
            pending = asyncio.create_task(line.call("wait", "gone", timeout_s=5))
            assert await line.call("add", 1, 2, timeout_s=5) == 3
            await server.stop()
            with pytest.raises(BackOffError, match="connection was lost") as gone:
                await pending
            assert gone.value.__cause__ is not None
        async with serving(path, callee):
            assert await line.call("add", 3, 4, timeout_s=5) == 7, "and its successor is found at the same place"
            line.close()

    run(test)


def test_whoever_calls_a_dispatcher_that_cannot_start_is_told_why_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        server = await refuse_callers(tmp_path, BackOffError("the disk is full", retry_after_s=3.0, code="away"))
        try:
            with pytest.raises(BackOffError, match="disk is full") as refused:
                await LineDispatcher(tmp_path, patience_s=15).status()
            assert (refused.value.retry_after_s, refused.value.code) == (3.0, "away")
        finally:
            await server.stop()

    run(test)
