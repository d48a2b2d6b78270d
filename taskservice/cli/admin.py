"""`tenant` and `key`: who may use the service. For admin keys."""

from __future__ import annotations

from typing import Annotated

import typer

from taskservice.cli import render
from taskservice.cli.tasks import AsJson, connected

DEFAULT_SCOPES = ("submit", "read", "operate")
DEFAULTS_TEXT = f"default: {', '.join(DEFAULT_SCOPES)}"

tenant = typer.Typer(help="Tenants: whom tasks belong to.", no_args_is_help=True)
key = typer.Typer(help="API keys.", no_args_is_help=True)


@tenant.command("add")
def add_tenant(
    name: Annotated[str, typer.Argument(help="The tenant's name.")],
    weight: Annotated[float, typer.Option(help="Share of machine time, relative to other tenants.")] = 1.0,
    queued_max: Annotated[int | None, typer.Option(help="Unfinished tasks that it may have.")] = None,
    running_max: Annotated[int | None, typer.Option(help="Tasks that may run at the same time.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a tenant."""
    with connected() as client:
        made = client.create_tenant(name, weight=weight, queued_max=queued_max, running_max=running_max)
    if as_json:
        render.print_json(made)
    else:
        render.print_line(
            f"There is a tenant {made['id']}. Make a key for it: taskservice key add --tenant {made['id']}"
        )


@tenant.command("list")
def list_tenants(as_json: AsJson = False) -> None:
    """List the tenants."""
    with connected() as client:
        tenants = client.tenants()
    if as_json:
        render.print_json(tenants)
    else:
        rows = [(one["id"], one["weight"], one["queued_max"], one["running_max"]) for one in tenants]
        render.print_table(("TENANT", "WEIGHT", "QUEUED MAX", "RUNNING MAX"), rows, "No tenants.")


@key.command("add")
def add_key(
    tenant: Annotated[str | None, typer.Option(help="Whose key it is; your own tenant's if not given.")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help=f"submit, read, operate or admin; may be repeated. [{DEFAULTS_TEXT}]")
    ] = None,
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a key. Its secret is printed now, and can never be shown again."""
    with connected() as client:
        made = client.create_key(scope or DEFAULT_SCOPES, tenant=tenant, name=name)
    if as_json:
        render.print_json(made)
    else:
        facts = [("id", made["id"]), ("tenant", made["tenant"]), ("scopes", " ".join(made["scopes"]))]
        render.print_facts([*facts, ("secret", made["secret"])])


@key.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List the keys, without their secrets."""
    with connected() as client:
        keys = client.keys()
    if as_json:
        render.print_json(keys)
    else:
        rows = [
            (
                one["id"],
                one["tenant"],
                " ".join(one["scopes"]),
                one["name"],
                render.local_time(one["created_at"]),
                "revoked" if one["revoked"] else "valid",
            )
            for one in keys
        ]
        render.print_table(("KEY", "TENANT", "SCOPES", "NAME", "CREATED", "STATE"), rows, "No keys.")


@key.command("revoke")
def revoke_key(id: Annotated[str, typer.Argument(metavar="ID", help="The key's id: key_...")]) -> None:
    """Revoke a key: it is refused from now on."""
    with connected() as client:
        client.revoke_key(id)
    render.print_line(f"{id} is revoked.")
