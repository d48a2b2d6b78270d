"""One service in one process for the tests of the gateway: the real dispatcher and core behind it, no Ray.

A test may look at the dispatcher through `Watched`, make it fail, and be its runner. Every answer of every test is
checked against the OpenAPI document.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import cast

import httpx
import jsonschema_rs
import msgspec
import pytest
from fastapi import FastAPI
from msgspec.structs import replace

from helpers.large import values_of
from helpers.unreliable_objects import UnreliableObjects
from taskservice.actors.archiver import Archiver
from taskservice.actors.dispatcher import Dispatcher
from taskservice.actors.ports import DispatcherPort
from taskservice.code.archive import Packed
from taskservice.core.effects import CatalogAnswer, ItemAnswer, ItemsAnswer
from taskservice.core.events import RunnerDraining, RunnerJoined
from taskservice.core.lease_wire import LeaseReport, LeaseSpec, Outcome, RunnerReport
from taskservice.core.limits import Limits
from taskservice.core.past import DAY_MS
from taskservice.core.shard import Shard
from taskservice.core.specs import ApiKey, Bundle, FunctionSpec, Resources, Tenant
from taskservice.core.state import State
from taskservice.core.types import FunctionName, ListFilter, NewTask, OutcomeKind, RunnerId, Task, TenantId, Token
from taskservice.errors import RequestError
from taskservice.gateway.app import create_app
from taskservice.gateway.history import NoHistory
from taskservice.gateway.keys import hash_secret, key_id
from taskservice.gateway.logs import LivePart
from taskservice.gateway.settings import GatewaySettings
from taskservice.history.reader import HistoryReader
from taskservice.journal.marks import mark_at
from taskservice.journal.memory import MemoryJournal, MemoryStore
from taskservice.journal.store.memory import MemoryTable
from taskservice.logs.chosen import AttemptLog, Wanted
from taskservice.logs.pieces import Written
from taskservice.objects.memory import MemoryObjects

NOW_MS = 1_900_000_000_000

SETTINGS = GatewaySettings(
    payload_bytes_max=200,
    payload_depth_max=8,
    body_bytes_max=10_000,
    request_bytes_max=2_000,
    batch_tasks_max=5,
    tags_max=3,
    tag_value_chars_max=10,
    wait_s_max=30.0,
    log_followers_max=1,
    list_limit_max=10,
    list_limit_default=4,
    inline_bytes_max=100,
    value_timeout_s=5.0,
    values_in_hand_bytes_max=1_000,
    result_streamed_bytes_min=3 << 20,
    code_bytes_max=4_000,
    code_unpacked_bytes_max=20_000,
)

SCHEMA = {
    "type": "object",
    "properties": {"url": {"type": "string"}, "sizes": {"type": "array", "items": {"type": "integer"}}},
    "required": ["url"],
    "additionalProperties": False,
}
THUMBNAIL = FunctionSpec(
    FunctionName("media.thumbnail"), Bundle("media", "app", "/srv"), msgspec.json.encode(SCHEMA), doc="Makes it small."
)
ECHO = FunctionSpec(FunctionName("media.echo"), Bundle("media", "app", "/srv"), b"{}")

SCOPES = {
    "admin": ("admin",),
    "submit": ("submit",),
    "read": ("read",),
    "operate": ("operate",),
    "user": ("submit", "read", "operate"),
    "rival": ("submit", "read", "operate"),
    "metrics": ("metrics",),
}
"""The keys there are, by who has them; all are of the tenant acme but the rival's."""


def api_key(owner: str) -> ApiKey:
    """The key of one of `SCOPES`; its secret is `tsk_` and the owner's name."""
    secret = f"tsk_{owner}"
    tenant = TenantId("rival" if owner == "rival" else "acme")
    return ApiKey(key_id(secret), tenant, SCOPES[owner], hash_secret(secret), owner, NOW_MS)


class Watched:
    """A dispatcher whose calls are counted, and which can be made to fail."""

    def __init__(self, inner: Dispatcher) -> None:
        self.inner = inner
        self.calls: Counter[str] = Counter()
        self.waits_s: list[float] = []
        """How long `get` was asked to wait."""
        self.waiting = asyncio.Event()
        """Somebody asked for a task and was ready to wait."""
        self.failure: Exception | None = None
        """Raised by every call, if it is set."""
        self.refusal: ItemAnswer | None = None
        """Given for every task that is submitted, if it is set."""

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        method = getattr(self.inner, name)

        async def call(*args: object) -> object:
            self.calls[name] += 1
            if self.failure is not None:
                raise self.failure
            if name == "submit" and self.refusal is not None:
                tasks = cast(Sequence[NewTask], args[1])
                return ItemsAnswer(tuple(replace(self.refusal, id=task.id) for task in tasks))
            if name == "get":
                self.waits_s.append(cast(float, args[2]))
                self.waiting.set()
            return await method(*args)

        return call


class Runner:
    """A runner that keeps its leases for the test to report on."""

    def __init__(self) -> None:
        self.leases: asyncio.Queue[LeaseSpec] = asyncio.Queue()

    async def launch(self, id: RunnerId, epoch: int, body: bytes) -> bool:
        for lease in msgspec.msgpack.decode(body, type=list[LeaseSpec]):
            self.leases.put_nowait(lease)
        return True


class MemoryLogs:
    """A `LogReader` of lists: what attempts have written that are over, and the page of the one that runs."""

    def __init__(self) -> None:
        self.logs: dict[tuple[str, str], list[AttemptLog]] = {}
        self.page: list[Written] = []
        self.page_is_there = True

    def write(self, tenant: str, task_id: str, run: int, attempt: int, text: str, at_ms: int = NOW_MS) -> None:
        """The attempt, which is over, has written that text."""
        logs = self.logs.setdefault((tenant, task_id), [])
        written = (Written(at_ms, "stdout", text.encode()),)
        logs.append(AttemptLog(run, attempt, Token(1, 100 * run + attempt), written))

    def stored(self, task: Task, wanted: Wanted, /) -> list[AttemptLog]:
        return list(self.logs.get((task.tenant, task.id), []))

    async def running(self, task: Task, runner: RunnerId | None, /) -> AttemptLog | None:
        return AttemptLog(task.run, task.attempt, task.token, tuple(self.page)) if self.page else None

    async def live(self, task: Task, runner: RunnerId | None, at: int, wait_s: float, /) -> LivePart:
        return LivePart(tuple(self.page[at:]), len(self.page), self.page_is_there)


class MemoryCode:
    """A `CodeKeeper` without processes: each archive has the functions that the test says."""

    def __init__(self) -> None:
        self.kept: list[Packed] = []
        self.found: list[FunctionSpec] | RequestError = []
        """What is found in the next archive, or why it cannot be loaded."""
        self.looked_into: list[Bundle] = []
        self.gate: asyncio.Event | None = None
        """What looking into an archive waits for, if it is set."""

    async def keep(self, archive: Packed) -> str:
        self.kept.append(archive)
        return f"code/{archive.sha256}"

    async def functions_of(self, bundle: Bundle) -> list[FunctionSpec]:
        self.looked_into.append(bundle)
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.found, RequestError):
            raise self.found
        return [replace(function, bundle=bundle) for function in self.found]


@dataclass
class Service:
    """A gateway, what is behind it, and clients for it."""

    dispatcher: Watched
    runner: Runner
    logs: MemoryLogs
    objects: UnreliableObjects
    """Where large payloads and results are."""
    app: FastAPI
    settings: GatewaySettings
    seconds: list[float]
    """What the catalog's clock says."""
    now_ms: list[int]
    """What the dispatcher's clock says."""
    conforms: Callable[[httpx.Response], object]
    archiver: Archiver
    code: MemoryCode = field(default_factory=MemoryCode)
    clients: list[httpx.AsyncClient] = field(default_factory=list)
    running: dict[str, LeaseSpec] = field(default_factory=dict)

    def client(self, owner: str | None = "user", secret: str | None = None) -> httpx.AsyncClient:
        """A client with that owner's key (or any secret); None: without one."""
        secret = secret or (None if owner is None else f"tsk_{owner}")
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False),
            base_url="http://gateway",
            headers={} if secret is None else {"authorization": f"Bearer {secret}"},
            event_hooks={"response": [self.conforms]},
        )
        self.clients.append(client)
        return client

    async def submit(self, task_id: str, owner: str = "user", **fields: object) -> None:
        """There is a task of that id, a millisecond younger than the one before."""
        body = {"id": task_id, "function": "media.echo", **fields}
        response = await self.client(owner).post("/v1/tasks", json=body)
        assert response.status_code == 202, response.text
        self.now_ms[0] += 1

    async def tasks(self) -> dict[str, Task]:
        """All tasks of all tenants, as the dispatcher has them."""
        page = await self.dispatcher.inner.list_tasks(ListFilter(), None, 1_000)
        return {task.id: task for task in page.tasks}

    async def catalog(self) -> CatalogAnswer:
        """All tenants, keys and functions, as the dispatcher has them."""
        answer = await self.dispatcher.inner.catalog()
        assert answer is not None
        return answer

    async def key(self, owner: str) -> ApiKey:
        """That owner's key, as the dispatcher has it."""
        return next(key for key in (await self.catalog()).keys if key.name == owner)

    async def function(self, name: str) -> FunctionSpec:
        """That function, as the dispatcher has it."""
        return next(spec for spec in (await self.catalog()).functions if spec.name == name)

    async def start(self, task_id: str) -> None:
        """The task is running; it must be the only one that could."""
        runner = RunnerId(f"runner-{len(self.running)}")
        self.dispatcher.inner.emit(RunnerJoined(runner, "node-1", Resources(cpu_m=1000)))
        lease = await asyncio.wait_for(self.runner.leases.get(), 5)
        self.dispatcher.inner.emit(RunnerDraining(runner))
        assert [task.id for task in lease.tasks] == [task_id]
        self.running[task_id] = lease

    async def end(self, task_id: str, kind: OutcomeKind, **outcome: object) -> None:
        """The task's attempt, started before if need be, has ended like that."""
        if task_id not in self.running:
            await self.start(task_id)
        lease, runner = self.running[task_id], RunnerId(f"runner-{list(self.running).index(task_id)}")
        ended = Outcome(lease.tasks[0].no, kind, self.now_ms[0], 1_500, **outcome)
        report = RunnerReport(runner, (LeaseReport(lease.token, (ended,), done=True),))
        await self.dispatcher.inner.report(msgspec.msgpack.encode(report))

    async def succeed(self, task_id: str, result: bytes = b"{}") -> None:
        """The task has succeeded."""
        await self.end(task_id, OutcomeKind.SUCCEEDED, result=result)

    async def archive(self) -> int:
        """A day has passed, and what had ended is in history; gives how many tasks."""
        self.now_ms[0] += DAY_MS
        return (await self.archiver.run_once()).archived

    async def fail(self, task_id: str) -> None:
        """The task is a dead letter."""
        message = "ZeroDivisionError: division by zero"
        await self.end(task_id, OutcomeKind.NON_RETRYABLE, message=message, detail="Traceback ...")


@pytest.fixture(scope="session")
def conforms() -> Callable[[httpx.Response], object]:
    """A check that a response is one that the OpenAPI document announces."""
    nobody = cast(DispatcherPort, None)  # the document is made without asking
    document = create_app(nobody, SETTINGS, MemoryLogs(), values_of(UnreliableObjects()), NoHistory()).openapi()
    paths = {re.compile(re.sub(r"\{\w+\}", "[^/]+", path)): item for path, item in document["paths"].items()}
    problem = {"$ref": "#/components/schemas/ProblemDocument"}

    async def check(response: httpx.Response) -> None:
        await response.aread()
        request, kind = response.request, response.headers["content-type"].partition(";")[0]
        items = [item for one, item in paths.items() if one.fullmatch(request.url.path)]
        operation = next((item[request.method.lower()] for item in items if request.method.lower() in item), None)
        if operation is not None:
            schema = operation["responses"][str(response.status_code)]["content"][kind]["schema"]
        elif response.status_code >= 400:
            schema = problem
        else:
            assert request.url.path == "/openapi.json"
            return
        is_text = kind.startswith("text/") or kind == "application/openmetrics-text"
        body = response.text if is_text else response.json()
        jsonschema_rs.validator_for({**schema, "components": document["components"]}).validate(body)

    return check


@pytest.fixture
def anyio_backend() -> str:
    """The gateway runs on asyncio."""
    return "asyncio"


@asynccontextmanager
async def dispatching(runner: Runner, now_ms: list[int]) -> AsyncIterator[Dispatcher]:
    """A dispatcher with the tenants acme and rival, the keys of `SCOPES` and two functions."""
    shard = Shard(State(MemoryTable(), Limits(lease_ahead_max=0)))
    shard.open(mark_at(None, 1, -1), now_ms[0])
    fatal: list[BaseException] = []
    journal = MemoryJournal(MemoryStore())
    one = Dispatcher(journal, shard, runner.launch, fatal.append, now_ms=lambda: now_ms[0], rng=Random(1))
    one.start()
    for name in ("acme", "rival"):
        await one.put_tenant(Tenant(TenantId(name)))
    for owner in SCOPES:
        await one.put_key(api_key(owner))
    await one.register([THUMBNAIL, ECHO])
    yield one
    await one.close()
    assert not fatal


def archiver_of(dispatcher: Dispatcher, objects: MemoryObjects) -> Archiver:
    """What makes history of what the dispatcher has, at once."""
    nonces = count(10)

    async def no_pause(seconds: float) -> None:
        """Nothing else is going on."""

    return Archiver(dispatcher.ask, objects, 1, lambda: str(next(nonces)), pause=no_pause)


@pytest.fixture
async def service(anyio_backend: str, conforms: Callable[[httpx.Response], object]) -> AsyncIterator[Service]:
    """A started gateway with the limits of `SETTINGS`."""
    runner, logs, seconds, now_ms = Runner(), MemoryLogs(), [1_000.0], [NOW_MS]
    async with dispatching(runner, now_ms) as dispatcher:
        watched = Watched(dispatcher)
        port = cast(DispatcherPort, watched)
        objects = UnreliableObjects()
        values, history = values_of(objects), HistoryReader(lambda: objects)
        code = MemoryCode()
        clocks = {"clock_s": lambda: seconds[0], "now_ms": lambda: now_ms[0]}
        app = create_app(port, SETTINGS, logs, values, history, code=code, **clocks)
        archiver = archiver_of(dispatcher, objects)
        one = Service(watched, runner, logs, objects, app, SETTINGS, seconds, now_ms, conforms, archiver, code)
        async with app.router.lifespan_context(app):
            yield one
            for client in one.clients:
                await client.aclose()
