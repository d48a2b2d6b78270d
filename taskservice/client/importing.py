"""`import_tasks`: the rows of files as tasks, each once, however often the import is interrupted and run again."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from taskservice.client import checking, conversation
from taskservice.client.answers import ItemResult
from taskservice.client.conversation import Talk
from taskservice.client.progress import Report, TransferProgress
from taskservice.client.refusals import Refusal, RefusalFile
from taskservice.client.requests import Line
from taskservice.client.rows import Layout, Maker
from taskservice.client.steps import Await, Begin, Call, Conversation, JsonObject, Pause, Transfer
from taskservice.datafiles.formats import Format, Rows
from taskservice.datafiles.places import Opened, Source, sources_of
from taskservice.datafiles.reading import read_rows
from taskservice.errors import BackOffError, RequestError, TaskServiceError

IN_FLIGHT_MAX = 4
"""Batches under way at once."""
BATCH_BYTES = 2 << 20
STALL_TIMEOUT_S = 600.0
REFUSALS_MAX = 100
"""Kept in the summary; the report file has all."""
_PREFIX_CHARS = 20


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What can be said of an import besides where its rows are and what they are."""

    format: str | None = None
    id_prefix: str | None = None
    check: bool = False
    dry_run: bool = False
    report: str | os.PathLike[str] | None = None
    in_flight: int = IN_FLIGHT_MAX
    stall_timeout_s: float = STALL_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What became of the rows: each was accepted, known already, or refused."""

    files: int
    rows: int
    accepted: int
    known: int
    """Submitted earlier with the same function and payload, by a run before this one or an answer that was lost."""
    refused: int
    refusals: tuple[Refusal, ...]
    """The first 100."""
    report: str | None
    """The file that has all refusals, if there are any and a file was wanted."""
    id_prefixes: tuple[str, ...]
    """Of the ids that were made: one for each file; `-` and the number of the row follow."""
    dry_run: bool
    seconds: float


@dataclass(slots=True)
class _Counts:
    rows: int = 0
    accepted: int = 0
    known: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class _Batch:
    """Lines under way, and where they came from."""

    source: str
    numbers: list[int]
    lines: list[Line]
    done_ratio: float


@dataclass(slots=True)
class Importer:
    """One import."""

    talk: Talk
    location: str | os.PathLike[str]
    layout: Layout
    options: ImportOptions
    progress: Report
    _counts: _Counts = field(default_factory=_Counts)
    _under_way: deque[_Batch] = field(default_factory=deque)
    _refusals: list[Refusal] = field(default_factory=list)
    _prefixes: list[str] = field(default_factory=list)
    _began_s: float = 0.0

    def run(self) -> Transfer[ImportSummary]:
        """What became of the rows. Raises TaskServiceError if it could not go on; then it is simply run again."""
        if self.options.in_flight < 1:
            raise ValueError("in_flight must be at least 1")
        self._began_s = self.talk.patience.clock_s()
        functions = {each["name"]: each for each in (yield from self.talk.ask_list("functions"))}
        if self.layout.function is not None and self.layout.function not in functions:
            raise RequestError(f"There is no function {self.layout.function!r}.", code="unknown_function")
        sources: list[Source] = yield Call(lambda: sources_of(self.location, self.options.format))
        if self.options.id_prefix is not None and len(sources) > 1:
            raise RequestError(f"{len(sources)} files cannot share the ids of one prefix.", code="bad_id_prefix")
        report = RefusalFile(self.options.report)
        yield Call(report.clear)
        try:
            for index, source in enumerate(sources):
                ratio = _share(index, len(sources))
                yield from self._file(source, functions, report, ratio)
            while self._under_way:
                yield from self._land(report)
        finally:
            report.close()
        return self._summary(len(sources), report)

    def _file(
        self,
        source: Source,
        functions: Mapping[str, JsonObject],
        report: RefusalFile,
        ratio: Callable[[float], float],
    ) -> Transfer[None]:
        maker = Maker(self.layout, functions, source.format is Format.CSV, source.format is Format.JSONL)
        check = checking.checker(functions) if self.options.check or self.options.dry_run else None
        opened: Opened = yield Call(source.open)
        try:
            prefix = yield Call(lambda: self._prefix(opened))
            rows = read_rows(source, opened)
            while True:
                made = yield Call(lambda: self._made(source.name, maker, check, rows, prefix))
                if made is None:
                    return
                batch, refused = made
                yield from self._refuse(report, refused)
                yield from self._submit(batch, report, ratio)
        finally:
            opened.file.close()

    def _prefix(self, opened: Opened) -> str:
        """What the ids of a file's rows begin with: from all of its bytes and what is made of them, so that another file, or
        the same as other tasks, never has ids of this one. A second file with the same bytes is another one as well."""
        if "id" in self.layout.task_columns:
            return ""
        if self.options.id_prefix is not None:
            self._prefixes.append(self.options.id_prefix)
            return self.options.id_prefix
        text = f"{opened.digest()} {self.layout.said()}"
        prefix = f"import-{hashlib.sha256(text.encode()).hexdigest()[:_PREFIX_CHARS]}"
        again = sum(each.partition(".")[0] == prefix for each in self._prefixes)
        self._prefixes.append(f"{prefix}.{again + 1}" if again else prefix)
        return self._prefixes[-1]

    def _made(
        self, name: str, maker: Maker, check: checking.Check | None, rows: Iterator[Rows], prefix: str
    ) -> tuple[_Batch, list[Refusal]] | None:
        """The next rows as lines, and what is refused of them before they are submitted; None at the end."""
        read = next(rows, None)
        if read is None:
            return None
        batch, refused = _Batch(name, [], [], read.read_ratio), []
        for row in read.rows:
            task_id = f"{prefix}-{row.number}"
            try:
                if check is not None:
                    function, payload, _ = maker.task(row, task_id)
                    check(function, payload)
                line = maker.line(row, task_id)
            except RequestError as error:
                refused.append(
                    Refusal.of(name, row.number, None if "id" in self.layout.task_columns else task_id, error)
                )
            else:
                batch.numbers.append(row.number)
                batch.lines.append(line)
        self._counts.rows += len(read.rows)
        return batch, refused

    def _submit(self, batch: _Batch, report: RefusalFile, ratio: Callable[[float], float]) -> Transfer[None]:
        if self.options.dry_run:
            self._tell(ratio(batch.done_ratio))
            return
        at = 0
        for lines in self.talk.chunks(batch.lines):
            if len(self._under_way) >= self.options.in_flight:
                yield from self._land(report)
            numbers = batch.numbers[at : at + len(lines)]
            at += len(lines)
            self._under_way.append(_Batch(batch.source, numbers, lines, ratio(batch.done_ratio)))
            yield Begin(self._settled(lines))

    def _land(self, report: RefusalFile) -> Transfer[None]:
        """The batch that began first has its results."""
        batch = self._under_way.popleft()
        results: list[ItemResult] = yield Await()
        refused = []
        for number, item, line in zip(batch.numbers, results, batch.lines, strict=True):
            if item.status == "accepted":
                self._counts.accepted += 1
            elif item.status == "duplicate":
                self._counts.known += 1
            else:
                assert item.error is not None
                refused.append(Refusal.of(batch.source, number, line.id, item.error))
        yield from self._refuse(report, refused)
        self._tell(batch.done_ratio)

    def _settled(self, lines: list[Line]) -> Conversation[list[ItemResult]]:
        """A result for each line that stays as it is: what the queue had no room for, or a service that was away, was submitted
        again. Raises BackOffError once none of them has been accepted for `stall_timeout_s`."""
        clock_s = self.talk.patience.clock_s
        results: dict[int, ItemResult] = {}
        places = list(range(len(lines)))
        since_s, nap_s = clock_s(), conversation.FIRST_PAUSE_S
        while places:
            error: TaskServiceError | None
            try:
                answers = yield from self._fitting([lines[place] for place in places])
            except BackOffError as away:
                error = away
            else:
                results.update(zip(places, answers, strict=True))
                left = [place for place in places if isinstance(results[place].error, BackOffError)]
                since_s = clock_s() if len(left) < len(places) else since_s
                places = left
                error = results[places[0]].error if places else None
            if error is not None:
                if clock_s() - since_s > self.options.stall_timeout_s:
                    raise error
                yield Pause(nap_s)
                nap_s = min(2 * nap_s, conversation.PAUSE_S_MAX)
        return [results[place] for place in range(len(lines))]

    def _fitting(self, lines: list[Line]) -> Conversation[list[ItemResult]]:
        """A result for each line; in smaller batches where the service takes no larger ones."""
        try:
            return (yield from self.talk.submit_lines(lines))
        except RequestError as error:
            if error.status != 413:
                raise
            if len(lines) == 1:
                return [ItemResult(lines[0].id, "refused", error)]
        middle = len(lines) // 2
        return (yield from self._fitting(lines[:middle])) + (yield from self._fitting(lines[middle:]))

    def _refuse(self, report: RefusalFile, refused: list[Refusal]) -> Transfer[None]:
        if refused:
            self._counts.refused += len(refused)
            self._refusals += refused[: REFUSALS_MAX - len(self._refusals)]
            yield Call(lambda: report.write(refused))

    def _tell(self, done_ratio: float) -> None:
        counts = self._counts
        done = counts.rows if self.options.dry_run else counts.accepted + counts.known + counts.refused
        seconds = self.talk.patience.clock_s() - self._began_s
        self.progress(TransferProgress(done, seconds, done_ratio, counts.accepted, counts.known, counts.refused))

    def _summary(self, files: int, report: RefusalFile) -> ImportSummary:
        counts = self._counts
        return ImportSummary(
            files=files,
            rows=counts.rows,
            accepted=counts.accepted,
            known=counts.known,
            refused=counts.refused,
            refusals=tuple(self._refusals),
            report=report.name if counts.refused else None,
            id_prefixes=tuple(self._prefixes),
            dry_run=self.options.dry_run,
            seconds=self.talk.patience.clock_s() - self._began_s,
        )


def _share(index: int, files: int) -> Callable[[float], float]:
    """How much of all is done when so much is of the file."""
    return lambda ratio: (index + ratio) / files


def transfer_talk(talk: Talk) -> Talk:
    """The same conversations, with batches so small that several can be in memory."""
    return replace(talk, patience=replace(talk.patience, batch_bytes=min(BATCH_BYTES, talk.patience.batch_bytes)))
