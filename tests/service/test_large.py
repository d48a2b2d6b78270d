"""Payloads and results of megabytes through a live service, on a local directory and on a bucket."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.live import Live, eventually
from helpers.seaweed import BUCKET
from taskservice import RequestError, TaskFailed
from taskservice.objects import ObjectStore
from taskservice.objects.directory import DirectoryObjects

LETTERS = 5_000_000


@pytest.fixture(params=["directory", "bucket"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Live, list[str], ObjectStore]]:
    """A service that is not up yet, the options for its state, and the objects there."""
    if request.param == "bucket":
        seaweed = request.getfixturevalue("seaweed")
        for name, value in seaweed.environment.items():
            monkeypatch.setenv(name, value)
        options, store = ["--state-dir", f"s3://{BUCKET}/large"], seaweed.objects("large")
    else:
        options, store = [], DirectoryObjects(tmp_path / "home" / "state")
    live = Live(tmp_path / "home")
    yield live, options, store
    live.kill_everything()
    store.close()


def test_five_megabytes_in_and_five_megabytes_out(place: tuple[Live, list[str], ObjectStore]) -> None:
    """They come back as they were, from the same service and from the next; the journal has next to nothing of them."""
    live, options, store = place
    text = hashlib.shake_128(b"random").hexdigest(LETTERS // 2)
    with live.up(*options) as client:
        task = client.submit("work.mirror", {"text": text}, id="large")
        assert task.info["payload"] == {"text": text}
        assert task.result(timeout=60) == text[::-1]
        assert client.submit("work.mirror", {"text": text}, id="large").duplicate
        values = [info for info in store.list("value/") if info.size_bytes >= LETTERS]
        eventually(lambda: len(list(store.list("value/"))) == 2, 20, "the second payload's object goes")
        assert len(values) >= 2
        lost = client.submit("work.mirror", {"text": text}, id="lost", delay="5s")
        kept = {info.key for info in values}
        store.delete([info.key for info in store.list("value/") if info.key not in kept])
        with pytest.raises(TaskFailed) as failed:
            lost.result(timeout=60)
        assert failed.value.reason == "value_lost"
    live.down()
    others = sum(info.size_bytes for info in store.list("") if not info.key.startswith("value/"))
    assert others < LETTERS
    with live.up(*options) as client:
        task = client.get("large")
        assert task.info["payload"] == {"text": text}
        assert task.info["result"] == text[::-1]
        assert "payload" in client.get("lost").info["lost"]
        store.delete([info.key for info in store.list("value/")])
        with pytest.raises(RequestError) as gone:
            client.get("large").result(timeout=30)
        assert gone.value.code == "value_lost"
