"""Files that are there whole or not at all, however often an attempt is cut short and run again."""

from __future__ import annotations

import uuid
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """`path` holds `data`; a reader sees the old content or the new one, never a part. Makes the folder if need be.

    Each call writes a temporary file of its own, so two attempts of one task may overlap without harm.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
