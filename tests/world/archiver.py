"""A simulated archiver: the real files and the real order of things, with a crash possible between any two of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from taskservice.core.effects import AnswerValue, CountAnswer, EndedAnswer, FilesAnswer, KeysAnswer
from taskservice.core.events import EndedAsked, Event, FileWritten, StrangersAsked, UnfinishedAsked
from taskservice.core.past import DAY_MS, HistoryFile, WrittenTask
from taskservice.core.types import Task
from taskservice.history import parquet
from taskservice.history.keys import PREFIX, epoch_of, file_key
from taskservice.objects.memory import MemoryObjects
from world.clock import Clock

LOOK_MS = 700
FILE_TASKS = 30
TURN_TASKS = 8

Ask = Callable[[Callable[[int], Event], Callable[[AnswerValue], None]], None]


class SimArchiver:
    """Like `taskservice.actors.archiver.Archiver`, for one dispatcher: it lives as long as that does."""

    def __init__(
        self,
        clock: Clock,
        objects: MemoryObjects,
        ask: Ask,
        epoch: int,
        alive: Callable[[], bool],
        did: Counter[str],
    ) -> None:
        """`did` counts what was done."""
        self._clock = clock
        self._objects = objects
        self._ask = ask
        self._epoch = epoch
        self._alive = alive
        self._did = did
        self._later(self._resume)

    def _later(self, what: Callable[[], None], mean_ms: float | None = None) -> None:
        delay_ms = self._clock.rng.expovariate(1 / (mean_ms or self._clock.rng.choice([5, 30, 300])))
        self._clock.after(delay_ms, lambda: what() if self._alive() else None)

    def _resume(self) -> None:
        def told(value: AnswerValue) -> None:
            assert isinstance(value, FilesAnswer)
            self._did["resumed"] += len(value.files)
            self._tell_all(list(value.files))

        self._ask(UnfinishedAsked, told)

    def _tell_all(self, files: list[HistoryFile]) -> None:
        if not files:
            self._sweep()
            return
        file = files.pop()
        rows = parquet.written(self._objects.get(file.key))
        written = [WrittenTask(one.no, row, one.run, one.state) for row, one in enumerate(rows)]
        self._tell(file, written, lambda: self._tell_all(files))

    def _sweep(self) -> None:
        found = [info.key for info in self._objects.list(PREFIX)]
        former = tuple(key for key in found if (epoch_of(key) or 0) < self._epoch)

        def told(value: AnswerValue) -> None:
            assert isinstance(value, KeysAnswer)
            self._later(lambda: self._remove(value.keys))

        self._ask(lambda ref: StrangersAsked(ref, former), told)

    def _remove(self, keys: Sequence[str]) -> None:
        self._clock.note("removed", keys)
        self._did["removed"] += len(keys)
        self._objects.delete(keys)
        self._look()

    def _look(self) -> None:
        dead = self._clock.rng.random() < 0.5

        def found(value: AnswerValue) -> None:
            assert isinstance(value, EndedAnswer)
            if value.tasks:
                # When this is answered, all that is in the file is durable.
                self._ask(UnfinishedAsked, lambda _: self._later(lambda: self._write(value.tasks)))
            else:
                self._later(self._look, LOOK_MS)

        self._ask(lambda ref: EndedAsked(ref, dead, None, FILE_TASKS, 1 << 20), found)

    def _write(self, tasks: Sequence[Task]) -> None:
        data = parquet.encode([parquet.batch(tasks)])
        nos, last_ms = [task.no for task in tasks], tasks[-1].ended_ms or 0
        nonce = f"{self._clock.rng.getrandbits(32):08x}"
        key = file_key(last_ms // DAY_MS, min(nos), max(nos), self._epoch, nonce)
        assert self._objects.put_if_absent(key, data) is None
        file = HistoryFile(key, last_ms // DAY_MS, min(nos), max(nos), len(nos), len(data), last_ms)
        rows = [WrittenTask(task.no, row, task.run, task.state) for row, task in enumerate(tasks)]
        self._clock.note("file", key, nos)
        self._did["written"] += 1
        self._later(lambda: self._tell(file, rows, lambda: self._later(self._look, LOOK_MS)))

    def _tell(self, file: HistoryFile, rows: list[WrittenTask], then: Callable[[], None]) -> None:
        now, rest = tuple(rows[:TURN_TASKS]), rows[TURN_TASKS:]

        def told(value: AnswerValue) -> None:
            assert isinstance(value, CountAnswer)
            self._later((lambda: self._tell(file, rest, then)) if rest else then)

        self._ask(lambda ref: FileWritten(ref, file, now, not rest), told)
