"""Which tasks run under which lease: as many as the cluster has room for, so all of it is in RAM."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from taskservice.core.table import Grant
from taskservice.core.types import RunnerId, TaskNo, Token


class Grants:
    """Leases with tasks that run under them; one that has none left is forgotten."""

    def __init__(self) -> None:
        self._open: dict[Token, tuple[RunnerId, dict[TaskNo, None]]] = {}

    def granted(self, token: Token, runner: RunnerId, nos: Sequence[TaskNo]) -> None:
        """These tasks run under the lease: they alone, or after those that it has."""
        if nos:
            _, before = self._open.get(token, (runner, {}))
            self._open[token] = (runner, before | dict.fromkeys(nos))

    def ended(self, token: Token, nos: Iterable[TaskNo]) -> bool:
        """These tasks do not run any more; gives whether the lease has come to its end by that."""
        if token not in self._open:
            return False
        running = self._open[token][1]
        for no in nos:
            del running[no]
        if not running:
            del self._open[token]
        return not running

    def get(self, token: Token) -> Grant:
        """The lease; it has tasks."""
        runner, running = self._open[token]
        return Grant(token, runner, tuple(running))

    def all(self) -> list[Grant]:
        """In the order of their tokens."""
        return [self.get(token) for token in sorted(self._open)]
