"""Stores behind a proxy that does what networks do."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest

from helpers.s3fault import S3Fault
from helpers.seaweed import Seaweed
from taskservice.objects.s3 import S3Objects, S3Options


@pytest.fixture
def fault(seaweed: Seaweed) -> Iterator[S3Fault]:
    """A proxy before SeaweedFS, without rules."""
    proxy = S3Fault(seaweed.port)
    proxy.start()
    yield proxy
    proxy.stop()


Open = Callable[..., S3Objects]


@pytest.fixture
def prefix() -> str:
    return f"faults/{secrets.token_hex(8)}"


@pytest.fixture
def behind(seaweed: Seaweed, fault: S3Fault, prefix: str) -> Iterator[Open]:
    """Opens this test's store behind the proxy."""
    opened: list[S3Objects] = []

    def open_it(*, deadline_s: float = 20.0, read_timeout_s: float = 5.0) -> S3Objects:
        options = S3Options(fault.endpoint_url, deadline_s=deadline_s, read_timeout_s=read_timeout_s)
        opened.append(seaweed.objects(prefix, options))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


@pytest.fixture
def direct(seaweed: Seaweed, prefix: str) -> Iterator[S3Objects]:
    """This test's store, without the proxy."""
    store = seaweed.objects(prefix)
    yield store
    store.close()
