"""Rows of CSV and of JSON lines. A row that cannot be read is one row that cannot be read: the others come all the same."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from typing import BinaryIO, cast

import zstandard

from taskservice.datafiles.formats import Format, Row, Rows
from taskservice.datafiles.places import Opened
from taskservice.errors import RequestError

ROWS_MAX = 1_000
BYTES_AIM = 4 << 20
"""Text that is read for one batch, about."""
LINE_BYTES_MAX = 32 << 20
"""A line longer than this is not read: no payload may be so large by far."""


def read(opened: Opened, format: Format, name: str) -> Iterator[Rows]:
    """The rows, a batch at a time. Raises RequestError if the file is not what it should be."""
    try:
        yield from _batches(opened, format, _unpacked(opened.file, name))
    except (OSError, EOFError, zstandard.ZstdError) as error:
        raise RequestError(f"{name} cannot be read: {error}", code="bad_file") from error


def _batches(opened: Opened, format: Format, text: BinaryIO) -> Iterator[Rows]:
    rows = _csv_rows(text) if format is Format.CSV else _json_rows(text)
    batch: list[Row] = []
    batch_bytes = 0
    for row, row_bytes in rows:
        batch.append(row)
        batch_bytes += row_bytes
        if len(batch) >= ROWS_MAX or batch_bytes >= BYTES_AIM:
            yield Rows(batch, _ratio(opened))
            batch, batch_bytes = [], 0
    if batch:
        yield Rows(batch, 1.0)


def _ratio(opened: Opened) -> float:
    return min(1.0, opened.file.tell() / opened.size_bytes) if opened.size_bytes else 1.0


def _unpacked(file: BinaryIO, name: str) -> BinaryIO:
    if name.lower().endswith(".gz"):
        return cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="rb"))
    if name.lower().endswith(".zst"):
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False)
        return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, reader)))
    return file


def _json_rows(file: BinaryIO) -> Iterator[tuple[Row, int]]:
    """One object on a line; blank lines are counted, so that the number of a row is that of its line."""
    number = 0
    while line := file.readline(LINE_BYTES_MAX):
        number += 1
        whole = line.endswith(b"\n") or len(line) < LINE_BYTES_MAX
        while not whole:
            rest = file.readline(LINE_BYTES_MAX)
            whole = rest.endswith(b"\n") or len(rest) < LINE_BYTES_MAX
        if len(line) >= LINE_BYTES_MAX:
            yield Row(number, {}, f"the line is longer than {LINE_BYTES_MAX} bytes"), 0
        elif line.strip():
            yield _json_row(number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line), len(line)


def _json_row(number: int, line: bytes) -> Row:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Row(number, {}, f"the line is not JSON: {error}")
    if not isinstance(value, dict):
        return Row(number, {}, "the line is not a JSON object")
    return Row(number, value)


def _csv_rows(file: BinaryIO) -> Iterator[tuple[Row, int]]:
    """Rows by the names in the header. A cell is text; an empty one is there, as empty text."""
    csv.field_size_limit(LINE_BYTES_MAX)  # of this process: there is no other way to say it
    lines = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        table = csv.reader(lines, strict=True)
        header: list[str] | None = None
        number = 0
        while True:
            try:
                cells = next(table)
            except StopIteration:
                return
            except csv.Error as error:
                number += header is not None
                yield Row(number, {}, f"line {table.line_num} is not CSV: {error}"), 0
                continue
            if header is None:
                header = cells
            elif cells:
                number += 1
                yield _csv_row(number, header, cells), sum(map(len, cells))
    finally:
        lines.detach()  # the file is not ours to close


def _csv_row(number: int, header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        return Row(number, {}, f"it has {len(cells)} cells, and the header {len(header)}")
    if any("\udc80" <= char <= "\udcff" for cell in cells if not cell.isascii() for char in cell):
        return Row(number, {}, "it is not UTF-8")
    return Row(number, dict(zip(header, cells, strict=True)))
