"""`import_tasks` and `export_tasks` of both clients."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, Unpack, cast

from taskservice.client.conversation import Talk
from taskservice.client.exporting import Exporter, ExportOptions, ExportSummary
from taskservice.client.flights import carry_out, carry_out_async
from taskservice.client.importing import (
    IN_FLIGHT_MAX,
    STALL_TIMEOUT_S,
    Importer,
    ImportOptions,
    ImportSummary,
    transfer_talk,
)
from taskservice.client.progress import Report, shown
from taskservice.client.requests import ListFilters, TaskOptions
from taskservice.client.rows import Layout
from taskservice.client.steps import Conversation, Heard, Pause, Send

Location = str | os.PathLike[str]


class ImportWishes(TaskOptions, total=False):
    """What can be said of an import, besides what can be said of a task: that is for all rows that do not say it themselves."""

    columns: Mapping[str, str] | None
    """Field of the payload -> column. If not given, each column that is not one of `task_columns` is a field."""
    task_columns: Mapping[str, str] | None
    """What is said of a task (`id`, `priority`, `delay`, `run_at`, `function` ...; `tags.NAME`) -> column."""
    payload: Mapping[str, Any] | None
    """Fields that all payloads have, unless a row says otherwise."""
    format: str | None
    """`parquet`, `csv`, `jsonl` or `arrow`, where the name does not say it."""
    id_prefix: str | None
    """What ids begin with, in place of a digest of the file: then a row that has changed is refused as another task's."""
    check: bool
    """Rows that the function's schema does not allow are not even submitted. The service checks them in any case."""
    dry_run: bool
    """Check all rows, submit none."""
    report: Location | None
    """A file for the rows that are refused: JSON lines with `file`, `row`, `id`, `code`, `message`, `detail`."""
    in_flight: int
    """Batches under way at once."""
    stall_timeout: float
    """Seconds without anything accepted, after which it is given up."""
    progress: bool | Report | None
    """A function that is told of it; True or False: a bar or none; None: a bar if stderr is a terminal."""


class ExportWishes(ListFilters, total=False):
    """Which tasks an export has, and how they are written."""

    format: str | None
    """`parquet`, `csv`, `jsonl` or `arrow`, where the name does not say it."""
    values: bool
    """With payloads and results: as they are, unless this is False."""
    partition_by: Sequence[str]
    """Folders of a data set: `function`, `day` (on which a task was created, UTC), `state`, `priority`, `tenant`."""
    formulas: bool
    """CSV: text that a spreadsheet takes for a formula is left as it is. Otherwise it begins with an apostrophe."""
    progress: bool | Report | None
    """As for an import."""


class Transfers(ABC):
    """The part of `Client` that moves files."""

    _talk: Talk

    def import_tasks(
        self, location: Location, function: str | None = None, **wishes: Unpack[ImportWishes]
    ) -> ImportSummary:
        """Each row there is a task, once; or was refused, and the summary says why.

        `location`: a path, a pattern, a folder, `-` (stdin), or `s3://bucket/key`. An import that was interrupted is simply run
        again: ids are made of the files' content and the rows' numbers, so what was submitted is known already.
        Raises TaskServiceError if it cannot go on: BackOffError if the service is away, or has no room, for too long.
        """
        with shown("import", wishes.get("progress")) as report:
            return carry_out(_importer(self._talk, location, function, wishes, report).run(), self._do)

    def export_tasks(self, location: Location, **wishes: Unpack[ExportWishes]) -> ExportSummary:
        """The file there, or the data set, has all tasks that there were and that fit the filters: newest first, one a row.

        It appears when it is whole. What is submitted meanwhile is not in it; each task is as it was when its page was read.
        """
        with shown("export", wishes.get("progress")) as report:
            return carry_out(_exporter(self._talk, location, wishes, report).run(), self._do)

    @abstractmethod
    def _do(self, step: Send | Pause) -> Heard:
        """What came of the step."""


class AsyncTransfers(ABC):
    """The part of `AsyncClient` that moves files."""

    _talk: Talk

    async def import_tasks(
        self, location: Location, function: str | None = None, **wishes: Unpack[ImportWishes]
    ) -> ImportSummary:
        """See `Client.import_tasks`."""
        with shown("import", wishes.get("progress")) as report:
            importer = _importer(self._talk, location, function, wishes, report)
            return await carry_out_async(importer.run(), self._do, self._run)

    async def export_tasks(self, location: Location, **wishes: Unpack[ExportWishes]) -> ExportSummary:
        """See `Client.export_tasks`."""
        with shown("export", wishes.get("progress")) as report:
            exporter = _exporter(self._talk, location, wishes, report)
            return await carry_out_async(exporter.run(), self._do, self._run)

    @abstractmethod
    async def _do(self, step: Send | Pause) -> Heard:
        """What came of the step."""

    @abstractmethod
    def _run(self, conversation: Conversation[Any]) -> Awaitable[Any]:
        """The conversation's end."""


def _importer(talk: Talk, location: Location, function: str | None, wishes: ImportWishes, report: Report) -> Importer:
    own = set(ImportWishes.__annotations__) - set(TaskOptions.__annotations__)
    options = cast(TaskOptions, {name: value for name, value in wishes.items() if name not in own})
    _refuse_unknown(options, TaskOptions.__annotations__, ImportWishes.__annotations__)
    layout = Layout(
        function, wishes.get("columns"), wishes.get("task_columns") or {}, wishes.get("payload") or {}, options
    )
    said = ImportOptions(
        format=wishes.get("format"),
        id_prefix=wishes.get("id_prefix"),
        check=wishes.get("check", False),
        dry_run=wishes.get("dry_run", False),
        report=wishes.get("report"),
        in_flight=wishes.get("in_flight", IN_FLIGHT_MAX),
        stall_timeout_s=wishes.get("stall_timeout", STALL_TIMEOUT_S),
    )
    return Importer(transfer_talk(talk), location, layout, said, report)


def _exporter(talk: Talk, location: Location, wishes: ExportWishes, report: Report) -> Exporter:
    own = set(ExportWishes.__annotations__) - set(ListFilters.__annotations__)
    filters = cast(ListFilters, {name: value for name, value in wishes.items() if name not in own})
    _refuse_unknown(filters, ListFilters.__annotations__, ExportWishes.__annotations__)
    said = ExportOptions(
        format=wishes.get("format"),
        values=wishes.get("values", True),
        partition_by=tuple(wishes.get("partition_by") or ()),
        formulas=wishes.get("formulas", False),
    )
    return Exporter(talk, location, filters, said, report)


def _refuse_unknown(given: Mapping[str, object], known: Iterable[str], all_known: Iterable[str]) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise TypeError(f"there is no {', '.join(unknown)}: there are {', '.join(all_known)}")
