"""Matching and templates, alone."""

from __future__ import annotations

import json

import pytest

from taskservice.core.trigger_template import REFERENCES_MAX, BadTemplate, check_template, payload_of
from taskservice.core.triggers import CloudEvent, TextFilter, Trigger, TriggerId, Triggers, TriggerSpec
from taskservice.core.types import FunctionName, TenantId

ACME = TenantId("acme")
EVENT = CloudEvent({"id": "1", "source": "/shop", "type": "placed"}, {"items": [{"n": 7}]})


def trigger(id: str, **filters: TextFilter) -> Trigger:
    return Trigger(TriggerId(id), ACME, TriggerSpec(FunctionName("a.f"), tuple(filters.items())), 0)


def test_only_triggers_that_may_match_are_met():
    met = Triggers()
    for each in (
        trigger("typed", type=TextFilter("placed")), trigger("open", source=TextFilter(prefix="/s", suffix="p")),
        trigger("elsewhere", type=TextFilter("placed"), source=TextFilter(suffix="x")),
        trigger("lacks", subject=TextFilter(prefix="")), *(trigger(f"o{n}", type=TextFilter(f"{n}")) for n in range(9)),
    ):  # fmt: skip
        met.put(each)
    assert [each.id for each in met.matching(ACME, EVENT)] == ["open", "typed"]
    assert len(met.for_types(ACME, ["placed"])) == 4
    met.remove(trigger("typed").key)
    assert [each.id for each in met.matching(ACME, EVENT)] == ["open"]


def test_a_template_is_filled_with_what_the_event_has():
    template = {"n": "$.data.items.0.n", "kind": "$.type", "price": "$$5", "all": ["$.data"]}
    check_template(template)
    payload = payload_of(TriggerSpec(FunctionName("a.f"), (), json.dumps(template).encode()), EVENT)
    assert json.loads(payload) == {"n": 7, "kind": "placed", "price": "$5", "all": [EVENT.data]}


def test_a_template_brings_in_only_so_much():
    check_template({"a": ["$.data"] * REFERENCES_MAX})
    with pytest.raises(BadTemplate):
        check_template({"a": ["$.data"] * (REFERENCES_MAX + 1)})
