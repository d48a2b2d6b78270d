"""What a scenario expects of its own report.

    gates:
      - tenants/quiet-*/wait_ms/p99 <= 500       of every tenant of that name
      - fleet/utilisation_ratio/CPU >= 0.9
      - abs(tenants/*/share_error_ratio) <= 0.02

A path names a number of the report as `--json` prints it. `*` stands for any part of a name; then all that fit must hold.
A path that leads nowhere is an error and not a gate that holds.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from taskservice.errors import RequestError

_GATE = re.compile(r"(abs\()?([^\s()]+)(\))? (<=|>=|==|<|>) (-?\d+(?:\.\d+)?)")
_HOLDS = {"<=": operator.le, ">=": operator.ge, "==": operator.eq, "<": operator.lt, ">": operator.gt}


class Gate(NamedTuple):
    """A number of the report, and what it is held against."""

    text: str
    path: str
    absolute: bool
    comparison: str
    bound: float


class Verdict(NamedTuple):
    """Whether a gate holds."""

    gate: str
    passed: bool
    path: str
    """Of the number that decided it: of several, the one that is nearest to the wrong side, or farthest on it."""
    value: float


def parse(text: str) -> Gate:
    """The gate that is written so. Raises ValueError saying how gates are written."""
    match = _GATE.fullmatch(text)
    if match is None or bool(match[1]) != bool(match[3]):
        raise ValueError(f"{text!r:.100} is no gate: write PATH <= NUMBER, as in tenants/quiet/wait_ms/p99 <= 500")
    return Gate(text, match[2], bool(match[1]), match[4], float(match[5]))


def judge(gate: Gate, report: Mapping[str, Any]) -> Verdict:
    """Whether the report is as the gate says. Raises RequestError if it has no such number."""
    found = [(path, abs(value) if gate.absolute else value) for path, value in _numbers(report, gate.path.split("/"))]
    if not found:
        known = ", ".join(report)
        raise RequestError(f"Gate {gate.text!r}: the report has no such number. It has: {known}.", code="bad_gate")
    at_most = gate.comparison in {"<", "<="}
    if gate.comparison == "==":
        path, value = max(found, key=lambda one: abs(one[1] - gate.bound))
    else:
        path, value = (max if at_most else min)(found, key=operator.itemgetter(1))
    return Verdict(gate.text, _HOLDS[gate.comparison](value, gate.bound), path, value)


def _numbers(report: Any, parts: list[str], path: str = "") -> Iterator[tuple[str, float]]:
    """All numbers that the path's parts lead to, with their whole paths."""
    if not parts:
        if isinstance(report, int | float):
            yield path, report
        return
    if isinstance(report, Mapping):
        for name in report:
            if fnmatchcase(name, parts[0]):
                yield from _numbers(report[name], parts[1:], f"{path}/{name}" if path else name)
