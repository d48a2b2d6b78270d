"""Code of apps, as gateway and `up` handle it: kept on the state's object store, looked into by a task on Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from taskservice.code.archive import Packed
from taskservice.code.store import CodeStore
from taskservice.core.specs import Bundle, FunctionSpec
from taskservice.errors import BackOffError
from taskservice.values import ValuesAway


class StoredCode:
    """A `CodeKeeper`."""

    def __init__(self, store: CodeStore, inspect: Callable[[Bundle], Awaitable[list[FunctionSpec]]]) -> None:
        """`inspect`: gives the functions of a bundle, by a process that may run user code."""
        self._store = store
        self._inspect = inspect

    async def keep(self, archive: Packed) -> str:
        """See `CodeKeeper`; so for what follows."""
        try:
            return await asyncio.to_thread(self._store.put, archive)
        except ValuesAway as error:
            raise BackOffError(f"the code cannot be stored: {error}", retry_after_s=2.0, code="store_away") from error

    async def functions_of(self, bundle: Bundle) -> list[FunctionSpec]:
        return await self._inspect(bundle)
