"""`tenant` and `key`: who may use the service. For admin keys."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from taskservice.cli import explain, render
from taskservice.cli.operating import Default, Maximum, Rate, Reserve, changes_of
from taskservice.cli.tasks import AsJson, connected

DEFAULT_SCOPES = ("submit", "read", "operate")
DEFAULTS_TEXT = f"default: {', '.join(DEFAULT_SCOPES)}"

Weight = Annotated[float | None, typer.Option(help="Share of machine time, relative to other tenants; 1 by default.")]
QueuedMax = Annotated[int | None, typer.Option(help="Unfinished tasks that it may have.")]
RunningMax = Annotated[int | None, typer.Option(help="Tasks that may run at the same time.")]
SubmitRate = Annotated[str | None, typer.Option(metavar="RATE", help="Tasks that it may submit: 100/s, 30/m.")]

tenant = typer.Typer(help="Tenants: whom tasks belong to.", no_args_is_help=True)
key = typer.Typer(help="API keys.", no_args_is_help=True)


@tenant.command("add")
def add_tenant(
    name: Annotated[str, typer.Argument(help="The tenant's name.")],
    weight: Weight = None,
    queued_max: QueuedMax = None,
    running_max: RunningMax = None,
    rate: Rate = None,
    submit_rate: SubmitRate = None,
    reserve: Reserve = [],  # noqa: B006
    maximum: Maximum = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Make a tenant."""
    said = {
        "weight": 1.0 if weight is None else weight,
        "queued_max": queued_max,
        "running_max": running_max,
        "rate": rate,
        "submit_rate": submit_rate,
    }
    with connected() as client:
        made = client.create_tenant(name, **changes_of("tenants", said, reserve, maximum, ()))
    if as_json:
        render.print_json(made)
    else:
        render.print_line(
            f"There is a tenant {made['id']}. Make a key for it: taskservice key add --tenant {made['id']}"
        )


@tenant.command("set")
def set_tenant(
    name: Annotated[str, typer.Argument(help="The tenant's name.")],
    weight: Weight = None,
    queued_max: QueuedMax = None,
    running_max: RunningMax = None,
    rate: Rate = None,
    submit_rate: SubmitRate = None,
    reserve: Reserve = [],  # noqa: B006
    maximum: Maximum = [],  # noqa: B006
    default: Default = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Change a tenant's weight and limits, at once and for good.

    --default: weight, queued_max, running_max, rate, submit_rate, quota.
    """
    said = {
        "weight": weight,
        "queued_max": queued_max,
        "running_max": running_max,
        "rate": rate,
        "submit_rate": submit_rate,
    }
    with connected() as client:
        changed = client.change_tenant(name, **changes_of("tenants", said, reserve, maximum, default))
    _tell_tenant(changed, as_json=as_json)


@tenant.command("show")
def show_tenant(
    name: Annotated[str, typer.Argument(help="The tenant's name.")],
    as_json: AsJson = False,
) -> None:
    """Show a tenant's weight and limits."""
    with connected() as client:
        _tell_tenant(client.tenant(name), as_json=as_json)


@tenant.command("list")
def list_tenants(as_json: AsJson = False) -> None:
    """List the tenants."""
    with connected() as client:
        tenants = client.tenants()
    if as_json:
        render.print_json(tenants)
        return
    rows = [
        (
            one["id"],
            one["weight"],
            one["queued_max"],
            one["running_max"],
            explain.rate_text(one["rate"]),
            explain.rate_text(one["submit_rate"]),
            explain.quota_text(one["quota"]),
        )
        for one in tenants
    ]
    columns = ("TENANT", "WEIGHT", "QUEUED MAX", "RUNNING MAX", "RATE", "SUBMIT RATE", "QUOTA")
    render.print_table(columns, rows, "No tenants.")


def _tell_tenant(one: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        render.print_json(one)
        return
    render.print_facts(
        [
            ("tenant", one["id"]),
            ("weight", one["weight"]),
            ("queued max", one["queued_max"]),
            ("running max", one["running_max"]),
            ("rate", explain.rate_text(one["rate"])),
            ("submit rate", explain.rate_text(one["submit_rate"])),
            *explain.quota_facts(one),
        ]
    )


@key.command("add")
def add_key(
    tenant: Annotated[str | None, typer.Option(help="Whose key it is; your own tenant's if not given.")] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help=f"submit, read, operate, admin or metrics; may be repeated. [{DEFAULTS_TEXT}]"),
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
