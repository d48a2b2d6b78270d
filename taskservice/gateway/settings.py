"""What the gateway is bounded by."""

from __future__ import annotations

from dataclasses import dataclass

_JSON_ESCAPE_BYTES = 6
_ENVELOPE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Every limit that a caller can run into; the refusal names the field and its value."""

    payload_bytes_max: int = 16 << 20
    """Of one task, as canonical JSON."""
    inline_bytes_max: int = 64 << 10
    """A longer payload is an object of its own."""
    value_timeout_s: float = 10.0
    """How long a caller waits for such an object to be read or written."""
    values_at_once_max: int = 16
    """That are read or written at a time."""
    values_in_hand_bytes_max: int = 256 << 20
    """Of those and the ones that wait for their turn; beyond it callers are told to come back."""
    values_retry_after_s: float = 2.0
    result_streamed_bytes_min: int = 8 << 20
    """A result as large as this is passed on part by part."""
    payload_depth_max: int = 64
    """Arrays and objects inside each other, in one payload."""
    body_bytes_max: int = 64 << 20
    """Of a request that brings tasks."""
    request_bytes_max: int = 4 << 20
    """Of any other request."""
    batch_tasks_max: int = 10_000
    """Tasks of one batch, ids of one cancellation."""
    callback_private_networks: bool = False
    """Whether callbacks may go to loopback and private networks."""
    tags_max: int = 32
    tag_value_chars_max: int = 256
    delay_ms_max: int = 10 * 365 * 86_400_000
    wait_s_max: float = 60.0
    """A longer wait is cut to this, not refused: the caller asks again."""
    list_limit_max: int = 1_000
    metrics_open: bool = False
    """Whether callers on this machine see /metrics without a key."""
    list_limit_default: int = 100
    log_followers_max: int = 1_000
    """Logs that are followed at a time."""
    event_batch_max: int = 1_000
    """Events of one request."""
    event_attribute_chars_max: int = 4_096
    """Of one attribute of an event."""
    schedule_next_max: int = 100
    """Next times that are shown of a schedule."""
    schedule_next_default: int = 5
    errors_max: int = 20
    """Errors told about one payload."""
    queue_retry_after_s: float = 1.0
    """When a tenant whose queue is full is asked to come back."""
    catalog_wait_s: float = 20.0
    """How long one question for news of the catalog stays open."""
    code_bytes_max: int = 64 << 20
    """Of an app's code that is deployed, packed."""
    code_unpacked_bytes_max: int = 256 << 20
    """Of the files in it."""
    catalog_refresh_interval_s: float = 1.0
    """An unknown key or function makes the gateway ask the dispatcher at once, but not more often than this."""

    tenant_alone: str = ""
    """Why there can be no second tenant, and what to do about it; empty: there can be."""

    @property
    def task_text_bytes_max(self) -> int:
        """Longer than any text of a task within `payload_bytes_max`: JSON can spend six bytes on one character."""
        return _JSON_ESCAPE_BYTES * self.payload_bytes_max + _ENVELOPE_BYTES
