"""`journal`: look at the log that holds the state, beside a running service or without one, and copy it.

Nothing here but `copy` writes anything, and that writes only to where there was nothing.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from taskservice.cli import daemon
from taskservice.cli.tasks import AsJson
from taskservice.cli.up import ConfigFile
from taskservice.config import load_settings
from taskservice.errors import RequestError

journal = typer.Typer(
    help="The journal, which is the truth about all tasks: look at it, copy it.", no_args_is_help=True
)

StateDir = Annotated[
    str | None, typer.Option(help="Local directory, or s3://bucket/prefix; the service's own if not given.")
]
PAYLOAD_BYTES = 200
_PLACE = re.compile(r"([0-9]+)/([0-9]+)")


@journal.command("verify")
def verify_(
    state_dir: StateDir = None,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Also make the newer checkpoint from the older one and the segments, and compare. "
            "Takes room for two tables in the folder for temporary files (TMPDIR).",
        ),
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Read all that is kept, and say whether it is whole. Exit code 1 if it is not."""
    if not _work().verify_log(_place(state_dir, config), deep=deep, as_json=as_json):
        raise typer.Exit(1)


@journal.command("dump")
def dump(
    state_dir: StateDir = None,
    begin: Annotated[str | None, typer.Option("--from", metavar="EPOCH/SEGMENT", help="From this segment on.")] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="EPOCH/SEGMENT", help="Up to this segment.")] = None,
    task: Annotated[str | None, typer.Option(metavar="ID", help="Only what is said of this task.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only what is said of this tenant and its tasks.")] = None,
    story: Annotated[bool, typer.Option("--story", help="With --task: its life in plain words.")] = False,
    payload_bytes: Annotated[int, typer.Option(min=0, help="Of payloads and results that are shown.")] = PAYLOAD_BYTES,
    config: ConfigFile = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, an object on each line; that is so unless --story is given.")
    ] = False,
) -> None:
    """Print the records, one on each line, in their order: what is kept since the older of the two checkpoints."""
    if story and task is None:
        raise RequestError("--story tells of one task: give --task ID.", code="bad_request")
    work, place = _work(), _place(state_dir, config)
    first, last = _position(begin) or (0, 0), _position(end)
    work.dump_log(place, work.Wish(first, last, task, tenant, story, payload_bytes, as_json))


@journal.command("stats")
def stats_(
    state_dir: StateDir = None,
    tasks: Annotated[
        bool | None,
        typer.Option(
            "--tasks/--no-tasks", help="Fetch the newest checkpoint to count tasks. [default: if it is below 1 GiB]"
        ),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what the journal consists of: epochs, segments, records, checkpoints, and what nobody needs any more."""
    _work().show_log(_place(state_dir, config), tasks=tasks, as_json=as_json)


@journal.command("copy")
def copy_(
    source: Annotated[str, typer.Argument(metavar="FROM", help="Local directory, or s3://bucket/prefix.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="Where the copy is to be: a place that is empty.")],
    upto: Annotated[str | None, typer.Option(metavar="EPOCH/SEGMENT", help="Only up to this segment.")] = None,
    upto_time: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only up to this time: ISO 8601 with a zone.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Copy the state to an empty place, whole or as it was earlier: to keep it, to move it, to restore it."""
    if upto and upto_time:
        raise RequestError("Give --upto or --upto-time, not both.", code="bad_request")
    last, at_ms = _position(upto), _time_ms(upto_time)
    _work().copy_log(_place(source, None), _place(target, None), last=last, at_ms=at_ms, as_json=as_json)


def _work() -> Any:
    """What does it: a module that takes a tenth of a second to import."""
    from taskservice.cli import journal_work  # noqa: PLC0415

    return journal_work


def _place(state_dir: str | None, config: Path | None) -> str:
    """Where the state is, as the service would understand it. Raises RequestError."""
    return daemon.state_in_use(load_settings(state_dir=state_dir, config=config)).state_dir


def _position(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = _PLACE.fullmatch(text)
    if match is None:
        raise RequestError(f"{text!r}: write EPOCH/SEGMENT, such as 3/41.", code="bad_position")
    return int(match[1]), int(match[2])


def _time_ms(text: str | None) -> int | None:
    try:
        moment = None if text is None else datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min  # noqa: DTZ901 - it has no zone, and is refused for that
    if moment is not None and moment.tzinfo is None:
        raise RequestError(f"{text!r}: write a time with its zone, such as 2026-11-23T10:00:00+01:00.", code="bad_time")
    return None if moment is None else round(moment.timestamp() * 1000)
