"""Following a log: line by line through attempts, restarts of runners and of the follower, without a line lost or doubled."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from helpers.tables import task as a_task
from taskservice.core.types import RunnerId, Task, TaskState, Token
from taskservice.gateway.following import ALIVE_S, Event, Follower, Look, Mark, parse_mark
from taskservice.gateway.logs import LivePart
from taskservice.logs.chosen import ALL, AttemptLog, Wanted, remark
from taskservice.logs.pieces import Written

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

FIRST, SECOND = Token(1, 5), Token(1, 9)
RUNNER = RunnerId("runner:1:node:abc")


class Scene:
    """A task whose life is a list of steps; each look at it takes the next one."""

    def __init__(self) -> None:
        self.steps: list[Callable[[], None]] = []
        self.task: Task | None = a_task(1, state=TaskState.QUEUED)
        self.logs: list[AttemptLog] = []
        self.page: list[Written] = []
        self.now_ms = 1_000
        self.reads: list[Wanted] = []
        self.bundles_of = 1
        """So many attempts have their logs in one bundle."""

    async def look(self) -> Look | None:
        if self.steps:
            self.steps.pop(0)()
        return None if self.task is None else Look(self.task, RUNNER if self.task.token else None)

    def run(self, token: Token, *texts: str) -> None:
        """An attempt runs, and has that on its page."""
        self.task = a_task(1, state=TaskState.RUNNING, token=token, attempt=1, log=self.task.log if self.task else "")
        self.page = [Written(2_000, "stdout", text.encode()) for text in texts]

    def end(self, state: TaskState, *remarks: str) -> None:
        """The attempt is over, and its log is stored."""
        assert self.task is not None
        assert self.task.token is not None
        self.logs.append(AttemptLog(1, 1, self.task.token, (*self.page, *map(remark, remarks))))
        self.task = replace(self.task, state=state, token=None, log=f"20261130-abc-{len(self.logs) // self.bundles_of}")
        self.page = []

    def stored(self, task: Task, wanted: Wanted, /) -> list[AttemptLog]:
        self.reads.append(wanted)
        return list(self.logs)

    async def running(self, task: Task, runner: RunnerId | None, /) -> AttemptLog | None:
        return AttemptLog(1, 1, task.token, tuple(self.page))

    async def live(self, task: Task, runner: RunnerId | None, at: int, wait_s: float, /) -> LivePart:
        return LivePart(tuple(self.page[at:]), len(self.page), bool(self.page))

    async def pause(self, seconds: float) -> None:
        """Time passes, for the follower."""
        self.now_ms += round(seconds * 1000)

    async def events(self, wanted: Wanted = ALL, after: str = "") -> list[Event]:
        follower = Follower(self.look, self, wanted, lambda: self.now_ms, parse_mark(after), self.pause)
        return [event async for event in follower.events()]

    async def texts(self, wanted: Wanted = ALL, after: str = "") -> list[str]:
        return [said(event) for event in await self.events(wanted, after)]


def said(event: Event) -> str:
    if not event.name:
        return "alive"
    body = json.loads(event.data)
    return f"end: {body['state']}" if event.name == "end" else body["text"].strip()


def two_attempts(scene: Scene) -> None:
    """The second is on another runner: the first one's was lost in between."""
    scene.steps = [
        lambda: scene.run(FIRST, "one\n"),
        lambda: scene.page.append(Written(3_000, "stderr", b"two\n")),
        lambda: scene.end(TaskState.RETRYING, "cut off"),
        lambda: None,
        lambda: scene.run(SECOND, "three\n"),
        lambda: scene.page.append(Written(4_000, "stdout", b"four\n")),
        lambda: scene.end(TaskState.SUCCEEDED),
    ]


async def test_through_two_attempts_and_a_runner_that_is_lost() -> None:
    scene = Scene()
    two_attempts(scene)
    assert await scene.texts() == ["one", "two", "[cut off]", "three", "four", "end: succeeded"]


async def test_two_attempts_whose_logs_are_in_one_bundle() -> None:
    scene = Scene()
    scene.bundles_of = 9
    two_attempts(scene)
    scene.steps[-1:] = [
        lambda: (scene.page.append(Written(5_000, "stdout", b"five\n")), scene.end(TaskState.SUCCEEDED))[1]
    ]
    assert await scene.texts() == ["one", "two", "[cut off]", "three", "four", "five", "end: succeeded"]


async def test_what_was_not_seen_on_the_page_comes_from_the_store() -> None:
    scene = Scene()
    scene.steps = [lambda: scene.run(FIRST), lambda: (scene.run(FIRST, "a\n", "b\n"), scene.end(TaskState.FAILED))[0]]
    assert await scene.texts() == ["a", "b", "end: failed"]


@pytest.mark.parametrize("seen", range(4))
async def test_who_comes_back_goes_on_after_what_was_seen(seen: int) -> None:
    """By the id of the last event that it has got."""
    scene = Scene()
    two_attempts(scene)
    events = await scene.events()
    again = Scene()
    two_attempts(again)
    assert await again.texts(after=events[seen].id) == [said(event) for event in events[seen + 1 :]]


async def test_the_last_lines_first_and_then_what_comes() -> None:
    scene = Scene()
    scene.run(FIRST, "a\n", "b\n")
    scene.steps = [lambda: None, lambda: scene.page.append(Written(3_000, "stdout", b"c\n"))]
    scene.steps.append(lambda: scene.end(TaskState.SUCCEEDED))
    assert await scene.texts(Wanted(tail=1)) == ["b", "c", "end: succeeded"]


async def test_of_what_is_stored_only_what_is_new_is_read_again() -> None:
    """Or a task of many attempts would be read through at the end of each."""
    scene = Scene()
    two_attempts(scene)
    await scene.events()
    assert [wanted.after for wanted in scene.reads] == [None, FIRST, FIRST, SECOND]


async def test_until_a_time_it_ends_by_itself() -> None:
    scene = Scene()
    scene.now_ms = 5_000
    assert await scene.texts(Wanted(until_ms=5_000)) == ["end: queued"]


async def test_a_task_that_is_deleted_ends_it() -> None:
    scene = Scene()
    scene.steps = [lambda: None, lambda: setattr(scene, "task", None)]
    assert await scene.texts() == ["end: deleted"]


async def test_signs_of_life_while_nothing_is_written() -> None:
    scene = Scene()
    scene.steps = [lambda: None] * 20
    scene.steps.append(lambda: scene.run(FIRST, "x\n"))
    scene.steps.append(lambda: scene.end(TaskState.SUCCEEDED))
    assert await scene.texts() == ["alive", "x", "end: succeeded"]
    assert ALIVE_S <= 20


def test_marks_are_read_as_they_are_written() -> None:
    mark = Mark(Token(3, 77), 12)
    assert parse_mark(str(mark)) == mark
    assert [parse_mark(text) for text in ("", "1.2", "1.2.x", "1.2.3.4", "-1.2.3", "9" * 17 + ".1.1")] == [None] * 6
