"""`import` and `export`: tasks from files and into files, from the command line."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from taskservice.cli import render
from taskservice.cli.tasks import (
    AsJson,
    Function,
    Moment,
    OffPeak,
    Priority,
    States,
    Tag,
    Tenant,
    connected,
    number_or_text,
    read_payload,
    read_tags,
)
from taskservice.client import ImportSummary
from taskservice.datafiles.formats import REFUSED_SUFFIX
from taskservice.errors import RequestError

SHOWN_MAX = 5
"""Refusals that are printed; the report file has all."""

Format = Annotated[str | None, typer.Option(help="parquet, csv, jsonl or arrow, if the name does not say it.")]


Maps = Annotated[
    list[str], typer.Option(metavar="FIELD=COLUMN", help="A field of the payload; without any: every column is one.")
]
TaskColumns = Annotated[
    list[str],
    typer.Option(
        metavar="NAME=COLUMN",
        help="id, priority, delay, run_at, ttl, deadline, off_peak, timeout, max_attempts, function, tags or tags.NAME of a task.",
    ),
]
Until = Annotated[str | None, typer.Option(help="Of all tasks: seconds, or 90s, 5m, 1h.")]
Tags = Annotated[list[str], typer.Option(metavar="NAME=VALUE", help="A tag of all tasks; may be repeated.")]


def import_(
    file: Annotated[str, typer.Argument(help="Path, pattern, folder, - for stdin, or s3://bucket/key.")],
    function: Annotated[str | None, typer.Option(help="Of which function each row is a task.")] = None,
    map: Maps = [],  # noqa: B006
    task_column: TaskColumns = [],  # noqa: B006
    payload: Annotated[str | None, typer.Option(help="JSON object, @FILE: fields that all rows have.")] = None,
    priority: Annotated[str | None, typer.Option(help="Of all tasks: critical, high, normal, low or batch.")] = None,
    delay: Until = None,
    run_at: Annotated[str | None, typer.Option(help="Of all tasks: ISO 8601 with a zone.")] = None,
    ttl: Until = None,
    deadline: Annotated[str | None, typer.Option(help="Of all tasks: ISO 8601 with a zone, or 90s, 5m, 1h.")] = None,
    off_peak: OffPeak = None,
    tag: Tags = [],  # noqa: B006
    format: Format = None,
    id_prefix: Annotated[
        str | None, typer.Option(help="What ids begin with, in place of a digest of the file.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Check rows here before they are submitted.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check all rows by the function's schema.")] = False,
    report: Annotated[str | None, typer.Option(help="For refused rows; by default FILE.refused.jsonl, here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Import tasks: one for each row of Parquet, CSV, JSON lines or Arrow. Interrupted? Run it again: each row is one task."""
    if payload == "-" and file == "-":
        raise RequestError("stdin cannot be both the file and the payload.", code="bad_payload")
    with connected() as client:
        summary = client.import_tasks(
            file,
            function,
            columns=_pairs(map) or None,
            task_columns=_pairs(task_column),
            payload=None if payload is None else read_payload(payload),
            priority=priority,
            delay=number_or_text(delay),
            run_at=run_at,
            ttl=number_or_text(ttl),
            deadline=number_or_text(deadline),
            off_peak=off_peak,
            tags=read_tags(tag) or None,
            format=format,
            id_prefix=id_prefix,
            check=check,
            dry_run=dry_run,
            report=report or _report_of(file),
        )
    if as_json:
        render.print_json(asdict(summary))
    else:
        _print_import(summary)
    if summary.refused:
        raise typer.Exit(1)


def export(
    file: Annotated[str, typer.Argument(help="Path, s3://bucket/key, or - for stdout; with --partition-by a folder.")],
    state: States = [],  # noqa: B006
    function: Function = None,
    priority: Priority = None,
    tag: Tag = None,
    created_after: Moment = None,
    created_before: Moment = None,
    tenant: Tenant = None,
    format: Format = None,
    partition_by: Annotated[
        str | None, typer.Option(metavar="NAMES", help="A folder for each function, day, state, priority, tenant.")
    ] = None,
    values: Annotated[bool, typer.Option("--values/--no-values", help="With payloads and results.")] = True,
    formulas: Annotated[
        bool, typer.Option("--formulas", help="CSV: leave text alone that looks like a formula.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Export tasks that fit the filters: one row each, as Parquet, CSV, JSON lines or Arrow, newest first."""
    with connected() as client:
        summary = client.export_tasks(
            file,
            state=state or None,
            function=function,
            priority=priority,
            tag=tag,
            created_after=created_after,
            created_before=created_before,
            tenant=tenant,
            format=format,
            partition_by=[name.strip() for name in (partition_by or "").split(",") if name.strip()],
            values=values,
            formulas=formulas,
        )
    if file == "-":
        return
    if as_json:
        render.print_json(asdict(summary))
        return
    files = f" in {summary.files:,} {'file' if summary.files == 1 else 'files'}" if partition_by else ""
    render.print_line(f"{summary.rows:,} tasks{files} are in {summary.location} ({summary.seconds:.1f} s).")
    if summary.lost:
        render.print_line(f"Of {summary.lost:,} the payload or result is lost; the rest of them is there.", "yellow")


def _pairs(texts: list[str]) -> dict[str, str]:
    """NAME=COLUMN; NAME alone is the column of that name."""
    pairs = {}
    for text in texts:
        name, _, column = text.partition("=")
        if not name or name in pairs:
            raise RequestError(f"Write NAME=COLUMN, and no name twice: {text!r}.", code="bad_columns")
        pairs[name] = column or name
    return pairs


def _report_of(file: str) -> str:
    """A file in the working directory, named for what is imported."""
    name = "stdin" if file == "-" else Path(file.rstrip("/")).name
    plain = "".join(char if char.isalnum() or char in "._-" else "_" for char in name)
    return f"{plain}{REFUSED_SUFFIX}"


def _print_import(summary: ImportSummary) -> None:
    rate = summary.rows / summary.seconds if summary.seconds else 0.0
    took = f"({summary.seconds:.1f} s, {rate:,.0f} rows/s)"
    if summary.dry_run:
        render.print_line(f"{summary.rows:,} rows, {summary.refused:,} would be refused; nothing was submitted {took}.")
    else:
        said = f"{summary.accepted:,} accepted, {summary.known:,} known already, {summary.refused:,} refused"
        render.print_line(f"{summary.rows:,} rows: {said} {took}.")
    for each in summary.refusals[:SHOWN_MAX]:
        render.print_line(f"  {each.file}, row {each.row}: {each.message} ({each.code})", "yellow")
    if summary.report is not None:
        render.print_line(f"All {summary.refused:,} refused rows and why: {json.dumps(summary.report)}")
