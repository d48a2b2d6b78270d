"""`journal`: look at the log that holds the state, beside a running service or without one, and copy it.

Nothing here but `copy` writes anything, and that writes only to where there was nothing.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TextColumn

from taskservice.cli import render
from taskservice.cli.journal_view import show_stats, show_verified
from taskservice.cli.tasks import AsJson
from taskservice.cli.up import ConfigFile
from taskservice.config import load_settings
from taskservice.core.types import TaskId, TenantId
from taskservice.errors import NotFoundError, RequestError, TaskServiceError, UnreachableError
from taskservice.journal import JournalCorrupt, JournalError, Position
from taskservice.journal.copy import copy, place_at
from taskservice.journal.dump import Wanted, accepted_before, as_line, entries, story_lines
from taskservice.journal.folding import Progress, quiet
from taskservice.journal.reader import Reader, open_reader
from taskservice.journal.stats import stats
from taskservice.journal.verify import Verified, verify
from taskservice.objects import StoreError, StoreUnavailable
from taskservice.objects.location import open_objects

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
    place = _place(state_dir, config)
    with _errors(), _progress() as progress:
        try:
            with open_reader(place) as reader:
                found = verify(reader, deep=deep, progress=progress)
        except JournalCorrupt as error:
            found = Verified(place, deep=deep, damage=[str(error)])
    if as_json:
        render.print_json(msgspec.to_builtins(found))
    else:
        show_verified(found)
    if found.damage:
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
    first, last = _position(begin) or (0, 0), _position(end)
    with _errors(), open_reader(_place(state_dir, config)) as reader:
        wanted = Wanted(TenantId(tenant) if tenant else None, TaskId(task) if task else None)
        if task is not None and not _is_accepted(reader, wanted):
            earlier = accepted_before(reader, TaskId(task), wanted.tenant)
            if not earlier:
                raise NotFoundError(f"Nothing that is kept speaks of a task {task}.", code="no_such_task")
            for each in earlier:
                _say(f"{task} of {each.tenant} was accepted before {reader.start.epoch}/{reader.start.number}.")
            wanted = Wanted(wanted.tenant, wanted.task, [each.no for each in earlier])
        after = reader.start
        if wanted.all and first > (after.epoch, after.number):
            after = Position(first[0], first[1] - 1)
        for entry in entries(reader.follow(after, _gap), wanted, first, last):
            if not story:
                print(as_line(entry, payload_bytes))
                continue
            for line in story_lines(entry, wanted.nos):
                print(json.dumps({"epoch": entry.epoch, "segment": entry.segment, "line": line}) if as_json else line)
        if wanted.strangers and task is None:
            _say(f"Left out: {wanted.strangers} mentions of tasks whose acceptance is not kept any more.")


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
    with _errors(), _progress() as progress, open_reader(_place(state_dir, config)) as reader:
        found = stats(reader, now_ms(), tasks=tasks, progress=progress)
    if as_json:
        render.print_json({**msgspec.to_builtins(found), "compression": found.compression})
    else:
        show_stats(found)


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
    place, target = _place(source, None), _place(target, None)
    with _errors(), _progress() as progress, open_reader(place) as reader:
        if at_ms is not None:
            last = place_at(reader, at_ms)
        store = open_objects(target)
        writer, local = f"{socket.gethostname()} {os.getpid()}", not target.startswith("s3:")
        try:
            made = copy(reader, store, local=local, writer=writer, now_ms=now_ms(), upto=last, progress=progress)
        finally:
            store.close()
    if as_json:
        render.print_json({**made._asdict(), "url": target})
        return
    render.print_facts(
        [
            ("copied", f"{place} to {target}"),
            ("up to", f"{made.epoch}/{made.segment}"),
            ("segments", made.segments),
            ("checkpoints", " ".join(made.checkpoints) or "none"),
            ("other objects", made.objects),
            ("left out", "\n".join(made.left_out)),
            ("next", f"taskservice journal verify --state-dir {target}"),
        ]
    )


def _is_accepted(reader: Reader, wanted: Wanted) -> bool:
    """Whether the segments speak of the acceptance of the task that is wanted."""
    looked = Wanted(wanted.tenant, wanted.task)
    return any(looked.nos for _ in entries(reader.follow(reader.start, lambda _: None), looked, (0, 0), None))


def _place(state_dir: str | None, config: Path | None) -> str:
    """Where the state is, as the service would understand it. Raises RequestError."""
    return load_settings(state_dir=state_dir, config=config).state_dir


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


def now_ms() -> int:
    """The time, in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def _say(text: str) -> None:
    """Beside what is printed for programs."""
    render.console(stderr=True).print(text, style="yellow", markup=False)


def _gap(start: tuple[int, int]) -> None:
    _say(
        f"Segments up to {start[0]}/{start[1]} were removed meanwhile: a checkpoint covers them. It goes on after them."
    )


@contextmanager
def _errors() -> Generator[None]:
    """What cannot be read is said in words."""
    try:
        yield
    except StoreUnavailable as error:
        raise UnreachableError(str(error), code="store_unavailable") from error
    except (StoreError, JournalError) as error:
        raise TaskServiceError(str(error), code="journal") from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise TaskServiceError(f"{error.filename or 'The disk'}: {error.strerror}", code="journal") from error
    except ValueError as error:
        raise RequestError(str(error), code="bad_request") from error


@contextmanager
def _progress() -> Generator[Progress]:
    """Something moves on the terminal while nothing is to be printed yet."""
    if not sys.stderr.isatty():
        yield quiet
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,}"))
    with Bars(*columns, console=render.console(stderr=True), transient=True) as bars:
        known = {}

        def show(what: str, done: int, of: int) -> None:
            if what not in known:
                known[what] = bars.add_task(what, total=of or None)
            bars.update(known[what], completed=done)

        yield show
