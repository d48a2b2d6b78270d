"""Versions of apps: what new leases run, what stays, and how one goes back."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from core.test_expiry import leased
from taskservice.core.check import Corrupt, check
from taskservice.core.deploying import DeployRefusal, RolloutMove, VersionAdded
from taskservice.core.effects import Refusal
from taskservice.core.lease_wire import LeaseSpec
from taskservice.core.limits import Limits
from taskservice.core.operations import OperationKind
from taskservice.core.specs import Resources
from taskservice.core.types import OutcomeKind, TaskState
from world.machine import Machine, bad, function, ok

PROMOTE, ROLL_BACK = RolloutMove.PROMOTE, RolloutMove.ROLL_BACK


def code_of(lease: LeaseSpec) -> str:
    return lease.bundle.sha256


def go(machine: Machine) -> str:
    """The next task runs and succeeds; gives the code that it ran."""
    (lease,) = machine.dispatch()
    machine.succeed(lease, duration_us=1_000_000)  # so long that none has another's company
    return code_of(lease)


def states(machine: Machine) -> tuple[int, int, int]:
    """Current, before, canary."""
    rollout = machine.state.apps.rollouts["app"]
    return rollout.current, rollout.before, rollout.canary


def test_what_runs_goes_on_and_what_waits_takes_the_new_version(machine: Machine) -> None:
    machine.deploy("one")
    running = machine.run("a")
    machine.submit("b")
    answer = machine.deploy("two")
    assert answer.app is not None
    assert (answer.version, answer.known, answer.app.waiting) == (2, False, 1)
    assert [(each.version.number, each.running) for each in answer.app.versions] == [(1, 1), (2, 0)]
    assert code_of(running) == "one"
    machine.succeed(running)
    assert go(machine) == "two"
    assert [machine.task(id).version for id in ("a", "b")] == [1, 2]
    assert machine.timeline("a").stages[-2].version == 1


def test_the_same_code_is_the_same_version(machine: Machine) -> None:
    first = machine.deploy("one")
    again = machine.deploy("one")
    assert (first.known, again.known, again.version) == (False, True, 1)
    assert sum(isinstance(record, VersionAdded) for record in machine.records) == 1


def test_the_same_code_that_says_something_else_is_another(machine: Machine) -> None:
    """What a module says may follow from where it is imported."""
    machine.deploy("one")
    assert machine.deploy("one", function(timeout_ms=5)).version == 2


def test_an_earlier_code_that_is_deployed_again_is_what_it_was(machine: Machine) -> None:
    machine.deploy("one")
    machine.deploy("two")
    answer = machine.deploy("one")
    assert (answer.version, answer.known, states(machine)) == (1, True, (1, 2, 0))
    assert machine.deploy("three").version == 3


def test_one_goes_back_to_what_was_before_or_to_what_one_names(machine: Machine) -> None:
    for code in ("one", "two", "three"):
        machine.deploy(code)
    machine.roll(ROLL_BACK)
    assert states(machine) == (2, 3, 0)
    machine.roll(ROLL_BACK, 1)
    assert states(machine) == (1, 2, 0)
    machine.submit("a")
    assert go(machine) == "one"


def test_what_was_current_is_so_after_a_restart(machine: Machine) -> None:
    machine.deploy("one")
    machine.deploy("two")
    machine.roll(ROLL_BACK)
    machine.deploy("three", share=0.1)
    lease = machine.run("a")
    machine.restart()
    machine.join(held=())
    assert states(machine) == (1, 2, 3)
    assert machine.state.leases[lease.token].version == machine.task("a").version == 1


@pytest.mark.parametrize(
    ("move", "version", "refusal"),
    [
        (PROMOTE, 0, DeployRefusal.NO_CANARY),
        (PROMOTE, 1, DeployRefusal.NO_CANARY),
        (ROLL_BACK, 0, DeployRefusal.VERSION_NOT_FOUND),
        (ROLL_BACK, 7, DeployRefusal.VERSION_NOT_FOUND),
    ],
)
def test_one_cannot_go_where_there_is_nothing(
    machine: Machine, move: RolloutMove, version: int, refusal: DeployRefusal
) -> None:
    machine.deploy("one")
    answer = machine.roll(move, version)
    assert (answer.refusal, states(machine)) == (refusal, (1, 0, 0))


def test_an_app_that_nobody_has_deployed_is_not_found(machine: Machine) -> None:
    assert machine.roll(ROLL_BACK, app="other").refusal is DeployRefusal.APP_NOT_FOUND


# Canaries


def test_a_canary_gets_its_share_to_the_task(machine: Machine) -> None:
    machine.deploy("one")
    machine.deploy("two", share=0.1)
    machine.submit(*(f"t{number}" for number in range(100)), payload=b"{}")
    ran = [go(machine) for _ in range(20)]
    assert (len(ran), ran.count("two")) == (20, 2)


def test_the_share_is_of_tasks_however_many_are_in_a_lease(machine: Machine) -> None:
    machine.deploy("one")
    machine.succeed(machine.run("warm"))  # its speed is known: leases of many
    machine.deploy("two", share=0.25)
    machine.submit(*(f"t{number}" for number in range(600)))
    counts = {"one": 0, "two": 0}
    while sum(counts.values()) < 600:
        for lease in machine.dispatch():
            assert len(lease.tasks) <= 80, "else the bound below is too tight"
            counts[code_of(lease)] += len(lease.tasks)
            machine.succeed(lease)
    assert abs(counts["two"] - 150) <= 80


def test_a_canary_that_is_promoted_is_current(machine: Machine) -> None:
    machine.deploy("one")
    machine.deploy("two", share=0.5)
    assert states(machine) == (1, 0, 2)
    assert machine.roll(PROMOTE).version == 2
    assert states(machine) == (2, 1, 0)
    machine.submit("a")
    assert go(machine) == "two"


def test_a_canary_that_is_rolled_back_runs_nothing_more(machine: Machine) -> None:
    machine.deploy("one")
    machine.deploy("two", share=0.9)
    machine.roll(ROLL_BACK)
    assert states(machine) == (1, 0, 0)
    machine.submit("a", "b", "c")
    assert [go(machine) for _ in range(3)] == ["one"] * 3


def test_until_it_is_promoted_functions_are_as_the_current_version_says(machine: Machine) -> None:
    machine.deploy("one", function(timeout_ms=1_000))
    machine.deploy("two", function(timeout_ms=2_000), function("app.g"), share=0.5)
    assert machine.state.functions[function().name].timeout_ms == 1_000
    assert machine.submit("g", function="app.g")[0].refusal is Refusal.UNKNOWN_FUNCTION
    machine.roll(PROMOTE)
    assert machine.state.functions[function().name].timeout_ms == 2_000


def test_a_function_that_the_canary_lacks_runs_where_it_is(machine: Machine) -> None:
    machine.deploy("one", function(), function("app.g"))
    machine.deploy("two", function(), share=0.9)
    machine.submit("a", "b", function="app.g")
    assert [go(machine), go(machine)] == ["one", "one"]


def test_a_canary_cannot_ask_for_other_machines(machine: Machine) -> None:
    machine.deploy("one")
    answer = machine.deploy("two", function(resources=Resources(cpu_m=2_000)), share=0.5)
    assert (answer.refusal, states(machine)) == (DeployRefusal.CANARY_UNLIKE, (1, 0, 0))


def test_there_is_no_canary_beside_nothing(machine: Machine) -> None:
    assert machine.deploy("one", share=0.5).refusal is DeployRefusal.VERSION_NOT_FOUND


def test_a_deploy_ends_a_canary(machine: Machine) -> None:
    machine.deploy("one")
    machine.deploy("two", share=0.5)
    machine.deploy("three")
    assert states(machine) == (3, 1, 0)


def test_outcomes_are_counted_by_version(machine: Machine) -> None:
    machine.deploy("one")
    machine.succeed(machine.run("a"))
    machine.deploy("two")
    for id, kind in (("b", OutcomeKind.HANDLER_ERROR), ("c", OutcomeKind.LOST)):
        lease = machine.run(id)
        machine.report(lease.token, bad(lease.tasks[0].no, kind))
    counted = [(each.succeeded, each.failed) for each in machine.app().versions]
    assert counted == [(1, 0), (0, 1)]


# Pins


def test_a_pinned_task_stays_on_the_version_of_its_submission(machine: Machine) -> None:
    machine.deploy("one", function(pin=True))
    machine.submit("a")
    machine.deploy("two", function(pin=True))
    machine.submit("b")
    assert [each.pinned for each in machine.app().versions] == [1, 1]
    assert [go(machine), go(machine)] == ["one", "two"]
    assert [machine.task(id).version for id in ("a", "b")] == [1, 2]


def test_it_asks_for_what_its_own_version_says(machine: Machine) -> None:
    machine.join("r2", cpus=4)
    machine.deploy("one", function(pin=True))
    machine.submit("a")
    machine.deploy("two", function(pin=True, resources=Resources(cpu_m=4_000)))
    machine.submit("b")
    leases = {lease.tasks[0].id: lease for lease in machine.dispatch()}
    assert {id: lease.resources.cpu_m for id, lease in leases.items()} == {"a": 1_000, "b": 4_000}


def test_a_canary_runs_no_pinned_task(machine: Machine) -> None:
    machine.deploy("one", function(pin=True))
    machine.submit("a", "b")
    machine.deploy("two", function(pin=True), share=0.9)
    assert [go(machine), go(machine)] == ["one", "one"]


def test_a_pinned_task_that_is_retried_or_run_again_is_still_pinned(machine: Machine) -> None:
    machine.deploy("one", function(pin=True))
    lease = machine.run("a", max_attempts=1)
    machine.deploy("two", function(pin=True))
    machine.report(lease.token, bad(lease.tasks[0].no))
    assert machine.task("a").state is TaskState.FAILED
    machine.change(OperationKind.RETRY, "a")
    assert go(machine) == "one"


def test_what_was_submitted_before_there_were_versions_is_not_pinned(machine: Machine) -> None:
    machine.register(function(pin=True))
    machine.submit("a")
    machine.deploy("one", function(pin=True))
    assert go(machine) == "one"


# Functions that are gone


def test_tasks_of_a_function_that_is_missing_wait_by_name(machine: Machine) -> None:
    machine.deploy("one", function(), function("app.g"))
    machine.submit("a", function="app.g")
    answer = machine.deploy("two", function())
    assert answer.app is not None
    assert [(each.function, each.tasks) for each in answer.app.missing] == [("app.g", 1)]
    assert machine.dispatch() == []
    assert machine.closed("a")[0] == "function.missing"
    (refused,) = machine.submit("b", function="app.g")
    assert refused.refusal is Refusal.UNKNOWN_FUNCTION
    assert "current version" in refused.message
    machine.roll(ROLL_BACK)
    assert machine.app().missing == ()
    assert leased(machine) == ["a"]


def test_pinned_tasks_of_it_run(machine: Machine) -> None:
    machine.deploy("one", function(), function("app.g", pin=True))
    machine.submit("a", function="app.g")
    machine.deploy("two", function())
    assert go(machine) == "one"


def test_another_apps_functions_are_left_alone(machine: Machine) -> None:
    machine.deploy("one", function("other.f"), app="other")
    machine.deploy("two")
    machine.submit("a", function="other.f")
    assert go(machine) == "one"


def test_a_payload_that_the_new_version_refuses_says_so(machine: Machine) -> None:
    machine.deploy("one")
    machine.submit("a")
    machine.deploy("two")
    for id, told in (("a", True), ("b", False)):
        if id == "b":
            machine.submit("b")
        (lease,) = machine.dispatch()
        machine.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.BAD_PAYLOAD))
        error = machine.task(id).error
        assert error is not None
        assert (machine.task(id).state, error.reason) == (TaskState.FAILED, "bad_payload")
        assert ("another version than v2" in error.message) == told


# How many are kept


def test_the_oldest_that_nobody_needs_are_forgotten() -> None:
    machine = Machine(limits=Limits(versions_max=3))
    machine.join()
    for code in ("one", "two", "three", "four", "five"):
        machine.deploy(code)
    assert [each.version.number for each in machine.app().versions] == [3, 4, 5]
    assert machine.roll(ROLL_BACK, 1).refusal is DeployRefusal.VERSION_NOT_FOUND
    machine.close()


def test_none_is_forgotten_that_a_task_runs_on_or_stays_on() -> None:
    machine = Machine(limits=Limits(versions_max=3))
    machine.join()
    machine.deploy("one")
    running = machine.run("a")
    machine.deploy("two", function(pin=True))
    machine.submit("b")
    machine.deploy("three")
    machine.deploy("four")
    answer = machine.deploy("five")
    assert [each.version.number for each in machine.app().versions] == [1, 2, 3]
    assert (answer.refusal, answer.limit) == (DeployRefusal.VERSIONS_MAX, 3)
    machine.succeed(running)
    assert machine.deploy("five").refusal is None
    assert [each.version.number for each in machine.app().versions] == [2, 3, 4]
    machine.close()


def test_a_lease_on_another_version_than_its_tasks_is_found(machine: Machine) -> None:
    machine.deploy("one")
    lease = machine.run("a")
    machine.state.leases[lease.token].version = 2
    with pytest.raises(Corrupt, match="runs on 1, its lease on 2"):
        check(machine.state)
    machine.state.leases[lease.token].version = 1


def test_current_versions_that_there_are_not_are_found(machine: Machine) -> None:
    machine.deploy("one")
    rollout = machine.state.apps.rollouts["app"]
    machine.state.apps.rollouts["app"] = replace(rollout, current=3)
    with pytest.raises(Corrupt, match="there is none"):
        check(machine.state)
    machine.state.apps.rollouts["app"] = rollout


def test_what_is_reported_of_an_old_version_counts(machine: Machine) -> None:
    machine.deploy("one")
    lease = machine.run("a")
    machine.deploy("two")
    machine.report(lease.token, ok(lease.tasks[0].no))
    assert machine.task("a").state is TaskState.SUCCEEDED
