"""How much work something is, without a clock: a machine that is busy with something else must not decide whether a test passes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType, FunctionType


def calls_of(work: Callable[[], object], of: FunctionType | None = None) -> int:
    """How many calls of Python functions and of built-in ones `work` makes, or of that function only."""
    count = 0

    def count_one(frame: FrameType, event: str, arg: object) -> None:
        nonlocal count
        if event in {"call", "c_call"} if of is None else event == "call" and frame.f_code is of.__code__:
            count += 1

    before = sys.getprofile()
    sys.setprofile(count_one)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count
