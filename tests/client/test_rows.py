"""A row of a file as a task: which column is what, and what text means by the function's schema."""

from __future__ import annotations

import json

import pytest

from taskservice.client.rows import Field, Layout, Maker, fields_of
from taskservice.datafiles.formats import Row
from taskservice.errors import NotFoundError, RequestError

SCHEMA = {
    "type": "object",
    "$defs": {"Box": {"type": "object"}},
    "properties": {
        "url": {"type": "string"},
        "n": {"type": "integer"},
        "flag": {"type": "boolean"},
        "sizes": {"type": "array"},
        "box": {"$ref": "#/$defs/Box"},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "any": {},
    },
    "required": ["url", "maybe"],
}
FUNCTIONS = {"a.f": {"payload_schema": SCHEMA}}


def made(value, *, text=False, jsonl=False, function="a.f", **layout):
    """Function, payload and options of a row."""
    return Maker(Layout(function, **layout), FUNCTIONS, text, jsonl).task(Row(1, value), "p-1")


def payload(value, **more):
    return made(value, **more)[1]


def test_a_schema_says_what_a_field_takes():
    fields = fields_of(SCHEMA)
    assert fields["url"] == Field(frozenset(["string"]), required=True)
    assert fields["box"].types == {"object"}
    assert fields["maybe"].types == {"integer", "null"}
    assert fields["any"].types == frozenset()


def test_text_is_what_the_schema_wants():
    cells = {
        "url": "7",
        "n": "7",
        "flag": "True",
        "sizes": "[1, 2]",
        "box": '{"a": 1}',
        "maybe": "3",
        "either": "7",
        "any": "7",
    }
    assert payload(cells, text=True) == {
        "url": "7", "n": 7, "flag": True, "sizes": [1, 2], "box": {"a": 1}, "maybe": 3, "either": "7", "any": "7",
    }  # fmt: skip


def test_text_that_means_nothing_stays_for_the_service_to_refuse():
    assert payload({"n": "seven", "flag": "ja"}, text=True) == {"n": "seven", "flag": "ja"}


def test_an_empty_cell_is_absent_unless_the_field_is_required():
    assert payload({"url": "", "n": "", "maybe": "", "any": ""}, text=True) == {"url": "", "maybe": None}
    assert payload({"url": "u", "n": None, "maybe": None, "any": ""}) == {"url": "u", "maybe": None, "any": ""}


def test_json_lines_are_as_they_are():
    assert payload({"n": None, "sizes": "[1]"}, jsonl=True) == {"n": None, "sizes": "[1]"}


def test_columns_are_fields_of_other_names():
    row = {"source_url": "u", "rest": 1}
    assert payload(row, columns={"url": "source_url"}, payload={"n": 1}) == {"n": 1, "url": "u"}


def test_columns_of_the_task_are_no_fields():
    row = {"url": "u", "order": "o-7", "when": "2030-01-01T09:00:00", "who": 7, "wait": "90", "labels": '{"a": 1}'}
    columns = {"id": "order", "run_at": "when", "tags.customer": "who", "delay": "wait", "tags": "labels"}
    _, found, options = made(row, task_columns=columns, options={"priority": "low", "tags": {"b": "2"}})
    assert found == {"url": "u"}
    assert options == {
        "id": "o-7", "run_at": "2030-01-01T09:00:00Z", "delay": 90.0, "priority": "low",
        "tags": {"a": "1", "b": "2", "customer": "7"},
    }  # fmt: skip


def test_options_are_what_their_text_means():
    row = {"url": "u", "by": "2030-01-01 09:00", "calm": "TRUE", "tries": "3", "limit": "5m"}
    columns = {"deadline": "by", "off_peak": "calm", "max_attempts": "tries", "timeout": "limit"}
    assert made(row, text=True, task_columns=columns)[2] == {
        "id": "p-1", "deadline": "2030-01-01 09:00Z", "off_peak": True, "max_attempts": 3, "timeout": "5m",
    }  # fmt: skip
    assert made({"url": "u", "by": "8h"}, task_columns={"deadline": "by"})[2]["deadline"] == "8h"


def test_a_column_may_name_the_function():
    assert made({"f": "a.f", "url": "u"}, function=None, task_columns={"function": "f"})[0] == "a.f"
    with pytest.raises(NotFoundError, match=r"a\.g"):
        made({"f": "a.g"}, function=None, task_columns={"function": "f"})


@pytest.mark.parametrize(
    ("row", "layout", "why"),
    [
        ({"url": "u"}, {"task_columns": {"id": "order"}}, "empty or not there"),
        ({"url": "u", "order": "../x"}, {"task_columns": {"id": "order"}}, "cannot be the id"),
        ({"labels": "x"}, {"task_columns": {"tags": "labels"}}, "Tags are"),
    ],
)
def test_a_row_that_is_no_task_says_why(row, layout, why):
    with pytest.raises(RequestError, match=why):
        made(row, **layout)


@pytest.mark.parametrize(
    ("function", "layout"),
    [
        (None, {}),
        ("a.f", {"task_columns": {"function": "f"}}),
        ("a.f", {"task_columns": {"prio": "p"}}),
        ("a.f", {"options": {"id": "x"}}),
    ],
)
def test_a_layout_that_makes_no_sense_is_refused(function, layout):
    with pytest.raises(RequestError):
        Layout(function, **layout)


def test_a_line_has_the_rows_id_and_is_not_new():
    """So what is known already is told as known."""
    line = Maker(Layout("a.f"), FUNCTIONS, text=False, jsonl=False).line(Row(7, {"url": "u"}), "p-7")
    assert (line.id, line.id_is_new) == ("p-7", False)
    assert json.loads(line.text) == {"id": "p-7", "function": "a.f", "payload": {"url": "u"}}


def test_a_row_that_is_not_json_is_refused():
    with pytest.raises(RequestError, match="JSON"):
        Maker(Layout("a.f"), FUNCTIONS, text=False, jsonl=False).line(Row(1, {"x": float("nan")}), "p-1")
