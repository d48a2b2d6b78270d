"""What is whose: the division of a pool among classes and tenants, by hand and whatever is wanted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskservice.core.claims import Account, AccountKind, Share
from taskservice.core.events import Submitted
from taskservice.core.preempt_round import ROUND_MS
from taskservice.core.preemption import LOOK_MS_PER_WAIT
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.shares import ROUNDING, Shares, Wish, divided
from taskservice.core.types import FunctionName, NewTask, Priority, TaskId
from world.machine import Machine, function

WISHES = st.builds(
    lambda weight, wants, floor: Wish(weight, wants, min(wants, floor)),
    st.floats(0.1, 10),
    st.floats(0, 1),
    st.floats(0, 0.2),
)


@pytest.mark.parametrize(
    ("wishes", "parts"),
    [
        ({"a": Wish(1, 1), "b": Wish(3, 1)}, {"a": 0.25, "b": 0.75}),
        ({"a": Wish(1, 1), "b": Wish(3, 0.25)}, {"a": 0.75, "b": 0.25}),
        ({"a": Wish(1, 1, 0.5), "b": Wish(3, 1), "c": Wish(1, 1)}, {"a": 0.5, "b": 0.375, "c": 0.125}),
        ({"a": Wish(1, 0.1), "b": Wish(1, 0.1)}, {"a": 0.1, "b": 0.1}),
        ({"a": Wish(1, 0.0)}, {"a": 0.0}),
        ({}, {}),
    ],
)
def test_parts_by_hand(wishes: dict[str, Wish], parts: dict[str, float]) -> None:
    assert divided(1.0, wishes) == pytest.approx(parts)


@given(st.dictionaries(st.integers(0, 9), WISHES, max_size=5))
def test_whatever_is_wanted(wishes: dict[int, Wish]) -> None:
    parts = divided(1.0, wishes)
    assert parts.keys() == wishes.keys()
    assert sum(parts.values()) <= 1.0 + 1e-6
    for key, wish in wishes.items():
        assert wish.floor - 1e-9 <= parts[key] <= wish.wants + 1e-9
    if sum(wish.wants for wish in wishes.values()) >= 1.0:
        assert sum(parts.values()) == pytest.approx(1.0), "nothing is left while somebody wants it"
    hungry = [(parts[key] / wish.weight) for key, wish in wishes.items() if wish.floor < parts[key] < wish.wants - 1e-6]
    assert not hungry or max(hungry) == pytest.approx(min(hungry)), "by weight, among those who would have more"


@pytest.mark.parametrize(
    ("share", "wants", "lease", "lacks"),
    [
        (Share(0.0, 0.0, 0.1), 0.1, 0.1, (False, True)),
        (Share(0.3, 0.0, 0.5), 0.5, 0.1, (False, True)),
        (Share(0.45, 0.0, 0.5), 1.0, 0.1, (False, False)),
        (Share(0.4, 0.0, 0.5), 1.0, 0.1, (False, True)),
        (Share(0.48, 0.0, 0.5), 1.0, 0.01, (False, False)),
        (Share(0.4, 0.5, 0.3), 1.0, 0.2, (True, False)),
        (Share(0.4, 0.5, 0.3), 0.4, 0.1, (False, True)),
        (Share(0.5, 0.0, 0.5), 1.0, 0.1, (False, False)),
    ],
)
def test_who_lacks_something(share: Share, wants: float, lease: float, lacks: tuple[bool, bool]) -> None:
    account = Account(AccountKind.TENANT, "a")
    assert Shares({account: share}, {account: wants}).lacks(account, lease) == lacks


def test_a_class_that_has_nothing_lacks_something_however_little_is_its_own() -> None:
    """The pool has one slot, and sixteen seventeenths of it are not a lease."""
    account = Account(AccountKind.CLASS, Priority.CRITICAL)
    assert Shares({account: Share(0.0, 0.0, 16 / 17)}, {account: 1.0}).lacks(account, 1.0) == (False, True)
    assert ROUNDING < 1e-6


def test_rounds_are_further_apart_where_very_many_wait() -> None:
    machine = Machine()
    names = [FunctionName(f"app.f{n}") for n in range(1_000)]
    machine.register(*[function(name) for name in names])
    machine.join()
    tasks = [NewTask(TaskId(f"t{n}"), name, b"{}") for n, name in enumerate(names)]
    machine.handle(Submitted(machine.next_ref(), DEFAULT_TENANT, tuple(tasks)))
    machine.dispatch()
    assert machine.state.preemption.rest_ms == int(999 * LOOK_MS_PER_WAIT) > ROUND_MS
    machine.later(ROUND_MS)
    machine.dispatch()
    assert machine.state.preemption.looked_ms == machine.now_ms - ROUND_MS
