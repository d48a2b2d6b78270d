"""Small numbers for the names that millions of rows share."""

from __future__ import annotations

import sqlite3

from taskservice.core.types import Leaf, TenantId


class Numbers:
    """Tenants and leaves of one file: all in RAM, each written to a side table of the file when it is first met."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._tenants: dict[TenantId, int] = {}
        self._leaves: dict[Leaf, int] = {}
        self.leaves: list[Leaf] = []
        """The leaf of each number."""

    def of_tenant(self, tenant: TenantId) -> int:
        """The tenant's number; a new one if it had none."""
        number = self._tenants.get(tenant)
        if number is None:
            number = self._tenants[tenant] = len(self._tenants)
            self._db.execute("INSERT INTO tenant VALUES (?, ?)", (number, tenant))
        return number

    def of_leaf(self, leaf: Leaf) -> int:
        """The leaf's number; a new one if it had none."""
        number = self._leaves.get(leaf)
        if number is None:
            number = self._leaves[leaf] = len(self.leaves)
            self.leaves.append(leaf)
            row = (number, self.of_tenant(leaf.tenant), leaf.function, leaf.priority)
            self._db.execute("INSERT INTO leaf VALUES (?, ?, ?, ?)", row)
        return number

    def of_known_tenant(self, tenant: TenantId) -> int | None:
        """The tenant's number; None, which equals nothing in SQL, if it never had a task."""
        return self._tenants.get(tenant)

    def of_known_leaf(self, leaf: Leaf) -> int | None:
        """The leaf's number; None, which equals nothing in SQL, if it never had a task."""
        return self._leaves.get(leaf)
