"""Histories of a log, enumerated: who does what, which call meets which fate, and how far others get meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

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
from helpers.owners import CODE, Code, Owner, Violated, check
from taskservice.journal import Fenced
from taskservice.objects import NoSuchObject, StoreUnavailable

Step = Callable[[Owner], None]
Fate = Callable[..., Any]
T = TypeVar("T")


def append_two(*order: int) -> Step:
    """Two segments under way at once; `order` is that in which they get there."""
    return lambda owner: owner.append(2, order)


OPEN: list[Step] = [Owner.open, Owner.recover, Owner.sweep]
PUBLISH: list[Step] = [Owner.append, Owner.publish]
FIRST: list[Step] = [
    *OPEN,
    *PUBLISH,
    append_two(1, 0),
    Owner.publish,
    append_two(0, 1),
    Owner.publish,
    append_two(1, 0),
]
SECOND: list[Step] = [*OPEN, *PUBLISH, append_two(1, 0)]
SUCCESSOR: list[Step] = [*OPEN, *PUBLISH, *PUBLISH, *PUBLISH, Owner.append]
MOMENTS = (1, 3, 5, 7, 9)
"""So many steps of the successor are done: it has opened, has swept, has published once, twice, three times."""


class Story:
    """What happens to one store in one history."""

    def __init__(self, directory: Path, code: Code = CODE) -> None:
        self.store = code.store(directory)
        self.owners: list[Owner] = []
        self._directory = directory
        self._code = code

    def owner(self, name: str, store: CrashingObjects | None = None) -> Owner:
        owner = Owner(store or CrashingObjects(self.store), self._directory, name, self._code)
        owner.others = self.owners
        self.owners.append(owner)
        return owner

    def check(self) -> None:
        """Raises Violated if anything is not as it must be; see `owners`."""
        check(self.store, self.owners, self._directory)


class Walk:
    """A process that goes on when it is told to."""

    def __init__(self, story: Story, name: str, steps: Sequence[Step], store: CrashingObjects | None = None) -> None:
        self._owner = story.owner(name, store)
        self._steps = iter(steps)
        self._story = story

    def go(self, steps: int | None = None, *, may_die: bool = False) -> None:
        """So many more steps are done, or all; nothing stops it but somebody's later claim."""
        ended = self._owner.do(islice(self._steps, steps))
        if ended is None:
            return
        self._steps = iter(())
        fenced = isinstance(ended, Fenced) and self._story.store.published[-1].epoch > self._owner.epoch
        if not fenced and not may_die:
            raise Violated(f"{self._owner.name} was stopped by {ended!r}")


# One successor


def calls_of_the_workload(directory: Path) -> list[Call]:
    """What two owners, one after the other, ask of the store."""
    story = Story(directory)
    process = CrashingObjects(story.store)
    for name, steps in (("a", FIRST), ("b", SECOND)):
        assert story.owner(name, process).do(steps) is None
    story.check()
    return process.calls


def one_successor(calls: Sequence[Call]) -> Iterator[tuple[Fate, int, int | None]]:
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


def tell_of_one_successor(directory: Path, code: Code, fate: Fate, at: int, moment: int | None) -> None:
    """Two lives, of which call `at` has this fate; a successor has come up to a moment meanwhile, and then goes on."""
    story = Story(directory, code)
    successor = Walk(story, "s", SUCCESSOR)
    process = CrashingObjects(story.store, fate if moment is None else fate(lambda: successor.go(moment)), at)
    for name, steps in (("a", FIRST), ("b", SECOND)):
        ended = story.owner(name, process).do(steps)
        if isinstance(ended, StoreUnavailable):  # while it opened; so it is started again
            ended = story.owner(f"{name}'", process).do([*OPEN, *PUBLISH])
        if ended is not None:
            break
    story.check()
    successor.go()
    for effect in process.later:
        with suppress(NoSuchObject):
            effect()
    story.check()


# An owner that goes on


def calls_of_a_claimant(directory: Path) -> list[Call]:
    """What a successor asks of the store."""
    story = Story(directory)
    assert story.owner("a").do(FIRST) is None
    process = CrashingObjects(story.store)
    assert story.owner("s", process).do(SUCCESSOR) is None
    return process.calls


def incumbents(calls: Sequence[Call]) -> Iterator[tuple[Fate, int, int]]:
    """How a claimant stalls, at which call, and how many checkpoints the owner publishes meanwhile."""
    for at, call in enumerate(calls):
        for rounds in (1, 2, 3, 4):
            yield stalls_before, at, rounds
            if call.changes:
                yield stalls_after, at, rounds


def tell_of_an_incumbent(directory: Path, code: Code, fate: Fate, at: int, rounds: int) -> None:
    """The owner is alive and publishes while a claimant stalls; then the one goes on, and then the other."""
    story = Story(directory, code)
    owner = Walk(story, "a", [*FIRST, *PUBLISH * 6])
    owner.go(len(FIRST))
    claimant = CrashingObjects(story.store, fate(lambda: owner.go(2 * rounds)), at)
    Walk(story, "s", SUCCESSOR, claimant).go()
    story.check()
    owner.go()
    story.check()
    Walk(story, "last", SUCCESSOR).go()
    story.check()


# A last word


def last_words(calls: Sequence[Call]) -> Iterator[tuple[int, int]]:
    """At which call a claimant stalls, and how much the owner has done before."""
    for at in range(len(calls)):
        for steps in (len(OPEN), len(FIRST)):
            yield at, steps


def tell_of_a_last_word(directory: Path, code: Code, at: int, steps: int) -> None:
    """While a claimant stalls, the owner gets one more segment there, and then another claimant has the log: the first
    has seen a hole, and then comes to where that segment was and has been collected."""
    story = Story(directory, code)
    owner = Walk(story, "a", [*FIRST[:steps], Owner.append])
    owner.go(steps)
    second = Walk(story, "t", SUCCESSOR)

    def meanwhile() -> None:
        owner.go()
        second.go()

    Walk(story, "s", SUCCESSOR, CrashingObjects(story.store, stalls_before(meanwhile), at)).go()
    story.check()


# Two successors


def two_successors(first: Sequence[Call], second: Sequence[Call]) -> Iterator[tuple[int, Fate, int, int | None]]:
    """At which call the owner stalls; how its successor fares, and at which call; how far the second gets meanwhile."""
    for at, call in enumerate(first[: len(first) * 2 // 3]):
        if not call.changes:
            continue
        for successor_at, successor_call in enumerate(second):
            if successor_call.changes:
                yield at, dies_before, successor_at, None
                yield at, stalls_before, successor_at, len(SUCCESSOR)


def tell_of_two_successors(
    directory: Path, code: Code, at: int, fate: Fate, successor_at: int, moment: int | None
) -> None:
    """The owner stalls at a call, its successor stalls or dies at one of its own, the second one does all it has to; then the
    first goes on, and then the owner."""
    story = Story(directory, code)
    second = Walk(story, "t", SUCCESSOR)
    happens = fate if moment is None else fate(lambda: second.go(moment))
    first = Walk(story, "s", SUCCESSOR, CrashingObjects(story.store, happens, successor_at))

    def meanwhile() -> None:
        first.go(may_die=True)
        second.go()

    story.owner("a", CrashingObjects(story.store, stalls_before(meanwhile), at)).do(FIRST)
    story.check()


STRIDE = 17
"""No divisor of how many moments or fates a call has."""


def everything(directory: Path) -> Iterator[tuple[Callable[..., None], Any]]:
    """All histories of all kinds, with who tells them; neighbours are far apart, so what spoils some is found soon."""
    first, second = calls_of_the_workload(directory), calls_of_a_claimant(directory)
    kinds = [
        [(tell_of_one_successor, each) for each in _mixed(one_successor(first))],
        [(tell_of_two_successors, each) for each in _mixed(two_successors(first, second))],
        [(tell_of_an_incumbent, each) for each in _mixed(incumbents(second))],
        [(tell_of_a_last_word, each) for each in _mixed(last_words(second))],
    ]
    for at in range(max(map(len, kinds))):
        yield from (kind[at] for kind in kinds if at < len(kind))


def _mixed(histories: Iterable[T]) -> list[T]:
    told = list(histories)
    return [each for begin in range(STRIDE) for each in told[begin::STRIDE]]


def told(tell: Callable[..., None], directory: Path, code: Code, history: Sequence[Any]) -> None:
    """Raises AssertionError, naming the history, if anything was violated in it."""
    try:
        tell(directory, code, *history)
    except Violated as error:
        named = [each.__name__ if callable(each) else each for each in history]
        raise AssertionError(f"{tell.__name__}{(*named,)}: {error}") from error
