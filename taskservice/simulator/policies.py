"""What operators say while a scenario runs: of functions, downstreams, and classes of priority.

    policies:
      - {class: {name: batch, weight: 0.5}}
      - {function: {name: mail.send, paused: true}}
      - {at: 10m, function: {name: mail.send, rate: {per_s: 100, burst: 100}}}
      - {downstream: {name: relay, ceiling: 20}}

What is said of somebody replaces what was said of them before.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Self

from pydantic import Field, model_validator

from taskservice.core.specs import ClassPolicy, DownstreamPolicy, FunctionPolicy, Policy
from taskservice.simulator.fields import Described, DurationMs
from taskservice.simulator.options import struct_of


class Said(Described):
    """One policy, from this moment on."""

    at: DurationMs = 0
    function: dict[str, Any] | None = None
    downstream: dict[str, Any] | None = None
    of_class: dict[str, Any] | None = Field(None, alias="class")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len([one for one in (self.function, self.downstream, self.of_class) if one is not None]) != 1:
            raise ValueError("give one of function, downstream, class")
        if "name" not in (self.function or self.downstream or self.of_class or {}):
            raise ValueError("name: of what?")
        _ = self.policy
        return self

    @cached_property
    def policy(self) -> Policy:
        """As the core knows it."""
        if self.function is not None:
            return struct_of(FunctionPolicy, self.function)
        if self.downstream is not None:
            return struct_of(DownstreamPolicy, self.downstream)
        return struct_of(ClassPolicy, self.of_class or {})
