"""`dlq`: the dead letters, tasks that failed for good, from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from taskservice.cli import render
from taskservice.cli.bulk import DryRun, TaskIds, Wish, Yes, carry_out, filters_of
from taskservice.cli.tasks import LISTED_DEFAULT, AsJson, Function, Moment, Priority, Tag, Tenant, connected

dlq = typer.Typer(help="Dead letters: tasks that failed for good.", no_args_is_help=True)

_MESSAGE_CHARS_MAX = 60
_DEAD = ["failed"]


@dlq.command("list")
def list_dead(
    function: Function = None,
    priority: Priority = None,
    tag: Tag = None,
    created_after: Moment = None,
    created_before: Moment = None,
    tenant: Tenant = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = LISTED_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the newest task first, and why they failed."""
    filters = filters_of(_DEAD, function, priority, tag, created_after, created_before, tenant)
    with connected() as client:
        found = [task.info for task in client.list(limit=limit, **filters)]
    if as_json:
        render.print_json(found)
    else:
        columns = ("ID", "FUNCTION", "ENDED", "TRIES", "REASON", "MESSAGE")
        render.print_table(columns, map(_row, found), "No dead letters.")


@dlq.command("retry")
def retry_dead(
    ids: TaskIds = None,
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
    """Run dead letters again: by id (exit code 1 if one of them could not be), those that fit the filters, or all."""
    said = (function, priority, tag, created_after, created_before, tenant)
    named = ids and not dry_run and not any(said)
    filters = filters_of([] if named else _DEAD, *said)
    carry_out(Wish("retry", ids, filters, dry_run, yes, as_json, {}))


def _row(task: Mapping[str, Any]) -> tuple[object, ...]:
    error = task.get("error") or {}
    message = (error.get("message") or "").partition("\n")[0][:_MESSAGE_CHARS_MAX]
    return (
        task["id"],
        task["function"],
        render.local_time(task["ended_at"]),
        f"{task['attempt']}/{task['max_attempts']}",
        error.get("reason", ""),
        message,
    )
