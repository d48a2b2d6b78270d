"""Logs of a task's attempts, and the part of them that somebody asks for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct

from taskservice.core.types import Token
from taskservice.logs.pieces import SERVICE, Written


class AttemptLog(Struct, frozen=True, array_like=True):
    """What one attempt wrote, or what there is to say of one of which nothing is left."""

    run: int
    attempt: int
    token: Token | None
    """None: nothing is left of it."""
    written: tuple[Written, ...]
    before: int = 0
    """Things that it wrote before, and that are not in `written`."""

    @property
    def last_ms(self) -> int:
        """When it wrote last."""
        return max((each.at_ms for each in self.written), default=0)


class Wanted(NamedTuple):
    """Which part of a task's log is wanted. None: any."""

    since_ms: int | None = None
    until_ms: int | None = None
    """Before then."""
    run: int | None = None
    attempt: int | None = None
    tail: int | None = None
    """So many lines, the last ones."""
    after: Token | None = None
    """Nothing of attempts before the one under this lease."""

    def of(self, log: AttemptLog) -> bool:
        """Whether that attempt's is wanted."""
        return self.run in (None, log.run) and self.attempt in (None, log.attempt)

    def at(self, at_ms: int) -> bool:
        """Whether what was written then is; what has no time always is."""
        late_enough = self.since_ms is None or at_ms >= self.since_ms
        return not at_ms or (late_enough and (self.until_ms is None or at_ms < self.until_ms))


ALL = Wanted()


class Line(NamedTuple):
    """A line, with its line feed if it has one."""

    run: int
    attempt: int
    at_ms: int
    """0: it has no time."""
    stream: str
    text: str


def remark(text: str) -> Written:
    """What the service has to say where a log is not as it was written."""
    return Written(0, SERVICE, f"[{text}]\n".encode())


def lines_of(log: AttemptLog) -> Iterator[Line]:
    """The attempt's lines. What was written to one stream piece by piece is one line, of the time of its first piece."""
    held: Written | None = None
    for each in log.written:
        if held is not None and each.stream == held.stream:
            each = Written(held.at_ms, each.stream, held.text + each.text)  # noqa: PLW2901 - the same, and what led to it
            held = None
        if held is not None:
            yield from _split(log, held)
            held = None
        begun, feed, rest = each.text.rpartition(b"\n")
        if feed:
            yield from _split(log, Written(each.at_ms, each.stream, begun + feed))
        if rest:
            held = Written(each.at_ms, each.stream, rest)
    if held is not None:
        yield from _split(log, held)


def choose(logs: Sequence[AttemptLog], wanted: Wanted) -> list[Line]:
    """The lines that are wanted, in order."""
    lines: Iterable[Line] = (line for log in logs if wanted.of(log) for line in lines_of(log) if wanted.at(line.at_ms))
    return list(lines) if wanted.tail is None else list(deque(lines, wanted.tail))


def text_of(lines: Sequence[Line]) -> str:
    """The lines as people read them; where there are several attempts, each has a line above it that says so."""
    attempts = dict.fromkeys((line.run, line.attempt) for line in lines)
    if len(attempts) < 2:
        return "".join(line.text for line in lines)
    parts: list[str] = []
    last: tuple[int, int] | None = None
    for line in lines:
        if last != (line.run, line.attempt):
            last = (line.run, line.attempt)
            parts += [
                "" if not parts or parts[-1].endswith("\n") else "\n",
                f"--- run {last[0]}, attempt {last[1]} ---\n",
            ]
        parts.append(line.text)
    if not parts[-1].endswith("\n"):
        parts.append("\n")
    return "".join(parts)


def _split(log: AttemptLog, written: Written) -> Iterator[Line]:
    for line in written.text.decode(errors="replace").split("\n")[:-1]:
        yield Line(log.run, log.attempt, written.at_ms, written.stream, line + "\n")
    last = written.text.rpartition(b"\n")[2]
    if last:
        yield Line(log.run, log.attempt, written.at_ms, written.stream, last.decode(errors="replace"))
