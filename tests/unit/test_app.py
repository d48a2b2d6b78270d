"""Apps: what a decorated function is to the service, and what is refused when it is decorated."""

from __future__ import annotations

import asyncio
import functools
import json
from datetime import UTC, datetime
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from taskservice import App, Context, Retry, Throttled
from taskservice.core.specs import Bundle, Rate, Resources, RetryPolicy
from taskservice.core.types import Priority
from taskservice.signature import BadPayload, BadResult, Signature, result_json


class Address(BaseModel):
    city: str
    zip: str = ""


def plain(i: int) -> int:
    return i


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"concurrency": 2}, ValueError, "x.plain: concurrency above 1 is for async functions"),
        ({"concurrency": 0}, ValueError, "concurrency must be a whole number from 1 to 1000, not 0"),
        ({"concurrency": "4"}, ValueError, "concurrency must be a whole number"),
        ({"concurrency": 1001}, ValueError, "from 1 to 1000, not 1001"),
        ({"max_crashes": 0}, ValueError, "max_crashes must be a whole number from 1 to 100"),
        ({"secrets": "STRIPE_KEY"}, ValueError, "secrets must be a list of names such as"),
        ({"secrets": ["../../etc/shadow"]}, ValueError, "secrets must be a list of names"),
        ({"secrets": {"A": "b"}}, ValueError, "secrets must be a list of names"),
        ({"cpus": -1}, ValueError, "cpus must be a number from 0 to 1000000, not -1"),
        ({"cpus": float("nan")}, ValueError, "cpus must be a number"),
        ({"gpus": "1"}, ValueError, "gpus must be a number"),
        ({"resources": {"tpu": True}}, ValueError, "tpu must be a number"),
        ({"memory": "lots"}, ValueError, "'lots' is not a size"),
        ({"timeout": "soon"}, ValueError, "'soon' is not a duration"),
        ({"timeout": 0}, ValueError, "timeout must be longer than 0"),
        ({"ttl": 0}, ValueError, "ttl must be longer than 0"),
        ({"deadline": 0}, ValueError, "deadline must be longer than 0"),
        ({"off_peak": "yes"}, TypeError, "off_peak must be True or False, not 'yes'"),
        ({"spread": 1}, TypeError, "spread must be True or False, not 1"),
        ({"labels": ["zone"]}, TypeError, "labels must map names to texts"),
        ({"labels": {"zone": 1}}, TypeError, "labels must map names to texts"),
        ({"priority": "urgent"}, ValueError, "one of critical, high, normal, low, batch, not 'urgent'"),
        ({"retry": Retry(max_attempts=0)}, ValueError, "max_attempts must be a whole number from 1 to 1000, not 0"),
        ({"retry": Retry(factor=0.5)}, ValueError, "factor must be 1 to 100"),
        ({"retry": Retry(base="-1s")}, ValueError, "is not a duration"),
        ({"retry": Retry(non_retryable=ValueError)}, TypeError, "must be a tuple of exception classes"),
        ({"retry": Retry(non_retryable=(3,))}, TypeError, "must be a tuple of exception classes"),
        ({"memory": "1GiB", "memory_retry_factor": 1.0}, ValueError, "memory_retry_factor must be 1.1 to 100, not 1.0"),
        ({"memory": "1GiB", "memory_retry_factor": True}, ValueError, "memory_retry_factor must be 1.1 to 100"),
        ({"memory_retry_factor": 2}, ValueError, "state that as well"),
        ({"memory": "1GiB", "memory_max": "2GiB"}, ValueError, "memory_max is for memory_retry_factor"),
        ({"memory": "2GiB", "memory_retry_factor": 2, "memory_max": "1GiB"}, ValueError, "and at least `memory`"),
        ({"colour": "red"}, TypeError, "colour"),
        ({"rate": "fast"}, ValueError, "x.plain: rate: 'fast' is not a rate: write \"100/s\""),
        ({"rate": 100}, ValueError, "rate: 100 is not a rate"),
        ({"rate": "0/s"}, ValueError, "rate must be 1e-06 to 1e\\+06 a second, not 0"),
        ({"rate": "5/s burst 0"}, ValueError, "the burst of rate must be 1 to"),
        ({"submit_rate": "5 per second"}, ValueError, "submit_rate: '5 per second' is not a rate"),
        ({"max_running": 0}, ValueError, "max_running must be a whole number from 1 to 1000000, not 0"),
        ({"key": "user"}, ValueError, "key must be the name of a parameter of the function \\(i\\), not 'user'"),
        ({"key_max_running": 2}, ValueError, "say which parameter that is, with key="),
        ({"key": "i", "key_max_running": True}, ValueError, "key_max_running must be a whole number"),
        ({"downstream": "a b"}, ValueError, "downstream must be 1 to 100 of A-Z"),
        ({"retry_share": 2}, ValueError, "retry_share must be a number from 0 to 1, not 2"),
    ],
)
def test_options_that_cannot_be(options, error, message):
    with pytest.raises(error, match=message):
        App("x").task(**options)(plain)


def test_what_bounds_the_flow_reaches_the_control_plane():
    app = App("x")
    app.task(
        rate="30/m burst 5",
        submit_rate="2.5/s",
        max_running=7,
        key="i",
        key_max_running=2,
        downstream="stripe",
        retry_share=0.2,
    )(plain)
    (function,) = app.functions.values()
    spec = function.spec(Bundle("m", "a", "/"))
    assert (spec.rate, spec.submit_rate, spec.max_running) == (Rate(0.5, 5), Rate(2.5, 3), 7)
    assert (spec.key, spec.key_max_running, spec.downstream, spec.retry_share) == ("i", 2, "stripe", 0.2)


def star(*rest: int) -> None: ...
def double_star(**rest: int) -> None: ...
def positional(i: int, /) -> None: ...
def star_ctx(*ctx: int) -> None: ...
def two_contexts(a: Context, b: Context) -> None: ...
def unknown(i: Missing) -> None: ...  # noqa: F821
def no_json(i: asyncio.Lock) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (star, "cannot be given by name"), (double_star, "cannot be given by name"), (positional, "cannot be given by name"),
        (star_ctx, "cannot be given by name"), (two_contexts, "two parameters for the context"),
        (unknown, "'Missing' is not defined; annotations must be importable"), (no_json, "cannot come from JSON"),
        (Address, "decorate a function"), (functools.partial(plain, 1), "decorate a function"), (3, "decorate a function"),
    ],
)  # fmt: skip
def test_functions_that_cannot_be_tasks(function, message):
    with pytest.raises(TypeError, match=message):
        App("x").task(function)


@pytest.mark.parametrize("name", ["", "1st", "a.b", "a b", "a/b", "é", "x" * 101])
def test_names_that_cannot_be(name):
    with pytest.raises(ValueError, match="cannot name an app"):
        App(name)


def test_function_names_are_plain_and_taken_once():
    app = App("x")
    app.task(plain)
    with pytest.raises(ValueError, match=r"x\.plain is defined twice"):
        app.task(plain)
    with pytest.raises(ValueError, match="'<lambda>' cannot name a task"):
        app.task(lambda: None)


def test_what_the_service_is_told():
    app = App("media")

    @app.task(
        cpus=0.5, gpus=1, memory="1MiB", resources={"tpu": 2}, timeout="90s", retry=Retry(max_attempts=3, max="1m"),
        concurrency=7, max_crashes=2, priority="low", ttl="1h", deadline="2h",
        off_peak=True, labels={"zone": "a", "market": "spot"}, spread=True, memory_retry_factor=1.5, memory_max="4MiB",
    )  # fmt: skip
    async def notify(user: int) -> None:
        """Tells the user.

        Slowly.
        """

    bundle = Bundle("m", "app", "/p")
    spec = app.functions["media.notify"].spec(bundle)
    assert (spec.name, spec.bundle, spec.doc, spec.is_async) == ("media.notify", bundle, "Tells the user.", True)
    assert spec.resources == Resources(500, 1_000, 2**20, (("tpu", 2_000),))
    assert spec.retry == RetryPolicy(3, 1_000, 60_000, 2.0, True)
    assert (spec.timeout_ms, spec.concurrency, spec.max_crashes, spec.priority) == (90_000, 7, 2, Priority.LOW)
    assert (spec.ttl_ms, spec.deadline_ms, spec.off_peak) == (3_600_000, 7_200_000, True)
    assert (spec.labels, spec.spread) == ((("market", "spot"), ("zone", "a")), True)
    assert (spec.memory_retry_factor, spec.memory_max_bytes) == (1.5, 4 * 2**20)
    assert json.loads(spec.result_schema) == {"type": "null"}


def test_a_decorated_function_is_still_a_function():
    assert App("x").task(plain) is plain
    assert App("x").task(cpus=2)(plain) is plain


def test_throttled_says_when():
    assert Throttled("full", retry_after="90s").retry_after_ms == 90_000
    with pytest.raises(ValueError, match="is not a duration"):
        Throttled(retry_after="soon")


def many(
    ctx: Context, json: int, self: str, _x: float, to: Address, mode: Literal["a", "b"] = "a", *,
    at: datetime | None = None, size: Annotated[int, Field(ge=1)] = 1, tags: list[str] = [], anything=None,  # noqa: B006
) -> dict[str, int]: ...  # fmt: skip


def test_all_manner_of_parameters():
    signature = Signature(many)
    schema = json.loads(signature.payload_schema())
    assert schema["title"] == "many"
    assert schema["required"] == ["json", "self", "_x", "to"]
    assert list(schema["properties"]) == ["json", "self", "_x", "to", "mode", "at", "size", "tags", "anything"]
    assert schema["properties"]["size"]["minimum"] == 1
    assert schema["properties"]["mode"]["enum"] == ["a", "b"]
    assert schema["additionalProperties"] is False
    assert json.loads(signature.result_schema())["additionalProperties"] == {"type": "integer"}
    payload = b'{"json":1,"self":"s","_x":1,"to":{"city":"Bern"},"at":"2026-01-01T00:00:00Z"}'
    arguments = signature.arguments(payload)
    assert arguments == {
        "json": 1, "self": "s", "_x": 1.0, "to": Address(city="Bern"), "mode": "a",
        "at": datetime(2026, 1, 1, tzinfo=UTC), "size": 1, "tags": [], "anything": None,
    }  # fmt: skip
    arguments["tags"].append("mine")
    assert signature.arguments(payload)["tags"] == [], "a default belongs to nobody"


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b'{"json":1}', r"self: Field required; _x: Field required; to: Field required"),
        (b'{"json":1,"self":"","_x":1,"to":{}}', r"to\.city: Field required"),
        (b'{"json":1,"self":"","_x":1,"to":{"city":""},"size":0}', "size: Input should be greater than or equal to 1"),
        (b'{"p0":1}', "p0: Extra inputs are not permitted"),
        (b'{"ctx":{}}', "ctx: Extra inputs"),
        (b"7", "payload: Input should be an object"),
        (b"\xff", "Invalid JSON"),
    ],
)
def test_payloads_that_do_not_fit(payload, problem):
    with pytest.raises(BadPayload, match=problem):
        Signature(many).arguments(payload)


def by_name(ctx, i: int) -> None: ...
def by_type(context: Context, i: int) -> None: ...
def perhaps(context: Context | None, i: int) -> None: ...
def not_it(ctx: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "parameter"), [(by_name, "ctx"), (by_type, "context"), (perhaps, "context"), (not_it, None)]
)
def test_the_context_is_found_by_type_or_by_name(function, parameter):
    assert Signature(function).context_parameter == parameter


def test_a_handler_that_does_not_say_what_it_returns():
    def silent(i: int): ...

    assert Signature(silent).result_schema() == b""


def test_results():
    assert result_json({"to": Address(city="Zürich")}) == '{"to":{"city":"Zürich","zip":""}}'.encode()


@pytest.mark.parametrize("value", [object(), float("inf"), {1, object()}, "\ud800", {(1, 2): 3}])
def test_what_is_no_result(value):
    with pytest.raises(BadResult, match="which is not JSON"):
        result_json(value)


def test_secrets_are_declared_by_name_once_and_in_order():
    app = App("x")
    app.task(secrets=["B", "A", "B"])(plain)
    assert app.functions["x.plain"].spec(Bundle("x", "app", "/")).secrets == ("A", "B")
