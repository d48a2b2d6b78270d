"""What may be a key, and a part of an object: checked in one place, so that no store takes what another cannot keep."""

from __future__ import annotations

import re

KEY_CHARS_MAX = 700
"""S3 allows 1,024 bytes, of which the prefix of a bucket's user takes some."""
WORD_CHARS_MAX = 255
"""The longest name in a directory."""

_WORD = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9._=-]*", re.ASCII)


def check_key(key: str) -> str:
    """The key, if it is one. Raises ValueError if not."""
    if not is_key(key):
        raise ValueError(
            f"{key!r:.100} is no key: words of A-Z a-z 0-9 . _ = - joined by single slashes, none beginning with a "
            f"dot or longer than {WORD_CHARS_MAX}, {KEY_CHARS_MAX} characters in all"
        )
    return key


def is_key(text: str) -> bool:
    return len(text) <= KEY_CHARS_MAX and all(
        len(word) <= WORD_CHARS_MAX and _WORD.fullmatch(word) for word in text.split("/")
    )


def check_prefix(prefix: str) -> str:
    """The prefix, if a key can begin so: nothing, a key, or a key and a slash. Raises ValueError if not."""
    if prefix and not is_key(prefix.removesuffix("/")):
        raise ValueError(f"{prefix!r:.100} is not the beginning of a key")
    return prefix


def check_range(start: int, end: int | None) -> None:
    """Raises ValueError unless this is a part of an object: from `start` up to `end`, or its end."""
    if start < 0 or (end is not None and end < start):
        raise ValueError(f"there are no bytes from {start} to {end}")
