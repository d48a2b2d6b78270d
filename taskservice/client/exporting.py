"""`export_tasks`: the tasks that fit filters as rows of files, page by page, each once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from taskservice.client import answers, requests
from taskservice.client.conversation import PAGE_TASKS, Talk
from taskservice.client.export_columns import (
    PARTITIONS,
    ResultColumns,
    columns_of,
    result_columns,
    row_of,
)
from taskservice.client.progress import Report, TransferProgress
from taskservice.client.requests import ListFilters
from taskservice.client.steps import Await, Begin, Call, Conversation, JsonObject, Transfer
from taskservice.datafiles.formats import Format, format_of, suffix_of
from taskservice.datafiles.targets import target_of
from taskservice.datafiles.writers import Files
from taskservice.errors import RequestError, TaskServiceError


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What can be said of an export besides where it goes and which tasks it has."""

    format: str | None = None
    values: bool = True
    partition_by: Sequence[str] = ()
    formulas: bool = False
    page_tasks: int = PAGE_TASKS


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What was written."""

    location: str
    files: int
    rows: int
    lost: int
    """Tasks whose payload or result is gone or damaged: the rest of them is there."""
    seconds: float


@dataclass(slots=True)
class Exporter:
    """One export."""

    talk: Talk
    location: str | os.PathLike[str]
    filters: ListFilters
    options: ExportOptions
    progress: Report
    _rows: int = 0
    _lost: int = 0
    _began_s: float = 0.0
    _results: ResultColumns = field(default_factory=dict)

    def run(self) -> Transfer[ExportSummary]:
        """The files are there, with all tasks that there were when it began and that fit. Raises TaskServiceError; then there is
        no file."""
        self._began_s = self.talk.patience.clock_s()
        unknown = [name for name in self.options.partition_by if name not in PARTITIONS]
        if unknown:
            message = f"Files cannot be parted by {', '.join(unknown)}: only by {', '.join(PARTITIONS)}."
            raise RequestError(message, code="bad_partition")
        format = self._format()
        if self.options.values and format is not Format.JSONL and self.filters.get("function"):
            functions = yield from self.talk.ask_list("functions")
            named = (each for each in functions if each["name"] == self.filters.get("function"))
            self._results = result_columns(next(named, {}).get("result_schema"))
        files: Files = yield Call(lambda: self._files(format))
        try:
            yield from self._pages(files)
            yield Call(files.finish)
        except BaseException as error:
            files.abort()
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                message = f"{os.fspath(self.location)} cannot be written: {error}"
                raise TaskServiceError(message, code="not_written") from error
            raise
        seconds = self.talk.patience.clock_s() - self._began_s
        return ExportSummary(os.fspath(self.location), files.files, self._rows, self._lost, seconds)

    def _format(self) -> Format:
        name = os.fspath(self.location)
        if self.options.partition_by and self.options.format is None and not suffix_of(name):
            return Format.PARQUET
        return format_of(name, self.options.format)

    def _files(self, format: Format) -> Files:
        names = self.options.partition_by
        target = target_of(self.location, is_folder=bool(names))
        columns = columns_of(self._results, values=self.options.values)
        partition = (lambda row: [(name, PARTITIONS[name](row)) for name in names]) if names else None
        return Files(target, format, columns, partition, self.options.formulas)

    def _pages(self, files: Files) -> Transfer[None]:
        """All pages are written. The next one is fetched meanwhile."""
        yield Begin(self._page(None))
        while True:
            page, row_bytes = yield Await()
            cursor = page["next_cursor"]
            if cursor is not None:
                yield Begin(self._page(cursor))
            yield from self._write(files, page["tasks"], row_bytes)
            seconds = self.talk.patience.clock_s() - self._began_s
            self.progress(TransferProgress(self._rows, seconds))
            if cursor is None:
                return

    def _page(self, cursor: str | None) -> Conversation[tuple[JsonObject, int]]:
        """A page, and how many bytes one of its tasks has, about."""
        request = requests.list_tasks(self.filters, cursor, self.options.page_tasks, values=self.options.values)
        reply = yield from self.talk.ask(request)
        page: JsonObject = answers.read_json(reply)
        return page, len(reply.body) // max(1, len(page["tasks"]))

    def _write(self, files: Files, tasks: Sequence[JsonObject], row_bytes: int) -> Transfer[None]:
        """The tasks are rows. A page leaves out large values: those are fetched with their task, and written before the next."""
        rows: list[dict[str, Any]] = []
        for task in tasks:
            if not (self.options.values and _is_elsewhere(task)):
                rows.append(row_of(task, self._results))
                continue
            yield from self._hand(files, rows, row_bytes)
            rows = []
            values, values_bytes = yield from self._values(task)
            yield from self._hand(files, [row_of({**task, **values}, self._results)], values_bytes)
        yield from self._hand(files, rows, row_bytes)

    def _values(self, task: JsonObject) -> Conversation[tuple[JsonObject, int]]:
        """Payload and result of the task, and how many bytes they have, about; none if they are lost or it is deleted."""
        tenant = task["tenant"] if self.filters.get("tenant") else None
        reply = yield from self.talk.hear(requests.get_task(task["id"], tenant=tenant))
        if reply.status == HTTPStatus.NOT_FOUND:
            self._lost += 1
            return {}, 0
        if not reply.ok:
            raise answers.error_of(reply)
        whole = answers.read_json(reply)
        values = {name: whole[name] for name in ("payload", "result") if name in whole}
        self._lost += _is_elsewhere({**task, **values})
        return values, len(reply.body)

    def _hand(self, files: Files, rows: Sequence[dict[str, Any]], row_bytes: int) -> Transfer[None]:
        if rows:
            yield Call(lambda: files.write(rows, row_bytes))
            self._rows += len(rows)


def _is_elsewhere(task: JsonObject) -> bool:
    """Whether a value of it is so large that a page does not have it."""
    return "payload" not in task or (task["state"] == "succeeded" and "result" not in task)
