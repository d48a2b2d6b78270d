"""The page of charts: whole, drawn to scale, and the same each time."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from taskservice.simulator.charts import Scale, page

SVG = re.compile(r"<svg.*?</svg>", re.DOTALL)


def test_every_chart_is_a_whole_one(run):
    report = run(title="<a & b>", gates=["tasks/submitted >= 11"])
    text = page(report)
    charts = [ET.fromstring(found) for found in SVG.findall(text)]
    assert len(charts) == 5  # nothing was queued at any look, so that chart is not there
    assert "<title>&lt;a &amp; b&gt;</title>" in text
    assert 'class="failed">FAILED' in text
    assert page(report) == text


def test_a_curve_is_where_its_numbers_are(run):
    """A tenth of the CPU, second after second."""
    drawn = SVG.findall(page(run()))[3]
    (points,) = re.findall(r'polyline points="([^"]*)"', drawn)
    heights = [float(point.split(",")[1]) for point in points.split()]
    y = Scale(0.0, 1.0, 214, 10)
    assert heights == pytest.approx([y.at(0.1)] * 20, abs=0.1)


def test_where_nobody_began_there_is_no_wait(run):
    report = run(workload=[{"tenant": "a", "function": "f", "arrivals": {"periodic": {"every": "5s"}}}])
    assert len(re.findall("<polyline", SVG.findall(page(report))[1])) == 2


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (Scale(0, 1, 0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (Scale(0, 730, 0, 1), [0, 200, 400, 600]),
        (Scale(1, 3000, 0, 1, logarithmic=True), [1, 10, 100, 1000]),
    ],
)
def test_ticks_are_round(scale, ticks):
    assert scale.ticks() == pytest.approx(ticks)
