"""`submit`, `list`, `show`, `logs`: tasks from the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from taskservice.cli import explain, render
from taskservice.client import Client
from taskservice.client.logs import LogPart
from taskservice.errors import RequestError

TIMEOUT_S = 15.0
LISTED_DEFAULT = 20
ENDED = ("succeeded", "failed", "cancelled", "expired")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
TaskId = Annotated[str, typer.Argument(metavar="ID", help="The task's id.")]

OffPeak = Annotated[
    bool | None,
    typer.Option("--off-peak/--no-off-peak", help="It can wait for off-peak hours or an idle pool; or it cannot."),
]

# What follows the end of a task.
CallbackUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="Told by a signed request when the task has ended.")
]
OnSuccess = Annotated[str | None, typer.Option(metavar="FUNCTION", help="Gets a task when this one has succeeded.")]
OnFailure = Annotated[
    str | None, typer.Option(metavar="FUNCTION", help="Gets a task when this one has failed or expired.")
]

# The filters, of whatever is done to many tasks.
States = Annotated[list[str], typer.Option("--state", help="In this state; may be repeated.")]
Function = Annotated[str | None, typer.Option(help="Of this function.")]
Priority = Annotated[str | None, typer.Option(help="Of this priority.")]
Tag = Annotated[str | None, typer.Option(metavar="NAME=VALUE", help="With this tag.")]
Moment = Annotated[str | None, typer.Option(help="ISO 8601 with a zone, or epoch seconds.")]
Tenant = Annotated[str | None, typer.Option(help="For admins: of this tenant, or * for all.")]

_WRITTEN = "Written then (ISO 8601 with a zone, epoch seconds, or so long ago: 90s, 5m, 1h)"


@contextmanager
def connected() -> Generator[Client]:
    """A client of the service. A person waits: where nothing listens, that is said at once."""
    with Client(timeout_s=TIMEOUT_S, refused_s=0.0) as client:
        yield client


def submit(
    function: Annotated[str, typer.Argument(help="The function's name, such as media.thumbnail.")],
    payload: Annotated[str, typer.Option(help="JSON object, @FILE, or - for stdin.")] = "{}",
    id: Annotated[str | None, typer.Option(help="The task's id; the same id again is the same task.")] = None,
    priority: Annotated[str | None, typer.Option(help="critical, high, normal, low or batch.")] = None,
    delay: Annotated[str | None, typer.Option(help="Not before this has passed: seconds, or 90s, 5m, 1h.")] = None,
    run_at: Annotated[str | None, typer.Option(help="Not before this time: ISO 8601 with a zone.")] = None,
    max_attempts: Annotated[int | None, typer.Option(help="Fewer attempts than the function has.")] = None,
    timeout: Annotated[str | None, typer.Option(help="Less time for each attempt than the function has.")] = None,
    ttl: Annotated[str | None, typer.Option(help="It expires if it has not started by then: 90s, 5m, 1h.")] = None,
    deadline: Annotated[
        str | None, typer.Option(help="When it is to have ended: ISO 8601 with a zone, or from now on 90s, 5m, 1h.")
    ] = None,
    off_peak: OffPeak = None,
    tag: Annotated[list[str], typer.Option(metavar="NAME=VALUE", help="A tag; may be repeated.")] = [],  # noqa: B006
    key: Annotated[str | None, typer.Option(help="What its function's key_max_running counts by.")] = None,
    callback_url: CallbackUrl = None,
    on_success: OnSuccess = None,
    on_failure: OnFailure = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result and print it.")] = False,
    wait_timeout: Annotated[float | None, typer.Option(help="Seconds to wait at most.")] = None,
    as_json: AsJson = False,
) -> None:
    """Submit a task: prints its id, or with --wait its result."""
    with connected() as client:
        task = client.submit(
            function,
            read_payload(payload),
            id=id,
            priority=priority,
            delay=number_or_text(delay),
            run_at=run_at,
            max_attempts=max_attempts,
            timeout=number_or_text(timeout),
            ttl=number_or_text(ttl),
            deadline=number_or_text(deadline),
            off_peak=off_peak,
            tags=read_tags(tag) or None,
            key=key,
            callback_url=callback_url,
            on_success=on_success,
            on_failure=on_failure,
        )
        if wait:
            render.print_json(task.result(wait_timeout))
        elif as_json:
            render.print_json(task.info)
        else:
            print(task.id)


def list_(
    state: States = [],  # noqa: B006
    function: Function = None,
    priority: Priority = None,
    tag: Tag = None,
    created_after: Moment = None,
    created_before: Moment = None,
    tenant: Tenant = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = LISTED_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List tasks, newest first."""
    with connected() as client:
        tasks = client.list(
            state=state,
            function=function,
            priority=priority,
            tag=tag,
            created_after=created_after,
            created_before=created_before,
            tenant=tenant,
            limit=limit,
        )
        found = [task.info for task in tasks]
    if as_json:
        render.print_json(found)
    else:
        render.print_table(render.TASK_COLUMNS, map(render.task_row, found), "No tasks.")


def show(
    id: TaskId,
    with_timeline: Annotated[
        bool, typer.Option("--timeline", help="What it has gone through, also if it has ended.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show all there is to know of a task: why it waits, when it may start, where it runs, how it ended."""
    with connected() as client:
        task = client.get(id)
        unfinished = task.state not in ENDED
        why = task.why() if unfinished else None
        timeline = task.timeline() if unfinished or with_timeline else None
        deliveries = task.deliveries() if "callback_url" in task.info and not unfinished else None
    told = {
        name: value
        for name, value in (("why", why), ("timeline", timeline), ("callbacks", deliveries))
        if value is not None
    }
    if as_json:
        render.print_json({**task.info, **told})
        return
    render.print_task(task.info)
    if why is not None:
        print()
        explain.print_why(why)
    if timeline is not None:
        print()
        explain.print_timeline(timeline)
    if deliveries is not None:
        print()
        explain.print_deliveries(deliveries)


def logs(
    id: TaskId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the task has ended.")] = False,
    since: Annotated[str | None, typer.Option(help=f"{_WRITTEN} or later.")] = None,
    until: Annotated[str | None, typer.Option(help="Written before then, likewise.")] = None,
    attempt: Annotated[int | None, typer.Option(help="Of this attempt; of the latest run, unless --run says.")] = None,
    run: Annotated[int | None, typer.Option(help="Of this run.")] = None,
    tail: Annotated[int | None, typer.Option("--tail", "-n", help="So many lines, the last ones.")] = None,
    timestamps: Annotated[bool, typer.Option("--timestamps", "-t", help="With the time before each line.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print what a task's attempts have written. With --json, an object for each line: when, by which attempt, to which stream."""
    part: LogPart = {"since": since, "until": until, "attempt": attempt, "run": run, "tail": tail}
    with connected() as client:
        if not (follow or as_json or timestamps):
            sys.stdout.write(client.logs(id, **part))
            return
        for line in client.follow_logs(id, **part) if follow else client.log_lines(id, **part):
            if as_json:
                print(json.dumps(asdict(line), ensure_ascii=False), flush=follow)
            else:
                sys.stdout.write(f"{line.at or '-'} {line.text}" if timestamps else line.text)
                if follow:
                    sys.stdout.flush()


def read_payload(text: str) -> dict[str, Any]:
    """The JSON object in the text, in the file that @ names, or on stdin. Raises RequestError."""
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        value = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(f"The payload cannot be read as JSON: {error}", code="bad_payload") from error
    if not isinstance(value, dict):
        raise RequestError("The payload has to be a JSON object: the handler's parameters.", code="bad_payload")
    return value


def read_tags(pairs: Sequence[str]) -> dict[str, str]:
    tags = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    if len(tags) < len(pairs):
        raise RequestError("Write each tag as NAME=VALUE, and no name twice.", code="bad_tag")
    return tags


def number_or_text(duration: str | None) -> float | str | None:
    """A plain number means seconds, and travels as one."""
    try:
        return None if duration is None else float(duration)
    except ValueError:
        return duration
