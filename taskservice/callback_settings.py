"""The settings of callbacks: a part of `Settings`, in a file of its own."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, Field, model_validator

_DAY_S = 86_400.0


class CallbackSettings(BaseModel):
    """How callbacks are sent, and for how long."""

    callback_private_networks: bool = Field(
        False,
        description="Whether callbacks may go to loopback and private networks; link-local addresses are never called.",
    )
    callback_timeout_s: float = Field(
        15.0, gt=0, allow_inf_nan=False, description="Seconds that an endpoint has to answer a callback."
    )
    callbacks_at_once_max: int = Field(32, gt=0, description="Callbacks that are being sent at a time.")
    callback_retry_s: float = Field(
        _DAY_S, ge=0, allow_inf_nan=False, description="Seconds for which a callback that fails is tried again."
    )
    callback_disable_s: float = Field(
        3 * _DAY_S,
        ge=0,
        allow_inf_nan=False,
        description="Seconds of failures without a success after which an endpoint is disabled.",
    )
    callback_keep_s: float = Field(
        3 * _DAY_S,
        ge=0,
        allow_inf_nan=False,
        description="Seconds after a task's end that its callback is known, delivered or not.",
    )
    callback_secret_overlap_s: float = Field(
        _DAY_S,
        ge=0,
        allow_inf_nan=False,
        description="Seconds for which the old signing secret signs beside the new one, after a rotation.",
    )

    @model_validator(mode="after")
    def _are_known_for_as_long_as_they_are_owed(self) -> Self:
        if self.callback_keep_s < self.callback_retry_s:
            raise ValueError(f"callback_keep_s cannot be below callback_retry_s ({self.callback_retry_s:g})")
        return self
