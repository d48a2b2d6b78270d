"""How much work something is, without a clock: a machine that is busy with something else must not decide whether a test passes."""

from __future__ import annotations

import sys
from collections.abc import Callable


def calls_of(work: Callable[[], object]) -> int:
    """How many calls of Python functions and of built-in ones `work` makes."""
    count = 0

    def count_one(frame: object, event: str, arg: object) -> None:
        nonlocal count
        if event in {"call", "c_call"}:
            count += 1

    before = sys.getprofile()
    sys.setprofile(count_one)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count
