"""Small numbers for the names that millions of rows share."""

from __future__ import annotations

import sqlite3

from taskservice.core.types import FunctionName, Lane, Leaf, Priority, TenantId
from taskservice.journal.store import statements


class Numbers:
    """Tenants and leaves of one file: all in RAM, each written to a side table of the file when it is first met."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._tenants: dict[TenantId, int] = {}
        self._leaves: dict[Leaf, int] = {}
        self.leaves: list[Leaf] = []
        """The leaf of each number."""
        for number, name in db.execute(statements.TENANTS):
            self._tenants[TenantId(name)] = number
        for number, tenant, function, priority, key, *rest in db.execute(statements.LEAVES):
            lane, memory_bytes, pin = rest
            names = TenantId(tenant), FunctionName(function), Priority(priority)
            leaf = Leaf(*names, key, Lane(lane), memory_bytes, pin)
            self._leaves[leaf] = number
            self.leaves.append(leaf)

    def of_tenant(self, tenant: TenantId) -> int:
        """The tenant's number; a new one if it had none."""
        number = self._tenants.get(tenant)
        if number is None:
            number = self._tenants[tenant] = len(self._tenants)
            self._db.execute(statements.INSERT_TENANT, (number, tenant))
        return number

    def of_leaf(self, leaf: Leaf) -> int:
        """The leaf's number; a new one if it had none."""
        number = self._leaves.get(leaf)
        if number is None:
            number = self._leaves[leaf] = len(self.leaves)
            self.leaves.append(leaf)
            self._db.execute(statements.INSERT_LEAF, (number, self.of_tenant(leaf.tenant), *leaf[1:]))
        return number

    def of_known_tenant(self, tenant: TenantId) -> int | None:
        """The tenant's number; None if it never had a task."""
        return self._tenants.get(tenant)

    def of_known_leaf(self, leaf: Leaf) -> int | None:
        """The leaf's number; None if it never had a task."""
        return self._leaves.get(leaf)
