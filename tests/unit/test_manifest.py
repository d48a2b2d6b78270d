"""Who owns a log: claims and checkpoints, when calls are slow, doubled, or were lost and come late."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from taskservice.journal import BEGINNING, Fenced, JournalCorrupt, codec
from taskservice.journal.manifest import CheckpointRef, Ownership, claim, key_of, latest, superseded
from taskservice.journal.opening import open_state, refuse_remains
from taskservice.objects import ObjectStore, StoreUnavailable
from taskservice.objects.memory import MemoryObjects


def claimed(store: ObjectStore, nonce: str) -> Ownership:
    return claim(store, log="log", nonce=nonce, writer=nonce, at_ms=1)


def checkpoint(epoch: int, segment: int) -> CheckpointRef:
    return CheckpointRef(epoch, segment, f"{segment:032x}", f"checkpoint/{epoch:08d}-{segment:010d}")


class Interrupted(MemoryObjects):
    """Something happens before the next object is put, once; or its answer is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.before_put = lambda: None
        self.answer_is_lost = False

    def put_if_absent(self, key: str, data: bytes) -> bytes | None:
        happens, self.before_put = self.before_put, lambda: None
        happens()
        answer = super().put_if_absent(key, data)
        if self.answer_is_lost:
            self.answer_is_lost = False
            raise StoreUnavailable("no answer")
        return answer


def test_the_first_claim_names_the_log_and_later_ones_keep_its_name():
    store = MemoryObjects()
    assert latest(store) is None
    first = claimed(store, "a")
    second = claim(store, log="another", nonce="b", writer="b", at_ms=2)
    assert (first.epoch, second.epoch) == (1, 2)
    assert second.manifest.log == "log"
    assert latest(store) == second.manifest


def test_two_checkpoints_stand_and_the_log_begins_at_the_older_one():
    ownership = claimed(MemoryObjects(), "a")
    assert ownership.manifest.start == BEGINNING
    ownership.publish(checkpoint(1, 5), 2)
    assert ownership.manifest.start == BEGINNING
    ownership.publish(checkpoint(1, 7), 3)
    assert ownership.manifest.start == checkpoint(1, 5).position
    ownership.publish(checkpoint(1, 9), 4)
    assert ownership.manifest.checkpoints == (checkpoint(1, 9), checkpoint(1, 7))


def test_whoever_is_succeeded_learns_of_it():
    store = MemoryObjects()
    first = claimed(store, "a")
    first.check()
    claimed(store, "b")
    with pytest.raises(Fenced, match="epoch 2 "):
        first.check()
    with pytest.raises(Fenced, match="epoch 2 "):
        first.publish(checkpoint(1, 0), 2)


def test_a_claim_that_finds_its_number_free_again_has_claimed_nothing():
    """It was on its way while the owner published three checkpoints and removed the manifest in whose place it comes."""
    store = Interrupted()
    owner = claimed(store, "owner")

    def go_on() -> None:
        for segment in range(3):
            owner.publish(checkpoint(1, segment), segment)
        store.delete(superseded(store, owner.manifest.number))

    store.before_put = go_on
    with pytest.raises(Fenced, match="epoch 1 "):
        claimed(store, "late")
    owner.check()
    owner.publish(checkpoint(1, 3), 9)
    assert latest(store) == owner.manifest
    assert claimed(store, "next").epoch == 2


def test_an_owner_is_not_fenced_by_what_it_publishes_in_another_thread():
    """Its manifest is there, and the publishing thread does not know yet."""
    store = MemoryObjects()
    owner = claimed(store, "owner")
    publishing = Ownership(store, owner.manifest)
    publishing.publish(checkpoint(1, 0), 2)
    publishing.publish(checkpoint(1, 1), 3)
    store.delete(superseded(store, publishing.manifest.number))
    owner.check()
    claimed(store, "successor")
    with pytest.raises(Fenced):
        owner.check()


@pytest.mark.parametrize("again", [checkpoint(1, 0), checkpoint(1, 1)])
def test_a_manifest_whose_answer_was_lost_is_found_to_be_ours(again: CheckpointRef):
    """Whether the same checkpoint is tried again, at a later time, or the next one."""
    store = Interrupted()
    owner = claimed(store, "owner")
    store.answer_is_lost = True
    with pytest.raises(StoreUnavailable):
        owner.publish(checkpoint(1, 0), 2)
    owner.publish(again, 3)
    assert owner.manifest == latest(store)
    assert owner.manifest.checkpoints == ((again,) if again.segment == 0 else (again, checkpoint(1, 0)))


def test_a_damaged_checkpoint_does_not_stand_beside_the_next_one():
    store = MemoryObjects()
    owner = claimed(store, "owner")
    old, bad, new = (checkpoint(1, segment) for segment in range(3))
    owner.publish(old, 2)
    owner.publish(bad, 3)
    owner.publish(new, 4, damaged={bad.key})
    assert owner.manifest.checkpoints == (new, old)


def test_the_log_never_begins_earlier_again_even_if_both_checkpoints_are_damaged():
    store = MemoryObjects()
    owner = claimed(store, "owner")
    refs = [checkpoint(1, segment) for segment in range(3)]
    owner.publish(refs[0], 2, damaged={"other"})
    owner.publish(refs[1], 3)
    owner.publish(refs[2], 4, damaged={refs[0].key, refs[1].key})
    assert owner.manifest.checkpoints == (refs[2], refs[1])

    lonely = claimed(MemoryObjects(), "owner")
    lonely.publish(refs[0], 2)
    lonely.publish(refs[1], 3, damaged={refs[0].key})
    assert lonely.manifest.checkpoints == (refs[1],)
    assert lonely.manifest.start == BEGINNING


def test_what_is_superseded_is_all_but_claims_and_the_newest():
    store = MemoryObjects()
    first = claimed(store, "a")  # 1
    first.publish(checkpoint(1, 0), 2)  # 2
    first.publish(checkpoint(1, 1), 2)  # 3
    second = claimed(store, "b")  # 4
    second.publish(checkpoint(2, 0), 2)  # 5
    assert superseded(store, second.manifest.number) == [key_of(2), key_of(3)]


@pytest.mark.parametrize("data", [b"", b"{", b'{"version": 1}', b'{"version": 99}'])
def test_a_garbled_manifest_stops_everything(data: bytes):
    store = MemoryObjects()
    claimed(store, "a")
    store.put_if_absent(key_of(2), data)
    with pytest.raises(JournalCorrupt, match=key_of(2)):
        claimed(store, "b")


@pytest.mark.parametrize("fields", [{"version": 2}, {"generation": codec.GENERATION + 1}])
def test_what_a_newer_version_has_used_is_refused_before_it_is_touched(fields: dict[str, int], tmp_path: Path):
    """Of a format that this version cannot know, or with records whose new fields it would drop."""
    first = open_state(str(tmp_path), now_ms=lambda: 1)
    first.journal.append(0, b"a")
    first.close()
    path = tmp_path / "manifest/000000000001"
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | fields))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(JournalCorrupt, match="newer version"):
        open_state(str(tmp_path), now_ms=lambda: 1)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("key", ["log/00000001/0000000000", "checkpoint/00000001-0000000006"])
def test_a_part_of_a_state_is_refused_before_it_is_touched(key: str):
    """A prefix with a segment and no manifest was claimed, and the dispatcher then died of it again and again."""
    store = MemoryObjects()
    store.put_if_absent(key, b"hello")
    with pytest.raises(JournalCorrupt, match=f"{key} and no manifest"):
        refuse_remains(store)
    assert [info.key for info in store.list("")] == [key]
    claimed(store, "a")
    refuse_remains(store)


def test_what_is_not_of_a_log_is_no_part_of_a_state():
    store = MemoryObjects()
    for key in ("probe/1/2", "log/README", "checkpoint/notes.txt", "photos/1.jpg"):
        store.put_if_absent(key, b"")
    refuse_remains(store)


def test_a_newer_manifest_of_another_shape_is_not_called_damaged():
    store = MemoryObjects()
    store.put_if_absent("manifest/000000000001", b'{"version": 2, "who": {"knows": []}}')
    with pytest.raises(JournalCorrupt, match="newer version"):
        claimed(store, "a")
