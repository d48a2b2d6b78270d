"""The policy over a real shard: what buys machines, what does not, and when they go."""

from __future__ import annotations

from msgspec.structs import replace

from helpers.scaling import CPU, runner
from taskservice.autoscaler.kinds import Kind, ScaleOptions
from taskservice.autoscaler.plan import Plan
from taskservice.autoscaler.policy import BacklogPolicy
from taskservice.core.backlog import RunnerUse
from taskservice.core.demanded import backlog
from taskservice.core.limits import Limits
from taskservice.core.specs import DownstreamPolicy, FunctionPolicy, Quota, Rate, Resources
from taskservice.core.speed import Speed
from taskservice.core.types import FunctionName, RunnerId
from world.machine import Machine, function

TEN_S = 10_000_000.0
"""What a task takes, in microseconds."""


class Watched:
    """A policy that looks at a shard, each second."""

    def __init__(self, machine: Machine, options: ScaleOptions | None = None) -> None:
        self.machine = machine
        self.policy = BacklogPolicy(options or ScaleOptions((CPU,)))
        self.now_s = 0.0
        machine.state.speeds[FunctionName("app.f")] = Speed(TEN_S)

    def look(self, seconds: int = 1) -> Plan:
        """What it says after so many looks."""
        plan = Plan()
        for _ in range(seconds):
            self.now_s += 1
            plan = self.policy.plan(backlog(self.machine.state, self.machine.now_ms), self.now_s)
        return plan

    def wanted(self, seconds: int = 1) -> int:
        return self.look(seconds).kinds[0].wanted


def submit(machine: Machine, count: int, **options: object) -> None:
    machine.submit(*(f"t{number}" for number in range(count)), **options)  # type: ignore[arg-type]


def test_nothing_to_do_wants_nothing_and_work_wants_machines_at_once(machine: Machine):
    watched = Watched(machine)
    assert watched.wanted() == 0
    submit(machine, 48)
    plan = watched.look()
    assert plan.kinds[0].wanted == 2, (
        "480 s of work, to begin within the minute that a machine takes to start: 8 places"
    )
    assert "48 tasks wait, 480 s of work: 8.0 more" in plan.shapes[0].why
    assert plan.kinds[0].why == "2.0 for 1 CPU"


def test_no_more_places_than_tasks(machine: Machine):
    watched = Watched(machine)
    machine.state.speeds[FunctionName("app.f")] = Speed(3600e6)
    submit(machine, 5)
    assert watched.wanted() == 2, "five places for five tasks of an hour"
    assert watched.wanted(300) == 2, "what came at once is no rate"


def test_a_paused_backlog_buys_no_machine(machine: Machine):
    watched = Watched(machine)
    machine.policy(FunctionPolicy(FunctionName("app.f"), paused=True))
    submit(machine, 400)
    plan = watched.look(30)
    assert plan.kinds[0].wanted == 0
    assert "400 tasks wait for function.paused of app.f, which no machine helps" in plan.shapes[0].why


def test_a_backlog_that_the_downstream_cannot_take_buys_no_machine_beyond_its_window(machine: Machine):
    watched = Watched(machine)
    machine.register(function(downstream="pay"))
    machine.policy(DownstreamPolicy("pay", frozen=5))
    submit(machine, 400)
    assert watched.wanted(30) == 2, "five at once"


def test_a_tenant_gets_machines_up_to_its_quota(machine: Machine):
    watched = Watched(machine)
    acme = machine.tenant("acme", quota=Quota(maximum=(("CPU", 6000),)))
    submit(machine, 400, tenant=acme)
    assert watched.wanted(30) == 2, "six CPUs"
    machine.submit(*(f"o{number}" for number in range(24)))
    assert watched.wanted() == 3, "others' 240 s of work are 4 places more"


def test_a_rate_buys_what_it_keeps_busy(machine: Machine):
    watched = Watched(machine)
    machine.register(function(rate=Rate(0.5, 1)))
    submit(machine, 400)
    assert watched.wanted(30) == 2, "one task in two seconds, of ten: five places"


def test_off_peak_work_buys_machines_in_its_hours_only():
    machine = Machine(Limits(off_peak_windows=("22:00-06:00",)))
    machine.register()
    watched = Watched(machine)
    machine.now_ms = 12 * 3_600_000
    submit(machine, 48, off_peak=True)
    plan = watched.look(30)
    assert plan.kinds[0].wanted == 0
    assert "48 tasks wait for off_peak" in plan.shapes[0].why
    machine.now_ms = 23 * 3_600_000
    assert watched.wanted() == 2
    machine.close()


def test_what_those_that_are_there_will_have_done_buys_none(machine: Machine):
    watched = Watched(machine)
    submit(machine, 48)
    assert watched.wanted() == 2
    machine.submit(*(f"more{number}" for number in range(12)))
    assert watched.wanted() == 3, "600 s of work are more than eight places do in a minute"
    assert watched.wanted(10) == 3, "and twelve will have done it"


def test_machines_that_are_not_needed_stay_for_as_long_as_one_takes_to_start(machine: Machine):
    watched = Watched(machine)
    submit(machine, 48)
    assert watched.wanted() == 2
    machine.cancel(*(f"t{number}" for number in range(48)))
    assert watched.wanted(58) == 2
    assert watched.wanted(5) == 0


def test_a_burst_keeps_what_it_has_brought_for_a_minute(machine: Machine):
    watched = Watched(machine, ScaleOptions((CPU,), idle_s=0.0))
    submit(machine, 12)
    assert watched.wanted() == 1
    machine.submit(*(f"burst{number}" for number in range(200)))
    assert watched.wanted() == 9
    machine.cancel(*(f"burst{number}" for number in range(200)))
    plan = watched.look(50)
    assert (plan.kinds[0].wanted, plan.kinds[0].why.partition("; ")[2]) == (9, "none goes so soon after a burst")
    assert watched.wanted(15) == 1


def test_a_ceiling_is_named(machine: Machine):
    watched = Watched(machine)
    submit(machine, 4000)
    plan = watched.look()
    assert (plan.kinds[0].wanted, plan.kinds[0].why) == (10, "10.0 for 1 CPU; bounded by machines_max 10")
    assert "no kind of machine has room" in plan.shapes[0].why


def test_gpus_are_for_those_who_need_them_and_labels_are_heeded(machine: Machine):
    gpu = Kind("gpu", (("CPU", 4000), ("GPU", 1000)), price_per_h=0.1)
    far = Kind("far", (("CPU", 4000),), labels=(("zone", "far"),), price_per_h=0.2)
    watched = Watched(machine, ScaleOptions((gpu, CPU, far)))
    machine.register(
        function("app.gpu", resources=Resources(1000, gpu_m=1000)), function("app.far", labels=(("zone", "far"),))
    )
    submit(machine, 1, function="app.gpu")
    assert [kind.wanted for kind in watched.look().kinds] == [1, 0, 0]
    machine.submit("far", function="app.far")
    assert [kind.wanted for kind in watched.look().kinds] == [1, 0, 1]
    machine.submit("plain")
    assert sum(kind.wanted for kind in watched.look().kinds[1:]) == 1, "it goes where there is room"


def test_machines_are_of_their_kind_by_group_or_labels_or_size():
    unnamed = RunnerUse(RunnerId("r"), "n", (("CPU", 4000), ("memory", 7)), (("ray.io/node-group", ""),), False, 0, 0)
    labelled = replace(CPU, name="far", labels=(("zone", "far"),))
    assert (CPU.owns(runner("r")), CPU.owns(runner("r", kind="other"))) == (True, False)
    assert CPU.owns(unnamed), "whoever started it has not said of which kind it is: it is as large"
    assert not CPU.owns(replace(unnamed, capacity=(("CPU", 8000),)))
    assert not labelled.owns(unnamed)
    assert labelled.owns(replace(unnamed, labels=(("zone", "far"),)))


def test_the_machine_of_the_service_itself_never_goes(machine: Machine):
    machine.join("r1", cpus=4)
    (own,) = backlog(machine.state, machine.now_ms).runners
    here = BacklogPolicy(ScaleOptions((CPU,), home=own.node)).plan(backlog(machine.state, machine.now_ms), 0.0)
    assert (here.kinds[0].there, here.retire) == (0, ())
    elsewhere = BacklogPolicy(ScaleOptions((CPU,), home="head")).plan(backlog(machine.state, machine.now_ms), 0.0)
    assert elsewhere.kinds[0].wanted == 1, "it is kept for a minute"
