"""Parts of a leaf, by the numbers of its tasks: where a step of a bulk operation begins and how far it goes."""

from __future__ import annotations

from typing import NamedTuple

from taskservice.core.types import Leaf, TaskNo


class Stretch(NamedTuple):
    """A part of a leaf: its tasks with numbers above `after_no`, up to `to_no`."""

    leaf: Leaf
    after_no: TaskNo
    to_no: TaskNo


class Reach(NamedTuple):
    """How far one goes in a leaf to meet so many tasks."""

    to_no: TaskNo
    tasks: int
    """Those that are met on the way, passing a filter or not."""
