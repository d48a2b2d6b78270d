"""What the core's own structs are called in a scenario: their fields, so that a new one needs no word here.

A field that ends in its unit is given without it, and with a unit in the value: `timeout_ms` is `timeout: 10m`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Struct

from taskservice.core.resources import amounts
from taskservice.core.specs import Resources
from taskservice.units import parse_bytes, parse_duration_ms

S = TypeVar("S", bound=Struct)

_AMOUNTS = tuple[tuple[str, int], ...]
"""What quotas are made of; a scenario says it in the words of a machine."""
_MACHINE = ("cpus", "gpus", "memory", "resources")

_UNITS = {"_ms": parse_duration_ms, "_bytes": parse_bytes}


def struct_of(kind: type[S], given: Mapping[str, Any], omit: Collection[str] = (), **fixed: Any) -> S:
    """The struct that these words of a scenario mean; `fixed` fields, and those to `omit`, are not theirs to say.

    Raises ValueError naming what is wrong and what there is.
    """
    fields = {_word(name): (name, of) for name, of in _fields(kind).items() if name not in fixed and name not in omit}
    values = dict(fixed)
    for word, value in given.items():
        name, of = _known(word, fields)
        try:
            values[name] = _value(name, of, value)
        except (ValueError, msgspec.ValidationError) as error:
            raise ValueError(f"{word}: {error}") from error
    return kind(**values)


def settings_of(kind: type[S], given: Mapping[str, Any], omit: Collection[str] = ()) -> S:
    """As `struct_of`, for a struct whose fields are called as settings are: by their whole names, with plain numbers."""
    fields = {name: of for name, of in _fields(kind).items() if name not in omit}
    values: dict[str, Any] = {}
    for name, value in given.items():
        try:
            values[name] = _quantity(msgspec.convert(value, _known(name, fields)))
        except msgspec.ValidationError as error:
            raise ValueError(f"{name}: {error}") from error
    return kind(**values)


def resources_of(cpus: float, gpus: float, memory_bytes: int, custom: Mapping[str, float]) -> Resources:
    """A quantity of machine, in the core's units."""
    return Resources(_m(cpus), _m(gpus), memory_bytes, tuple((name, _m(custom[name])) for name in sorted(custom)))


def _amounts(given: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    """`{cpus: 4, memory: 8GiB, resources: {tpu: 1}}` as the core has it."""
    for word in given:
        _known(word, dict.fromkeys(_MACHINE))
    cpus, gpus = (_quantity(msgspec.convert(given.get(word, 0), float)) for word in ("cpus", "gpus"))
    custom = msgspec.convert(given.get("resources", {}), dict[str, float])
    return tuple(sorted(amounts(resources_of(cpus, gpus, parse_bytes(given.get("memory", 0)), custom)).items()))


def _m(amount: float) -> int:
    return round(amount * 1000)


def _fields(kind: type[Struct]) -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(kind)}


def _word(name: str) -> str:
    return name.removesuffix(next((unit for unit in _UNITS if name.endswith(unit)), ""))


def _value(name: str, kind: Any, value: Any) -> Any:
    """The value of a field, from what a scenario has written."""
    parse = next((parse for unit, parse in _UNITS.items() if name.endswith(unit)), None)
    if parse is not None and value is not None:
        return parse(value)
    if kind == _AMOUNTS and isinstance(value, Mapping):
        return _amounts(value)
    inner = next((one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, Struct)), None)
    if inner is not None and isinstance(value, Mapping):
        return struct_of(inner, value)
    return _quantity(msgspec.convert(value, kind))


V = TypeVar("V")


def _quantity(value: V) -> V:
    """The value; no number of these structs is below 0."""
    if isinstance(value, int | float) and not 0 <= value < float("inf"):
        raise ValueError(f"{value} is not a number that it can be")
    return value


def _known(word: str, fields: Mapping[str, V]) -> V:
    if word not in fields:
        close = get_close_matches(word, fields, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise ValueError(f"there is no {word!r}.{hint} There is: {', '.join(fields)}")
    return fields[word]
