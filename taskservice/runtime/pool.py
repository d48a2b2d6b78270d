"""The children of one worker process, kept warm between leases."""

from __future__ import annotations

from taskservice.core.types import Bundle, TenantId
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.process import Child


class ChildPool:
    """Idle children by tenant and bundle, the least recently used first. No child ever serves two tenants or bundles."""

    def __init__(self, options: RuntimeOptions) -> None:
        self._options = options
        self._idle: dict[tuple[TenantId, Bundle], Child] = {}

    def take(self, tenant: TenantId, bundle: Bundle) -> Child:
        """A child with the bundle's app imported: a warm one, or a new one. Raises LoadError."""
        child = self._idle.pop((tenant, bundle), None)
        if child is not None:
            if child.alive():
                return child
            child.close()
        child = Child(tenant, bundle, self._options)
        try:
            child.load(self._options.load_timeout_s)
        except BaseException:
            child.close()
            raise
        return child

    def give(self, child: Child) -> None:
        """The child is idle, and may be taken again."""
        child.slots.wipe()
        self._idle[child.tenant, child.bundle] = child
        while len(self._idle) > self._options.children_max:
            oldest = next(iter(self._idle))
            self._idle.pop(oldest).close()

    def close(self) -> None:
        """All idle children have ended."""
        for child in self._idle.values():
            child.close()
        self._idle.clear()
