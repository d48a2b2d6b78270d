"""Waiting for processes to end."""

from __future__ import annotations

import os
import select


def gone(pid: int, within_s: float = 5.0) -> bool:
    """Whether the process ends, or has ended, within the time."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], within_s)[0])
    finally:
        os.close(descriptor)
