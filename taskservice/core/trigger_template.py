"""Payload templates: JSON in which a text such as `$.data.url` stands for what the event has there.

`$.NAME` is an attribute, `$.data` the data; further names and numbers lead into objects and lists. A text that is to begin
with a dollar itself begins with two.
"""

from __future__ import annotations

from typing import TypeGuard

import msgspec

from taskservice.core.triggers import CloudEvent, TriggerSpec

REFERENCES_MAX = 20
"""In one template: each may bring the whole of the event's data."""


class BadTemplate(Exception):
    """There can be no payload, and why."""


def check_template(template: object) -> None:
    """Raises BadTemplate if no event can make a payload of it."""
    if not isinstance(template, dict):
        raise BadTemplate("a payload is a JSON object: write the template as one")
    count = _references(template)
    if count > REFERENCES_MAX:
        raise BadTemplate(f"there are {count} references; {REFERENCES_MAX} are allowed: take $.data as a whole")


def payload_of(spec: TriggerSpec, event: CloudEvent) -> bytes:
    """The payload of the task that the event comes to, as JSON. Raises BadTemplate."""
    if spec.template is not None:
        return msgspec.json.encode(_filled(msgspec.json.decode(spec.template), event))
    if not isinstance(event.data, dict):
        raise BadTemplate("the event's data is no JSON object: give the trigger a payload template")
    return msgspec.json.encode(event.data)


def _references(value: object) -> int:
    if isinstance(value, dict):
        return sum(map(_references, value.values()))
    if isinstance(value, list):
        return sum(map(_references, value))
    if not _is_reference(value):
        return 0
    if value.startswith("$.") and all(value[2:].split(".")):
        return 1
    raise BadTemplate(f"{value[:100]!r} is no reference: write $.data.NAME or $.ATTRIBUTE, or $$ for a dollar")


def _is_reference(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value.startswith("$") and not value.startswith("$$")


def _filled(value: object, event: CloudEvent) -> object:
    if isinstance(value, dict):
        return {name: _filled(each, event) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, event) for each in value]
    if _is_reference(value):
        return _found(value, event)
    return value[1:] if isinstance(value, str) and value.startswith("$$") else value


def _found(reference: str, event: CloudEvent) -> object:
    """What the event has there."""
    first, *path = reference[2:].split(".")
    value: object = {"data": event.data} if first == "data" else event.attributes
    for name in (first, *path):
        if isinstance(value, list) and name.isascii() and name.isdigit() and len(name) < 10 and int(name) < len(value):
            value = value[int(name)]
        elif isinstance(value, dict) and name in value:
            value = value[name]
        else:
            raise BadTemplate(f"the event has no {reference[:200]}: send it, or change the trigger's template")
    return value
