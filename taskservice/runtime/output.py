"""What handlers print, write to stderr and log: to the log of the attempt that did it, in the child.

`sys.stdout` and `sys.stderr` are replaced by a writer that asks a context variable whose attempt is speaking, so that
attempts that run at the same time on one event loop do not mix. What bypasses Python's streams (C code, subprocesses)
goes to the process's real descriptors, which the supervisor reads.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, BinaryIO, TextIO

from taskservice.core.types import TaskNo
from taskservice.runtime.wire import Logged

CHUNK_BYTES = 64 * 1024
"""An attempt's output is handed on when it has grown to this."""

STDOUT = "stdout"

SETTLE_S_MAX = 0.25
"""How long the end of an attempt waits for its raw output to be read."""

_speaking: ContextVar[AttemptLog | None] = ContextVar("attempt", default=None)


class AttemptLog:
    """What one attempt has written, up to the limit. `hand_on` gets pieces; it may be called from any thread."""

    def __init__(
        self, no: TaskNo, bytes_max: int, hand_on: Callable[[Logged], None], masked: Callable[[str], str] = str
    ) -> None:
        """`masked`: gives a text without what must not be in a log."""
        self.no = no
        self._left = bytes_max
        self._dropped = 0
        self._pieces: list[bytes] = []
        self._size = 0
        self._stream = ""
        """Of `_pieces`, which were begun at `_at_ms`."""
        self._at_ms = 0
        self._hand_on = hand_on
        self._masked = masked

    def write(self, text: str, stream: str = STDOUT) -> None:
        """The text is in the log, or counted as dropped."""
        data = self._masked(text).encode("utf-8", errors="backslashreplace")
        if len(data) > self._left:
            self._dropped += len(data) - self._left
            data = data[: self._left]
        if not data:
            return
        self._left -= len(data)
        if stream != self._stream:
            self.flush()
        if not self._pieces:
            self._stream, self._at_ms = stream, time.time_ns() // 1_000_000
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= CHUNK_BYTES or text.endswith("\n"):
            self.flush()  # a process that dies next has still said this

    def flush(self) -> None:
        """All so far is handed on."""
        if self._pieces:
            pieces, self._pieces, self._size = self._pieces, [], 0
            self._hand_on(Logged(self.no, b"".join(pieces), self._at_ms, self._stream))

    def close(self) -> None:
        """The attempt has ended; if it wrote too much, it is told how much."""
        self.flush()
        if self._dropped:
            self._hand_on(Logged(self.no, b"", dropped=self._dropped))


class AttemptStream(io.TextIOBase):
    """A text stream that writes to the log of whoever speaks, and else to the process's own stream."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, name: str, fallback: TextIO, alone: Callable[[], AttemptLog | None]) -> None:
        self._name = name
        self._fallback = fallback
        self._alone = alone
        """The log of the only running attempt, for threads that a handler started; None if there are several."""

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        return self.write_as(self._name, text)

    def write_as(self, name: str, text: str) -> int:
        """As `write`, but said to be of that stream."""
        log = _speaking.get() or self._alone()
        if log is None:
            return self._fallback.write(text)
        log.write(text, name)
        return len(text)

    def flush(self) -> None:
        if not self._fallback.closed:
            self._fallback.flush()

    def fileno(self) -> int:
        return self._fallback.fileno()

    @property
    def buffer(self) -> BinaryIO:
        """For bytes: the process's own stream's."""
        return self._fallback.buffer

    def reconfigure(self, **options: object) -> None:
        """Nothing: scripts ask for UTF-8 or line buffering, which this is anyway."""


def speak(log: AttemptLog | None) -> None:
    """From here on, this context (a thread, or an asyncio task) writes to `log`."""
    _speaking.set(log)


class RawOutput:
    """The pipe that the process's real stdout and stderr lead to."""

    def __init__(self) -> None:
        self._pipe = os.dup(1)

    def settle(self) -> None:
        """The supervisor has read what was written so far, so that it is not put down to the next attempt.

        Waits at most `SETTLE_S_MAX`, which only a program left running in the background can use up.
        """
        flush_raw()
        with suppress(OSError):  # a handler has closed descriptors that are not its own
            end_s = time.monotonic() + SETTLE_S_MAX
            while unread_bytes(self._pipe) and time.monotonic() < end_s:
                time.sleep(0.0002)


def unread_bytes(pipe: int) -> int:
    """How much is in the pipe. Raises OSError if it is none."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def flush_raw() -> None:
    """What was written to the process's own streams has left the process, if they are still there."""
    for stream in (sys.__stdout__, sys.__stderr__):
        with suppress(OSError, ValueError):
            if stream is not None:
                stream.flush()


_streams: list[AttemptStream] = []


def install(alone: Callable[[], AttemptLog | None]) -> None:
    """The process's Python streams and its logging lead to the attempts' logs."""
    assert sys.__stdout__ is not None
    assert sys.__stderr__ is not None
    _streams[:] = [AttemptStream(STDOUT, sys.__stdout__, alone), AttemptStream("stderr", sys.__stderr__, alone)]
    redirect()
    logging.basicConfig(level=logging.INFO, handlers=[log_handler()])


def log_handler() -> logging.Handler:
    """What writes records of `logging` to the log of whoever speaks, each as a line of its level."""
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler


def redirect() -> None:
    """`sys.stdout` and `sys.stderr` are ours, even if the attempt before has put others there."""
    sys.stdout, sys.stderr = _streams


class _StderrHandler(logging.StreamHandler[Any]):
    """Writes to whatever `sys.stderr` is at the moment, so that a handler may redirect it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr
        if not isinstance(stream, AttemptStream):
            super().emit(record)
            return
        try:
            stream.write_as(record.levelname.lower(), self.format(record) + self.terminator)
        except Exception:  # as logging's own handlers do: an error in a message is no error of the handler's
            self.handleError(record)
