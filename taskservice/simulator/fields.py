"""What scenarios are made of: pydantic models that refuse what they do not know, and quantities with their units."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from taskservice.units import parse_bytes, parse_duration_ms

DurationMs = Annotated[int, BeforeValidator(parse_duration_ms)]
"""Whole milliseconds, written as `"90s"` or as a number of seconds."""
PositiveMs = Annotated[int, BeforeValidator(parse_duration_ms), Field(gt=0)]
SizeBytes = Annotated[int, BeforeValidator(parse_bytes)]
Ratio = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]


class Described(BaseModel):
    """A part of a scenario."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class OneOf(Described):
    """A part that is of one kind of several: the only one of its fields that is given."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            given = ", ".join(sorted(self.model_fields_set)) or "nothing"
            raise ValueError(f"give one of {', '.join(type(self).model_fields)}; it has {given}")
        return self

    @property
    def only(self) -> Any:
        """What is given."""
        (name,) = self.model_fields_set
        return getattr(self, name)
