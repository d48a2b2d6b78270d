"""Single tasks out of files of history: what is read of a file, and kept for the next who asks."""

from __future__ import annotations

import io
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import accumulate

import pyarrow as pa
import pyarrow.parquet as pq

from taskservice.core.past import Past
from taskservice.core.types import Task, TaskNo
from taskservice.errors import BackOffError, ServiceBug
from taskservice.history.parquet import BODIES, SCHEMA, Unreadable, check_version, tasks_of
from taskservice.objects import NoSuchObject, ObjectStore, StoreError

FOOTER_BYTES = 64 * 1024
"""What is read of a file's end at once: a footer of 50,000 tasks takes about half of it."""
FOOTERS_MAX = 256
GROUPS_BYTES_MAX = 64 << 20
"""Row groups that are kept, as they are in memory; the last one is kept however large it is."""

_LISTED = tuple(name for name in SCHEMA.names if name not in BODIES)


class HistoryReader:
    """Reads tasks by their places. For many threads; two that want the same at the same time read it both."""

    def __init__(self, open_store: Callable[[], ObjectStore]) -> None:
        """The store is opened when the first task is read: most gateways never do."""
        self._open_store = open_store
        self._store: ObjectStore | None = None
        self._lock = threading.Lock()
        self._footers: OrderedDict[str, pq.FileMetaData] = OrderedDict()
        self._groups: OrderedDict[tuple[str, int, bool], pa.Table] = OrderedDict()
        self._groups_bytes = 0

    def read(self, places: Sequence[Past], *, whole: bool) -> list[Task]:
        """The tasks at these places, in their order; without one whose file was dropped in this moment. `whole`: with
        payloads and results. Blocks.

        Raises BackOffError while the store is away, and ServiceBug if a file is not what it was.
        """
        by_file: dict[str, list[Past]] = {}
        for place in places:
            by_file.setdefault(place.file, []).append(place)
        found: dict[TaskNo, Task] = {}
        for key, wanted in by_file.items():
            try:
                found.update((task.no, task) for task in self._of_file(key, wanted, whole=whole))
            except NoSuchObject:
                continue
            except StoreError as error:
                message = f"history cannot be read now: {error}"
                raise BackOffError(message, retry_after_s=2.0, code="history_away") from error
            except (Unreadable, pa.ArrowException, OSError) as error:
                raise ServiceBug(f"{key} cannot be read: {error}", code="history_damaged") from error
        return [found[place.no] for place in places if place.no in found]

    def _of_file(self, key: str, places: Sequence[Past], *, whole: bool) -> list[Task]:
        footer = self._footer(key, places[0].size_bytes)
        rows = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
        starts = [0, *accumulate(rows)]
        by_group: dict[int, list[int]] = {}
        for row in sorted(place.row for place in places):
            group = bisect_right(starts, row) - 1
            if group >= len(rows):
                raise Unreadable(f"it has {starts[-1]} rows, and no row {row}")
            by_group.setdefault(group, []).append(row - starts[group])
        tasks: list[Task] = []
        for group, offsets in by_group.items():
            tasks += tasks_of(self._group(key, places[0].size_bytes, footer, group, whole=whole).take(offsets))
        said, wanted = sorted(task.no for task in tasks), sorted(place.no for place in places)
        if said != wanted:
            raise Unreadable(f"its rows are of tasks {said[:5]}, not {wanted[:5]}")
        return tasks

    def _footer(self, key: str, size_bytes: int) -> pq.FileMetaData:
        with self._lock:
            footer = self._footers.get(key)
            if footer is not None:
                self._footers.move_to_end(key)
                return footer
        source = pa.PythonFile(_Ranges(self._objects(), key, size_bytes, FOOTER_BYTES), mode="r")
        footer = pq.read_metadata(source)
        check_version(footer.schema.to_arrow_schema())
        with self._lock:
            self._footers[key] = footer
            if len(self._footers) > FOOTERS_MAX:
                self._footers.popitem(last=False)
        return footer

    def _group(self, key: str, size_bytes: int, footer: pq.FileMetaData, group: int, *, whole: bool) -> pa.Table:
        with self._lock:
            for place in ((key, group, True), (key, group, whole)):
                if place in self._groups:
                    self._groups.move_to_end(place)
                    return self._groups[place]
        known = footer.schema.to_arrow_schema().names
        columns = [name for name in (SCHEMA.names if whole else _LISTED) if name in known]
        ranges = _Ranges(self._objects(), key, size_bytes)
        ranges.fetch(*_span(footer.row_group(group), columns))
        opened = pq.ParquetFile(pa.PythonFile(ranges, mode="r"), metadata=footer)
        table = opened.read_row_group(group, columns=columns, use_threads=False)
        with self._lock:
            if (key, group, whole) not in self._groups:
                self._groups_bytes += table.nbytes
            self._groups[key, group, whole] = table
            while self._groups_bytes > GROUPS_BYTES_MAX and len(self._groups) > 1:
                _, dropped = self._groups.popitem(last=False)
                self._groups_bytes -= dropped.nbytes
        return table

    def _objects(self) -> ObjectStore:
        with self._lock:
            if self._store is None:
                self._store = self._open_store()
            return self._store


def _span(group: pq.RowGroupMetaData, columns: Sequence[str]) -> tuple[int, int]:
    """Where these columns of a row group begin and end in the file: they are written one after the other."""
    starts, ends = [], []
    for index in range(group.num_columns):
        chunk = group.column(index)
        if chunk.path_in_schema.split(".")[0] in columns:
            start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
            starts.append(start)
            ends.append(start + chunk.total_compressed_size)
    return min(starts), max(ends)


class _Ranges(io.RawIOBase):
    """An object as a file, of which some was read ahead."""

    def __init__(self, store: ObjectStore, key: str, size_bytes: int, last_bytes: int = 0) -> None:
        """`last_bytes`: what to read ahead of its end."""
        super().__init__()
        self._store = store
        self._key = key
        self._size_bytes = size_bytes
        self._at = 0
        self._start = 0
        self._ahead = b""
        if last_bytes:
            self.fetch(max(0, size_bytes - last_bytes), size_bytes)

    def fetch(self, start: int, end: int) -> None:
        """What is there is read ahead."""
        self._start, self._ahead = start, self._store.get(self._key, start, end)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size_bytes}[whence]
        self._at = base + offset
        return self._at

    def read(self, count: int = -1) -> bytes:
        end = self._size_bytes if count < 0 else min(self._at + count, self._size_bytes)
        start, self._at = self._at, max(self._at, end)
        if start >= end:
            return b""
        if self._start <= start and end <= self._start + len(self._ahead):
            return self._ahead[start - self._start : end - self._start]
        return self._store.get(self._key, start, end)
