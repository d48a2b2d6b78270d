"""`schedule`: tasks that are made again and again, from the command line."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from taskservice.cli import render
from taskservice.cli.tasks import (
    AsJson,
    CallbackUrl,
    OffPeak,
    OnFailure,
    OnSuccess,
    Tenant,
    connected,
    number_or_text,
    read_payload,
    read_tags,
)
from taskservice.client.schedules import ScheduleOptions

schedule = typer.Typer(help="Schedules: tasks that are made again and again.", no_args_is_help=True)

ScheduleId = Annotated[str, typer.Argument(metavar="ID", help="The schedule's id.")]


@schedule.command("add")
def add(
    function: Annotated[str, typer.Argument(help="The function's name, such as media.thumbnail.")],
    cron: Annotated[str | None, typer.Option(help="Minute, hour, day, month, weekday: '30 2 * * MON-FRI'.")] = None,
    zone: Annotated[str | None, typer.Option(help="Time zone of --cron, such as Europe/Berlin; else UTC.")] = None,
    interval: Annotated[
        str | None, typer.Option("--interval", "--every", help="In place of --cron: seconds, or 90s, 5m, 1h.")
    ] = None,
    anchor: Annotated[str | None, typer.Option(help="A time that intervals are counted from.")] = None,
    payload: Annotated[str, typer.Option(help="JSON object, @FILE, or - for stdin.")] = "{}",
    id: Annotated[str | None, typer.Option(help="The schedule's id; one is made if none is given.")] = None,
    overlap: Annotated[
        str | None, typer.Option(help="If the last task has not ended: allow (as by default), skip or queue_one.")
    ] = None,
    catch_up: Annotated[
        str | None, typer.Option(help="What passed during an outage: skip, one (as by default) or all.")
    ] = None,
    jitter: Annotated[str | None, typer.Option(help="Later by up to so much each time: seconds, or 90s, 5m.")] = None,
    starts_at: Annotated[str | None, typer.Option(help="Not before this time: ISO 8601 with a zone.")] = None,
    ends_at: Annotated[str | None, typer.Option(help="Not at this time or after it: ISO 8601 with a zone.")] = None,
    paused: Annotated[bool, typer.Option("--paused", help="To be resumed before it makes its first task.")] = False,
    priority: Annotated[str | None, typer.Option(help="critical, high, normal, low or batch.")] = None,
    max_attempts: Annotated[int | None, typer.Option(help="Fewer attempts than the function has.")] = None,
    timeout: Annotated[str | None, typer.Option(help="Less time for each attempt than the function has.")] = None,
    ttl: Annotated[str | None, typer.Option(help="A task expires if it has not started by then: 90s, 5m, 1h.")] = None,
    deadline: Annotated[str | None, typer.Option(help="When a task is to have ended, from its making: 1h.")] = None,
    off_peak: OffPeak = None,
    callback_url: CallbackUrl = None,
    on_success: OnSuccess = None,
    on_failure: OnFailure = None,
    tag: Annotated[list[str], typer.Option(metavar="NAME=VALUE", help="A tag; may be repeated.")] = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Make a schedule: prints its id and when it fires next."""
    options: ScheduleOptions = {
        "cron": cron,
        "zone": zone,
        "interval": number_or_text(interval),
        "anchor": anchor,
        "overlap": overlap,
        "catch_up": catch_up,
        "jitter": number_or_text(jitter),
        "starts_at": starts_at,
        "ends_at": ends_at,
        "paused": paused,
        "priority": priority,
        "max_attempts": max_attempts,
        "timeout": number_or_text(timeout),
        "ttl": number_or_text(ttl),
        "deadline": number_or_text(deadline),
        "off_peak": off_peak,
        "callback_url": callback_url,
        "on_success": on_success,
        "on_failure": on_failure,
        "tags": read_tags(tag) or None,
    }
    with connected() as client:
        made = client.create_schedule(function, read_payload(payload), id=id, **options)
    _tell(made, as_json=as_json)


@schedule.command("list")
def list_(tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the schedules, by id."""
    with connected() as client:
        found = list(client.schedules(tenant=tenant))
    if as_json:
        render.print_json(found)
        return
    rows = [
        (
            one["id"],
            one["function"],
            _times(one),
            _next(one),
            None if one["last"] is None else render.local_time(one["last"]["scheduled_at"]),
            one["fired"],
            sum(one["skipped"].values()),
            "-" if one["error"] is None else one["error"]["reason"],
        )
        for one in found
    ]
    render.print_table(("ID", "FUNCTION", "TIMES", "NEXT", "LAST", "FIRED", "SKIPPED", "ERROR"), rows, "No schedules.")


@schedule.command("show")
def show(
    id: ScheduleId,
    next: Annotated[int | None, typer.Option(help="So many of the next times.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show all there is to know of a schedule: its next times, what came of the last ones, and why if nothing did."""
    with connected() as client:
        found = client.get_schedule(id, next=next)
    if as_json:
        render.print_json(found)
    else:
        _print_schedule(found)


@schedule.command("pause")
def pause(id: ScheduleId, as_json: AsJson = False) -> None:
    """Pause a schedule: it makes no tasks until it is resumed."""
    with connected() as client:
        _tell(client.pause_schedule(id), as_json=as_json)


@schedule.command("resume")
def resume(id: ScheduleId, as_json: AsJson = False) -> None:
    """Let a paused schedule go on with its next time."""
    with connected() as client:
        _tell(client.resume_schedule(id), as_json=as_json)


@schedule.command("remove")
def remove(id: ScheduleId, as_json: AsJson = False) -> None:
    """Remove a schedule. The tasks that it made go on."""
    with connected() as client:
        gone = client.remove_schedule(id)
    if as_json:
        render.print_json(gone)
    else:
        render.print_line(f"{gone['id']} is removed.")


def _tell(one: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        render.print_json(one)
    else:
        render.print_line(f"{one['id']} fires next: {_next(one)}")


def _times(one: dict[str, Any]) -> str:
    if one["cron"] is None:
        return f"every {one['interval_s']:g} s"
    return f"{one['cron']} ({one['zone']})"


def _next(one: dict[str, Any]) -> str:
    if one["paused"]:
        return "paused"
    return render.local_time(one["next_at"][0]) if one["next_at"] else "never"


def _print_schedule(one: dict[str, Any]) -> None:
    last, error = one["last"], one["error"]
    render.print_facts(
        [
            ("id", one["id"]),
            ("function", one["function"]),
            ("tenant", one["tenant"]),
            ("times", _times(one)),
            ("anchor", _moment(one["anchor"])),
            ("starts", _moment(one["starts_at"])),
            ("ends", _moment(one["ends_at"])),
            ("overlap", one["overlap"]),
            ("catch-up", one["catch_up"]),
            ("jitter", f"{one['jitter_s']:g} s" if one["jitter_s"] else None),
            ("priority", one["priority"]),
            ("attempts", one["max_attempts"]),
            ("timeout", f"{one['timeout_s']:g} s" if one["timeout_s"] else None),
            ("ttl", f"{one['ttl_s']:g} s" if one["ttl_s"] else None),
            ("deadline", f"{one['deadline_s']:g} s" if one["deadline_s"] else None),
            ("off-peak", {True: "yes", False: "no", None: None}[one["off_peak"]]),
            ("callback", one["callback_url"]),
            ("on success", one["on_success"]),
            ("on failure", one["on_failure"]),
            ("tags", one["tags"]),
            ("created", render.local_time(one["created_at"])),
            ("next", "\n".join(map(render.local_time, one["next_at"])) or _next(one)),
            ("last", None if last is None else f"{last['task']}, at {render.local_time(last['fired_at'])}"),
            ("fired", one["fired"]),
            ("skipped", ", ".join(f"{count} {why}" for why, count in one["skipped"].items() if count)),
            ("waiting since", _moment(one["waiting_since"])),
            ("tried again", _moment(one["retry_at"])),
            ("last error", None if error is None else f"{error['reason']}: {error['message']}"),
            ("payload", render.json_text(one, "payload")),
        ]
    )


def _moment(moment: str | None) -> str | None:
    return None if moment is None else render.local_time(moment)
