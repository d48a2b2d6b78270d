"""Tasks' logs, wherever they are: bundles in the state directory, and on nodes what is not stored yet and the pages of what runs.

A log that is nowhere is said to be lost, in its place; never shown as if nothing had been written.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from taskservice.core.types import RunnerId, Task, TaskNo, TenantId, Token
from taskservice.errors import BackOffError
from taskservice.gateway.logs import LivePart
from taskservice.logs.bundle import BundleDamaged, read_bundle
from taskservice.logs.chosen import AttemptLog, Wanted, remark
from taskservice.logs.pieces import Piece, Written
from taskservice.logs.places import Place, first_day_kept, parse_place
from taskservice.logs.stored import read_stored
from taskservice.objects import NoSuchObject, ObjectStore, StoreError
from taskservice.runtime.page import READ_BYTES_MAX, Page, read_from
from taskservice.runtime.spool import page_of
from taskservice.runtime.spool_owner import waiting_for

LOST = "the log of this attempt was lost with its machine, which had not stored it yet"
POLL_S = 0.2
"""Between two looks at a page that is followed."""
NO_PAGE_S = 1.0
"""How long it is waited for a page: the attempt may be over."""

_encode = msgspec.msgpack.encode
_decode_pieces = msgspec.msgpack.Decoder(list[Piece] | None).decode
_decode_part = msgspec.msgpack.Decoder(LivePart).decode

Answers = Mapping[RunnerId, bytes | str]
"""What runners answered, or why they could not be asked."""


def session_of(runner: RunnerId) -> str:
    """The session in whose name a runner stores logs."""
    return runner.rpartition(":")[2]


class Nodes(Protocol):
    """The way to what is on nodes."""

    def waiting(self, place: Place, no: TaskNo, /) -> list[Piece] | str | None:
        """What a task has in that bundle, which is not stored yet; or why that cannot be told; None: it does not wait. Blocks."""

    async def part(self, runner: RunnerId, no: TaskNo, token: Token, at: int, wait_s: float, /) -> LivePart:
        """See `LogReader.live`. Raises BackOffError if its node cannot be asked."""


class TaskLogs:
    """The logs of a service (`LogReader`)."""

    def __init__(
        self,
        open_store: Callable[[], ObjectStore],
        nodes: Nodes,
        keep_s: float,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """The store is opened when the first log is read. `keep_s`: how long logs are kept; 0: for ever."""
        self._open_store = open_store
        self._nodes = nodes
        self._keep_s = keep_s
        self._now_ms = now_ms
        self._store: ObjectStore | None = None

    def stored(self, task: Task, wanted: Wanted) -> list[AttemptLog]:
        """See `LogReader`; so for those that follow."""
        return read_stored(task, partial(self._fetch, task.tenant, task.no), wanted)

    async def running(self, task: Task, runner: RunnerId | None) -> AttemptLog | None:
        if runner is None or task.token is None:
            return None
        written: list[Written] = []
        at = 0
        try:
            while (part := await self._nodes.part(runner, task.no, task.token, at, 0.0)).written:
                written += part.written
                at = part.at
        except BackOffError as error:
            written.append(remark(f"what its machine has of this log cannot be read now: {error}"))
        return AttemptLog(task.run, task.attempt, task.token, tuple(written)) if written else None

    async def live(self, task: Task, runner: RunnerId | None, at: int, wait_s: float) -> LivePart:
        if runner is None or task.token is None:
            return LivePart((), at, there=False)
        try:
            return await self._nodes.part(runner, task.no, task.token, at, wait_s)
        except BackOffError:
            return LivePart((), at, there=False)  # it is asked again

    def _fetch(self, tenant: TenantId, no: TaskNo, place: Place) -> list[Piece] | str:
        """See `stored.Fetch`. Raises BackOffError while the store is away."""
        for _ in range(2):
            try:
                return read_bundle(partial(self._objects().get, place.key), tenant, no)
            except NoSuchObject:
                pass
            except StoreError as error:
                message = f"logs cannot be read now: {error}"
                raise BackOffError(message, retry_after_s=2.0, code="logs_away") from error
            except BundleDamaged as error:
                return f"{place.key} cannot be read: {error}"
            there = self._nodes.waiting(place, no)
            if isinstance(there, str):
                return there
            if there is not None:
                return [piece for piece in there if piece.tenant == tenant]
            # Between the two looks it may have been stored.
        date = f"{place.day[:4]}-{place.day[4:6]}-{place.day[6:]}"
        if self._keep_s and date < first_day_kept(self._now_ms(), self._keep_s):
            return f"this log was removed: logs are kept for {self._keep_s / 86_400:g} days (logs_keep_s)"
        return LOST

    def _objects(self) -> ObjectStore:
        if self._store is None:
            self._store = self._open_store()
        return self._store


class LocalNodes:
    """What is on this machine (`Nodes`)."""

    def __init__(self, root: Path) -> None:
        """`root`: with a folder for each session."""
        self._root = root

    def has(self, session: str) -> bool:
        """Whether that session is, or was, of this machine."""
        return (self._root / session).is_dir()

    def waiting(self, place: Place, no: TaskNo) -> list[Piece] | None:
        """See `Nodes`."""
        return waiting_for(self._root, place, no)

    async def part(self, runner: RunnerId, no: TaskNo, token: Token, at: int, wait_s: float) -> LivePart:
        """See `Nodes`."""
        return await watch_page(self._root / session_of(runner), no, token, at, wait_s)


class ClusterNodes:
    """What is on this machine and on others (`Nodes`): runners of others are asked."""

    def __init__(
        self,
        here: LocalNodes,
        ask: Callable[[Callable[[RunnerId], bool], str, str, int], Answers],
        follow: Callable[[RunnerId, int, int, int, int, float], Awaitable[bytes]],
    ) -> None:
        """`ask`: has certain runners call `read_waiting`; blocks. `follow`: has one call `watch_log`."""
        self._here = here
        self._ask = ask
        self._follow = follow

    def waiting(self, place: Place, no: TaskNo) -> list[Piece] | str | None:
        """See `Nodes`."""
        if self._here.has(place.session):
            return self._here.waiting(place, no)
        answers = self._ask(lambda runner: session_of(runner) == place.session, "read_waiting", str(place), no)
        for runner, answer in answers.items():
            if isinstance(answer, str):
                return f"what {runner} has of this log cannot be read now: {answer}"
            pieces: list[Piece] | None = _decode_pieces(answer)
            return pieces
        return None

    async def part(self, runner: RunnerId, no: TaskNo, token: Token, at: int, wait_s: float) -> LivePart:
        """See `Nodes`."""
        if self._here.has(session_of(runner)):
            return await self._here.part(runner, no, token, at, wait_s)
        return _decode_part(await self._follow(runner, no, *token, at, wait_s))


def read_waiting(root: Path, place: str, no: TaskNo) -> bytes:
    """What of that bundle waits on this node, for `ClusterNodes`."""
    parsed = parse_place(place)
    return _encode(None if parsed is None else waiting_for(root, parsed, no))


async def watch_log(folder: Path, no: TaskNo, token: Token, at: int, wait_s: float) -> bytes:
    """What comes on a page of this node's session, for `ClusterNodes`."""
    return _encode(await watch_page(folder, no, token, at, wait_s))


async def watch_page(folder: Path, no: TaskNo, token: Token, at: int, wait_s: float) -> LivePart:
    """What comes on the page from there on, as soon as there is something; see `LogReader.live`."""
    path = page_of(folder, no, token)
    end_s = time.monotonic() + wait_s
    no_page_s = time.monotonic() + min(wait_s, NO_PAGE_S)
    while True:
        page = await asyncio.to_thread(_read, path, at)
        if page is not None and page.written:
            return LivePart(page.written, page.at, there=True)
        if (page is None and at) or time.monotonic() >= (no_page_s if page is None else end_s):
            return LivePart((), at, there=page is not None)
        await asyncio.sleep(POLL_S)


def _read(path: Path, at: int) -> Page | None:
    try:
        if at and path.stat().st_size <= at:
            return Page((), at)
        return read_from(path, at, READ_BYTES_MAX)
    except OSError:
        return None
