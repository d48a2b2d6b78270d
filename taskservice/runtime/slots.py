"""Which attempts a child is making right now, in memory that it shares with its supervisor.

The child writes a slot before and after each attempt; the supervisor reads them to enforce time limits and, when the
child has died, to know which attempts died with it. No message, however late or lost, is needed for that.
"""

from __future__ import annotations

import mmap
import os
import struct

from taskservice.core.types import TaskNo
from taskservice.runtime.wire import SLOTS_MAX

_SLOT = struct.Struct("qq")
_WORD = struct.Struct("q")
"""Native and aligned, so that a reader never sees half a number."""
_STEPPING = SLOTS_MAX * _SLOT.size
"""Where it is written whose step the event loop runs."""
_BYTES = _STEPPING + _WORD.size


class Slots:
    """Slot -> (task number, start on the monotonic clock in ns); number 0: free."""

    def __init__(self, descriptor: int | None = None) -> None:
        """Makes the memory, or opens that of the other side. Only the maker needs `descriptor` further."""
        made = descriptor is None
        self.descriptor = os.memfd_create("taskservice-slots") if descriptor is None else descriptor
        if made:
            os.ftruncate(self.descriptor, _BYTES)
        self._memory = mmap.mmap(self.descriptor, _BYTES)

    def set(self, slot: int, no: TaskNo, started_ns: int) -> None:
        """An attempt has begun there."""
        # The number comes last: whoever reads it has its start already, not that of the attempt before.
        _WORD.pack_into(self._memory, slot * _SLOT.size + _WORD.size, started_ns)
        _WORD.pack_into(self._memory, slot * _SLOT.size, no)

    def clear(self, slot: int) -> None:
        """It has ended, one way or another."""
        _WORD.pack_into(self._memory, slot * _SLOT.size, 0)

    def enter(self, no: TaskNo) -> None:
        """The event loop runs a step of this attempt."""
        _WORD.pack_into(self._memory, _STEPPING, no)

    def leave(self) -> None:
        """It runs nobody's step."""
        _WORD.pack_into(self._memory, _STEPPING, 0)

    def stepping(self) -> TaskNo:
        """Whose step the event loop runs; 0: nobody's."""
        return TaskNo(_WORD.unpack_from(self._memory, _STEPPING)[0])

    def running(self, slots: int) -> list[tuple[TaskNo, int]]:
        """What runs in the first `slots` slots, with its start."""
        used = memoryview(self._memory)[: slots * _SLOT.size]
        running = [(TaskNo(no), started_ns) for no, started_ns in _SLOT.iter_unpack(used) if no]
        used.release()
        return running

    def culprits(self, running: dict[TaskNo, int]) -> dict[TaskNo, int]:
        """Whose fault it is that the child is dead, of those that ran in it.

        Of many async attempts it was the one whose step was on. If none was, it may have been any of them.
        """
        stepping = self.stepping()
        return {stepping: running[stepping]} if stepping in running else running

    def wipe(self) -> None:
        """All slots are free."""
        self._memory[:] = bytes(_BYTES)

    def close(self) -> None:
        self._memory.close()
        os.close(self.descriptor)
