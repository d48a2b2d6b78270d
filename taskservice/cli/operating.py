"""`usage`, `function`, `downstream`, `class`: who has how much, and how functions, downstreams and classes are treated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from taskservice.cli import explain, render
from taskservice.cli.tasks import AsJson, connected
from taskservice.client import settings
from taskservice.errors import RequestError

function = typer.Typer(
    help="Functions: pause them, and change their limits while they are in use.", no_args_is_help=True
)
downstream = typer.Typer(help="Downstreams: how many tasks may call one at once.", no_args_is_help=True)
class_ = typer.Typer(help="Priority classes: weights and quotas.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME")]
Rate = Annotated[str | None, typer.Option(metavar="RATE", help="Tasks that may start: 100/s, 30/m, 100/s burst 500.")]
Reserve = Annotated[
    list[str], typer.Option(metavar="KIND=AMOUNT", help="Kept for it: cpus=4, gpus=1, memory=8GiB; may be repeated.")
]
Maximum = Annotated[
    list[str], typer.Option(metavar="KIND=AMOUNT", help="The most that it may have at once; may be repeated.")
]
Default = Annotated[
    list[str], typer.Option("--default", metavar="SETTING", help="Back to its default; may be repeated.")
]


def usage(
    tenant: Annotated[str | None, typer.Option(help="For admins: of this tenant alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show who has how much: shares, quotas, rates, windows, queues."""
    with connected() as client:
        answer = client.usage(tenant=tenant)
    if as_json:
        render.print_json(answer)
    else:
        explain.print_usage(answer)


@function.command("list")
def list_functions(as_json: AsJson = False) -> None:
    """List the functions with their limits."""
    with connected() as client:
        found = client.functions()
    if as_json:
        render.print_json(found)
        return
    rows = [
        (
            one["name"],
            "paused" if one["paused"] else "",
            explain.rate_text(one["rate"]),
            one["max_running"],
            one["downstream"],
            explain.quota_text(one["quota"]),
            " ".join(one["set_by_operator"]),
        )
        for one in found
    ]
    columns = ("FUNCTION", "", "RATE", "MAX RUNNING", "DOWNSTREAM", "QUOTA", "SET BY OPERATOR")
    render.print_table(columns, rows, "No functions.")


@function.command("show")
def show_function(name: Name, as_json: AsJson = False) -> None:
    """Show a function and its limits."""
    with connected() as client:
        _tell_function(client.function(name), as_json=as_json)


@function.command("pause")
def pause_function(name: Name, as_json: AsJson = False) -> None:
    """None of the function's tasks starts until it is resumed. What runs goes on."""
    with connected() as client:
        _tell_function(client.pause_function(name), as_json=as_json)


@function.command("resume")
def resume_function(name: Name, as_json: AsJson = False) -> None:
    """Let a paused function's tasks start again."""
    with connected() as client:
        _tell_function(client.resume_function(name), as_json=as_json)


@function.command("set")
def set_function(
    name: Name,
    rate: Rate = None,
    max_running: Annotated[int | None, typer.Option(help="Tasks that may run at once.")] = None,
    reserve: Reserve = [],  # noqa: B006
    maximum: Maximum = [],  # noqa: B006
    default: Default = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Change a function's limits, at once and for good. --default: rate, max_running, quota, paused."""
    changes = changes_of("functions", {"rate": rate, "max_running": max_running}, reserve, maximum, default)
    with connected() as client:
        _tell_function(client.change_function(name, **changes), as_json=as_json)


@downstream.command("list")
def list_downstreams(as_json: AsJson = False) -> None:
    """List the downstreams with their windows."""
    with connected() as client:
        found = client.downstreams()
    if as_json:
        render.print_json(found)
        return
    rows = [
        (
            one["name"],
            *((window["in_flight"], window["limit"]) if (window := one["window"]) else (None, None)),
            one["ceiling"],
            one["frozen"],
            " ".join(one["functions"]),
        )
        for one in found
    ]
    columns = ("DOWNSTREAM", "IN FLIGHT", "WINDOW", "CEILING", "FROZEN", "FUNCTIONS")
    render.print_table(columns, rows, "No downstreams.")


@downstream.command("show")
def show_downstream(name: Name, as_json: AsJson = False) -> None:
    """Show a downstream's window, and how it became as large."""
    with connected() as client:
        _tell_downstream(client.downstream(name), as_json=as_json)


@downstream.command("set")
def set_downstream(
    name: Name,
    ceiling: Annotated[int | None, typer.Option(help="Never more at once than that.")] = None,
    frozen: Annotated[int | None, typer.Option("--frozen", "--freeze", help="As many at once, always.")] = None,
    default: Default = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Bound or freeze a downstream's window, at once and for good. --default: ceiling, frozen."""
    changes = changes_of("downstreams", {"ceiling": ceiling, "frozen": frozen}, (), (), default)
    with connected() as client:
        _tell_downstream(client.change_downstream(name, **changes), as_json=as_json)


@class_.command("list")
def list_classes(as_json: AsJson = False) -> None:
    """List the priority classes with their weights."""
    with connected() as client:
        found = client.classes()
    if as_json:
        render.print_json(found)
        return
    rows = [
        (one["name"], one["weight"], explain.quota_text(one["quota"]), " ".join(one["set_by_operator"]))
        for one in found
    ]
    render.print_table(("CLASS", "WEIGHT", "QUOTA", "SET BY OPERATOR"), rows, "No classes.")


@class_.command("set")
def set_class(
    priority: Annotated[str, typer.Argument(metavar="CLASS", help="critical, high, normal, low or batch.")],
    weight: Annotated[float | None, typer.Option(help="Its share, relative to the other classes.")] = None,
    reserve: Reserve = [],  # noqa: B006
    maximum: Maximum = [],  # noqa: B006
    default: Default = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Change a class's weight and quota, at once and for good. --default: weight, quota."""
    changes = changes_of("classes", {"weight": weight}, reserve, maximum, default)
    with connected() as client:
        changed = client.change_class(priority, **changes)
    if as_json:
        render.print_json(changed)
    else:
        render.print_facts([("class", changed["name"]), ("weight", changed["weight"]), *explain.quota_facts(changed)])


def changes_of(
    kind: str, said: Mapping[str, object], reserve: Sequence[str], maximum: Sequence[str], default: Sequence[str]
) -> dict[str, Any]:
    """What is to be changed of one of `functions`, `downstreams`, `classes`, `tenants`. Raises RequestError if that is nothing,
    contradicts itself, or is not a setting."""
    changes: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    if reserve or maximum:
        changes["quota"] = {"reserved": _amounts(reserve), "maximum": _amounts(maximum)}
    for name in (each.replace("-", "_") for each in default):
        if name not in (known := settings.names(kind)):
            raise RequestError(f"There is no setting {name!r}: there are {', '.join(known)}.", code="bad_setting")
        if name in changes:
            raise RequestError(f"{name} is set and taken back at once.", code="bad_setting")
        changes[name] = None
    if not changes:
        raise RequestError("Say what is to be changed; --help lists it.", code="bad_setting")
    return changes


def _amounts(pairs: Sequence[str]) -> dict[str, float | str]:
    found: dict[str, float | str] = {}
    for pair in pairs:
        kind, equals, amount = pair.partition("=")
        if not (kind and equals and amount):
            raise RequestError(f"Write KIND=AMOUNT, such as cpus=4 or memory=8GiB, not {pair!r}.", code="bad_setting")
        try:
            found[kind] = float(amount)
        except ValueError:
            found[kind] = amount
    return found


def _tell_function(one: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        render.print_json(one)
        return
    own = ", ".join(one["set_by_operator"])
    render.print_facts(
        [
            ("function", one["name"]),
            ("", one["doc"]),
            ("paused", "yes" if one["paused"] else "no"),
            ("rate", explain.rate_text(one["rate"])),
            ("submit rate", explain.rate_text(one["submit_rate"])),
            ("max running", one["max_running"]),
            *explain.quota_facts(one),
            ("downstream", one["downstream"]),
            ("key", one["key"] and f"{one['key']}, of which {one['key_max_running']} may run at once"),
            ("set by operator", own),
        ]
    )


def _tell_downstream(one: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        render.print_json(one)
        return
    window = one["window"]
    render.print_facts(
        [
            ("downstream", one["name"]),
            ("functions", " ".join(one["functions"])),
            ("ceiling", one["ceiling"]),
            ("frozen", one["frozen"]),
            (
                "window",
                "nothing has called it yet"
                if window is None
                else f"{window['in_flight']} of {window['limit']} in flight",
            ),
        ]
    )
    if window is not None:
        print()
        rows = [(render.local_time(each["at"]), each["limit"], each["why"]) for each in window["changes"]]
        render.print_table(("SINCE", "WINDOW", "WHY"), rows, "")
