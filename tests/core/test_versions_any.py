"""Any order of deploys, moves, tasks and restarts: what lives and what replays are the same, and leases run what there is."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from taskservice.core.deploying import RolloutMove
from taskservice.core.limits import Limits
from world.machine import Machine, bad, function

STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("deploy"),
            st.sampled_from(["one", "two", "three", "four", "five"]),
            st.sampled_from([0.1, 0.5, 1.0]),
        ),
        st.tuples(st.just("move"), st.sampled_from(list(RolloutMove)), st.integers(0, 5)),
        st.tuples(st.just("submit"), st.sampled_from(["app.f", "app.g"]), st.integers(1, 4)),
        st.tuples(st.just("run"), st.booleans(), st.none()),
        st.tuples(st.just("restart"), st.none(), st.none()),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_any_order(steps: list[tuple]) -> None:
    machine = Machine(limits=Limits(versions_max=3))
    machine.join(cpus=4)
    submitted = 0
    for kind, first, second in steps:
        match kind:
            case "deploy":
                pinned = function("app.g", pin=True)
                machine.deploy(
                    first, *([function()] if first in {"two", "four"} else [function(), pinned]), share=second
                )
            case "move":
                machine.roll(first, second)
            case "submit":
                machine.submit(*(f"t{submitted + n}" for n in range(second)), function=first)
                submitted += second
            case "run":
                for lease in machine.dispatch():
                    known = machine.state.apps.versions.get("app", {})
                    assert lease.bundle in [version.bundle for version in known.values()]
                    outcomes = [bad(task.no) for task in lease.tasks] if first else []
                    machine.report(
                        lease.token, *outcomes, handed_back=() if first else tuple(t.no for t in lease.tasks)
                    )
                    machine.later(2_000)
            case _:
                machine.restart()
                machine.join(cpus=4)
                machine.settle()
    machine.close()
