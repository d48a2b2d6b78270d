"""Raises in a handler that its time is over: in the main thread, from another one, even while it sleeps or waits for a socket.

By a signal whose Python handler raises. An exception that is set from outside (`PyThreadState_SetAsyncExc`) would wait until a
call of C returns, and might then be raised in the midst of our own code. This one is raised in the user's code only: where
our own is at work, such as while a line of the log is sent, it is tried again a moment later.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TypeVar

from taskservice.context import StopSignal, TimeLimitExceeded

SIGNAL = signal.SIGRTMAX - 2
"""One that hardly anybody uses."""
AGAIN_S, AGAIN_MAX_S = 0.005, 0.1
"""Until it is tried again, the first time and at most."""
_OURS = str(Path(__file__).parent) + os.sep

T = TypeVar("T")


class Interrupts:
    """Those of one process; made by its main thread, which makes the attempts."""

    def __init__(self) -> None:
        self._running: StopSignal | None = None
        self._raised: StopSignal | None = None
        """The last one that was raised: a handler may catch it, and is left alone then."""
        signal.signal(SIGNAL, self._deliver)

    def run(self, asked: StopSignal, call: Callable[[], T]) -> T:
        """What the handler gives. Raises what it raises, and TimeLimitExceeded in it while `asked` says so."""
        self._running = asked
        try:
            return call()
        finally:
            self._running = None

    def reach(self, asked: StopSignal) -> None:
        """If it is for its time, the handler hears of it. Returns at once; for any thread."""
        if isinstance(asked.error, TimeLimitExceeded):
            threading.Thread(target=self._insist, args=(asked,), daemon=True).start()

    def _insist(self, asked: StopSignal) -> None:
        main_thread, again_s = threading.main_thread().ident, AGAIN_S
        while asked.on_set is not None and self._raised is not asked and main_thread is not None:
            signal.pthread_kill(main_thread, SIGNAL)
            time.sleep(again_s)
            again_s = min(2 * again_s, AGAIN_MAX_S)

    def _deliver(self, _: int, frame: FrameType | None) -> None:
        asked = self._running
        if asked is None or asked is self._raised or not isinstance(asked.error, TimeLimitExceeded):
            return
        if _is_handlers(frame):
            self._raised = asked
            raise asked.error


def _is_handlers(frame: FrameType | None) -> bool:
    """Whether all that is at work above `run` is the handler's."""
    top = frame
    while frame is not None and frame.f_code is not Interrupts.run.__code__:
        if frame.f_code.co_filename.startswith(_OURS):
            return False
        frame = frame.f_back
    return frame is not None and frame is not top
