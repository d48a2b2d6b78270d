"""The tree of fair queues: shares, idleness, shapes; and that its price does not grow with the queues."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.counting import calls_of
from helpers.trees import Grove, leaf
from taskservice.core.fair.node import CATCH_UP
from taskservice.core.types import Priority

NORMAL = Priority.NORMAL


def tenants(**weights: float) -> Grove:
    """Tenants of these weights, all with work."""
    grove = Grove({(NORMAL, name): weight for name, weight in weights.items()})
    for name in weights:
        grove.tree.wake(leaf(name))
    return grove


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(0.1, 100.0), min_size=2, max_size=5),
    st.lists(st.floats(0.001, 50.0), min_size=20, max_size=120),
    st.randoms(use_true_random=False),
)
def test_the_bound_of_start_time_fair_queueing_over_every_interval(
    weights: list[float], costs: list[float], rng: random.Random
):
    """|W1/w1 - W2/w2| <= l1/w1 + l2/w2 for every two tenants that have work, between any two dispatches."""
    names = {f"t{n}": weight for n, weight in enumerate(weights)}
    grove = tenants(**names)
    served = [dict.fromkeys(names, 0.0)]
    """Of each, what it was charged for each unit of weight, after each dispatch."""
    largest = dict.fromkeys(names, 0.0)
    for cost in (cost * rng.choice((0.1, 1.0, 3.0)) for cost in costs):
        turn = grove.serve(cost)
        assert turn is not None
        name = turn.leaf.tenant
        served.append({**served[-1], name: served[-1][name] + cost / names[name]})
        largest[name] = max(largest[name], cost / names[name])
    for one, two in combinations(names, 2):
        gaps = [done[one] - done[two] for done in served]
        assert max(gaps) - min(gaps) <= (largest[one] + largest[two]) * (1 + 1e-9)


def test_weights_1_2_4_are_at_most_a_point_off_in_any_200_dispatches():
    grove = tenants(a=1, b=2, c=4)
    served = grove.served(5_000)
    worst = 0.0
    for start in range(len(served) - 200):
        seen = Counter(served[start : start + 200])
        worst = max(worst, *(abs(seen[name] / 200 - share / 7) for name, share in (("a", 1), ("b", 2), ("c", 4))))
    print(f"\nweights 1:2:4, any 200 dispatches: at most {100 * worst:.2f} share points off (allowed 1.0)")
    assert worst <= 0.01


def test_shares_of_classes_and_of_tenants_within_them():
    weights = {(Priority.HIGH,): 8.0, (Priority.LOW,): 2.0, (Priority.HIGH, "a"): 3.0, (Priority.HIGH, "b"): 1.0}
    grove = Grove(weights)
    for each in (leaf("a", "f", Priority.HIGH), leaf("b", "f", Priority.HIGH), leaf("c", "f", Priority.LOW)):
        grove.tree.wake(each)
    seen = Counter(grove.served(4_000))
    assert seen["c"] == 800
    assert abs(seen["a"] - 2_400) <= 2
    assert abs(seen["b"] - 800) <= 2


def test_who_comes_back_from_idleness_gets_no_burst():
    grove = tenants(a=1, b=1)
    grove.tree.sleep(leaf("b"))
    grove.served(10_000)
    grove.tree.wake(leaf("b"))
    seen = Counter(grove.served(200))
    assert abs(seen["b"] - 100) <= 2


def test_all_of_100_equal_tenants_are_served_alike():
    grove = tenants(**{f"t{n}": 1 for n in range(100)})
    rng = random.Random(1)
    got: Counter[str] = Counter()
    for _ in range(50_000):
        cost = rng.lognormvariate(0, 1)
        turn = grove.serve(cost)
        got[turn.leaf.tenant] += cost
    values = list(got.values())
    jain = sum(values) ** 2 / (len(values) * sum(value**2 for value in values))
    print(f"\n100 equal tenants, log-normal costs: Jain index {jain:.5f} (wanted 0.99)")
    assert jain >= 0.99


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(["wake a", "wake b", "sleep a", "serve", "serve 2", "refund", "surcharge"]), max_size=60)
)
def test_what_was_charged_too_much_or_too_little_is_made_good(steps: list[str]):
    """Whatever happens, a leaf stands in the order exactly while it has work, and time does not go back."""
    grove = Grove(shapes={"g": "two"})
    leaves = {"a": leaf("a"), "b": leaf("b", "g")}
    awake: dict[str, bool] = {}
    virtual = [0.0]
    for step in steps:
        verb, _, what = step.partition(" ")
        if verb == "wake":
            grove.tree.wake(leaves[what])
            awake[what] = True
        elif verb == "sleep":
            grove.tree.sleep(leaves[what])
            awake.pop(what, None)
        elif verb == "serve":
            grove.serve(float(what or 1))
        else:
            for name in awake:
                grove.tree.correct(leaves[name], -0.5 if verb == "refund" else 0.5, over=False)
        virtual.append(grove.tree.root.virtual)
        assert {each.tenant for each, _ in grove.tree.leaves()} == set(awake)
        turn = grove.tree.next((), 0)
        assert (turn is None) == (not awake)
    assert all(before <= after for before, after in pairwise(virtual))


def test_a_refund_moves_a_leaf_forward_and_a_surcharge_back():
    grove = tenants(a=1, b=1, c=1)
    grove.served(3, cost=100.0)
    grove.tree.correct(leaf("c"), -99.0, over=True)
    assert grove.served(50, cost=1.0) == ["c"] * 50
    grove.tree.correct(leaf("c"), +500.0, over=True)
    assert "c" not in grove.served(500)


def test_only_shapes_with_room_are_looked_at_and_the_others_catch_up_a_little():
    grove = Grove(shapes={"big": "big"})
    grove.tree.wake(leaf("a"))
    grove.tree.wake(leaf("b", "big"))
    assert grove.served(1_000, closed=["big"]) == ["a"] * 1_000
    seen = grove.served(200)
    assert seen[: int(CATCH_UP)] == ["b"] * int(CATCH_UP)
    assert Counter(seen[int(CATCH_UP) + 2 :])["a"] in range(65, 75)
    assert grove.served(3, closed=["one", "big"]) == []


def test_who_has_nothing_to_do_and_owes_nothing_is_forgotten():
    grove = Grove()
    for n in range(10_000):
        each = leaf(f"t{n}")
        grove.tree.wake(each)
        grove.serve()
        grove.tree.sleep(each)
        grove.tree.correct(each, 0.0, over=True)
    assert len(grove.tree.root.children[NORMAL].children) < 100


def calls_for_turns(queues: int, turns: int, functions: int = 4) -> int:
    """What so many turns among so many queues take, all of which have work."""
    grove = Grove()
    for n in range(queues):
        grove.tree.wake(leaf(f"t{n // functions}", f"f{n % functions}"))
    rng = random.Random(2)
    for _ in range(2 * queues):
        grove.serve(rng.random())
    return calls_of(lambda: [grove.serve(rng.random()) for _ in range(turns)])


def test_the_price_of_a_turn_hardly_grows_with_the_queues():
    few, many = calls_for_turns(1_000, 5_000), calls_for_turns(50_000, 5_000)
    print(f"\na turn takes {few / 5_000:.1f} calls among 1,000 queues, {many / 5_000:.1f} among 50,000")
    assert many <= 1.2 * few


def test_who_is_preferred_takes_no_virtual_time_along():
    """`a` is served whenever it is not its turn, by far more than its part: `b` and `c` keep what they are behind each other."""
    grove = tenants(a=1, b=1, c=3)
    seen: Counter[str] = Counter()
    for _ in range(800):
        grove.tree.served(leaf("a"), 1, 7.0, passed_over=2)
        turn = grove.serve(7.0)
        assert turn is not None
        seen[turn.leaf.tenant] += 1
    assert seen["c"] == 600
    assert seen["b"] == 200


def test_who_comes_while_another_is_preferred_begins_level_with_those_that_wait():
    grove = tenants(a=1, b=1)
    for _ in range(100):
        grove.tree.served(leaf("a"), 1, 10.0, passed_over=2)
        grove.serve(10.0)
    grove.tree.wake(leaf("new"))
    seen = Counter(grove.served(100, cost=10.0))
    assert abs(seen["new"] - seen["b"]) <= 1


def test_what_was_charged_too_much_is_had_however_much_it_is():
    """`a` has paid for an hour of which it used nothing: it was given back as one minute only."""
    grove = tenants(a=1, b=1)
    grove.tree.served(leaf("a"), 1, 3_600.0)
    assert set(grove.served(360, cost=10.0)) == {"b"}
    grove.tree.correct(leaf("a"), -3_600.0, over=True)
    assert set(grove.served(360, cost=10.0)) == {"a"}
    seen = Counter(grove.served(100, cost=10.0))
    assert abs(seen["a"] - seen["b"]) <= 1


def test_idleness_ends_what_was_given_back():
    grove = tenants(a=1, b=1)
    grove.tree.served(leaf("a"), 1, 3_600.0)
    grove.served(360, cost=10.0)
    grove.tree.correct(leaf("a"), -3_600.0, over=True)
    grove.tree.sleep(leaf("a"))
    grove.tree.wake(leaf("a"))
    seen = Counter(grove.served(100, cost=10.0))
    assert abs(seen["a"] - seen["b"]) <= 1
