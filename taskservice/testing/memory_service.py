"""The whole service in memory: the real client, gateway and core, and handlers that run in the test's own process and thread."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from types import TracebackType
from typing import Self

import httpx

from taskservice.app import App, Function
from taskservice.client.client import Client
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.specs import ApiKey, Bundle, FunctionSpec, Resources, Tenant
from taskservice.core.types import TenantId
from taskservice.gateway.app import create_app
from taskservice.gateway.history import NoHistory
from taskservice.gateway.keys import hash_secret, key_id
from taskservice.gateway.settings import GatewaySettings
from taskservice.objects.memory import MemoryObjects
from taskservice.testing.desk import Desk
from taskservice.testing.machine import Machine
from taskservice.testing.wire import ClockClient, InThread
from taskservice.units import parse_duration_ms
from taskservice.values import Values

START = datetime(2030, 1, 1, tzinfo=UTC)

SETTINGS = GatewaySettings(inline_bytes_max=GatewaySettings().payload_bytes_max)
"""As a service that nobody has set anything for, but that nothing is an object of its own."""


class Service:
    """A service for the functions of some apps. Nothing runs, and no time passes, unless the test lets it.

    `drain` runs what can run now, `advance` moves the clock; both, and waiting for a result, run handlers before they return. An
    attempt takes no time of the clock.
    """

    def __init__(
        self,
        *apps: App,
        cpus: float = 8,
        secrets: Mapping[str, str] | None = None,
        start: datetime = START,
        seed: int = 0,
        attempts_max: int = 100_000,
    ) -> None:
        """The one machine has `cpus`, and of all else eight times what the most demanding function asks for. `secrets`: values of those
        that functions declare; each must have one. `start`: what the clock says first. `seed`: of all that is drawn, such as the jitter
        of retries: the same in each run. `attempts_max`: that `drain` and `advance` make before they take it for endless."""
        functions = {name: function for app in apps for name, function in app.functions.items()}
        missing = {name for function in functions.values() for name in function.secrets} - set(secrets or {})
        if missing:
            raise ValueError(
                f"functions declare the secrets {', '.join(sorted(missing))}: give them in secrets={{...}}"
            )
        self._attempts_max = attempts_max
        self._machine = Machine(functions, secrets or {}, lambda: self.now_ms)
        self._loop = asyncio.Runner()
        self._desk = Desk(_ms(start), Random(seed), self._machine.run, self._machine.order)
        self._desk.join(_capacity(functions.values(), cpus), _labels(functions.values()))
        values = Values(MemoryObjects, now_ms=lambda: self.now_ms)
        clocks = {"clock_s": lambda: self.now_ms / 1000, "now_ms": lambda: self.now_ms}
        gateway = create_app(self._desk, SETTINGS, self._machine, values, NoHistory(), **clocks)  # type: ignore[arg-type]
        to_gateway = httpx.ASGITransport(gateway)
        self._transport = InThread(to_gateway, self._loop, gateway.state.gateway.catalog.run_once)
        specs = [_spec(function) for function in functions.values()]
        self._loop.run(self._desk.register(specs))
        self.client = self.client_of(DEFAULT_TENANT, admin=True)
        """An admin's, of the tenant `default`."""

    def client_of(self, tenant: str, *, admin: bool = False) -> Client:
        """A client with a key of that tenant, which is there from now on. It may submit, read and operate, or as admin everything."""
        secret = f"tsk_{tenant}-{'admin' if admin else 'user'}"
        scopes = ("admin",) if admin else ("submit", "read", "operate")
        key = ApiKey(key_id(secret), TenantId(tenant), scopes, hash_secret(secret), "test", self.now_ms)
        self._loop.run(self._let_in(Tenant(TenantId(tenant)), key))
        return ClockClient(secret, self._transport, self)

    async def _let_in(self, tenant: Tenant, key: ApiKey) -> None:
        catalog = await self._desk.catalog()
        if catalog is None or tenant.id not in {known.id for known in catalog.tenants}:
            await self._desk.put_tenant(tenant)
        await self._desk.put_key(key)

    @property
    def now_ms(self) -> int:
        """What the clock says, in milliseconds since the Unix epoch."""
        return self._desk.now_ms

    @property
    def now(self) -> datetime:
        """What the clock says, in UTC."""
        return datetime.fromtimestamp(self.now_ms / 1000, UTC)

    def drain(self, until: datetime | str | float | timedelta | None = None) -> int:
        """Nothing is left that could run; gives the number of attempts that were made.

        The clock stays where it is, so what is delayed or waits for a retry stays. With `until`, a time or a duration from now on, it
        moves to each next moment at which something happens, up to then; and stays at the last one. Raises RuntimeError after
        `attempts_max` attempts, for then it would go on for ever.
        """
        until_ms = self.now_ms if until is None else self._moment_ms(until)
        attempts = self._settle()
        while (next_ms := self._desk.next_ms) is not None and next_ms <= until_ms:
            self._desk.now_ms = next_ms
            attempts += self._settle()
        return attempts

    def advance(self, duration: str | float | timedelta) -> int:
        """The clock has gone on for so long, and all that could run by then has run, each in its time; gives the number of attempts."""
        until_ms = self._moment_ms(duration)
        attempts = self.drain(duration)
        self._desk.now_ms = until_ms
        return attempts + self._settle()

    @property
    def stands(self) -> bool:
        """See `wire.Clock`."""
        return self._desk.next_ms is None

    def pass_to_next(self, until_ms: int) -> None:
        """See `wire.Clock`."""
        next_ms = self._desk.next_ms
        self._desk.now_ms = until_ms if next_ms is None else min(next_ms, until_ms)
        self._settle()

    def _settle(self) -> int:
        if self._machine.busy:
            raise RuntimeError(
                "a handler cannot move the clock or wait for other tasks: it runs while the clock stands"
            )
        return self._desk.settle(self._attempts_max)

    def _moment_ms(self, moment: datetime | str | float | timedelta) -> int:
        if isinstance(moment, datetime):
            return max(self.now_ms, _ms(moment))
        return self.now_ms + parse_duration_ms(moment)

    def close(self) -> None:
        """Its event loops are closed."""
        self.client.close()
        self._machine.close()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _spec(function: Function) -> FunctionSpec:
    return function.spec(Bundle(function.call.__module__, function.name.partition(".")[0], ""))


def _capacity(functions: Iterable[Function], cpus: float) -> Resources:
    """A machine on which each of the functions has room."""
    needs = [function.resources for function in functions]
    custom: dict[str, int] = {}
    for need in needs:
        for kind, amount_m in need.custom_m:
            custom[kind] = max(custom.get(kind, 0), 8 * amount_m)
    return Resources(
        cpu_m=round(cpus * 1000),
        gpu_m=8 * max((need.gpu_m for need in needs), default=0),
        memory_bytes=8 * max((need.memory_bytes for need in needs), default=0),
        custom_m=tuple(sorted(custom.items())),
    )


def _labels(functions: Iterable[Function]) -> tuple[tuple[str, str], ...]:
    """Those that the functions ask for."""
    return tuple(sorted({label for function in functions for label in function.labels}))
