"""Lines before gates: nobody is looked at in vain, nobody is forgotten, turns are fair."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.counting import calls_of
from helpers.trees import Door, Grove, leaf
from taskservice.core.types import Priority

NORMAL = Priority.NORMAL


def behind(door: Door, weights: dict[str, float]) -> Grove:
    """Tenants of these weights whose one function is behind the door."""
    grove = Grove({(NORMAL, name): weight for name, weight in weights.items()}, doors={"f": [door]})
    for name in weights:
        grove.tree.wake(leaf(name))
    return grove


def opened(grove: Grove, door: Door, tasks: int = 1) -> list[str]:
    """Who is served when the door lets so many through, one by one."""
    served: list[str] = []
    for _ in range(tasks):
        door.left = 1
        grove.line(door).stir()
        turn = grove.serve()
        if turn is not None:
            served.append(turn.leaf.tenant)
        door.left = 0
        assert grove.serve() is None
    return served


def test_nobody_passes_a_closed_gate_and_others_do_not_wait_behind_it():
    door = Door()
    grove = Grove(doors={"f": [door]})
    grove.tree.wake(leaf("a", "f"))
    grove.tree.wake(leaf("a", "g"))
    assert [grove.serve().leaf.function for _ in range(5)] == ["g"] * 5
    door.left = 1
    grove.line(door).stir()
    assert grove.serve().leaf.function == "f"


def test_turns_behind_a_gate_are_by_weight():
    door = Door()
    seen = Counter(opened(behind(door, {"a": 1, "b": 2, "c": 4}), door, 700))
    assert all(abs(seen[name] - share) <= 2 for name, share in (("a", 100), ("b", 200), ("c", 400)))


def test_who_is_new_behind_a_gate_has_no_credit():
    door = Door()
    grove = behind(door, {"a": 1, "b": 1})
    opened(grove, door, 1_000)
    grove.tree.wake(leaf("c"))
    seen = Counter(opened(grove, door, 300))
    assert all(abs(seen[name] - 100) <= 2 for name in "abc")


def test_the_room_is_the_least_of_all_gates_on_the_way():
    grove = Grove(doors={"a": [Door(7)], "f": [Door(9), Door(5)]})
    grove.tree.wake(leaf("a"))
    assert grove.serve().room == 5


def test_the_clock_opens_a_gate():
    door = Door(opens=1_000)
    grove = behind(door, {"a": 1, "b": 1})
    assert grove.serve(now_ms=10) is None
    assert grove.tree.rings_ms == 1_000
    assert grove.serve(now_ms=999) is None
    assert grove.serve(now_ms=1_000) is not None


def test_a_ticket_is_not_held_by_who_cannot_be_served():
    """Its tenant may not start anything, or it fits nowhere: then the next one goes."""
    door, tenants_own = Door(), Door(1)
    grove = Grove(shapes={"big": "big"}, doors={"f": [door], "big": [door], "a": [tenants_own]})
    for each in (leaf("a"), leaf("b", "big"), leaf("c")):
        grove.tree.wake(each)
    assert grove.serve() is None
    tenants_own.left, door.left = 0, 1
    grove.line(door).stir()
    served = []
    for _ in range(3):
        turn = grove.serve(closed=["big"])
        served.append(turn and turn.leaf.tenant)
        grove.tree.pass_on(["big"])
    assert "c" in served


def test_gates_that_are_others_now_are_asked_again():
    door = Door()
    grove = behind(door, {"a": 1})
    assert grove.serve() is None
    grove.doors = {}
    grove.tree.changed((NORMAL, "a", "f"))
    assert grove.serve() is not None


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whoever_may_run_is_served_in_the_end(data: st.DataObject):
    """Doors of tenants, of a function and of leaves open and close, leaves come and go; then all is open for all."""
    names = ["a", "b", "c"]
    functions = ["f", "g"]
    doors = {name: [Door(data.draw(st.integers(0, 1)))] for name in (*names, *functions)}
    shared = Door()
    doors["g"] = [*doors["g"], shared]
    doors["f"] = [*doors["f"], shared]
    grove = Grove(shapes={"g": "big"}, doors=doors)
    leaves = [leaf(name, function) for name in names for function in functions]
    every = [door for group in doors.values() for door in group]
    awake: dict[object, None] = {}
    for _ in range(data.draw(st.integers(0, 40))):
        match data.draw(st.sampled_from(["wake", "sleep", "door", "serve", "pass on"])):
            case "wake":
                grove.tree.wake(each := data.draw(st.sampled_from(leaves)))
                awake[each] = None
            case "sleep":
                grove.tree.sleep(each := data.draw(st.sampled_from(leaves)))
                awake.pop(each, None)
            case "door":
                door = data.draw(st.sampled_from(every))
                door.left = data.draw(st.integers(0, 2))
                grove.line(door).stir()
            case "pass on":
                grove.tree.pass_on(["big"])
            case "serve":
                turn = grove.tree.next(data.draw(st.sampled_from([[], ["one"], ["big"]])), 0)
                if turn is not None:
                    assert turn.leaf in awake
                    assert turn.room <= min(
                        doors[turn.leaf.tenant][0].left, doors[turn.leaf.function][0].left, shared.left
                    )
                    grove.tree.served(turn.leaf, 1, 1.0)
                    for door in (doors[turn.leaf.tenant][0], *doors[turn.leaf.function]):
                        door.left -= 1
    for door in every:
        door.left = 1_000
        grove.line(door).stir()
    assert {grove.serve().leaf for _ in range(20 * len(leaves) if awake else 0)} == set(awake)


def calls_for_slots(waiting: int, slots: int) -> int:
    door = Door()
    grove = behind(door, {f"t{n}": 1.0 for n in range(waiting)})
    grove.serve()
    opened(grove, door, 10)
    return calls_of(lambda: opened(grove, door, slots))


def test_a_gate_that_opens_for_one_does_not_wake_ten_thousand():
    few, many = calls_for_slots(100, 1_000), calls_for_slots(10_000, 1_000)
    print(
        f"\na gate that opens for one task takes {few / 1_000:.1f} calls with 100 behind it, {many / 1_000:.1f} with 10,000"
    )
    assert many <= 1.2 * few
