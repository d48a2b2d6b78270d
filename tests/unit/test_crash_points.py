"""The log in a store, when its owner dies, stalls or is cut off at any of its calls: each call, each way, each moment.

Whatever happens, the next owner finds all that was acknowledged, once and in order, from either checkpoint; a zombie that goes on
acknowledges nothing that is not there, publishes nothing, and removes nothing that is needed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from helpers.crashing_objects import (
    Call,
    CrashingObjects,
    dies_and_is_late,
    dies_before,
    dies_without_an_answer,
    is_late_and_repeated,
    loses_the_answer,
    stalls_after,
    stalls_before,
)
from helpers.owners import CODE, Owner, RecordingObjects, Violated, check
from taskservice.journal import Fenced
from taskservice.objects import NoSuchObject, StoreUnavailable

Step = Callable[[Owner], None]


def append_two(*order: int) -> Step:
    """Two segments under way at once; `order` is that in which they get there."""
    return lambda owner: owner.append(2, order)


OPEN: list[Step] = [Owner.open, Owner.recover, Owner.sweep]
FIRST: list[Step] = [
    *OPEN,
    Owner.append,
    append_two(1, 0),
    Owner.publish,
    Owner.append,
    Owner.publish,
    append_two(0, 1),
    Owner.publish,
    append_two(1, 0),
]
SECOND: list[Step] = [*OPEN, Owner.append, Owner.publish, append_two(1, 0)]
PUBLISH: list[Step] = [Owner.append, Owner.publish]
SUCCESSOR: list[Step] = [*OPEN, *PUBLISH, *PUBLISH, *PUBLISH, Owner.append]
MOMENTS = [1, 3, 5, 7, 9]
"""So many steps of the successor are done: it has opened, has swept, has published once, twice, three times."""


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture):
    """Thousands of lost answers need no line in a log."""
    caplog.set_level(logging.CRITICAL)


class Story:
    """What happens to one store in one of the enumerated histories."""

    def __init__(self, directory: Path, code: Any = CODE) -> None:
        self.store = RecordingObjects()
        self.owners: list[Owner] = []
        self._directory = directory
        self._code = code

    def owner(self, name: str, store: CrashingObjects | None = None) -> Owner:
        self.owners.append(Owner(store or CrashingObjects(self.store), self._directory, name, self._code))
        return self.owners[-1]

    def check(self) -> None:
        check(self.store, self.owners, self._directory)


class Walk:
    """A process that goes on when it is told to."""

    def __init__(self, story: Story, name: str, steps: list[Step], store: CrashingObjects | None = None) -> None:
        self._owner = story.owner(name, store)
        self._steps = iter(steps)
        self._story = story

    def go(self, steps: int | None = None) -> None:
        """So many more steps are done, or all; nothing stops it but somebody's later claim."""
        ended = self._owner.do(islice(self._steps, steps))
        if ended is None:
            return
        self._steps = iter(())
        newest = self._story.store.published[-1].epoch
        if not isinstance(ended, Fenced) or newest <= self._owner.journal.epoch:
            raise Violated(f"{self._owner.name} was stopped by {ended!r}")


def calls_of_the_workload(directory: Path, code: Any = CODE) -> list[Call]:
    story = Story(directory, code)
    process = CrashingObjects(story.store)
    for name, steps in (("a", FIRST), ("b", SECOND)):
        assert story.owner(name, process).do(steps) is None
    story.check()
    return process.calls


def tell(directory: Path, fate: Callable[..., Any], at: int, moment: int | None, code: Any = CODE) -> None:
    """Two lives, of which call `at` has this fate; a successor has come up to a moment meanwhile, and then goes on."""
    story = Story(directory, code)
    successor = Walk(story, "s", SUCCESSOR)
    happens = fate if moment is None else fate(lambda: successor.go(moment))
    process = CrashingObjects(story.store, happens, at)
    for name, steps in (("a", FIRST), ("b", SECOND)):
        ended = story.owner(name, process).do(steps)
        if isinstance(ended, StoreUnavailable):
            ended = story.owner(f"{name}'", process).do([*OPEN, *PUBLISH])
        if ended is not None:
            break
    story.check()
    successor.go()
    for effect in process.later:
        with suppress(NoSuchObject):
            effect()
    story.check()
    Walk(story, "last", SUCCESSOR).go()
    story.check()


def histories(calls: list[Call]) -> Iterator[tuple[Callable[..., Any], int, int | None]]:
    """A fate, at which call it comes, and how far the successor gets meanwhile."""
    for at, call in enumerate(calls):
        yield loses_the_answer, at, None
        for moment in MOMENTS:
            yield stalls_before, at, moment
        if call.changes:
            yield dies_before, at, None
            yield dies_without_an_answer, at, None
            yield is_late_and_repeated, at, None
            for moment in MOMENTS:
                yield dies_and_is_late, at, moment
                yield stalls_after, at, moment


def test_every_call_every_fate_every_moment(tmp_path: Path):
    calls = calls_of_the_workload(tmp_path)
    told = 0
    for history in histories(calls):
        try:
            tell(tmp_path, *history)
        except Violated as error:
            raise AssertionError(f"{history}: {error}") from error
        told += 1
    print(f"{len(calls)} calls, {told} histories")
