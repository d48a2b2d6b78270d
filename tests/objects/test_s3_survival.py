"""The store through the death of its server."""

from __future__ import annotations

import threading

from helpers.seaweed import Seaweed


def test_what_was_created_is_there_after_kill_9_of_the_server_and_callers_go_on(seaweed: Seaweed, prefix: str):
    store = seaweed.objects(prefix)
    created: list[str] = []
    twenty, stop = threading.Event(), threading.Event()

    def create_until_stopped() -> None:
        while not stop.is_set():
            key = f"{len(created):06}"
            assert store.put_if_absent(key, key.encode() * 100) is None
            created.append(key)
            if len(created) % 20 == 0:
                twenty.set()

    thread = threading.Thread(target=create_until_stopped)
    thread.start()
    for _ in range(2):
        twenty.clear()
        assert twenty.wait(30), "callers go on once it is there again"
        seaweed.kill()
        seaweed.start()
    twenty.clear()
    assert twenty.wait(30)
    stop.set()
    thread.join()
    assert [found.key for found in store.list("")] == created
    assert all(store.get(key) == key.encode() * 100 for key in created)
    store.close()
