"""The service's autoscaler: its parts, made from the settings, and Ray as its provider."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from taskservice.actors.ray_port import drain_node, request_machines, this_node
from taskservice.autoscaler.kinds import Kind, ScaleOptions
from taskservice.autoscaler.loop import Autoscaler
from taskservice.autoscaler.policy import BacklogPolicy
from taskservice.autoscaler.provider import Runners
from taskservice.core.backlog import BacklogAnswer
from taskservice.core.resources import amounts
from taskservice.core.specs import Resources
from taskservice.scaling import AutoscalerSettings, MachineKind

REPEAT_S = 30.0
"""After which Ray is told again what it was told before: it may have started anew."""


class RayProvider:
    """Ray's autoscaler, told by `request_resources` how large the cluster is to be at least. Nobody else may use that: it has one value."""

    def __init__(self, kinds: tuple[Kind, ...], now_s: Callable[[], float] = time.monotonic) -> None:
        self._kinds = {kind.name: kind for kind in kinds}
        self._now_s = now_s
        self._told: dict[str, int] | None = None
        self._told_s = float("-inf")

    async def request(self, machines: Mapping[str, int]) -> None:
        """See `Provider`."""
        now_s = self._now_s()
        if dict(machines) == self._told and now_s - self._told_s < REPEAT_S:
            return
        wanted = [
            ({name: amount / 1000 for name, amount in kind.capacity if name != "memory"}, dict(kind.labels))
            for name, kind in self._kinds.items()
            for _ in range(machines.get(name, 0))
        ]
        await asyncio.to_thread(request_machines, wanted)
        self._told, self._told_s = dict(machines), now_s

    async def release(self, node: str) -> None:
        """See `Provider`. If Ray does not take it, its idle timeout ends the machine."""
        await asyncio.to_thread(drain_node, node)


def autoscaler(
    settings: AutoscalerSettings, look: Callable[[], Awaitable[BacklogAnswer]], runners: Runners
) -> Autoscaler:
    """The service's autoscaler."""
    options = options_of(settings, this_node())
    return Autoscaler(look, BacklogPolicy(options), RayProvider(options.kinds), runners, settings.interval_s)


def options_of(settings: AutoscalerSettings, home: str) -> ScaleOptions:
    """What the policy goes by, from the settings."""
    return ScaleOptions(
        kinds=tuple(_kind(kind) for kind in settings.machines),
        wait_s=settings.wait_s,
        idle_s=settings.idle_s,
        drain_s_max=settings.drain_s_max,
        price_per_h_max=settings.price_per_h_max,
        spot_ratio_max=settings.spot_ratio_max,
        home=home,
    )


def _kind(said: MachineKind) -> Kind:
    custom = tuple((name, round(amount * 1000)) for name, amount in sorted(said.resources.items()))
    capacity = amounts(Resources(round(said.cpus * 1000), round(said.gpus * 1000), said.memory, custom))
    return Kind(
        said.name,
        tuple(sorted(capacity.items())),
        tuple(sorted(said.labels.items())),
        said.machines_min,
        said.machines_min_off_peak,
        said.machines_max,
        said.price_per_h,
        said.starts_s,
        said.spot,
    )
