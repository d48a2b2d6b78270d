"""How much memory a lease asks for: what its function says, or more for tasks that have run out of that.

What a task asks for is part of its leaf: so what waits in one queue asks a machine for the same, and a task that needs much
holds up none that does not. It grows in steps of the function's factor, up to what the function allows and the
largest machine has; so there are few such leaves, and none that no machine could serve when it was made.
"""

from __future__ import annotations

from msgspec.structs import replace

from taskservice.core.specs import FunctionSpec, Resources
from taskservice.core.types import Leaf


def resources_of(function: FunctionSpec, leaf: Leaf) -> Resources:
    """What a lease of the leaf's tasks takes of a machine."""
    if leaf.memory_bytes <= function.resources.memory_bytes:
        return function.resources
    return replace(function.resources, memory_bytes=leaf.memory_bytes)


def after_running_out(function: FunctionSpec, leaf: Leaf, largest_bytes: int) -> int:
    """The leaf's `memory_bytes` of a task's next attempt that has run out of memory in this leaf. `largest_bytes`: what the
    largest machine has that suits it otherwise, and no more than quotas let one lease have.

    As much as before if the function does not say by how much it grows, or how much it takes, or if there is no more.
    """
    had_bytes = resources_of(function, leaf).memory_bytes
    if function.memory_retry_factor is None or not had_bytes:
        return leaf.memory_bytes
    ceiling_bytes = min(largest_bytes, function.memory_max_bytes or largest_bytes)
    wanted_bytes = min(int(had_bytes * function.memory_retry_factor), ceiling_bytes)
    return wanted_bytes if wanted_bytes > had_bytes else leaf.memory_bytes
