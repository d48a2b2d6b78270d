"""The children of one worker process, kept warm between leases."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

from taskservice.code.cache import CodeCache, HeldCode
from taskservice.code.store import code_in
from taskservice.core.specs import Bundle
from taskservice.core.types import OutcomeKind, TenantId
from taskservice.runtime.memory import OomKills
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.process import MEANWHILE_S, Child, Devices, LoadError, devices
from taskservice.values import ValueLost, ValuesAway


class ChildKey(NamedTuple):
    """What a child can be used for. No child ever serves two tenants, bundles or sets of devices."""

    tenant: TenantId
    bundle: Bundle
    devices: Devices


class ChildPool:
    """Idle children by what they can be used for, the least recently used first."""

    def __init__(self, options: RuntimeOptions) -> None:
        self._options = options
        store = code_in(options.state_dir)
        self._code = CodeCache(Path(options.code_dir), store, options.code_unpacked_bytes_max, options.code_unused_s)
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
        child = Child(tenant, bundle, self._options, self._held(bundle, meanwhile))
        try:
            child.load(self._options.load_timeout_s, meanwhile)
        except BaseException:
            child.close()
            raise
        return child

    def _held(self, bundle: Bundle, meanwhile: Callable[[], None]) -> HeldCode | None:
        """The bundle's code on this machine, fetched if need be; None if it has a folder of its own."""
        if not bundle.sha256:
            return None
        held = self._code.here(bundle)
        if held is not None:
            return held
        threads = ThreadPoolExecutor(1, "code")
        try:
            fetching = threads.submit(self._code.fetch, bundle)
            while not wait([fetching], MEANWHILE_S).done:
                meanwhile()
            return fetching.result()
        except ValuesAway as error:
            raise LoadError(f"its code cannot be fetched: {error}", "", OutcomeKind.STORE_AWAY) from error
        except ValueLost as error:
            raise LoadError(f"its code is lost, deploy it again: {error}", "") from error
        except OSError as error:
            raise LoadError(f"its code cannot be unpacked on this machine: {error}", "") from error
        finally:
            threads.shutdown(wait=False)

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
