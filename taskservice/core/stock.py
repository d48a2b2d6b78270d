"""How many tasks are queued, by group of leaves: counted as they come and go, so that nobody has to look through the queues.

A group is the leaves that differ in their keys only (`Leaf.group`): there may be a million keys, and as many queues.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from taskservice.core.types import Leaf


@dataclass(slots=True)
class Group:
    """Leaves that differ in their keys only."""

    tasks: int = 0
    """Queued."""
    queues: int = 0
    """Leaves that have such."""


@dataclass(slots=True)
class Stock:
    """The queued tasks of a shard. Volatile: learnt again with the queues."""

    groups: dict[Leaf, Group] = field(default_factory=dict)
    """Those that have queues."""

    def opened(self, leaf: Leaf) -> Group:
        """The leaf has a queue; gives the group that counts its tasks."""
        group = self.groups.get(leaf.group)
        if group is None:
            group = self.groups[leaf.group] = Group()
        group.queues += 1
        return group

    def closed(self, leaf: Leaf) -> None:
        """The leaf has none any more."""
        group = self.groups[leaf.group]
        group.queues -= 1
        if not group.queues:
            del self.groups[leaf.group]
