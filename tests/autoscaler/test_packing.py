"""From places to machines: which kind, how many, and what bounds them; and which machines go."""

from __future__ import annotations

from msgspec.structs import replace

from helpers.scaling import CPU, runner
from taskservice.autoscaler.kinds import Kind, ScaleOptions, Shape
from taskservice.autoscaler.packing import beyond, pack
from taskservice.autoscaler.surplus import surplus

ONE = Shape((("CPU", 1000),))
GPU = Kind("gpu", (("CPU", 8000), ("GPU", 1000)), price_per_h=0.5)
WITH_GPU = Shape((("CPU", 1000), ("GPU", 1000)))


def packed(places: dict[Shape, float], *kinds: Kind, off_peak: bool = False, **options: object):
    return pack(places, ScaleOptions(kinds, **options), off_peak)  # type: ignore[arg-type]


def test_each_shape_goes_where_it_is_cheapest_and_gpus_are_for_who_needs_them():
    found = packed({ONE: 9, WITH_GPU: 2}, GPU, CPU)
    assert found.machines == {"gpu": 2, "cpu": 3}


def test_shapes_of_one_kind_share_its_machines():
    found = packed({ONE: 6, Shape((("CPU", 3000),)): 1}, CPU)
    assert found.machines == {"cpu": 3}, "one and a half, and one for the large lease, of which two do not fit"


def test_what_does_not_fit_below_the_ceiling_goes_to_the_next_kind():
    dear = replace(CPU, name="dear", price_per_h=3.0, machines_max=1)
    found = packed({ONE: 50}, CPU, dear)
    assert found.machines == {"cpu": 10, "dear": 1}
    assert round(found.left[ONE]) == 6
    assert found.bounds["cpu"] == "machines_max 10"


def test_a_shape_that_no_kind_suits_is_left_over():
    assert packed({WITH_GPU: 3}, CPU).left == {WITH_GPU: 3}
    assert packed({Shape((("CPU", 1000),), (("zone", "x"),)): 1}, CPU).machines == {"cpu": 0}


def test_floors_by_day_and_by_night():
    kind = replace(CPU, machines_min=1, machines_min_off_peak=4)
    assert packed({}, kind).machines == {"cpu": 1}
    night = packed({}, kind, off_peak=True)
    assert (night.machines, night.bounds) == ({"cpu": 4}, {"cpu": "machines_min_off_peak 4"})


def test_all_together_cost_no_more_than_they_may_but_floors_stay():
    kind = replace(CPU, machines_min=2)
    assert packed({ONE: 40}, kind, price_per_h_max=5.0).machines == {"cpu": 5}
    assert packed({ONE: 40}, kind, price_per_h_max=1.0).machines == {"cpu": 2}
    assert packed({ONE: 8, WITH_GPU: 4}, CPU, GPU, price_per_h_max=2.0).machines == {"cpu": 1, "gpu": 2}


def test_a_part_of_the_machines_are_no_spot_machines():
    spot = replace(CPU, name="spot", price_per_h=0.3, spot=True)
    assert packed({ONE: 40}, CPU, spot).machines == {"cpu": 0, "spot": 10}
    found = packed({ONE: 40}, CPU, spot, spot_ratio_max=0.7)
    assert (found.machines, found.bounds) == ({"cpu": 3, "spot": 7}, {"cpu": "spot_ratio_max 0.7"})
    assert packed({ONE: 40}, spot, spot_ratio_max=0.7).machines == {"spot": 10}, "there is nothing else"


def test_machines_that_are_there_anyhow_come_first():
    others = [runner("head"), runner("leaving", draining=True)]
    assert beyond({ONE: 9}, others) == {ONE: 5}
    assert beyond({ONE: 2, WITH_GPU: 1}, others) == {ONE: 0, WITH_GPU: 1}


def test_those_go_that_are_soonest_free_and_none_that_is_busy_for_long():
    busy, short, idle = (
        runner("busy", leases=1, busy_ms=900_000),
        runner("short", leases=2, busy_ms=900),
        runner("idle"),
    )
    assert surplus([busy, short, idle], 2, 60.0) == [idle]
    assert surplus([busy, short, idle], 1, 60.0) == [idle, short]
    assert surplus([busy, short, idle], 0, 60.0) == [idle, short]
    assert surplus([busy, short, idle], 0, float("inf")) == [idle, busy, short]
    assert surplus([runner("leaving", draining=True), idle], 1, 60.0) == []
