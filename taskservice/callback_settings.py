"""The settings of callbacks: a part of `Settings`, in a file of its own."""

from __future__ import annotations

from pydantic import BaseModel, Field

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
        7 * _DAY_S,
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
