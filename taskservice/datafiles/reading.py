"""A file's rows, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

from taskservice.datafiles import texts
from taskservice.datafiles.formats import Format, Rows
from taskservice.datafiles.places import Opened, Source
from taskservice.errors import RequestError

_TEXTS = (Format.CSV, Format.JSONL)


def read_rows(source: Source, opened: Opened) -> Iterator[Rows]:
    """The rows, a batch at a time. Raises RequestError if it cannot be read, or if it is changed while it is."""
    reader = texts if source.format in _TEXTS else needing_arrow("columns")
    for rows in reader.read(opened, source.format, source.name):
        _check_unchanged(source, opened)
        yield rows
    _check_unchanged(source, opened)


def _check_unchanged(source: Source, opened: Opened) -> None:
    """Raises RequestError if the file is not any more what it was when it was opened."""
    if opened.mark() != opened.first_mark:
        raise RequestError(f"{source.name} was changed while it was read: start again.", code="file_changed")


def needing_arrow(name: str) -> ModuleType:
    """The module `columns` or `column_writers`. Raises RequestError where there is no pyarrow."""
    try:
        if name == "columns":
            from taskservice.datafiles import columns  # noqa: PLC0415 - pyarrow takes long to import

            return columns
        from taskservice.datafiles import column_writers  # noqa: PLC0415

        return column_writers
    except ImportError as error:
        message = (
            "Parquet and Arrow files need pyarrow, which is not installed: pip install pyarrow, or use CSV or JSONL."
        )
        raise RequestError(message, code="no_pyarrow", detail=str(error)) from error
