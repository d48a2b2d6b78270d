"""Starts the service on Ray and stops it: the only place that makes Ray actors and tasks of plain classes and functions.

`start` sets Ray's environment before Ray is imported, so whatever imports it is imported inside functions here. The
functions that start actors are handed into the processes that need them, which Ray does by reference to this module.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import threading
import time
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from taskservice.actors.code_keeper import StoredCode
from taskservice.actors.gateway import listening_socket
from taskservice.actors.isolation import advice_alone, runtime_options, said_of_tenants, sweep_files, why_alone
from taskservice.actors.line_ports import dispatcher_line
from taskservice.actors.network import Network
from taskservice.actors.ray_env import NAMESPACE, JoinedRay, LocalRay, RayFolder
from taskservice.actors.tcp_line import new_token
from taskservice.code.deploying import Code, deploy
from taskservice.code.folder import packed, survey
from taskservice.code.store import code_in
from taskservice.config import Settings
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.specs import ApiKey, Bundle, FunctionSpec
from taskservice.core.types import FunctionName, RunnerId
from taskservice.core.versions import app_of
from taskservice.errors import BackOffError, ConflictError, RequestError, ServiceBug
from taskservice.gateway.keys import hash_secret, key_id, may_be_secret, new_secret

if TYPE_CHECKING:
    import ray
    import ray.actor

    from taskservice.actors.ray_port import RayLauncher

log = logging.getLogger(__name__)

CONCURRENCY_MAX = 100_000
"""Calls in progress at one actor: long polls, and reports that wait for the journal."""
LOOK_INTERVAL_S = 1.0
"""Between two looks at whether the service still runs."""
STOP_MARGIN_S = 15.0
"""What each step of stopping may take beyond the grace of running leases."""


class Service:
    """A service that runs. Its actors live in Ray; this is the hand that started them, and that stops them."""

    def __init__(
        self, settings: Settings, ray_: LocalRay | JoinedRay, functions: tuple[FunctionSpec, ...], tenants: str
    ) -> None:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self.url = f"http://{host}:{settings.port}"
        self.functions = functions
        self.tenants = tenants
        """Who their handlers run as, in words."""
        self.ray_temp_dir = ray_.path
        """Where an embedded Ray keeps its sockets and logs; None on a cluster that was there before."""
        self._settings = settings
        self._ray = ray_
        self._superseded = False

    def ensure_key(self, secret: str | None) -> str:
        """A secret that opens everything: the given one if it may still be used, or else a new one. Durable."""
        return asyncio.run(_ensure_key(self._settings, secret))

    def wait(self, stop: threading.Event) -> None:
        """Returns when `stop` is set. Raises ConflictError if another service has taken the state over before that, ServiceBug if
        dispatcher or gateway have ended for good."""
        while not stop.wait(LOOK_INTERVAL_S):
            self._check_superseded()
            asyncio.run(_check_actors(self._settings))

    def stop(self) -> None:
        """Nothing of the service is left running; what was accepted is in the state directory.

        Running leases get `stop_grace_s` to end. An embedded Ray ends as well, a cluster that was there stays.
        """
        try:
            asyncio.run(_end_actors() if self._superseded else _stop_actors(self._settings))
        finally:
            self._ray.stop()
            sweep_files(self._settings)

    def _check_superseded(self) -> None:
        from taskservice.actors.processes import superseded_file  # noqa: PLC0415

        told = superseded_file(self._settings)
        if told.exists():
            self._superseded = True  # what runs is the other's by now, and nobody here can make anything durable
            raise ConflictError(told.read_text(), code="superseded")


def start(settings: Settings, bundles: Sequence[Bundle]) -> Service:
    """The service is ready and knows the functions of these bundles.

    Raises RequestError if it cannot start as it was told to (port in use, an app that cannot be loaded, a cluster
    that does not fit), BackOffError if it did not get ready in time. Nothing is left running then.
    """
    alone = why_alone(settings)
    ray_ = _enter_ray(settings)
    try:
        functions = asyncio.run(_start_actors(settings, bundles, alone))
    except BaseException:
        ray_.stop()
        raise
    return Service(settings, ray_, functions, said_of_tenants(settings, alone))


def _enter_ray(settings: Settings) -> LocalRay | JoinedRay:
    """Ray runs, and the gateway's port is free: better said at once than when all else is there."""
    folder = None if settings.address else RayFolder(settings.home)
    try:
        listening_socket(settings.host, settings.port).close()
        settings.home.mkdir(parents=True, exist_ok=True)
        settings.home.chmod(0o700)  # keys, logs and working tables are in it
        if folder is None:
            return JoinedRay(settings.address)
        return LocalRay(folder, settings.home, settings.cpus or os.cpu_count() or 1, settings.object_store_bytes)
    except BaseException:
        if folder is not None:
            folder.remove()
        raise


# Actors and tasks


def spawn_dispatcher(settings: Settings, node: str, network: Network | None) -> ray.actor.ActorHandle[Any]:
    """The dispatcher starts; its first call is answered when its journal has been read."""
    from taskservice.actors.processes import DISPATCHER, DispatcherProcess  # noqa: PLC0415

    handle: ray.actor.ActorHandle[Any] = _detached(DispatcherProcess, DISPATCHER, node, restarts=-1).remote(
        settings, spawn_runner, network
    )
    return handle


def spawn_gateway(settings: Settings, node: str, network: Network | None, alone: str) -> ray.actor.ActorHandle[Any]:
    """The gateway starts; its first call is answered when it listens. `alone`: what is told to who wants a second tenant."""
    from taskservice.actors.processes import GATEWAY, GatewayProcess  # noqa: PLC0415

    handle: ray.actor.ActorHandle[Any] = _detached(GatewayProcess, GATEWAY, node, restarts=-1).remote(
        settings, inspect, network, alone
    )
    return handle


def spawn_runner(settings: Settings, id: RunnerId, node: str, network: Network | None = None) -> None:
    """A runner starts on this node. It is never restarted: the leases it owned are dead, so the next has a new name."""
    from taskservice.actors.processes import RunnerProcess  # noqa: PLC0415

    _detached(RunnerProcess, id, node, restarts=0).remote(settings, id, node, lease_launcher, network)


def lease_launcher(settings: Settings, id: RunnerId, node: str, logs: Path) -> RayLauncher:
    """Starts leases for this runner, as tasks of the process that calls this. `logs`: where theirs are spooled."""
    from taskservice.actors.lease_task import run_lease_task  # noqa: PLC0415
    from taskservice.actors.line_ports import runner_socket  # noqa: PLC0415
    from taskservice.actors.processes import run_dir  # noqa: PLC0415
    from taskservice.actors.ray_port import RayLauncher  # noqa: PLC0415

    socket = str(runner_socket(run_dir(settings), id))
    return RayLauncher(_remote(run_lease_task), socket, node, _runtime_options(settings, logs))


def _detached(kind: type, name: str, node: str, restarts: int) -> Any:
    """An actor class with options: on this node, its name known to all, alive until it is killed."""
    return _remote(kind).options(
        name=name,
        namespace=NAMESPACE,
        lifetime="detached",
        max_restarts=restarts,
        num_cpus=0,
        max_concurrency=CONCURRENCY_MAX,
        label_selector={"ray.io/node-id": node},
        enable_task_events=False,
    )


@cache
def _remote(what: Any) -> Any:
    import ray  # noqa: PLC0415

    return ray.remote(what)


def _runtime_options(settings: Settings, logs: Path) -> bytes:
    return msgspec.msgpack.encode(msgspec.structs.replace(runtime_options(settings), logs_dir=str(logs)))


async def inspect(settings: Settings, node: str, bundle: Bundle) -> list[FunctionSpec]:
    """The functions of an app, which is loaded where user code belongs: in a child of a Ray task of this node."""
    from taskservice.actors import ray_port  # noqa: PLC0415
    from taskservice.actors.lease_task import inspect_task  # noqa: PLC0415

    options: dict[str, Any] = {"num_cpus": 0, "max_retries": 0, "label_selector": {"ray.io/node-id": node}}
    found: ray.ObjectRef[list[FunctionSpec]] = (
        _remote(inspect_task).options(**options).remote(bundle, _runtime_options(settings, Path()))
    )
    return await ray_port.answer(found, settings.load_timeout_s + settings.ready_timeout_s)


# Life


def code_of(bundle: Bundle, settings: Settings) -> Code:
    """What is in the bundle's folder, packed; without what the service itself keeps there. Raises RequestError."""
    outside = [settings.home, *([Path(settings.state_dir)] if settings.state_is_local else [])]
    found = survey(Path(bundle.path), settings.code_unpacked_bytes_max, outside)
    for left_out in found.left_out:
        log.warning("%s is not in the code of %s: %s", left_out.path, bundle.module, left_out.why)
    return Code(bundle.module, bundle.attribute, packed(found, settings.code_bytes_max))


async def _start_actors(settings: Settings, bundles: Sequence[Bundle], why: str) -> tuple[FunctionSpec, ...]:
    """Dispatcher, functions, gateway: in this order, so that whoever gets an answer gets a whole one.

    `why`: there can be one tenant only.
    """
    alone = advice_alone(why) if why else ""
    from taskservice.actors import ray_port  # noqa: PLC0415

    await _end_remains()
    _refuse_unfit(settings)
    node = ray_port.this_node()
    ray_port.note_home(node)
    # A cluster of one machine may grow, if the state is where others can reach it.
    network = Network(node, new_token()) if settings.address and not settings.state_is_local else None
    try:
        dispatcher = spawn_dispatcher(settings, node, network)
        await _ready(dispatcher, "status", "dispatcher", settings)
        if alone:
            await _refuse_tenants(settings, alone)
        functions = await _deploy(settings, node, bundles)
        await _ready(spawn_gateway(settings, node, network, alone), "ready", "gateway", settings)
    except BaseException:
        await _end_actors()
        raise
    return functions


async def _refuse_tenants(settings: Settings, alone: str) -> None:
    """Raises RequestError if there are several tenants, and why that cannot be is `alone`."""
    from taskservice.actors import processes  # noqa: PLC0415

    async with dispatcher_line(processes.run_dir(settings)) as line:
        catalog = await line.catalog()
    if catalog is not None and len(catalog.tenants) > 1:
        raise RequestError(f"The state has {len(catalog.tenants)} tenants. {alone}", code="tenants_not_apart")


async def _deploy(settings: Settings, node: str, bundles: Sequence[Bundle]) -> tuple[FunctionSpec, ...]:
    """What is in these folders are the current versions of their apps; gives their functions. Without any, what was current is."""
    from taskservice.actors import processes  # noqa: PLC0415

    keeper = StoredCode(code_in(settings.state_dir), partial(inspect, settings, node))
    functions: dict[FunctionName, FunctionSpec] = {}
    async with dispatcher_line(processes.run_dir(settings)) as line:
        for bundle in bundles:
            code = await asyncio.to_thread(code_of, bundle, settings)
            deployed = await deploy(line, keeper, code, taken=[app_of(name) for name in functions])
            if deployed.answer.refusal is not None:
                raise RequestError(deployed.answer.message, code=deployed.answer.refusal.value)
            functions.update((function.name, function) for function in deployed.functions)
        known = None if bundles else await line.catalog()
    if known is not None:
        return tuple(function for function in known.functions if not function.missing)
    return tuple(functions.values())


async def _ready(actor: ray.actor.ActorHandle[Any], method: str, what: str, settings: Settings) -> None:
    """The actor has started and answers. Raises RequestError with the last words of one that could not start, BackOffError
    with what to look at if it takes too long."""
    from taskservice.actors import ray_port  # noqa: PLC0415

    wait_s = settings.ready_timeout_s
    try:
        await ray_port.patient_call(actor, method, patience_s=wait_s, timeout_s=wait_s)
    except ray_port.ActorGone as error:
        raise RequestError(f"the {what} could not start; {error}", code="not_started", detail=error.detail) from error
    except BackOffError as error:
        place = shlex.quote(settings.state_dir)
        message = (
            f"the {what} did not get ready within {wait_s:g} s (ready_timeout_s): {error}."
            f" `taskservice doctor --state-dir {place}` says whether its state can be reached."
        )
        raise BackOffError(message, code="not_ready") from error


async def _end_remains() -> None:
    """Nothing is left on this cluster of a service whose home machine is gone: Ray would wait for that machine for ever."""
    from taskservice.actors import ray_port  # noqa: PLC0415

    if not ray_port.home_is_lost() or not ray_port.service_actors():
        return
    log.warning("the machine of the service that ran on this cluster is gone: what is left of it on others ends")
    await _end_actors()
    for _ in range(round(STOP_MARGIN_S / LOOK_INTERVAL_S)):
        if not ray_port.service_actors():
            return
        await asyncio.sleep(LOOK_INTERVAL_S)


def _refuse_unfit(settings: Settings) -> None:
    """Raises RequestError if this Ray cannot take the service. On several machines, the state has to be on none."""
    from taskservice.actors import ray_port  # noqa: PLC0415

    if ray_port.service_actors():
        message = f"a service is running on the cluster at {settings.address}: one cluster runs one service"
        raise RequestError(message, code="already_running")
    count = len(ray_port.nodes())
    if count > 1 and settings.state_is_local:
        message = (
            f"the cluster at {settings.address} has {count} machines, and the state directory {settings.state_dir} is on"
            " one of them: the others cannot reach it, and if that machine were lost, so were all tasks. Give a bucket:"
            " --state-dir s3://bucket/prefix."
        )
        raise RequestError(message, code="state_is_local")


async def _ensure_key(settings: Settings, secret: str | None) -> str:
    from taskservice.actors import processes  # noqa: PLC0415

    async with dispatcher_line(processes.run_dir(settings)) as dispatcher:
        catalog = await dispatcher.catalog()
        known = [key for key in catalog.keys if secret and key.id == key_id(secret)] if catalog is not None else []
        if secret and any(not key.revoked and "admin" in key.scopes for key in known):
            return secret
        if not secret or known or not may_be_secret(secret):
            secret = new_secret()
        now_ms = time.time_ns() // 1_000_000
        key = ApiKey(key_id(secret), DEFAULT_TENANT, ("admin",), hash_secret(secret), name="local", created_ms=now_ms)
        await dispatcher.put_key(key)
        return secret


async def _check_actors(settings: Settings) -> None:
    """Raises ServiceBug if dispatcher or gateway are dead. One that is being restarted is not."""
    from taskservice.actors import processes, ray_port  # noqa: PLC0415

    for name in (processes.DISPATCHER, processes.GATEWAY):
        try:
            ray_port.actor_named(name)
        except ray_port.ActorGone as error:
            message = f"the {name} has ended and does not come back: see {settings.service_log}"
            raise ServiceBug(message, detail=str(error)) from error


async def _stop_actors(settings: Settings) -> None:
    """The gateway first, so that nobody new comes; then the leases; then the dispatcher, when all is durable."""
    from taskservice.actors import processes, ray_port  # noqa: PLC0415

    grace_s = settings.stop_grace_s + STOP_MARGIN_S
    try:
        for name, step in (
            (processes.GATEWAY, "stop"),
            (processes.DISPATCHER, "drain"),
            (processes.DISPATCHER, "close"),
        ):
            try:
                await ray_port.call(ray_port.actor_named(name), step, timeout_s=grace_s)
            except (BackOffError, ServiceBug) as error:
                log.warning("the %s did not %s in good order: %s", name, step, error)
    finally:
        await _end_actors()


async def _end_actors() -> None:
    """No actor of the service is left: first those that start others."""
    from taskservice.actors import processes, ray_port  # noqa: PLC0415

    for name in (processes.GATEWAY, processes.DISPATCHER):
        ray_port.kill_actor(name)
    for name in ray_port.service_actors():
        ray_port.kill_actor(name)
