"""`trigger`: which events come to which tasks, from the command line."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from taskservice.cli import render
from taskservice.cli.tasks import AsJson, Tenant, connected, read_payload

trigger = typer.Typer(help="Triggers: events that come to tasks.", no_args_is_help=True)

TriggerId = Annotated[str, typer.Argument(metavar="ID", help="The trigger's id.")]


@trigger.command("add")
def add(
    function: Annotated[str, typer.Argument(help="The function's name, such as media.thumbnail.")],
    filter: Annotated[str, typer.Option(help='JSON: {"type": "order.placed", "source": {"prefix": "/shop"}}.')],
    payload: Annotated[
        str | None, typer.Option(help="Template: JSON object with $.data.NAME, @FILE, or -; else the event's data.")
    ] = None,
    id: Annotated[str | None, typer.Option(help="The trigger's id; one is made if none is given.")] = None,
    priority: Annotated[str | None, typer.Option(help="critical, high, normal, low or batch.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a trigger: prints its id."""
    template = None if payload is None else read_payload(payload)
    with connected() as client:
        made = client.create_trigger(function, read_payload(filter), template, id=id, priority=priority)
    if as_json:
        render.print_json(made)
    else:
        render.print_line(f"{made['id']} makes tasks of {made['function']}.")


@trigger.command("list")
def list_(tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the triggers, by id."""
    with connected() as client:
        found = list(client.triggers(tenant=tenant))
    if as_json:
        render.print_json(found)
        return
    rows = [(one["id"], one["function"], json.dumps(one["filter"])) for one in found]
    render.print_table(("ID", "FUNCTION", "FILTER"), rows, "No triggers.")


@trigger.command("show")
def show(id: TriggerId, as_json: AsJson = False) -> None:
    """Show a trigger, with its payload template."""
    with connected() as client:
        found = client.get_trigger(id)
    if as_json:
        render.print_json(found)
    else:
        _print_trigger(found)


@trigger.command("remove")
def remove(id: TriggerId, as_json: AsJson = False) -> None:
    """Remove a trigger. The tasks that it made go on."""
    with connected() as client:
        gone = client.remove_trigger(id)
    if as_json:
        render.print_json(gone)
    else:
        render.print_line(f"{gone['id']} is removed.")


def _print_trigger(one: dict[str, Any]) -> None:
    render.print_facts(
        [
            ("id", one["id"]),
            ("function", one["function"]),
            ("tenant", one["tenant"]),
            ("filter", json.dumps(one["filter"])),
            ("priority", one["priority"]),
            ("created", render.local_time(one["created_at"])),
            ("payload", "the event's data" if one["payload"] is None else json.dumps(one["payload"])),
        ]
    )
