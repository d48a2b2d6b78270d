"""A scenario with some of its values changed: the same question with other weights, or another fleet."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import yaml

from taskservice.errors import RequestError


def changed(stated: Any, changes: Iterable[str]) -> Any:
    """What a scenario file holds, with `PATH=VALUE` done to it. The parts of a path are between dots: a name, the name of an
    item of a list, or its place from 0 on. Raises RequestError if a path leads nowhere."""
    made = deepcopy(stated)
    for change in changes:
        path, separator, value = change.partition("=")
        if not separator:
            raise _bad(change, "write PATH=VALUE, as in fleet.0.nodes=500")
        *parents, last = path.strip().split(".")
        at = made
        for parent in parents:
            at = at[_place(change, at, parent)]
        key = last if isinstance(at, dict) else _place(change, at, last)
        try:
            at[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise _bad(change, f"{value!r} is no value") from None
    return made


def _place(change: str, at: Any, part: str) -> Any:
    """Where the part is in what there is."""
    if isinstance(at, dict) and part in at:
        return part
    if isinstance(at, list):
        named = [place for place, item in enumerate(at) if isinstance(item, dict) and item.get("name") == part]
        if named:
            return named[0]
        if part.isdecimal() and int(part) < len(at):
            return int(part)
    names = list(at) if isinstance(at, dict) else _names(at)
    raise _bad(change, f"there is no {part!r}; there is: {', '.join(map(str, names)) or 'nothing'}")


def _names(at: Any) -> list[Any]:
    items = at if isinstance(at, list) else []
    return [item.get("name", place) if isinstance(item, dict) else place for place, item in enumerate(items)]


def _bad(change: str, why: str) -> RequestError:
    return RequestError(f"--set {change}: {why}.", code="bad_scenario")
