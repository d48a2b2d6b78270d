"""The children of one worker process, kept warm between leases."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from taskservice.core.specs import Bundle
from taskservice.core.types import TenantId
from taskservice.runtime.memory import OomKills
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.process import Child, Devices, devices


class ChildKey(NamedTuple):
    """What a child can be used for. No child ever serves two tenants, bundles or sets of devices."""

    tenant: TenantId
    bundle: Bundle
    devices: Devices


class ChildPool:
    """Idle children by what they can be used for, the least recently used first."""

    def __init__(self, options: RuntimeOptions) -> None:
        self._options = options
        self._idle: dict[ChildKey, Child] = {}
        self.oom_kills = OomKills()

    def take(self, tenant: TenantId, bundle: Bundle, meanwhile: Callable[[], None], memory_bytes: int = 0) -> Child:
        """A child with the bundle's app imported: a warm one, or a new one. Raises as `Child.load` does.

        `memory_bytes`: what it may take; a warm one has most of it left. 0: as much as it likes.
        """
        key = ChildKey(tenant, bundle, devices(os.environ))
        child = self._idle.pop(key, None)
        if child is not None:
            if child.alive() and child.has_left(memory_bytes):
                return child
            child.close()
        child = Child(tenant, bundle, self._options)
        try:
            child.load(self._options.load_timeout_s, meanwhile)
        except BaseException:
            child.close()
            raise
        return child

    def give(self, child: Child) -> None:
        """The child is idle, and may be taken again."""
        child.slots.wipe()
        self._idle[ChildKey(child.tenant, child.bundle, child.devices)] = child
        while len(self._idle) > self._options.children_max:
            oldest = next(iter(self._idle))
            self._idle.pop(oldest).close()

    def close(self) -> None:
        """All idle children have ended."""
        for child in self._idle.values():
            child.close()
        self._idle.clear()
