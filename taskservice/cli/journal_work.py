"""The work of the commands of `journal`. Apart from them, for what reads a journal takes a tenth of a second to import."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec
from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TextColumn

from taskservice.cli import render
from taskservice.cli.journal_view import show_stats, show_story, show_verified
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


def verify_log(place: str, *, deep: bool, as_json: bool) -> bool:
    """What is kept at the place has been read and reported on; gives whether it is whole."""
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
    return not found.damage


class Wish(NamedTuple):
    """Which records are to be printed, and how."""

    first: tuple[int, int]
    last: tuple[int, int] | None
    task: str | None
    tenant: str | None
    story: bool
    payload_bytes: int
    as_json: bool


def dump_log(place: str, wish: Wish) -> None:
    """The records that are wished for are printed."""
    with _errors(), open_reader(place) as reader:
        wanted = _wanted(reader, wish)
        after = reader.start
        if wanted.all and wish.first > (after.epoch, after.number):
            after = Position(wish.first[0], wish.first[1] - 1)
        for entry in entries(reader.follow(after, _gap), wanted, wish.first, wish.last):
            if not wish.story:
                print(as_line(entry, wish.payload_bytes))
                continue
            for line in story_lines(entry, wanted.leaves):
                if wish.as_json:
                    named = {"epoch": entry.epoch, "segment": entry.segment, "line": line}
                    print(json.dumps(named, ensure_ascii=False))
                else:
                    show_story(f"{entry.epoch}/{entry.segment}", line)
        if wanted.strangers and wish.task is None:
            _say(f"Left out: {wanted.strangers} mentions of tasks whose acceptance is not kept any more.")


def _wanted(reader: Reader, wish: Wish) -> Wanted:
    """What to look for. Raises NotFoundError if nothing that is kept speaks of the task."""
    tenant, task = TenantId(wish.tenant) if wish.tenant else None, TaskId(wish.task) if wish.task else None
    if task is None or _is_accepted(reader, Wanted(tenant, task)):
        return Wanted(tenant, task)
    earlier = accepted_before(reader, task, tenant)
    if not earlier:
        raise NotFoundError(f"Nothing that is kept speaks of a task {task}.", code="no_such_task")
    for each in earlier:
        _say(f"{task} of {each.tenant} was accepted before {reader.start.epoch}/{reader.start.number}.")
    return Wanted(tenant, task, earlier)


def _is_accepted(reader: Reader, wanted: Wanted) -> bool:
    """Whether the segments speak of the acceptance of the task that is wanted."""
    return any(wanted.leaves for _ in entries(reader.follow(reader.start, lambda _: None), wanted, (0, 0), None))


def show_log(place: str, *, tasks: bool | None, as_json: bool) -> None:
    """The numbers of the log are shown."""
    with _errors(), _progress() as progress, open_reader(place) as reader:
        found = stats(reader, now_ms(), tasks=tasks, progress=progress)
    if as_json:
        render.print_json({**msgspec.to_builtins(found), "compression": found.compression})
    else:
        show_stats(found)


def copy_log(source: str, target: str, *, last: tuple[int, int] | None, at_ms: int | None, as_json: bool) -> None:
    """The log is at `target` too: up to segment `last`, or to the last one of that time, or whole."""
    with _errors(), _progress() as progress, open_reader(source) as reader:
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
            ("copied", f"{source} to {target}"),
            ("up to", f"{made.epoch}/{made.segment}"),
            ("segments", made.segments),
            ("checkpoints", " ".join(made.checkpoints) or "none"),
            ("other objects", made.objects),
            ("left out", "\n".join(made.left_out)),
            ("next", f"taskservice journal verify --state-dir {shlex.quote(target)}"),
        ]
    )


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
