"""Many like pieces of work in a few threads, within a share of one core's time: so that a dispatcher in the same process
is not disturbed. A thread that has worked rests in proportion, whatever it was that took the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from taskservice.journal.patience import Stopped

T = TypeVar("T")
REST_S_MIN = 0.005
"""Shorter rests are put together."""


class Crew(NamedTuple):
    """Who works, and how hard."""

    threads: int
    """With one it is the caller's own."""
    cpu_ratio_max: float
    """Of one core's time, for all threads together; as many as there are threads means no rest."""
    stop: threading.Event
    """Set when this process is stopping."""

    def do(self, items: Iterable[T], worker: Callable[[], Callable[[T], None]]) -> None:
        """Every item is done: by what `worker`, called once in each thread, gives.

        Raises Stopped if `stop` is set before the end, or what the first piece raised that failed; the pieces that
        are under way then are finished, and no other is begun.
        """
        left = iter(items)
        gave_up = threading.Event()

        def run() -> None:
            try:
                do = worker()
                rest = _Rest(self.stop, self.cpu_ratio_max / self.threads)
                for item in left:
                    if gave_up.is_set():
                        return
                    if self.stop.is_set():
                        raise Stopped("The work on a checkpoint was given up: this process is stopping.")
                    do(item)
                    rest.if_due()
            except BaseException:
                gave_up.set()
                raise

        if self.threads == 1:
            run()
            return
        with ThreadPoolExecutor(self.threads, thread_name_prefix="checkpoint") as pool:
            futures = [pool.submit(run) for _ in range(self.threads)]
        for future in futures:
            future.result()


class _Rest:
    """A thread's pauses."""

    def __init__(self, stop: threading.Event, share: float) -> None:
        self._stop = stop
        self._factor = max(0.0, 1 / share - 1)
        self._since_s = time.thread_time()

    def if_due(self) -> None:
        """The share is kept, now or soon. Ends early when the process is stopping."""
        pause_s = (time.thread_time() - self._since_s) * self._factor
        if pause_s >= REST_S_MIN:
            self._stop.wait(pause_s)
            self._since_s = time.thread_time()
