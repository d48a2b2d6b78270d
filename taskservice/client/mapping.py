"""`map`: any number of payloads through one function, with a bounded number of tasks under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from taskservice.client.answers import ItemResult
from taskservice.client.conversation import Talk
from taskservice.client.requests import Line, TaskOptions, task_line
from taskservice.client.steps import Conversation, Emit, Stream
from taskservice.errors import BackOffError, TaskError, TaskServiceError, WaitTimeout

GLANCE_S = 0.5
"""How long results in any order wait for one task before they look at the next."""


@dataclass(slots=True)
class Flight:
    """A task under way, or the reason why it was refused."""

    line: Line
    error: TaskServiceError | None = None


@dataclass(slots=True)
class Mapper:
    """One `map`. `lines` are the tasks to come; no more of them are taken than may be under way."""

    talk: Talk
    lines: Iterator[Line]
    in_flight: int
    ordered: bool
    return_exceptions: bool
    flights: deque[Flight] = field(default_factory=deque)
    no_room: list[Flight] = field(default_factory=list)
    """Those of `flights` that the tenant's queue had no room for: they are submitted again when their turn comes."""

    def results(self) -> Stream[Any]:
        """The results, or with `return_exceptions` also the errors; in the order of the tasks, or as they come."""
        while True:
            yield from self._fill()
            if not self.flights:
                return
            flight = self.flights.popleft()
            try:
                if flight.error is not None:
                    raise flight.error
                result = yield from self.talk.result(flight.line.id, None if self.ordered else GLANCE_S)
            except WaitTimeout:
                self.flights.append(flight)
                continue
            except TaskServiceError as error:
                if not (self.return_exceptions and (isinstance(error, TaskError) or error is flight.error)):
                    raise
                result = error
            yield Emit(result)

    def _fill(self) -> Conversation[None]:
        """As many tasks are under way as may be; nothing is done while only a few are missing, as batches are cheap."""
        if self.no_room:
            if self.flights[0] is self.no_room[0]:  # none of ours is left that could make room
                yield from self._submit(self.no_room[:1], patiently=True)
                yield from self._launch(self.no_room[1:])
            return
        room = self.in_flight - len(self.flights)
        if room >= max(1, self.in_flight // 4):
            new = [Flight(line) for line in islice(self.lines, room)]
            self.flights.extend(new)
            yield from self._launch(new)

    def _launch(self, flights: Sequence[Flight]) -> Conversation[None]:
        yield from self._submit(flights, patiently=False)
        self.no_room = [flight for flight in flights if isinstance(flight.error, BackOffError)]

    def _submit(self, flights: Sequence[Flight], *, patiently: bool) -> Conversation[None]:
        results: list[ItemResult] = []
        for chunk in self.talk.chunks(flight.line for flight in flights):
            results += yield from self.talk.submit_lines(chunk, patiently=patiently)
        for flight, item in zip(flights, results, strict=True):
            flight.error = item.error


def map_results(
    talk: Talk,
    function: str,
    payloads: Iterable[Mapping[str, Any]],
    options: TaskOptions,
    *,
    in_flight: int,
    ordered: bool,
    return_exceptions: bool,
) -> Stream[Any]:
    """The result of each payload. See `Client.map`."""
    if in_flight < 1:
        raise ValueError("in_flight must be at least 1")
    if options.get("id") is not None:
        raise ValueError("map makes an id for each task; to give ids, use submit_many")
    lines = (task_line(function, payload, options) for payload in payloads)
    return Mapper(talk, lines, in_flight, ordered, return_exceptions).results()
