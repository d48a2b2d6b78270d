"""Rows written: every format, parted or not, and nothing half done."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taskservice.datafiles.formats import Format
from taskservice.datafiles.targets import target_of
from taskservice.datafiles.writers import OPEN_MAX, ROWS_MAX, Column, Files, cell
from taskservice.errors import RequestError

COLUMNS = [
    Column("id", "text"), Column("n", "int"), Column("x", "float"), Column("ok", "bool"), Column("at", "time"),
    Column("tags", "tags"), Column("payload", "json"),
]  # fmt: skip
FULL = {
    "id": "a", "n": 1, "x": 1.5, "ok": True, "at": "2030-01-31T09:00:00.250Z", "tags": {"k": "v"}, "payload": {"u": [1, "é"]},
}  # fmt: skip
EMPTY = {"id": "b", "payload": None}


def write(path, format, rows, **more):
    files = Files(target_of(path, is_folder="partition" in more), format, COLUMNS, **more)
    files.write(rows, 100)
    files.finish()
    return files


def test_columns_are_typed(tmp_path):
    write(tmp_path / "a.parquet", Format.PARQUET, [FULL, EMPTY])
    write(tmp_path / "a.arrow", Format.ARROW, [FULL, EMPTY])
    with pa.ipc.open_file(tmp_path / "a.arrow") as file:
        arrow = file.read_all()
    assert arrow.equals(pq.read_table(tmp_path / "a.parquet"))
    assert [str(field.type) for field in arrow.schema] == [
        "string", "int64", "double", "bool", "timestamp[ms, tz=UTC]", "map<string, string>", "string",
    ]  # fmt: skip
    assert arrow.to_pylist() == [
        {
            "id": "a", "n": 1, "x": 1.5, "ok": True, "at": datetime(2030, 1, 31, 9, 0, 0, 250_000, UTC),
            "tags": [("k", "v")], "payload": '{"u":[1,"é"]}',
        },
        {"id": "b", "n": None, "x": None, "ok": None, "at": None, "tags": None, "payload": None},
    ]  # fmt: skip


def test_json_lines_have_values_and_csv_has_their_text(tmp_path):
    write(tmp_path / "a.jsonl", Format.JSONL, [FULL, EMPTY])
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert lines == [FULL, {**dict.fromkeys(FULL), **EMPTY}]
    write(tmp_path / "a.csv", Format.CSV, [FULL, EMPTY])
    with (tmp_path / "a.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            list(FULL),
            ["a", "1", "1.5", "true", "2030-01-31T09:00:00.250Z", '{"k":"v"}', '{"u":[1,"é"]}'],
            ["b", "", "", "", "", "", ""],
        ]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_text_that_looks_like_a_formula_is_none(text):
    assert cell(text, "text", formulas=False) == f"'{text}"
    assert cell(text, "text", formulas=True) == text
    assert cell(-1, "int", formulas=False) == "-1"


@pytest.mark.parametrize("format", list(Format))
def test_no_rows_are_a_file_with_none(tmp_path, format):
    assert write(tmp_path / "a", format, []).files == 1
    assert (tmp_path / "a").exists()


def test_nothing_is_there_before_the_end_and_nothing_after_a_failure(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_text("as before")
    files = Files(target_of(path, is_folder=False), Format.PARQUET, COLUMNS)
    files.write([FULL] * (ROWS_MAX + 1), 100)
    assert path.read_text() == "as before"
    files.abort()
    assert [each.name for each in tmp_path.iterdir()] == ["a.parquet"]
    assert path.read_text() == "as before"
    write(path, Format.PARQUET, [FULL])
    assert pq.read_metadata(path).num_rows == 1


def test_large_rows_are_not_kept(tmp_path):
    """They are written as soon as they are more than a few megabytes."""
    files = Files(target_of(tmp_path / "a.parquet", is_folder=False), Format.PARQUET, COLUMNS)
    files.write([FULL] * 10, 1_000_000)
    files.finish()
    assert pq.read_metadata(tmp_path / "a.parquet").num_row_groups >= 3


def test_a_data_set_has_a_folder_for_each_part(tmp_path):
    rows = [{**FULL, "id": f"{n}/{kind}", "n": n} for n in range(3) for kind in "ab"]
    part = lambda row: [("kind", row["id"][2:]), ("n", f"{row['n']}/x")]  # noqa: E731 - what is under test takes one
    files = write(tmp_path / "out", Format.PARQUET, rows, partition=part)
    names = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.parquet"))
    assert (files.files, names[0], len(names)) == (6, "kind=a/n=0%2Fx/part-00000.parquet", 6)
    found = duckdb.sql(
        f"select kind, count(*) from '{tmp_path}/out/**/*.parquet' group by kind order by kind"
    ).fetchall()
    assert found == [("a", 3), ("b", 3)]
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_only_some_files_are_open_at_once(tmp_path):
    """A part that comes again after many others has one more file."""
    rows = [{**FULL, "id": str(n % (OPEN_MAX + 1))} for n in range(2 * (OPEN_MAX + 1))]
    files = write(tmp_path / "out", Format.JSONL, rows, partition=lambda row: [("id", row["id"])])
    assert files.files == len(rows)
    assert len(list((tmp_path / "out" / "id=0").iterdir())) == 2


def test_a_data_set_does_not_mix_with_what_is_there(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with pytest.raises(RequestError, match="is there already"):
        target_of(tmp_path / "out", is_folder=True)
    with pytest.raises(RequestError, match="is a folder"):
        target_of(tmp_path / "out", is_folder=False)
    with pytest.raises(RequestError, match="is a folder or a device"):
        target_of("/dev/null", is_folder=False)
    with pytest.raises(RequestError, match="stdout"):
        target_of("-", is_folder=True)
