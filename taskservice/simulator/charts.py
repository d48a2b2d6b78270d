"""A report as one HTML page with its curves: vector graphics in the page itself, so it needs no library to be made, no
network to be looked at, and is the same to the byte for the same report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from math import ceil, floor, log10
from typing import Any, NamedTuple

WIDTH, HEIGHT = 900, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 10, 26

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6bb1", "#b8a500", "#8a8a8a")
"""Told apart by those who see red and green alike (after Okabe and Ito); the last is for all others."""

STYLE = """
:root { color-scheme: light dark; --line: #8886; --text: #222; --back: #fff }
@media (prefers-color-scheme: dark) { :root { --text: #ddd; --back: #181818 } }
body { font: 14px/1.45 system-ui, sans-serif; max-width: 940px; margin: 2em auto; padding: 0 1em;
       color: var(--text); background: var(--back) }
h1 { font-size: 1.5em } h2 { font-size: 1.05em; margin: 1.6em 0 .2em }
svg { width: 100%; height: auto; display: block } svg text { font-size: 11px; fill: var(--text) }
table { border-collapse: collapse } td, th { padding: .15em .9em .15em 0; text-align: left }
td.number { text-align: right; font-variant-numeric: tabular-nums }
.key { display: inline-block; margin-right: 1.2em } .key i { display: inline-block; width: .9em; height: .9em;
       margin-right: .35em; vertical-align: -.1em }
.failed { color: #d55e00; font-weight: bold }
"""


class Scale(NamedTuple):
    """From numbers to places along an axis."""

    low: float
    high: float
    begin: float
    end: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        low, high, value = (self._of(number) for number in (self.low, self.high, value))
        return self.begin + (self.end - self.begin) * (value - low) / (high - low)

    def _of(self, value: float) -> float:
        return log10(max(value, self.low)) if self.logarithmic else value

    def ticks(self) -> list[float]:
        """Round numbers along it."""
        if self.logarithmic:
            return [10.0**power for power in range(ceil(log10(self.low)), floor(log10(self.high)) + 1)]
        step = _round_step((self.high - self.low) / 5)
        return [step * count for count in range(ceil(self.low / step), floor(self.high / step + 1e-9) + 1)]


def _round_step(least: float) -> float:
    """The next of 1, 2, 5, 10, 20 ... that is not below."""
    power = 10.0 ** floor(log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * 0.999)


def page(report: Mapping[str, Any]) -> str:
    """The whole page."""
    curves = report["curves"]
    times = curves["seconds"]
    parts = [
        _verdicts(report["gates"]),
        _figure("Share of what was used, by tenant", times, curves["shares"], stacked=True),
        _figure("Wait before the first attempt, 99th percentile, ms", times, curves["wait_p99_ms"], logarithmic=True),
        _figure("Wait before the first attempt, median, ms", times, curves["wait_p50_ms"], logarithmic=True),
        _figure("Tasks queued, by tenant", times, curves["queued"], stacked=True),
        _figure("Use of the fleet, by resource", times, curves["utilisation"], top=1.0),
        _figure("Tasks a second", times, curves["tasks_per_s"]),
    ]
    title = escape(report["title"])
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n{''.join(parts)}</body></html>\n"
    )


def _verdicts(gates: Sequence[Mapping[str, Any]]) -> str:
    if not gates:
        return ""
    rows = "".join(
        f'<tr><td class="{"" if gate["passed"] else "failed"}">{"passed" if gate["passed"] else "FAILED"}</td>'
        f'<td>{escape(gate["gate"])}</td><td class="number">{gate["value"]:g}</td></tr>\n'
        for gate in gates
    )
    return f"<table><tr><th></th><th>gate</th><th>value</th></tr>\n{rows}</table>\n"


def _figure(
    title: str,
    times: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    *,
    stacked: bool = False,
    logarithmic: bool = False,
    top: float = 0.0,
) -> str:
    """A chart with its title and key; nothing if there is nothing to be seen."""
    if not times or not any(map(any, curves.values())):
        return ""
    layers = _stack(curves) if stacked else [(curve, [0.0] * len(times)) for curve in curves.values()]
    highest = max(max(upper) for upper, _ in layers)
    x = Scale(0.0, times[-1], LEFT, WIDTH - RIGHT)
    if logarithmic:
        y = Scale(1.0, max(10.0, highest), HEIGHT - BOTTOM, TOP, logarithmic=True)
    else:
        y = Scale(0.0, max(top, highest * 1.02), HEIGHT - BOTTOM, TOP)
    colours = [COLOURS[min(at, len(COLOURS) - 1)] for at in range(len(curves))]
    starts = [0.0, *times]
    shapes = [
        _area(x, y, starts, upper, lower, colour) if stacked else _line(x, y, starts, upper, colour)
        for (upper, lower), colour in zip(layers, colours, strict=True)
    ]
    key = "".join(
        f'<span class="key"><i style="background:{colour}"></i>{escape(name)}</span>'
        for name, colour in zip(curves, colours, strict=True)
    )
    return (
        f"<h2>{escape(title)}</h2>\n<div>{key}</div>\n"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">\n'
        f"{_axes(x, y)}{''.join(shapes)}</svg>\n"
    )


def _stack(curves: Mapping[str, Sequence[float]]) -> list[tuple[list[float], list[float]]]:
    """For each curve its upper and its lower edge, with each on top of the one before."""
    layers: list[tuple[list[float], list[float]]] = []
    lower = [0.0] * len(next(iter(curves.values())))
    for curve in curves.values():
        upper = [below + value for below, value in zip(lower, curve, strict=True)]
        layers.append((upper, lower))
        lower = upper
    return layers


def _axes(x: Scale, y: Scale) -> str:
    lines = [
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.at(tick):.1f}" y2="{y.at(tick):.1f}" stroke="var(--line)"/>'
        f'<text x="{LEFT - 6}" y="{y.at(tick) + 4:.1f}" text-anchor="end">{_number(tick)}</text>\n'
        for tick in y.ticks()
    ]
    unit_s, unit = next((each for each in ((3600, "h"), (60, "min")) if x.high >= 3 * each[0]), (1, "s"))
    step = _round_step(x.high / unit_s / 8) * unit_s
    for count in range(floor(x.high / step + 1e-9) + 1):
        at = x.at(count * step)
        label = f"{_number(count * step / unit_s)} {unit}"
        lines.append(f'<text x="{at:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{label}</text>\n')
    return "".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def _steps(x: Scale, y: Scale, edges: Sequence[float], values: Iterable[float]) -> list[str]:
    """The corners of a curve that is even within each interval."""
    corners = []
    for (begin, end), value in zip(pairwise(edges), values, strict=True):
        at = f"{y.at(value):.1f}"
        corners += [f"{x.at(begin):.1f},{at}", f"{x.at(end):.1f},{at}"]
    return corners


def _line(x: Scale, y: Scale, edges: Sequence[float], values: Sequence[float], colour: str) -> str:
    """The curve; on a logarithmic scale there is none where the number is 0."""
    drawn, begin = [], 0
    gaps = [at for at, value in enumerate(values) if y.logarithmic and not value]
    for end in [*gaps, len(values)]:
        if begin < end:
            points = " ".join(_steps(x, y, edges[begin : end + 1], values[begin:end]))
            drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>\n')
        begin = end + 1
    return "".join(drawn)


def _area(
    x: Scale, y: Scale, edges: Sequence[float], upper: Sequence[float], lower: Sequence[float], colour: str
) -> str:
    points = " ".join([*_steps(x, y, edges, upper), *reversed(_steps(x, y, edges, lower))])
    return f'<polygon points="{points}" fill="{colour}"/>\n'
