"""`callback`: where callbacks go, what became of them, and what they are signed with."""

from __future__ import annotations

from typing import Annotated

import typer

from taskservice.cli import explain, render
from taskservice.cli.tasks import AsJson, TaskId, Tenant, connected

callback = typer.Typer(
    help="Callbacks: their signing secret, their endpoints, and sending one again.", no_args_is_help=True
)


@callback.command("secret")
def secret(tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Make a new signing secret. It is printed now, and can never be shown again; the one before signs as well for a while."""
    with connected() as client:
        made = client.rotate_callback_secret(tenant=tenant)
    if as_json:
        render.print_json(made)
        return
    until = made["previous_until"]
    render.print_facts(
        [
            ("tenant", made["tenant"]),
            ("secret", made["secret"]),
            ("the one before", None if until is None else f"signs as well until {render.local_time(until)}"),
        ]
    )


@callback.command("endpoints")
def endpoints(tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the endpoints that fail or are disabled, and why."""
    with connected() as client:
        found = client.callback_endpoints(tenant=tenant)
    if as_json:
        render.print_json(found)
        return
    rows = [
        (
            one["origin"],
            one["tenant"],
            "disabled" if one["disabled_at"] else "failing",
            render.local_time(one["failing_since"]),
            one["failures"],
            one["reason"],
        )
        for one in found
    ]
    columns = ("ENDPOINT", "TENANT", "STATE", "SINCE", "FAILURES", "WHY")
    render.print_table(columns, rows, "No endpoint fails.", wrapped=("WHY",))


@callback.command("enable")
def enable(
    origin: Annotated[
        str, typer.Argument(help="Scheme, host and port, as `endpoints` lists them: https://example.com")
    ],
    tenant: Tenant = None,
) -> None:
    """Let an endpoint be told again what it is owed."""
    with connected() as client:
        one = client.enable_callback_endpoint(origin, tenant=tenant)
    render.print_line(f"{one['origin']} is told what it is owed.")


@callback.command("resend")
def resend(id: TaskId, as_json: AsJson = False) -> None:
    """Tell the end of a task again, under the same webhook-id."""
    with connected() as client:
        found = client.redeliver(id)
    if as_json:
        render.print_json(found)
    else:
        explain.print_deliveries(found)
