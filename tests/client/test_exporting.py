"""What a task is as a row: typed columns of its result, and nothing lost."""

from __future__ import annotations

import pytest

from taskservice.client.export_columns import PARTITIONS, columns_of, result_columns, row_of
from taskservice.datafiles.writers import Column

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "size": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "ratio": {"type": "number"},
        "ok": {"type": "boolean"},
    },
}
COLUMNS = {"name": "text", "size": "int", "ratio": "float", "ok": "bool"}


def test_a_result_of_plain_values_has_a_column_for_each():
    assert result_columns(SCHEMA) == COLUMNS
    assert result_columns({"$defs": {"R": SCHEMA}, "$ref": "#/$defs/R"}) == COLUMNS
    names = [column.name for column in columns_of(COLUMNS, values=True)]
    assert names[-6:] == ["payload", "result_name", "result_size", "result_ratio", "result_ok", "result"]
    assert "payload" not in [column.name for column in columns_of({}, values=False)]


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {"type": "integer"},
        {"type": "object"},
        {"type": "object", "properties": {"a": {"type": "array"}}},
        {"type": "object", "properties": {"a": {"anyOf": [{"type": "integer"}, {"type": "string"}]}}},
        {"type": "object", "properties": {"a": {}}},
    ],
)
def test_any_other_result_is_json_text(schema):
    assert result_columns(schema) == {}
    assert columns_of(result_columns(schema), values=True)[-1] == Column("result", "json")


def task(**more):
    return {"id": "t", "state": "succeeded", "error": None, "payload": {}, **more}


def test_a_result_that_fits_is_in_its_columns():
    row = row_of(task(result={"name": "a", "size": None, "ratio": 2, "ok": False}), COLUMNS)
    assert {name: value for name, value in row.items() if name.startswith("result")} == {
        "result_name": "a", "result_size": None, "result_ratio": 2, "result_ok": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    "result",
    [{"name": 1}, {"size": True}, {"size": 1 << 63}, {"ratio": (1 << 53) + 1}, {"other": 1}, {"ok": 1}, [1], None],
)
def test_a_result_that_does_not_fit_is_whole(result):
    row = row_of(task(result=result), COLUMNS)
    assert row["result"] == result
    assert not [name for name in row if name.startswith("result_")]


def test_an_error_is_three_columns():
    row = row_of(task(error={"reason": "timeout", "message": "m", "detail": "d"}), {})
    assert (row["error_reason"], row["error_message"], row["error_detail"]) == ("timeout", "m", "d")


def test_a_day_is_one_in_utc():
    assert PARTITIONS["day"]({"created_at": "2030-01-31T23:59:59.999Z"}) == "2030-01-31"
