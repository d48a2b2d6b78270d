"""The lines before gates, by name: each there for as long as a node stands before its gate."""

from __future__ import annotations

from weakref import ref

from taskservice.core.fair.line import Line
from taskservice.core.flow.gate import Gate

Name = tuple[object, ...]
"""What a gate is called: what it is about, and whose it is. The first part is what users know it by."""


class Lines:
    """Held weakly: there may be as many keys as a tenant has users."""

    def __init__(self, stirred: dict[Line, None]) -> None:
        """`stirred`: see `Line`."""
        self._stirred = stirred
        self._known: dict[Name, ref[Line]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def before(self, gate: Gate, name: Name) -> Line:
        """The line of that name, which is before this gate now."""
        line = self._find(name)
        if line is None:
            line = Line(gate, self._stirred, str(name[0]), str(name[1]))
            self._known[name] = ref(line, lambda _: self._known.pop(name, None))
        line.gate = gate
        return line

    def stir(self, name: Name) -> None:
        """Somebody's turn may have come there, if anybody stands in such a line."""
        line = self._find(name)
        if line is not None:
            line.stir()

    def _find(self, name: Name) -> Line | None:
        known = self._known.get(name)  # a plain dict: asked seven times for each lease, mostly in vain
        return None if known is None else known()
