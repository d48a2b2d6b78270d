"""Triggers in the shard: what may be set, who sees what, and that they are there under every process that follows."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.ledger import Place, begun
from taskservice.core.limits import Limits
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.trigger_events import (
    TriggerAnswer,
    TriggerAsked,
    TriggerPut,
    TriggerRefusal,
    TriggerRemoveAsked,
    TriggersAnswer,
    TriggersListed,
    TriggersMet,
)
from taskservice.core.triggers import TextFilter, TriggerId, TriggerKey, Triggers, TriggerSpec
from taskservice.core.types import FunctionName, TenantId
from world.machine import Machine


def of_type(type: str, function: str = "app.f", template: bytes | None = None) -> TriggerSpec:
    return TriggerSpec(FunctionName(function), (("type", TextFilter(type)),), template)


def put(machine: Machine, id: str, spec: TriggerSpec | None = None, tenant: TenantId = DEFAULT_TENANT) -> TriggerAnswer:
    event = TriggerPut(machine.next_ref(), tenant, TriggerId(id), spec or of_type("placed"))
    answer = machine.ask(event)
    assert isinstance(answer, TriggerAnswer)
    return answer


def remove(machine: Machine, id: str, tenant: TenantId = DEFAULT_TENANT) -> TriggerAnswer:
    answer = machine.ask(TriggerRemoveAsked(machine.next_ref(), tenant, TriggerId(id)))
    assert isinstance(answer, TriggerAnswer)
    return answer


def met(machine: Machine, *types: str, tenant: TenantId = DEFAULT_TENANT) -> list[str]:
    """The ids of the triggers that events of these types meet."""
    answer = machine.ask(TriggersMet(machine.next_ref(), tenant, types))
    assert isinstance(answer, TriggersAnswer)
    return sorted(each.id for each in answer.triggers)


def listed(machine: Machine, tenant: TenantId | None, after: TriggerKey | None, limit: int) -> TriggersAnswer:
    answer = machine.ask(TriggersListed(machine.next_ref(), tenant, after, limit))
    assert isinstance(answer, TriggersAnswer)
    return answer


def test_a_trigger_that_is_wanted_twice_is_there_once(machine: Machine) -> None:
    first, second = put(machine, "t"), put(machine, "t")
    assert (first.known, second.known) == (False, True)
    assert first.found == second.found
    assert met(machine, "placed", "other") == ["t"]


def test_another_of_the_same_id_is_refused_until_the_first_is_removed(machine: Machine) -> None:
    put(machine, "t")
    assert put(machine, "t", of_type("paid")).refusal is TriggerRefusal.EXISTS
    gone = remove(machine, "t")
    assert gone.found is not None
    assert gone.found.spec == of_type("placed")
    assert put(machine, "t", of_type("paid")).refusal is None
    assert (met(machine, "placed"), met(machine, "paid")) == ([], ["t"])


@pytest.mark.parametrize(
    ("tenant", "function", "refusal"),
    [
        (TenantId("nobody"), "app.f", TriggerRefusal.UNKNOWN_TENANT),
        (DEFAULT_TENANT, "app.none", TriggerRefusal.UNKNOWN_FUNCTION),
    ],
)
def test_what_cannot_be_run_cannot_be_set(
    machine: Machine, tenant: TenantId, function: str, refusal: TriggerRefusal
) -> None:
    assert put(machine, "t", of_type("placed", function), tenant).refusal is refusal


def test_a_tenant_has_so_many_and_each_its_own() -> None:
    machine = Machine(Limits(triggers_max=2))
    machine.register()
    other = machine.tenant("other")
    put(machine, "a")
    put(machine, "b")
    full = put(machine, "c")
    assert (full.refusal, full.limit) == (TriggerRefusal.MAX, 2)
    assert put(machine, "a").known, "what is there already takes no more room"
    assert put(machine, "c", tenant=other).refusal is None
    remove(machine, "a")
    assert put(machine, "c").refusal is None
    machine.close()


def test_another_tenants_trigger_is_neither_met_nor_shown_nor_removed(machine: Machine) -> None:
    other = machine.tenant("other")
    put(machine, "t")
    assert met(machine, "placed", tenant=other) == []
    assert listed(machine, other, None, 10).triggers == ()
    asked = machine.ask(TriggerAsked(machine.next_ref(), other, TriggerId("t")))
    assert isinstance(asked, TriggerAnswer)
    assert asked.refusal is remove(machine, "t", other).refusal is TriggerRefusal.NOT_FOUND
    assert met(machine, "placed") == ["t"]


def test_pages_go_on_after_each_other_over_all_tenants(machine: Machine) -> None:
    other = machine.tenant("zother")
    for id in ("b", "c", "a"):
        put(machine, id)
    put(machine, "a", tenant=other)
    found, after = [], None
    while True:
        page = listed(machine, None, after, 2)
        found += [each.key for each in page.triggers]
        if not page.more:
            break
        after = found[-1]
    assert found == [*((DEFAULT_TENANT, id) for id in "abc"), (other, "a")]
    assert [
        each.id for each in listed(machine, DEFAULT_TENANT, TriggerKey(DEFAULT_TENANT, TriggerId("a")), 9).triggers
    ] == ["b", "c"]


def test_nothing_is_left_of_what_was_removed(machine: Machine) -> None:
    """Types that were named once are not kept."""
    for number in range(10):
        put(machine, f"t{number}", of_type(f"type{number}"))
        remove(machine, f"t{number}")
    assert machine.state.triggers == Triggers()


@pytest.mark.parametrize("kind", ["directory", "bucket"])
@pytest.mark.parametrize("table_is_there", [True, False])
def test_triggers_are_there_after_a_restart(tmp_path: Path, kind: str, table_is_there: bool) -> None:
    """From the journal alone, from a checkpoint and the journal after it, and from the table's file."""
    ledger = begun(Place(kind, tmp_path).opens, tmp_path)
    put(ledger, "kept", of_type("placed", template=b'{"n":"$.data.n"}'))
    put(ledger, "gone")
    ledger.restart()
    assert met(ledger, "placed") == ["gone", "kept"]
    ledger.checkpoint()
    remove(ledger, "gone")
    put(ledger, "later", of_type("paid"))
    before = ledger.state.triggers
    if not table_is_there:
        ledger.forget_table()
    ledger.restart()
    assert (ledger.source.startswith("checkpoint/")) is not table_is_there
    assert ledger.state.triggers == before
    assert (met(ledger, "placed"), met(ledger, "paid")) == (["kept"], ["later"])
    ledger.close()
