"""From the body of POST /v1/events to events: CloudEvents in each mode of their HTTP binding, and notifications of S3."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Final
from urllib.parse import unquote_plus

import msgspec
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import HTTPMessage, from_binary
from cloudevents.core.exceptions import BaseCloudEventException
from cloudevents.core.formats.json import JSONFormat

from taskservice.core.triggers import CloudEvent
from taskservice.gateway.canonical import canonical
from taskservice.gateway.problems import UNSUPPORTED_MEDIA_TYPE, Problem, invalid, too_large
from taskservice.gateway.settings import GatewaySettings

STRUCTURED: Final = "application/cloudevents+json"
BATCHED: Final = "application/cloudevents-batch+json"
_JSON: Final = "application/json"
_PREFIX: Final = "ce-"
_BAD = (BaseCloudEventException, ValueError, TypeError, AttributeError, LookupError, OverflowError)
"""What the library raises for events that are none; it promises no one kind."""


def events_of(headers: Mapping[str, str], body: bytes, settings: GatewaySettings) -> list[CloudEvent]:
    """All events of the request. Raises Problem: one bad event refuses all, before anything has come of them."""
    media = headers.get("content-type", _JSON).partition(";")[0].strip().lower()
    if any(name.lower().startswith(_PREFIX) for name in headers):
        return [_binary(headers, body, media, settings)]
    if media not in {STRUCTURED, BATCHED, _JSON}:
        message = f"Send {STRUCTURED}, {BATCHED}, the attributes as ce- headers, or a notification of S3 as {_JSON}."
        raise Problem(UNSUPPORTED_MEDIA_TYPE, message)
    # Structured events have their data one level down, batched ones two.
    value = canonical(body, settings.payload_depth_max + 2).value
    if media == BATCHED:
        return [_structured(each, f"$[{at}]", settings) for at, each in enumerate(_bounded(value, "$", settings))]
    if media == _JSON and isinstance(value, dict) and "Records" in value:
        records = _bounded(value["Records"], "$.Records", settings)
        return [_of_s3(each, f"$.Records[{at}]", settings) for at, each in enumerate(records)]
    return [_structured(value, "$", settings)]


def _bounded(value: object, path: str, settings: GatewaySettings) -> list[object]:
    if not isinstance(value, list):
        raise invalid(path, "send a list of events")
    if len(value) > settings.event_batch_max:
        message = f"{len(value)} events are too many for one request; send {settings.event_batch_max} at a time."
        raise too_large(message, "event_batch_max", settings.event_batch_max)
    return value


def _binary(headers: Mapping[str, str], body: bytes, media: str, settings: GatewaySettings) -> CloudEvent:
    said = {name.lower(): value for name, value in headers.items()}
    if "ce-id" not in said:
        raise invalid("ce-id", "give the event an id: by it and its source one that is sent again is known")
    if body and (media == _JSON or media.endswith("+json")):
        body = canonical(body, settings.payload_depth_max).text
    try:
        return _event(from_binary(HTTPMessage(said, body), JSONFormat()), "$", settings)
    except _BAD as error:
        raise _no_event("$", error) from None


def _structured(value: object, path: str, settings: GatewaySettings) -> CloudEvent:
    if not isinstance(value, dict):
        raise invalid(path, "an event is a JSON object")
    missing = [name for name in ("specversion", "id", "source", "type") if not value.get(name)]
    if missing:
        raise invalid(path, f"the event has no {' and no '.join(missing)}: CloudEvents have them")
    try:
        return _event(JSONFormat().read(None, msgspec.json.encode(value)), path, settings)
    except _BAD as error:
        raise _no_event(path, error) from None


def _no_event(path: str, error: Exception) -> Problem:
    return invalid(path, f"this is no CloudEvent: {str(error)[:300]}")


def _event(event: BaseCloudEvent, path: str, settings: GatewaySettings) -> CloudEvent:
    """The event, as triggers see it: attributes are text, and data is JSON."""
    data = event.get_data()
    if isinstance(data, bytes):
        data = base64.b64encode(data).decode()
    attributes = {name: _text(value) for name, value in event.get_attributes().items() if value is not None}
    return _measured(CloudEvent(attributes, data), path, settings)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    raise ValueError("an attribute is text, a whole number, true or false")


def _measured(event: CloudEvent, path: str, settings: GatewaySettings) -> CloudEvent:
    most = settings.event_attribute_chars_max
    for name, value in event.attributes.items():
        if len(value) > most:
            message = f"the attribute is longer than {most} characters; put it into the data"
            raise invalid(f"{path}.{name[:100]}", message, limit="event_attribute_chars_max", value=most)
    return event


class _Named(msgspec.Struct):
    name: str


class _Object(msgspec.Struct):
    key: str
    sequencer: str = ""
    versionId: str = ""  # noqa: N815 (S3's names)


class _S3(msgspec.Struct):
    bucket: _Named
    object: _Object


class _Record(msgspec.Struct):
    eventName: str  # noqa: N815
    s3: _S3
    eventTime: str = ""  # noqa: N815
    awsRegion: str = ""  # noqa: N815
    responseElements: dict[str, str | None] | None = None  # noqa: N815


def _of_s3(value: object, path: str, settings: GatewaySettings) -> CloudEvent:
    """The event that a record is, named as the CloudEvents adapter for S3 says. Its id holds all that tells it from others."""
    try:
        record = msgspec.convert(value, _Record)
    except msgspec.ValidationError as error:
        raise invalid(path, f"this is no record of S3: {error}") from None
    said, what = record.responseElements or {}, record.s3.object
    request = (said.get("x-amz-request-id") or "", said.get("x-amz-id-2") or "")
    kind = record.eventName.removeprefix("s3:")
    attributes = {
        "specversion": "1.0",
        "id": ".".join(filter(None, (*request, record.eventTime, what.sequencer, what.versionId, kind, what.key))),
        "source": ".".join(filter(None, ("aws:s3", record.awsRegion, record.s3.bucket.name))),
        "type": f"com.amazonaws.s3.{kind}",
        "subject": unquote_plus(what.key),
    }
    if record.eventTime:
        attributes["time"] = record.eventTime
    return _measured(CloudEvent(attributes, value), path, settings)
