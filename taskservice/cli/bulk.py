"""`cancel`: tasks by their ids, or all that fit filters, from the command line."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from taskservice.cli import render
from taskservice.cli.tasks import AsJson, Function, Moment, Priority, States, Tag, Tenant, connected
from taskservice.client import Client
from taskservice.client.requests import ListFilters
from taskservice.errors import RequestError

POLL_S = 0.2

TaskIds = Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="The tasks' ids.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say how many they are.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")]


def cancel(
    ids: TaskIds = None,
    state: States = [],  # noqa: B006
    function: Function = None,
    priority: Priority = None,
    tag: Tag = None,
    created_after: Moment = None,
    created_before: Moment = None,
    tenant: Tenant = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Cancel tasks that have not started: by id (exit code 1 if one of them could not be), or all that fit the filters."""
    filters: ListFilters = {
        "state": state or None,
        "function": function,
        "priority": priority,
        "tag": tag,
        "created_after": created_after,
        "created_before": created_before,
        "tenant": tenant,
    }
    by_filter = dry_run or any(value is not None for value in filters.values())
    if bool(ids) == by_filter:
        raise RequestError("Name tasks by their ids, or by filters such as --state and --function.", code="bad_cancel")
    with connected() as client:
        if ids:
            _cancel_ids(client, ids, as_json=as_json)
        else:
            _cancel_matching(client, filters, dry_run=dry_run, yes=yes, as_json=as_json)


def _cancel_ids(client: Client, ids: list[str], *, as_json: bool) -> None:
    answer = client.cancel_many(ids)
    rows = [(item.id, item.status, "" if item.error is None else item.error.message) for item in answer.results]
    if as_json:
        render.print_json([{"id": id, "status": status, "error": error or None} for id, status, error in rows])
    else:
        render.print_table(("ID", "STATUS", "WHY"), rows, "No tasks.")
    if answer.refused:
        raise typer.Exit(1)


def _cancel_matching(client: Client, filters: ListFilters, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    if dry_run:
        operation = client.cancel_all(dry_run=True, **filters)
        said = f"{operation['matched']:,} tasks would be cancelled."
    else:
        if not yes and sys.stdin.isatty():
            count = client.cancel_all(dry_run=True, **filters)["matched"]
            typer.confirm(f"Cancel {count:,} tasks?", abort=True, err=True)
        operation = _watched(client, client.cancel_all(timeout=0, **filters))
        said = f"{operation['changed']:,} tasks are cancelled."
    if as_json:
        render.print_json(operation)
    else:
        render.print_line(said)


def _watched(client: Client, operation: dict[str, Any]) -> dict[str, Any]:
    """The operation, when it is done; who looks at a terminal sees it come."""
    columns = (TextColumn("cancelling"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=render.console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        shown = bar.add_task("cancelling", total=operation["matched"])
        while not operation["done"]:
            time.sleep(POLL_S)
            operation = client.operation(operation["operation"])
            bar.update(shown, completed=operation["changed"], total=operation["matched"])
    return operation
