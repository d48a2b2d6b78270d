"""What the shard says of its backlog: what waits, what bounds it, and what no machine would help."""

from __future__ import annotations

from helpers.counting import calls_of
from taskservice.core.backlog import BacklogAnswer, Work
from taskservice.core.demanded import backlog
from taskservice.core.limits import Limits
from taskservice.core.specs import DownstreamPolicy, FunctionPolicy, Quota, Rate, Resources
from taskservice.core.types import FunctionName
from world.machine import Machine, function


def look(machine: Machine) -> BacklogAnswer:
    return backlog(machine.state, machine.now_ms)


def only(machine: Machine) -> Work:
    (work,) = look(machine).works
    return work


def caps(machine: Machine) -> list[tuple[str, str, int | None, float | None]]:
    answer = look(machine)
    return sorted(
        (cap.gate, cap.of, cap.tasks_max, cap.per_s)
        for work in answer.works
        for cap in map(answer.caps.__getitem__, work.caps)
    )


def test_what_waits_and_what_runs_is_counted(machine: Machine):
    assert not look(machine).works
    machine.submit("a", "b", "c")
    assert (only(machine).queued, only(machine).places, only(machine).known) == (3, 0, False)
    (lease,) = machine.dispatch()
    assert (only(machine).queued, only(machine).places) == (2, 1)
    machine.succeed(lease, duration_us=2_000_000)
    assert (only(machine).each_s, only(machine).known) == (2.0, True)


def test_what_lasts_is_taken_to_last_as_long_again_while_nothing_is_known(machine: Machine):
    machine.submit("a", "b")
    machine.dispatch()
    machine.now_ms += 30_000
    assert (only(machine).each_s, only(machine).known) == (60.0, False)


def test_works_differ_in_what_they_take_and_not_in_their_keys(machine: Machine):
    machine.register(
        function("app.keyed", key_max_running=2), function("app.gpu", resources=Resources(1000, gpu_m=1000))
    )
    for number in range(5):
        machine.submit(f"k{number}", function="app.keyed", key=str(number))
    machine.submit("g", function="app.gpu")
    works = {work.function: work for work in look(machine).works}
    assert (works["app.keyed"].queued, works["app.keyed"].places_max) == (5, 10)
    assert works["app.gpu"].need == (("CPU", 1000), ("GPU", 1000))


def test_gates_that_bound_it_are_named(machine: Machine):
    acme = machine.tenant("acme", rate=Rate(2.0, 5), running_max=7, quota=Quota(maximum=(("CPU", 3000),)))
    machine.register(function(max_running=4, downstream="pay"))
    machine.policy(DownstreamPolicy("pay", frozen=3))
    machine.submit("a", tenant=acme)
    assert caps(machine) == [
        ("downstream.window", "pay", 3, None),
        ("function.max_running", "app.f", 4, None),
        ("tenant.maximum", "acme", None, None),
        ("tenant.rate", "acme", None, 2.0),
        ("tenant.running_max", "acme", 7, None),
    ]


def test_a_paused_function_lets_nothing_run(machine: Machine):
    machine.policy(FunctionPolicy(FunctionName("app.f"), paused=True))
    machine.submit("a", "b")
    assert caps(machine) == [("function.paused", "app.f", 0, None)]


def test_what_can_wait_for_off_peak_hours_is_held_until_then():
    machine = Machine(Limits(off_peak_windows=("22:00-06:00",)))
    machine.register()
    machine.now_ms = 12 * 3_600_000
    machine.submit("a", "b", off_peak=True)
    assert (only(machine).queued, only(machine).held, only(machine).fills) == (0, (("off_peak", 2),), True)
    machine.now_ms = 23 * 3_600_000
    assert (only(machine).queued, only(machine).held, only(machine).fills) == (2, (), False)
    assert look(machine).off_peak
    machine.close()


def test_a_look_takes_no_longer_with_more_tasks_or_keys(machine: Machine):
    machine.register(function("app.keyed", key_max_running=1))

    def submit(numbers: range) -> None:
        for number in numbers:
            machine.submit(f"t{number}")
            machine.submit(f"k{number}", function="app.keyed", key=str(number))

    submit(range(3))
    few = calls_of(lambda: look(machine))
    submit(range(3, 60))
    assert calls_of(lambda: look(machine)) <= few


def test_a_restart_counts_what_it_finds(machine: Machine):
    machine.submit("a", "b", "c")
    machine.restart()
    assert only(machine).queued == 3
