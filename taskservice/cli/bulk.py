"""`cancel`, `pause`, `resume`, `retry`, `delete`: tasks by their ids, or all that fit filters, from the command line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from taskservice.cli import render
from taskservice.cli.tasks import AsJson, Function, Moment, Priority, States, Tag, Tenant, connected
from taskservice.client import Client
from taskservice.client.requests import Change, ListFilters
from taskservice.errors import RequestError

POLL_S = 0.2

TaskIds = Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="The tasks' ids.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Resume them then: ISO 8601 with a zone.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say how many they are.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")]

HELP: dict[Change, str] = {
    "cancel": "Cancel tasks; those named that run are asked to stop",
    "resume": "Resume tasks that are paused",
    "retry": "Run tasks again that failed, were cancelled or have expired",
    "delete": "Delete tasks that do not run, as if they had never been",
}
BY = ": by id (exit code 1 if one of them could not be), or all that fit the filters."

DONE: dict[Change, str] = {
    "cancel": "cancelled",
    "pause": "paused",
    "resume": "resumed",
    "retry": "run again",
    "delete": "deleted",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be done, to which tasks, and how it is to be told."""

    what: Change
    ids: list[str] | None
    filters: ListFilters
    dry_run: bool
    yes: bool
    as_json: bool
    more: dict[str, str]
    """What is said of this change beyond what is said of all."""


def filters_of(
    state: list[str],
    function: str | None,
    priority: str | None,
    tag: str | None,
    created_after: str | None,
    created_before: str | None,
    tenant: str | None,
) -> ListFilters:
    """The filters as the client takes them; None where nothing is said."""
    return {
        "state": state or None,
        "function": function,
        "priority": priority,
        "tag": tag,
        "created_after": created_after,
        "created_before": created_before,
        "tenant": tenant,
    }


def _command(what: Change) -> Callable[..., None]:
    def command(
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
        filters = filters_of(state, function, priority, tag, created_after, created_before, tenant)
        carry_out(Wish(what, ids, filters, dry_run, yes, as_json, {}))

    command.__name__, command.__doc__ = what, HELP[what] + BY
    return command


def pause(
    ids: TaskIds = None,
    until: Until = None,
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
    """Pause tasks that have not started, until they are resumed or until a time: by id, or all that fit the filters."""
    filters = filters_of(state, function, priority, tag, created_after, created_before, tenant)
    carry_out(Wish("pause", ids, filters, dry_run, yes, as_json, {} if until is None else {"until": until}))


COMMANDS = (_command("cancel"), pause, _command("resume"), _command("retry"), _command("delete"))


def carry_out(wish: Wish) -> None:
    """It is done, and told. Raises RequestError unless ids or filters are named, and not both."""
    by_filter = wish.dry_run or any(value is not None for value in wish.filters.values())
    if bool(wish.ids) == by_filter:
        message = "Name tasks by their ids, or by filters such as --state and --function."
        raise RequestError(message, code=f"bad_{wish.what}")
    with connected() as client:
        if wish.ids:
            _named(client, wish)
        else:
            _matching(client, wish)


def _named(client: Client, wish: Wish) -> None:
    answer = getattr(client, f"{wish.what}_many")(wish.ids, **wish.more)
    rows = [(item.id, item.status, "" if item.error is None else item.error.message) for item in answer.results]
    if wish.as_json:
        render.print_json([{"id": id, "status": status, "error": error or None} for id, status, error in rows])
    else:
        render.print_table(("ID", "STATUS", "WHY"), rows, "No tasks.")
    if answer.refused:
        raise typer.Exit(1)


def _matching(client: Client, wish: Wish) -> None:
    if wish.dry_run:
        operation = _operate(client, wish, dry_run=True)
        said = f"{operation['matched']:,} tasks would be {DONE[wish.what]}."
    else:
        if not wish.yes and sys.stdin.isatty():
            count = _operate(client, wish, dry_run=True)["matched"]
            typer.confirm(f"{wish.what.capitalize()} {count:,} tasks?", abort=True, err=True)
        operation = _watched(client, _operate(client, wish, timeout=0), wish.what)
        said = f"{operation['changed']:,} tasks are {DONE[wish.what]}."
    if wish.as_json:
        render.print_json(operation)
        return
    running = operation["running"]
    render.print_line(f"{said} {running:,} are running, and left alone." if running else said)


def _operate(client: Client, wish: Wish, **options: object) -> dict[str, Any]:
    operation: dict[str, Any] = getattr(client, f"{wish.what}_all")(**wish.more, **options, **wish.filters)
    return operation


def _watched(client: Client, operation: dict[str, Any], what: Change) -> dict[str, Any]:
    """The operation, when it is done; who looks at a terminal sees it come."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=render.console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        shown = bar.add_task(what, total=operation["matched"])
        while not operation["done"]:
            time.sleep(POLL_S)
            operation = client.operation(operation["operation"])
            bar.update(shown, completed=operation["changed"], total=operation["matched"])
    return operation
