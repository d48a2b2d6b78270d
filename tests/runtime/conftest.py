"""Leases with real child processes: `run` makes one and checks what every lease must keep."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import msgspec
import psutil
import pytest

from helpers.large import values_of
from helpers.unreliable_objects import UnreliableObjects
from taskservice.core.lease_wire import LeaseReport, LeaseSpec, LeaseTask, Outcome
from taskservice.core.orders import Order, OrderKind
from taskservice.core.specs import Bundle, Resources
from taskservice.core.types import FunctionName, OutcomeKind, TaskId, TaskNo, TenantId, Token
from taskservice.logs.pieces import SERVICE, Piece, Written, decode_piece
from taskservice.runtime.memory import OomKills
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.pool import ChildPool
from taskservice.runtime.spool_owner import new_spool
from taskservice.runtime.supervisor import run_lease
from taskservice.values import Values

APPS = Path(__file__).parent / "apps"
NOW_MS = 1_796_000_000_000


@dataclass
class Recorder:
    """A `ReportPort` that refuses what a runner must never get."""

    tasks: set[int]
    stop_after_s: float | None = None
    began_s: float = field(default_factory=monotonic)
    reports: list[tuple[float, LeaseReport]] = field(default_factory=list)
    """With the seconds since the lease began."""
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    handed_back: list[int] = field(default_factory=list)
    checkpoints: dict[int, bytes] = field(default_factory=dict)
    """The last one of each task, as the core would have it."""
    done: bool = False
    order_after_s: float | None = None
    """When the lease is told to stop for others, and how long it has."""
    grace_ms: int = 0
    order_nos: tuple[int, ...] = ()
    """Only these, for they are to be cancelled."""

    def send(self, report: LeaseReport) -> None:
        assert not self.done, "a report after the last"
        msgspec.msgpack.encode(report)
        self.reports.append((monotonic() - self.began_s, report))
        for no, text in report.checkpoints:
            assert no in self.tasks, "a checkpoint of no task of the lease, or after its outcome"
            self.checkpoints[no] = text
        for outcome in report.outcomes:
            assert outcome.no in self.tasks, "an outcome of no task of the lease, or a second one"
            self.tasks.remove(outcome.no)
            self.outcomes[outcome.no] = outcome
        for no in report.handed_back:
            assert no in self.tasks, "handed back, but no task of the lease, or reported already"
            self.tasks.remove(no)
            self.handed_back.append(no)
        self.done = report.done

    def stop_asked(self) -> bool:
        return self.stop_after_s is not None and monotonic() - self.began_s > self.stop_after_s

    def listen(self, token: Token) -> None:
        """Nothing can be read here: what is ordered is found by asking."""

    def orders(self) -> list[Order]:
        if self.order_after_s is None or monotonic() - self.began_s < self.order_after_s:
            return []
        self.order_after_s = None
        kind = OrderKind.CANCEL if self.order_nos else OrderKind.PREEMPT
        return [Order(Token(1, 1), kind, self.grace_ms, nos=tuple(map(TaskNo, self.order_nos)))]

    @property
    def kinds(self) -> list[OutcomeKind]:
        """Of the tasks that ended, by their numbers."""
        return [outcome.kind for _, outcome in sorted(self.outcomes.items())]

    def results(self) -> list[object]:
        """Of the tasks that ended, by their numbers; all must have succeeded."""
        assert set(self.kinds) <= {OutcomeKind.SUCCEEDED}, self.outcomes
        return [msgspec.json.decode(outcome.result) for _, outcome in sorted(self.outcomes.items())]

    def first_s(self, no: int) -> float:
        """When the task's outcome came."""
        return next(at_s for at_s, report in self.reports if no in {outcome.no for outcome in report.outcomes})


class Node:
    """A worker process's pool, and leases run on it."""

    def __init__(self, folder: Path, pool: ChildPool | None = None, **options: object) -> None:
        root = folder / "logs"
        self.spool = new_spool(root, f"s{len(list(root.glob('*')))}", NOW_MS)
        self.options = msgspec.structs.replace(RuntimeOptions(str(self.spool.folder)), **options)
        self.pool = pool or quiet_pool(self.options)
        self.objects = UnreliableObjects()
        """Where large payloads and results are."""
        self.values: Values | None = None
        """The way to them, if it is another one."""

    def run(
        self,
        function: str,
        payloads: list[object],
        *,
        module: str = "sample",
        attribute: str = "app",
        path: Path = APPS,
        tenant: str = "acme",
        is_async: bool = False,
        concurrency: int = 10,
        slice_ms: int = 60_000,
        timeout_ms: int = 30_000,
        ids: list[str] | None = None,
        stop_after_s: float | None = None,
        memory_bytes: int = 0,
        order_after_s: float | None = None,
        grace_ms: int = 0,
        order_nos: tuple[int, ...] = (),
        timeout_grace_ms: int = 0,
        checkpoint: bytes = b"",
        cpu_m: int = 1000,
        secrets: tuple[str, ...] = (),
        bundle: Bundle | None = None,
    ) -> Recorder:
        """The lease is over; each of its tasks was reported once, `done` once and last (unless it was to stop)."""
        tasks = tuple(
            LeaseTask(TaskNo(no), TaskId(id), encoded(payload), 1, 1, timeout_ms, (("colour", "red"),), checkpoint)
            for no, (id, payload) in enumerate(
                zip(ids or [f"t{no}" for no in range(1, len(payloads) + 1)], payloads, strict=True), 1
            )
        )
        name = FunctionName(function if "." in function else f"{module}.{function}")
        needs = Resources(cpu_m, memory_bytes=memory_bytes)
        spec = LeaseSpec(
            Token(1, 1),
            TenantId(tenant),
            name,
            bundle or Bundle(module, attribute, str(path)),
            needs,
            is_async,
            concurrency,
            slice_ms,
            tasks,
            timeout_grace_ms,
            secrets=secrets,
        )
        port = Recorder(
            {task.no for task in tasks},
            stop_after_s,
            order_after_s=order_after_s,
            grace_ms=grace_ms,
            order_nos=order_nos,
        )
        run_lease(spec, port, self.options, self.pool, self.values or values_of(self.objects))
        if stop_after_s is None:
            assert port.done
            assert not port.tasks, "never reported"
        return port

    def pieces(self, id: str = "t1") -> list[Piece]:
        """What waits to be stored of the task's log, in order."""
        found = [decode_piece(each.body) for place in self.spool.places() for each in self.spool.read(place)]
        return [piece for piece in found if piece.id == id]

    def written(self, id: str = "t1") -> list[Written]:
        """All that the task has logged."""
        pieces = self.pieces(id)
        parts = [
            piece
            for at, piece in enumerate(pieces)
            if not any(later.whole and later.part for later in pieces[at + 1 :])
        ]
        return [each for piece in parts for each in piece.written]

    def log(self, id: str = "t1", *, remarks: bool = False) -> str:
        """The same as text; with what the service had to say in it, if `remarks`."""
        said = (each.text for each in self.written(id) if remarks or each.stream != SERVICE)
        return b"".join(said).decode(errors="replace")


def encoded(payload: object) -> bytes:
    return payload if isinstance(payload, bytes) else msgspec.json.encode(payload)


def quiet_pool(options: RuntimeOptions) -> ChildPool:
    """A pool that does not hear of the kernel's kills: those of the whole machine count, and another test may be the cause."""
    pool = ChildPool(options)
    pool.oom_kills = OomKills([os.devnull])
    return pool


@contextmanager
def nothing_left() -> Iterator[None]:
    """What was started within has ended; but for the S3 server, which serves tests of other folders to the session's end."""
    before = psutil.Process().children(recursive=True)
    yield
    after = [process for process in psutil.Process().children(recursive=True) if process not in before]
    assert not [process for process in after if process.name() != "weed"]


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Makes nodes with children of their own; nothing that they started is left in the end."""
    nodes: list[Node] = []

    def make(**options: object) -> Node:
        nodes.append(Node(tmp_path, **options))
        return nodes[-1]

    with nothing_left():
        yield make
        for node in nodes:
            node.pool.close()


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChildPool]:
    with nothing_left():
        pool = quiet_pool(RuntimeOptions(str(tmp_path_factory.mktemp("unused"))))
        yield pool
        pool.close()


@pytest.fixture
def node(tmp_path: Path, pool: ChildPool) -> Node:
    """A node with a log folder of its own, whose children have served other tests: starting one takes a while."""
    return Node(tmp_path, pool)


@pytest.fixture(scope="session")
def own_options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Handlers run as users of their tenants' own, which takes root."""
    place = tmp_path_factory.mktemp("own")
    return {"tenant_users": "own", "uid_file": str(place / "var" / "uids"), "home": str(place / "home")}


@pytest.fixture(scope="session")
def own_pool(
    own_options: dict[str, str], pool: ChildPool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ChildPool]:
    """`pool` is closed after it, and looks whether anything is left."""
    own = quiet_pool(RuntimeOptions(str(tmp_path_factory.mktemp("unused")), **own_options))  # type: ignore[arg-type]
    yield own
    own.close()


@pytest.fixture
def own(tmp_path: Path, own_pool: ChildPool, own_options: dict[str, str]) -> Node:
    """A node like `node` whose handlers run as users of their tenants' own."""
    return Node(tmp_path, own_pool, **own_options)


@pytest.fixture
def make_own(make_node: Callable[..., Node], own_options: dict[str, str], tmp_path: Path) -> Callable[..., Node]:
    """Makes such nodes with children of their own, and tenants with other users than those of `own`."""
    return lambda **options: make_node(**{**own_options, "home": str(tmp_path), **options})


@pytest.fixture
def fresh(make_node: Callable[..., Node]) -> Node:
    """A node with children of its own, for tests that spoil them."""
    return make_node()
