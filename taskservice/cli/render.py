"""What the command line shows: tables that fit the terminal, JSON for programs, errors in words."""

from __future__ import annotations

import json
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from taskservice.errors import TaskServiceError

PIPE_WIDTH = 400
"""Columns where there is no terminal: programs get lines whole."""

STATE_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "running": "cyan",
    "retrying": "yellow",
    "paused": "magenta",
    "cancelled": "dim",
    "expired": "dim",
}


def console(*, stderr: bool = False) -> Console:
    """Where to print; without colours and line ends of our own if it is not a terminal."""
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, width=None if terminal else PIPE_WIDTH, highlight=False, soft_wrap=not terminal)


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_line(text: str, style: str = "") -> None:
    console().print(Text(text, style))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str, wrapped: Container[str] = ()
) -> None:
    """The rows under the columns' names; `empty` if there is none. To fit the terminal, cells of `wrapped` columns have more lines;
    without any, long cells are cut."""
    table = table_of(columns, rows, wrapped)
    if table.row_count:
        console().print(table, soft_wrap=False)
    else:
        print_line(empty, "dim")


def table_of(columns: Sequence[str], rows: Iterable[Sequence[object]], wrapped: Container[str] = ()) -> Table:
    """What `print_table` prints."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        if column in wrapped:
            table.add_column(column, overflow="fold")
        else:
            table.add_column(column, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row))
    return table


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Names and values, one pair on a line; those without a value are left out."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        if value not in (None, "", {}, []):
            table.add_row(name, value if isinstance(value, Text) else Text(plain(value)))
    console().print(table, soft_wrap=False)


def print_error(error: TaskServiceError) -> None:
    """What is wrong, on stderr, with its details indented below, as far as it does not say them itself."""
    out = console(stderr=True)
    out.print(Text.assemble(("Error: ", "bold red"), error.message))
    for line in error.detail.splitlines():
        if line not in error.message:
            out.print(Text(f"  {line}", "dim"))


def plain(value: object) -> str:
    """A cell's text."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def state_text(state: str) -> Text:
    return Text(state, STATE_STYLES.get(state, ""))


def local_time(moment: str | None) -> str:
    """A time of the API in this machine's zone, to the second."""
    if moment is None:
        return "-"
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "-"
    return f"{milliseconds:.0f} ms" if milliseconds < 10_000 else f"{milliseconds / 1000:.1f} s"


TASK_COLUMNS = ("ID", "FUNCTION", "STATE", "PRIORITY", "TRY", "CREATED", "TOOK")


def task_row(task: Mapping[str, Any]) -> tuple[object, ...]:
    """A task on a line of a listing."""
    return (
        task["id"],
        task["function"],
        state_text(task["state"]),
        task["priority"],
        f"{task['attempt']}/{task['max_attempts']}",
        local_time(task["created_at"]),
        duration(_took_ms(task)),
    )


def print_task(task: Mapping[str, Any]) -> None:
    """All there is to know of a task."""
    error = task.get("error")
    print_facts(
        [
            ("id", task["id"]),
            ("function", task["function"]),
            ("tenant", task["tenant"]),
            ("state", state_text(task["state"])),
            ("", "is being cancelled" if task.get("cancelling") else None),
            ("priority", task["priority"]),
            ("tags", task["tags"]),
            ("key", task.get("key")),
            ("created", local_time(task["created_at"])),
            ("due", local_time(task["due_at"])),
            ("started", local_time(task["started_at"])),
            ("ended", local_time(task["ended_at"])),
            ("expires", task["expires_at"] and local_time(task["expires_at"])),
            ("deadline", _deadline(task)),
            ("off-peak", _off_peak(task)),
            ("paused until", task["paused_until"] and local_time(task["paused_until"])),
            ("attempt", f"{task['attempt']} of {task['max_attempts']}"),
            ("callback", task.get("callback_url")),
            ("on success", task.get("on_success")),
            ("on failure", task.get("on_failure")),
            ("followed by", task.get("follow_up")),
            ("version", task.get("version")),
            ("took", duration(_took_ms(task))),
            ("payload", json_text(task, "payload")),
            ("result", json_text(task, "result")),
            ("last error", None if error is None else f"{error['reason']}: {error['message']}"),
            ("", None if error is None else error["detail"]),
        ]
    )


def _took_ms(task: Mapping[str, Any]) -> float | None:
    """How long its last attempt took; nothing while one runs, for what is known is of the one before."""
    took_ms: float | None = task["duration_ms"]
    return None if task["state"] == "running" else took_ms


def _deadline(task: Mapping[str, Any]) -> str | None:
    if task["deadline_at"] is None:
        return None
    return local_time(task["deadline_at"]) + (", missed" if task["deadline_missed"] else "")


def _off_peak(task: Mapping[str, Any]) -> str | None:
    if not task["off_peak"]:
        return None
    return f"until {local_time(task['off_peak_until'])}" if task["off_peak_until"] else "yes"


def json_text(task: Mapping[str, Any], name: str) -> str | None:
    return json.dumps(task[name], indent=2, ensure_ascii=False) if name in task else None
