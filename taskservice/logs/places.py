"""What bundles of logs are called, and what a task's row says of them.

A place: `20261130-1a2b3c4d-17`: the day on which the bundle was begun, the session that writes it (the end of its runner's
name), and a number that counts the session's bundles. A link, as tasks and pieces have it: nothing, or a place, with a
`~` before it for each attempt that came after and was lost without anything of it being stored.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

from taskservice.core.report import LOST_LOG

PREFIX = "tasklog/"

_PLACE = re.compile(r"(?P<day>\d{8})-(?P<session>[0-9a-z]{1,32})-(?P<number>\d{1,9})", re.ASCII)
_KEY = re.compile(rf"{PREFIX}dt=(?P<day>\d{{4}}-\d\d-\d\d)/[0-9a-z]{{1,32}}-\d{{9}}", re.ASCII)


class Place(NamedTuple):
    """A bundle."""

    day: str
    session: str
    number: int

    @property
    def key(self) -> str:
        """Of its object."""
        date = f"{self.day[:4]}-{self.day[4:6]}-{self.day[6:]}"
        return f"{PREFIX}dt={date}/{self.session}-{self.number:09d}"

    def __str__(self) -> str:
        return f"{self.day}-{self.session}-{self.number}"


def parse_place(text: str) -> Place | None:
    """The place of that name; None if it is none."""
    match = _PLACE.fullmatch(text)
    return Place(match["day"], match["session"], int(match["number"])) if match else None


def place_at(now_ms: int, session: str, number: int) -> Place:
    """The place of a bundle that is begun now."""
    return Place(datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%d"), session, number)


def follow_link(link: str) -> tuple[int, Place | None]:
    """How many attempts were lost after what is at the place, and the place; None: there is nothing before."""
    rest = link.lstrip(LOST_LOG)
    return len(link) - len(rest), parse_place(rest)


def day_of_key(key: str) -> str | None:
    """The day of a bundle's key, as in the key; None if it is no such key."""
    match = _KEY.fullmatch(key)
    return match["day"] if match else None


def first_day_kept(now_ms: int, keep_s: float) -> str:
    """Bundles of earlier days hold nothing that is to be kept for so long; as in keys."""
    return datetime.fromtimestamp(now_ms / 1000 - keep_s, UTC).strftime("%Y-%m-%d")
