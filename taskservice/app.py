"""Apps and their functions: what users write, and what the service learns of it.

    app = App("media")

    @app.task(cpus=1, memory="512MiB", timeout="10m", retry=Retry(max_attempts=5))
    def thumbnail(ctx: Context, url: str, sizes: list[int]) -> dict: ...

The signature is the payload's schema. A decorated function is still an ordinary one: call it in unit tests.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from taskservice.core.specs import Bundle, FunctionSpec, Resources, RetryPolicy
from taskservice.core.types import FunctionName, Priority
from taskservice.flow_options import Flow, FlowOptions, flow_of
from taskservice.signature import Signature
from taskservice.units import parse_bytes, parse_duration_ms

P = ParamSpec("P")
R = TypeVar("R")

CONCURRENCY_MAX = 1_000
"""Attempts that one process may run at the same time."""
MEMORY_FACTOR_MIN, MEMORY_FACTOR_MAX = 1.1, 100.0
_SECRET = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")


class NonRetryable(Exception):
    """Another attempt would be in vain: the task is a dead letter at once."""


class Throttled(Exception):
    """The downstream is full. The attempt does not count; the next one comes after `retry_after` (a duration)."""

    retry_after_ms: int = 1_000

    def __init__(self, message: str = "the downstream is full", *, retry_after: str | float = "1s") -> None:
        super().__init__(message)
        self.retry_after_ms = parse_duration_ms(retry_after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a failing task is tried, and how long it waits before each next attempt.

    Before attempt n+1 it waits a time drawn evenly from 0 to `base * factor**(n-1)`, at most `max`; without `jitter`
    exactly that long. An exception that is an instance of one of `non_retryable` is final.
    """

    max_attempts: int = 5
    base: str | float = "1s"
    max: str | float = "5m"
    factor: float = 2.0
    jitter: bool = True
    non_retryable: tuple[type[BaseException], ...] = ()

    def policy(self) -> RetryPolicy:
        """The same for the control plane. Raises ValueError if a bound is not kept, TypeError for no exception class."""
        _bounded("max_attempts", self.max_attempts, 1_000)
        kinds: object = self.non_retryable
        if not isinstance(kinds, tuple) or not all(isinstance(k, type) and issubclass(k, BaseException) for k in kinds):
            raise TypeError(f"non_retryable must be a tuple of exception classes, not {kinds!r:.100}")
        if not 1.0 <= self.factor <= 100.0:
            raise ValueError(f"factor must be 1 to 100, not {self.factor}")
        base_ms, max_ms = parse_duration_ms(self.base), parse_duration_ms(self.max)
        return RetryPolicy(self.max_attempts, base_ms, max_ms, self.factor, self.jitter)


@dataclass(frozen=True, slots=True)
class Function:
    """One function of an app, with its options parsed."""

    name: FunctionName
    call: Callable[..., Any]
    signature: Signature
    resources: Resources
    timeout_ms: int
    retry: Retry
    concurrency: int
    max_crashes: int
    priority: Priority
    ttl_ms: int | None
    deadline_ms: int | None
    off_peak: bool
    labels: tuple[tuple[str, str], ...]
    spread: bool
    memory_retry_factor: float | None
    memory_max_bytes: int | None
    flow: Flow
    preemptible: bool | None
    grace_ms: int
    secrets: tuple[str, ...]
    pin: bool

    @property
    def is_async(self) -> bool:
        """Whether it is an `async def`."""
        return inspect.iscoroutinefunction(self.call)

    def spec(self, bundle: Bundle) -> FunctionSpec:
        """What the control plane is told of it."""
        return FunctionSpec(
            name=self.name,
            bundle=bundle,
            payload_schema=self.signature.payload_schema(),
            result_schema=self.signature.result_schema(),
            doc=(inspect.getdoc(self.call) or "").partition("\n\n")[0],
            resources=self.resources,
            timeout_ms=self.timeout_ms,
            retry=self.retry.policy(),
            is_async=self.is_async,
            concurrency=self.concurrency,
            max_crashes=self.max_crashes,
            priority=self.priority,
            ttl_ms=self.ttl_ms,
            off_peak=self.off_peak,
            deadline_ms=self.deadline_ms,
            labels=self.labels,
            spread=self.spread,
            memory_retry_factor=self.memory_retry_factor,
            memory_max_bytes=self.memory_max_bytes,
            preemptible=self.preemptible,
            grace_ms=self.grace_ms,
            secrets=self.secrets,
            pin=self.pin,
            **self.flow._asdict(),
        )


class App:
    """A named set of functions. A function `f` of `App("media")` is submitted as `media.f`."""

    def __init__(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name an app: letters, digits, _ and -, at most 100, not first a digit")
        self.name = name
        self._functions: dict[FunctionName, Function] = {}

    @property
    def functions(self) -> Mapping[FunctionName, Function]:
        """The functions by their full names, in the order of their definition."""
        return self._functions

    @overload
    def task(self, function: Callable[P, R], /) -> Callable[P, R]: ...

    @overload
    def task(
        self,
        *,
        cpus: float = 1,
        gpus: float = 0,
        memory: str | int = 0,
        resources: Mapping[str, float] | None = None,
        timeout: str | float = "10m",
        retry: Retry | None = None,
        concurrency: int = 1,
        max_crashes: int = 3,
        priority: str = "normal",
        ttl: str | float | None = None,
        deadline: str | float | None = None,
        off_peak: bool = False,
        labels: Mapping[str, str] | None = None,
        spread: bool = False,
        memory_retry_factor: float | None = None,
        memory_max: str | int | None = None,
        preemptible: bool | None = None,
        grace: str | float = "5s",
        secrets: Sequence[str] = (),
        pin: bool = False,
        **flow: Unpack[FlowOptions],
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...

    def task(self, function: Callable[..., Any] | None = None, **options: Any) -> Any:
        """The function can be submitted to.

        `cpus`, `gpus`, `memory`, `resources`: what one attempt takes of a machine. `memory` is a limit as well: an attempt
        that takes more is stopped, and has run out of memory. `timeout`: of one attempt; then its
        handler hears `TimeLimitExceeded`, and has its `grace`.
        `retry`: see `Retry`. `concurrency`: attempts at once in one process, for `async def` only. `max_crashes`:
        after as many ended processes the task is given up. `priority`: of tasks that do not say their own. `ttl`: likewise;
        a task that has not started by then, counted from its submission, ends as expired. None: it waits for as long as it takes.
        `rate`, `submit_rate`, `max_running`, `key`, `key_max_running`, `downstream`, `retry_share`: see `FlowOptions`.
        `deadline`: likewise when it is to have ended; later it runs all the same. `off_peak`: likewise; its tasks can wait for
        off-peak hours or an idle pool, while their deadlines leave time. `labels`: of the machines that may run them, such as
        `{"ray.io/availability-zone": "a"}`. `spread`: they run where the fewest others of the function do.
        `memory_retry_factor`: a task that has run out of memory has so many times as much the next time, up to `memory_max` and
        what the largest machine has; None: as much again.
        `preemptible`: whether its tasks may be stopped, and run again later, so that others get what is their own; None: unless
        they are critical. `grace`: how long one that is asked to stop, or whose time is over, has before it is ended by force.
        `secrets`: names of the operator's secrets that its attempts may read with `Context.secret`; no other function can.
        `pin`: tasks that wait while another version is deployed stay on the one that they were submitted under.
        Raises TypeError or ValueError for an option that cannot be.
        """
        if function is not None:
            return self._add(function)
        return lambda decorated: self._add(decorated, **options)

    def _add(
        self,
        call: Callable[..., Any],
        *,
        cpus: float = 1,
        gpus: float = 0,
        memory: str | int = 0,
        resources: Mapping[str, float] | None = None,
        timeout: str | float = "10m",
        retry: Retry | None = None,
        concurrency: int = 1,
        max_crashes: int = 3,
        priority: str = "normal",
        ttl: str | float | None = None,
        deadline: str | float | None = None,
        off_peak: bool = False,
        labels: Mapping[str, str] | None = None,
        spread: bool = False,
        memory_retry_factor: float | None = None,
        memory_max: str | int | None = None,
        preemptible: bool | None = None,
        grace: str | float = "5s",
        secrets: Sequence[str] = (),
        pin: bool = False,
        **flow: Unpack[FlowOptions],
    ) -> Callable[..., Any]:
        name = self._new_name(call)
        if _bounded("concurrency", concurrency, CONCURRENCY_MAX) > 1 and not inspect.iscoroutinefunction(call):
            raise ValueError(f"{name}: concurrency above 1 is for async functions; make it `async def`")
        (retry := retry or Retry()).policy()
        signature = Signature(call)
        self._functions[name] = Function(
            name=name,
            call=call,
            signature=signature,
            resources=Resources(
                *(_thousandths("cpus", cpus), _thousandths("gpus", gpus)),
                _memory_bytes(memory, memory_retry_factor, memory_max),
                _others(resources or {}),
            ),
            timeout_ms=_positive_ms("timeout", timeout),
            retry=retry,
            concurrency=concurrency,
            max_crashes=_bounded("max_crashes", max_crashes, 100),
            priority=_priority(priority),
            ttl_ms=None if ttl is None else _positive_ms("ttl", ttl),
            deadline_ms=None if deadline is None else _positive_ms("deadline", deadline),
            off_peak=_yes_or_no("off_peak", off_peak),
            labels=_labels(labels or {}),
            spread=_yes_or_no("spread", spread),
            memory_retry_factor=memory_retry_factor,
            memory_max_bytes=None if memory_max is None else parse_bytes(memory_max),
            preemptible=None if preemptible is None else _yes_or_no("preemptible", preemptible),
            grace_ms=parse_duration_ms(grace),
            secrets=_secrets(secrets),
            pin=_yes_or_no("pin", pin),
            flow=_flow(name, signature, flow),
        )
        return call

    def _new_name(self, call: Callable[..., Any]) -> FunctionName:
        if not inspect.isfunction(call):
            raise TypeError(f"{call!r:.100} cannot be a task: decorate a function")
        if not _NAME.fullmatch(call.__name__):
            raise ValueError(f"{call.__name__!r} cannot name a task: letters, digits and _, at most 100")
        name = FunctionName(f"{self.name}.{call.__name__}")
        if name in self._functions:
            raise ValueError(f"{name} is defined twice")
        return name


def _others(resources: Mapping[str, float]) -> tuple[tuple[str, int], ...]:
    return tuple((kind, _thousandths(kind, amount)) for kind, amount in sorted(resources.items()))


def _flow(name: FunctionName, signature: Signature, options: FlowOptions) -> Flow:
    try:
        return flow_of(signature, options)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def _thousandths(name: str, amount: object) -> int:
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 <= amount <= 1_000_000:
        raise ValueError(f"{name} must be a number from 0 to 1000000, not {amount!r:.50}")
    return round(amount * 1000)


def _positive_ms(name: str, duration: object) -> int:
    duration_ms = parse_duration_ms(duration)
    if duration_ms == 0:
        raise ValueError(f"{name} must be longer than 0")
    return duration_ms


def _yes_or_no(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r:.50}")
    return value


def _labels(labels: object) -> tuple[tuple[str, str], ...]:
    pairs = labels.items() if isinstance(labels, Mapping) else [(None, None)]
    if not all(isinstance(name, str) and name and isinstance(value, str) for name, value in pairs):
        raise TypeError(f'labels must map names to texts, such as {{"zone": "a"}}, not {labels!r:.100}')
    return tuple(sorted((str(name), str(value)) for name, value in pairs))


def _secrets(names: object) -> tuple[str, ...]:
    listed = [] if isinstance(names, str) or not isinstance(names, Sequence) else list(names)
    if (names and not listed) or not all(isinstance(name, str) and _SECRET.fullmatch(name) for name in listed):
        raise ValueError(f'secrets must be a list of names such as ["STRIPE_KEY"], not {names!r:.100}')
    return tuple(sorted(set(listed)))


def _memory_bytes(memory: str | int, factor: object, most: str | int | None) -> int:
    """What `memory` is. Raises ValueError if the other two do not fit it."""
    memory_bytes = parse_bytes(memory)
    number = isinstance(factor, int | float) and not isinstance(factor, bool)
    if factor is not None and not (number and MEMORY_FACTOR_MIN <= factor <= MEMORY_FACTOR_MAX):  # type: ignore[operator]
        message = f"memory_retry_factor must be {MEMORY_FACTOR_MIN:g} to {MEMORY_FACTOR_MAX:g}, not {factor!r:.50}"
        raise ValueError(message)
    if factor is not None and not memory_bytes:
        raise ValueError("memory_retry_factor says how much more than `memory`: state that as well")
    if most is not None and (factor is None or parse_bytes(most) < memory_bytes):
        raise ValueError("memory_max is for memory_retry_factor, and at least `memory`")
    return memory_bytes


def _priority(priority: str) -> Priority:
    try:
        return Priority(priority)
    except ValueError:
        raise ValueError(f"priority must be one of {', '.join(Priority)}, not {priority!r:.50}") from None


def _bounded(name: str, value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 1 to {most}, not {value!r}")
    return value
