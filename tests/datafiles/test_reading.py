"""Rows of files: every format, in batches, and what is wrong with a row or a file."""

from __future__ import annotations

import gzip
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from taskservice.datafiles.columns import in_json
from taskservice.datafiles.formats import Format, format_of, is_data
from taskservice.datafiles.places import sources_of
from taskservice.datafiles.reading import read_rows
from taskservice.datafiles.texts import LINE_BYTES_MAX
from taskservice.errors import RequestError


def read(path, format=None):
    """All rows of the files, in batches."""
    batches = []
    for source in sources_of(path, format):
        opened = source.open()
        with opened.file:
            batches += list(read_rows(source, opened))
    return batches


def values(path, format=None):
    return [(row.number, row.problem or row.value) for rows in read(path, format) for row in rows.rows]


TABLE = pa.table(
    {
        "n": [1, None, 3],
        "at": pa.array([datetime(2030, 1, 1, 9, tzinfo=UTC)] * 3, pa.timestamp("ns", "Europe/Berlin")),
        "tags": pa.array([[("a", "1")], None, []], pa.map_(pa.string(), pa.string())),
        "parts": [[{"x": b"\x00"}], [], None],
    }
)
ROWS = [
    (1, {"n": 1, "at": "2030-01-01T09:00:00Z", "tags": {"a": "1"}, "parts": [{"x": "AA=="}]}),
    (2, {"n": None, "at": "2030-01-01T09:00:00Z", "tags": None, "parts": []}),
    (3, {"n": 3, "at": "2030-01-01T09:00:00Z", "tags": {}, "parts": None}),
]


def test_parquet_and_arrow_have_the_same_rows(tmp_path):
    pq.write_table(TABLE, tmp_path / "a.parquet", row_group_size=2)
    with pa.ipc.new_file(tmp_path / "a.arrow", TABLE.schema) as writer:
        writer.write_table(TABLE)
    with pa.ipc.new_stream(tmp_path / "a.arrows", TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=1)
    for name in ("a.parquet", "a.arrow", "a.arrows"):
        assert values(tmp_path / name) == ROWS


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (date(2030, 1, 31), "2030-01-31"),
        (datetime(2030, 1, 31, 9), "2030-01-31T09:00:00"),  # noqa: DTZ001 - a column without a zone
        (timedelta(seconds=1.5), 1.5),
        (Decimal("7.00"), 7),
        (Decimal("0.1"), 0.1),
        (Decimal("0.12345678901234567890"), "0.12345678901234567890"),
        (b"\xff", "/w=="),
        ([(1, b"")], [[1, ""]]),
    ],
)
def test_values_become_what_json_has(value, said):
    assert in_json(value) == said


def test_csv_is_text_under_its_header(tmp_path):
    (tmp_path / "a.csv").write_bytes('\ufeffn,text\r\n1,"two\r\nlines, and ""quotes"""\r\n\r\n,é\r\n'.encode())
    assert values(tmp_path / "a.csv") == [
        (1, {"n": "1", "text": 'two\r\nlines, and "quotes"'}),
        (2, {"n": "", "text": "é"}),
    ]


def test_a_bad_row_of_csv_is_one_bad_row(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'a,b\n1,2\n1\n1,2,3\n\xff,2\n"x"y,2\n3,4\n')
    found = values(tmp_path / "a.csv")
    assert [number for number, _ in found] == [1, 2, 3, 4, 5, 6]
    assert [what for _, what in found if isinstance(what, dict)] == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def test_json_lines_are_numbered_by_line(tmp_path):
    (tmp_path / "a.jsonl").write_text('\ufeff{"a": 1}\n\n[1]\n{"a": \n{"a": null}', encoding="utf-8")
    found = values(tmp_path / "a.jsonl")
    assert [number for number, _ in found] == [1, 3, 4, 5]
    assert (found[0][1], found[-1][1]) == ({"a": 1}, {"a": None})


def test_a_line_without_end_is_one_bad_row(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"a": "' + b"x" * (2 * LINE_BYTES_MAX) + b'"}\n{"a": 1}\n')
    (_, problem), last = values(tmp_path / "a.jsonl")
    assert "longer than" in problem
    assert last == (2, {"a": 1})


def test_packed_text_is_unpacked(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a\n1\n"))
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard.compress(b'{"a": 1}\n') + zstandard.compress(b'{"a": 2}\n'))
    assert values(tmp_path / "a.csv.gz") == [(1, {"a": "1"})]
    assert values(tmp_path / "a.jsonl.zst") == [(1, {"a": 1}), (2, {"a": 2})]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.zst", "a.parquet", "a.arrow", "a.arrows"])
def test_a_file_that_is_not_what_its_name_says_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"no such thing" * 10)
    with pytest.raises(RequestError, match=name):
        read(tmp_path / name)


def test_a_batch_is_small_where_rows_are_large(tmp_path):
    """So memory is bounded whatever a file is like: no batch has more than about 4 MiB."""
    table = pa.table({"text": [f"{n:07}" + "x" * 500_000 for n in range(40)]})
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=False)
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "a.csv").write_text("text\n" + "\n".join(table["text"].to_pylist()))
    for name in ("a.parquet", "a.arrow", "a.csv"):
        batches = read(tmp_path / name)
        assert sum(len(rows.rows) for rows in batches) == 40
        assert max(len(rows.rows) for rows in batches) <= 9
        ratios = [rows.read_ratio for rows in batches]
        assert ratios == sorted(ratios)


def test_a_file_that_is_changed_while_it_is_read_is_not_read_to_the_end(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a\n" + "1\n" * 3_000)
    (source,) = sources_of(path, None)
    opened = source.open()
    with opened.file:
        rows = read_rows(source, opened)
        next(rows)
        path.write_text("a\n" + "2\n" * 3_001)
        with pytest.raises(RequestError, match="was changed"):
            list(rows)


def test_a_digest_is_of_all_bytes(tmp_path):
    digests = []
    for content in (b"a" * 3_000_000, b"a" * 2_999_999 + b"b"):
        (tmp_path / "a.csv").write_bytes(content)
        opened = sources_of(tmp_path / "a.csv", None)[0].open()
        with opened.file:
            digests.append(opened.digest())
            assert opened.file.read() == content
    assert digests[0] != digests[1]


def test_a_folder_is_its_files_of_rows(tmp_path):
    for name in ("b.csv", "a.parquet", "sub/c.jsonl", "_SUCCESS", ".a.parquet.1f.part", "x.refused.jsonl", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [source.name.removeprefix(f"{tmp_path}/") for source in sources_of(tmp_path, None)] == [
        "a.parquet", "b.csv", "sub/c.jsonl",
    ]  # fmt: skip
    assert [source.format for source in sources_of(tmp_path / "**" / "*.jsonl", None)] == [Format.JSONL]


@pytest.mark.parametrize("name", ["rows", "rows.xlsx", "rows.gz"])
def test_a_name_that_says_no_format_is_refused(name):
    assert not is_data(name)
    with pytest.raises(RequestError, match="does not say"):
        format_of(name, None)
    assert format_of(name, "csv") is Format.CSV


def test_without_pyarrow_text_is_read_and_the_others_say_what_is_missing(tmp_path):
    """In a process of its own, where it cannot be imported."""
    (tmp_path / "a.csv").write_text("a\n1\n")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    code = """
import sys
sys.modules["pyarrow"] = None
from taskservice.datafiles.places import sources_of
from taskservice.datafiles.reading import read_rows
from taskservice.errors import RequestError
for name in sys.argv[1:]:
    (source,) = sources_of(name, None)
    opened = source.open()
    try:
        print(next(read_rows(source, opened)).rows[0].value)
    except RequestError as error:
        print(error.code, "pip install pyarrow" in error.message)
"""
    words = [sys.executable, "-c", code, str(tmp_path / "a.csv"), str(tmp_path / "a.parquet")]
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["{'a': '1'}", "no_pyarrow True"]
