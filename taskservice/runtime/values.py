"""What a lease fetches before its child can begin, and writes before anybody is told of a result.

On threads, so that the child is watched and the runner hears of the lease meanwhile; the child itself never sees the
store, nor where it is. Threads are made for the first large value of a lease: most have none.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from msgspec.structs import replace

from taskservice.core.lease_wire import LeaseTask, Outcome
from taskservice.core.types import OutcomeKind, TaskNo
from taskservice.core.values import MARK, ref_of, referring
from taskservice.runtime.options import RuntimeOptions
from taskservice.values import ValueLost, Values, ValuesAway, patiently

AT_ONCE_MAX = 4
"""Values that one lease reads or writes at a time."""
AWAY_RETRY_MS = 10_000
"""When a task for which the store was away is tried again."""
LOOK_S = 0.01
"""Between two looks at what is being written."""
MESSAGE_CHARS_MAX = 1_000
MEANWHILE_S = 0.1
"""How often there is something else to do while payloads are fetched."""


log = logging.getLogger(__name__)

A = TypeVar("A")
R = TypeVar("R")


class LeaseValues:
    """The large values of one lease. Belongs to the lease's thread."""

    def __init__(self, values: Values, options: RuntimeOptions) -> None:
        self._values = values
        self._options = options
        self._threads: ThreadPoolExecutor | None = None
        self._stop = threading.Event()
        self._unwritten: dict[TaskNo, tuple[Outcome, Future[Outcome]]] = {}

    def next_batch(self, tasks: Iterable[LeaseTask]) -> Iterator[LeaseTask]:
        """The first of these tasks: as many as can have their payloads in RAM at the same time, and at least one."""
        fetched_bytes = 0
        for count, task in enumerate(tasks):
            for ref in (ref_of(task.payload), ref_of(task.checkpoint)):
                fetched_bytes += 0 if ref is None else ref.size_bytes
            if count and fetched_bytes > self._options.fetched_bytes_max:
                return
            yield task

    def fetched(self, tasks: Iterable[LeaseTask], meanwhile: Callable[[], None]) -> list[LeaseTask | Outcome]:
        """Each task with its payload and checkpoint, or why they cannot be had: its outcome. A checkpoint that is lost is left out.
        `meanwhile` is called again and again until
        then. Raises what that raises."""
        here = list(tasks)
        away = [task for task in here if task.payload.startswith(MARK) or task.checkpoint.startswith(MARK)]
        reading = {task.no: self._on_thread(self._read, task) for task in away}
        pending = set(reading.values())
        while pending:
            pending = futures.wait(pending, MEANWHILE_S).not_done
            meanwhile()
        return [future.result() if (future := reading.get(task.no)) is not None else task for task in here]

    def checked(self, outcome: Outcome) -> Outcome:
        """The outcome as the child told it; or, if no child of ours tells such a thing, a bad result.

        User code can speak on its process's socket: were its bytes taken for a reference, they would name an object of
        somebody else's.
        """
        if outcome.result.startswith(MARK):
            return replace(
                outcome, kind=OutcomeKind.BAD_RESULT, result=b"", message="what it sent as its result is no JSON"
            )
        if len(outcome.result) > self._options.result_bytes_max:
            message = (
                f"its result has {len(outcome.result)} bytes, result_bytes_max is {self._options.result_bytes_max}"
            )
            return replace(outcome, kind=OutcomeKind.BAD_RESULT, result=b"", message=message)
        return outcome

    def is_large(self, outcome: Outcome) -> bool:
        """Whether its result is to be an object of its own."""
        return outcome.kind is OutcomeKind.SUCCEEDED and len(outcome.result) > self._options.inline_bytes_max

    def write(self, outcome: Outcome) -> None:
        """The result is being written; see `written`."""
        self._unwritten[outcome.no] = (outcome, self._on_thread(self._write, outcome))

    def written(self) -> list[Outcome]:
        """The outcomes that can be reported since this was last asked: results are references, or could not be written."""
        ready = [(no, future) for no, (_, future) in self._unwritten.items() if future.done()]
        for no, _ in ready:
            del self._unwritten[no]
        return [future.result() for _, future in ready]

    def save(self, checkpoint: bytes) -> Future[bytes]:
        """What stands for it, once it is written. The future raises ValuesAway if it cannot be."""
        return self._on_thread(self._save, checkpoint)

    def wait(self, checkpoints: Sequence[Future[bytes]]) -> None:
        """A result, or one of these checkpoints, has been written, or a moment has passed."""
        under_way: list[Future[Any]] = [future for _, future in self._unwritten.values()]
        futures.wait([*under_way, *checkpoints], MEANWHILE_S, futures.FIRST_COMPLETED)

    @property
    def writing(self) -> bool:
        """Whether results wait to be written."""
        return bool(self._unwritten)

    @property
    def overfull(self) -> bool:
        """Whether so much waits to be written that nothing should be begun that brings more."""
        unwritten_bytes = sum(len(outcome.result) for outcome, _ in self._unwritten.values())
        return unwritten_bytes > self._options.unwritten_bytes_max

    def close(self) -> None:
        """Nothing is begun any more; what is under way ends by itself, and nobody hears of it."""
        self._stop.set()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _on_thread(self, call: Callable[[A], R], argument: A) -> Future[R]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(AT_ONCE_MAX, "values")
        return self._threads.submit(call, argument)

    def _read(self, task: LeaseTask) -> LeaseTask | Outcome:
        try:
            payload = self._text(task.payload)
        except ValueLost as error:
            return Outcome(task.no, OutcomeKind.VALUE_LOST, message=f"its payload is lost: {error}")
        except ValuesAway as error:
            return _away(Outcome(task.no, OutcomeKind.STORE_AWAY), f"its payload cannot be read: {error}")
        try:
            checkpoint = self._text(task.checkpoint)
        except ValueLost as error:
            log.warning("task %s begins without its checkpoint: %s", task.id, error)
            checkpoint = b""
        except ValuesAway as error:
            return _away(Outcome(task.no, OutcomeKind.STORE_AWAY), f"its checkpoint cannot be read: {error}")
        return replace(task, payload=payload, checkpoint=checkpoint)

    def _text(self, value: bytes) -> bytes:
        """The value itself, wherever it is. Raises ValueLost or ValuesAway."""
        ref = ref_of(value)
        if ref is None:
            return value
        return self._patiently(lambda: self._values.read(ref), self._options.value_timeout_s)

    def _save(self, checkpoint: bytes) -> bytes:
        return referring(self._patiently(lambda: self._values.write(checkpoint), self._options.value_timeout_s))

    def _write(self, outcome: Outcome) -> Outcome:
        patience_s = self._options.result_patience_s
        try:
            ref = self._patiently(lambda: self._values.write(outcome.result), patience_s)
        except ValuesAway as error:
            size_bytes = len(outcome.result)
            message = f"its result of {size_bytes} bytes could not be written within {patience_s:g} s: {error}"
            return _away(replace(outcome, kind=OutcomeKind.STORE_AWAY, result=b""), message)
        return replace(outcome, result=referring(ref))

    def _patiently(self, call: Callable[[], R], patience_s: float) -> R:
        return patiently(call, patience_s, self._stop)


def _away(outcome: Outcome, message: str) -> Outcome:
    return replace(outcome, message=message[:MESSAGE_CHARS_MAX], retry_after_ms=AWAY_RETRY_MS)
