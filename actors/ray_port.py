"""Ray behind the service's own ports: calls to actors, the machines, and leases as Ray tasks.

Ray's errors end here. An actor that cannot be reached is a `BackOffError`, whatever Ray calls it; an error that the
callee raised arrives as itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import ray
import ray.autoscaler.sdk
import ray.util
from ray.actor import ActorHandle
from ray.core.generated import autoscaler_pb2
from ray.exceptions import ActorDiedError, RayActorError, RayError, RayTaskError
from ray.experimental import internal_kv
from ray.remote_function import RemoteFunction

from taskservice.actors.fleet import NodeInfo, RunnerGone
from taskservice.actors.ports import RunnerPort
from taskservice.actors.ray_env import NAMESPACE
from taskservice.actors.tcp_line import Address
from taskservice.core.lease_wire import HeldLease, LeaseSpec
from taskservice.core.specs import Resources
from taskservice.core.types import RunnerId
from taskservice.errors import BackOffError, ServiceBug, TaskServiceError

T = TypeVar("T")

log = logging.getLogger(__name__)

CALL_TIMEOUT_S = 30.0
"""An actor that has not answered by then counts as not reachable; far above what any call may take."""
SHORT_TIMEOUT_S = 5.0
"""Where somebody waits who can ask again."""
RETRY_INTERVAL_S = 0.1
_HOME_KEY = b"taskservice:home"
OUR_ERRORS = ("taskservice.objects.", "taskservice.journal.", "taskservice.errors.RequestError")
"""An error of ours for people says all there is to say; for any other the trace is shown."""


class ActorGone(BackOffError):
    """The actor is dead and Ray will not restart it."""


async def answer(reference: ray.ObjectRef[T], timeout_s: float = CALL_TIMEOUT_S) -> T:
    """What a call or task gives. Raises what was raised there, ActorGone, or BackOffError: it may have run or not."""
    try:
        return await asyncio.wait_for(reference, timeout_s)
    except RayTaskError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, TaskServiceError):
            raise cause from None
        raise ServiceBug(f"it failed in its process: {cause!r}", detail=str(error)) from error
    except ActorDiedError as error:
        words = last_words(error)
        raise ActorGone(f"it is dead: {words}", detail="" if words.startswith(OUR_ERRORS) else str(error)) from error
    except TimeoutError as error:
        raise BackOffError(f"no answer within {timeout_s} s") from error
    except RayError as error:
        raise BackOffError(f"it cannot be reached: {_first_line(error)}") from error


async def call(handle: ActorHandle[Any], method: str, *args: object, timeout_s: float = CALL_TIMEOUT_S) -> Any:
    """The answer of one call to an actor. Raises as `answer` does."""
    try:
        reference = getattr(handle, method).remote(*args)
    except RayError as error:
        raise BackOffError(f"it cannot be reached: {_first_line(error)}") from error
    return await answer(reference, timeout_s)


async def patient_call(
    handle: ActorHandle[Any], method: str, *args: object, patience_s: float, timeout_s: float = CALL_TIMEOUT_S
) -> Any:
    """`call`, made again until it is answered or `patience_s` have passed; only for what may be done twice.

    An error that the callee raised is an answer, even if it says to come back later.
    """
    give_up_s = time.monotonic() + patience_s
    while True:
        try:
            return await call(handle, method, *args, timeout_s=timeout_s)
        except ActorGone:
            raise
        except BackOffError as error:
            answered = not isinstance(error.__cause__, RayActorError)
            if answered or time.monotonic() + RETRY_INTERVAL_S > give_up_s:
                raise
        await asyncio.sleep(RETRY_INTERVAL_S)


class RayRunner:
    """A runner's actor as a `RunnerPort`, found by its name."""

    def __init__(self, id: RunnerId, patience_s: float = 5.0) -> None:
        self._id = id
        self._patience_s = patience_s
        self._handle: ActorHandle[Any] | None = None

    async def ask(self, method: str, *args: object, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """The runner's answer. Raises RunnerGone, or another BackOffError."""
        try:
            if self._handle is None:
                self._handle = await asyncio.to_thread(actor_named, self._id)
            return await patient_call(self._handle, method, *args, patience_s=self._patience_s, timeout_s=timeout_s)
        except ActorGone as error:
            raise RunnerGone(f"runner {self._id} is dead: {error}") from error

    async def drain(self, grace_ms: int, timeout_s: float) -> None:
        """See `Runner.drain`. Raises BackOffError if it took longer than `timeout_s`."""
        await self.ask("drain", grace_ms, timeout_s=timeout_s)

    async def list_leases(self) -> list[HeldLease]:
        """See `RunnerPort`."""
        answer: list[HeldLease] = await self.ask("list_leases")
        return answer


class RayCluster:
    """The Ray cluster that this process belongs to, as a `ClusterPort`."""

    def __init__(self, spawn_runner: Callable[[RunnerId, str], object], only_node: str | None = None) -> None:
        """`spawn_runner`: starts the runner's actor on a node; does not wait for it. `only_node`: as if there were no others."""
        self._spawn_runner = spawn_runner
        self._only_node = only_node
        self._ports: dict[RunnerId, RayRunner] = {}

    async def nodes(self) -> list[NodeInfo]:
        """See `ClusterPort`; so for all that follow."""
        try:
            found = await asyncio.to_thread(nodes)
        except RayError as error:
            raise BackOffError(f"Ray does not answer: {_first_line(error)}") from error
        return [node for node in found if self._only_node in (None, node.id)]

    async def runners(self) -> list[RunnerId]:
        names = await asyncio.to_thread(service_actors)
        return [RunnerId(name) for name in names if name.startswith("runner:")]

    async def start_runner(self, id: RunnerId, node: str) -> None:
        await asyncio.to_thread(self._spawn_runner, id, node)

    def runner_port(self, id: RunnerId) -> RunnerPort:
        return self.port(id)

    async def death_of(self, id: RunnerId) -> str:
        """A call that never returns is pending at the runner: Ray ends it when the actor dies, at once."""
        while True:
            try:
                await self.port(id).ask("until_death", timeout_s=3600.0)
            except RunnerGone as error:
                return str(error)
            except BackOffError:
                await asyncio.sleep(RETRY_INTERVAL_S)

    async def kill(self, id: RunnerId) -> None:
        self._ports.pop(id, None)
        await asyncio.to_thread(kill_actor, id)

    def port(self, id: RunnerId) -> RayRunner:
        """Speaks to a runner."""
        if id not in self._ports:
            self._ports[id] = RayRunner(id)
        return self._ports[id]


def nodes() -> list[NodeInfo]:
    """The nodes that are up, with what of them may be leased. Blocks."""
    draining = ray._private.state.state.get_draining_nodes()  # noqa: SLF001 - said nowhere else
    return [
        NodeInfo(
            node["NodeID"],
            capacity_of(node["Resources"]),
            node["NodeID"] in draining,
            tuple(sorted(node["Labels"].items())),
        )
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]


def capacity_of(resources: Mapping[str, float]) -> Resources:
    """A node's resources as Ray tells them, without what Ray counts for its own ends."""
    inner = ("CPU", "GPU", "memory", "object_store_memory")
    custom = {
        name: round(value * 1000)
        for name, value in resources.items()
        if name not in inner and not name.startswith(("node:", "accelerator_type:"))
    }
    return Resources(
        cpu_m=round(resources.get("CPU", 0.0) * 1000),
        gpu_m=round(resources.get("GPU", 0.0) * 1000),
        memory_bytes=int(resources.get("memory", 0.0)),
        custom_m=tuple(sorted(custom.items())),
    )


def actor_named(name: str) -> ActorHandle[Any]:
    """The service's actor of that name. Raises ActorGone if there is none. Blocks."""
    try:
        handle: ActorHandle[Any] = ray.get_actor(name, namespace=NAMESPACE)
    except ValueError as error:
        raise ActorGone(f"there is no actor {name}") from error
    return handle


def service_actors() -> list[str]:
    """Names of all actors of the service. Blocks."""
    names: list[str] = ray.util.list_named_actors()
    return names


async def where(name: str) -> Address:
    """Where an actor of the service listens to others: it is asked. Raises BackOffError, as `call` does."""
    return Address(*await call(await asyncio.to_thread(actor_named, name), "where", timeout_s=SHORT_TIMEOUT_S))


def ask_runners(wanted: Callable[[RunnerId], bool], method: str, *args: object) -> dict[RunnerId, bytes | str]:
    """What each of these runners answers, or why it does not. Blocks."""
    names = [RunnerId(name) for name in service_actors() if name.startswith("runner:") and wanted(RunnerId(name))]
    asked: dict[RunnerId, ray.ObjectRef[bytes]] = {}
    answers: dict[RunnerId, bytes | str] = {}
    for name in names:
        try:
            asked[name] = getattr(actor_named(name), method).remote(*args)
        except (ActorGone, RayError) as error:
            answers[name] = _first_line(error)
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=SHORT_TIMEOUT_S) if asked else None
    for name, reference in asked.items():
        try:
            answers[name] = ray.get(reference, timeout=0)
        except RayError as error:
            answers[name] = _first_line(error) or type(error).__name__
    return answers


def node_host() -> str:
    """This node's address, as the others of the cluster know it."""
    host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return host


def note_home(node: str) -> None:
    """The cluster remembers that the service's dispatcher and gateway are on this node. Blocks."""
    internal_kv._internal_kv_put(_HOME_KEY, node.encode(), overwrite=True)  # noqa: SLF001


def home_is_lost() -> bool:
    """Whether that node is gone: then nothing of that service can start again. Blocks."""
    home: bytes | None = internal_kv._internal_kv_get(_HOME_KEY)  # noqa: SLF001
    return home is not None and home.decode() not in {node.id for node in nodes()}


def this_node() -> str:
    """The node that this process is on."""
    node: str = ray.get_runtime_context().get_node_id()
    return node


def restarted() -> bool:
    """Whether the actor that this process is has died before. Blocks."""
    return bool(ray.get_runtime_context().was_current_actor_reconstructed)


def kill_actor(name: str) -> None:
    """The actor is ended and will not be restarted; nothing happens if there is none. Blocks."""
    with contextlib.suppress(ActorGone):
        ray.kill(actor_named(name), no_restart=True)


def request_machines(machines: Sequence[tuple[Mapping[str, float], Mapping[str, str]]]) -> None:
    """Ray's autoscaler keeps the cluster large enough for all of these, each with its resources and labels. Raises BackOffError. Blocks."""
    bundles = [dict(resources) for resources, _ in machines]
    labels = [dict(found) for _, found in machines] if any(found for _, found in machines) else None
    try:
        ray.autoscaler.sdk.request_resources(bundles=bundles, bundle_label_selectors=labels)
    except (RayError, RuntimeError) as error:
        raise BackOffError(f"Ray's autoscaler cannot be told: {_first_line(error)}") from error


def drain_node(node: str) -> bool:
    """Whether Ray ends this node, because it is idle. Raises BackOffError. Blocks."""
    client = internal_kv.internal_kv_get_gcs_client()  # type: ignore[no-untyped-call]
    reason = autoscaler_pb2.DRAIN_NODE_REASON_IDLE_TERMINATION  # type: ignore[attr-defined]
    try:
        accepted, why = client.drain_node(node, reason, "taskservice needs it no more", 0)
    except (RayError, RuntimeError) as error:
        raise BackOffError(f"Ray does not answer: {_first_line(error)}") from error
    if not accepted:
        log.info("node %s is not ended yet: %s", node, why)
    return bool(accepted)


class RayLease:
    """A lease as a Ray task (`LeaseRun`). This process owns it: it dies with us."""

    def __init__(self, reference: ray.ObjectRef[None]) -> None:
        self._reference = reference

    async def wait(self) -> None:
        """See `LeaseRun`."""
        await self._reference

    def kill(self) -> None:
        """See `LeaseRun`."""
        ray.cancel(self._reference, force=True)


class RayLauncher:
    """Starts leases on one node as Ray tasks that report to one runner (`LeaseLauncher`)."""

    def __init__(self, function: RemoteFunction, runner: str, node: str, options: bytes) -> None:
        """`function`: `lease_task.run_lease_task` as a Ray function. `runner`: the socket that its reports go to.
        `options`: msgpack of its `RuntimeOptions`."""
        self._runner = runner
        self._options = options
        self._shaped = lru_cache(maxsize=1024)(lambda resources: function.options(**lease_options(resources, node)))

    def start(self, body: bytes, spec: LeaseSpec) -> RayLease:
        """See `LeaseLauncher`."""
        return RayLease(self._shaped(spec.resources).remote(body, self._runner, self._options))


def lease_options(resources: Resources, node: str) -> dict[str, object]:
    """Ray's options for a lease: its exact quota, on this node, once."""
    return {
        "num_cpus": resources.cpu_m / 1000,
        "num_gpus": resources.gpu_m / 1000,
        "memory": resources.memory_bytes or None,
        "resources": {name: amount / 1000 for name, amount in resources.custom_m},
        "label_selector": {"ray.io/node-id": node},
        "max_retries": 0,  # the dispatcher decides about attempts, and charges them
        "enable_task_events": False,
    }


def last_words(error: BaseException) -> str:
    """Why an actor died, without the traces: the last line that Ray says of it."""
    return str(error).strip().rpartition("\n")[2]


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
