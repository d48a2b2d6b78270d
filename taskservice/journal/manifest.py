"""Who owns the log, and which checkpoints stand: numbered manifests, each put where there was none.

    manifest/000000000041   claim: epoch 7 begins; the checkpoints of manifest 40
    manifest/000000000042   epoch 7 has published a checkpoint; the one before it stands as well
    manifest/000000000043   claim: epoch 8 begins

The next number is always free for whoever owns the log, for only a manifest of somebody else can have taken it: the
claim of a successor. So a put that finds one there is how an owner learns that it is none any more; no clock is asked.
Claims are never removed, or a zombie could put one of its own in the place of its successor's. Other manifests may
be removed once there is a later one: what follows a zombie's last manifest is always a claim. But a claim that was long
on its way may find its number free again; so whoever has put one looks whether there is a later manifest, and if there
is, has claimed nothing. The newest manifest is never removed.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

import msgspec

from taskservice.journal import BEGINNING, Fenced, JournalCorrupt, Position
from taskservice.journal.codec import GENERATION
from taskservice.objects import NoSuchObject, ObjectStore

PREFIX = "manifest/"
VERSION = 1
CHECKPOINTS_KEPT = 2
SUPERSEDED_MAX = 1_000


class CheckpointRef(msgspec.Struct, frozen=True):
    """A checkpoint that was published: the state just after a segment."""

    epoch: int
    segment: int
    chain: str
    """The journal's chain there, in hexadecimal."""
    key: str
    """Of its index; see `checkpoint`."""

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.segment, bytes.fromhex(self.chain))


class Owner(msgspec.Struct, frozen=True):
    """Whose an epoch is, or was."""

    epoch: int
    nonce: str


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one manifest says. Kept as JSON, for people to read."""

    version: int
    number: int
    log: str
    """Which log this is: made up by its first owner, the same for ever."""
    claim: bool
    at_ms: int
    writer: str
    owners: tuple[Owner, ...]
    """Of the epochs from that of the older checkpoint on; the last one has written this."""
    checkpoints: tuple[CheckpointRef, ...]
    """At most two, the newest first."""
    generation: int = 1
    """Of the newest records in the log; see `codec`."""
    unfinished: str = ""
    """Why there is no log here yet, though there is some of it; see `copy`."""

    @property
    def epoch(self) -> int:
        return self.owners[-1].epoch

    @property
    def start(self) -> Position:
        """Whatever comes after this place in the journal is kept: the older checkpoint, or the very beginning."""
        if len(self.checkpoints) < CHECKPOINTS_KEPT:
            return BEGINNING
        return self.checkpoints[-1].position


class _Versioned(msgspec.Struct, frozen=True):
    """What a manifest of any version says."""

    version: int


def key_of(number: int) -> str:
    return f"{PREFIX}{number:012d}"


def _number_of(key: str) -> int:
    return int(key.removeprefix(PREFIX))


def latest(store: ObjectStore) -> Manifest | None:
    """The manifest with the highest number; None if the log has never been claimed."""
    while True:
        keys = [info.key for info in store.list(PREFIX)]
        if not keys:
            return None
        try:
            return decode(store.get(keys[-1]), keys[-1])
        except NoSuchObject:
            continue  # there is a later one by now


class Ownership:
    """The log as one owner holds it, from its claim to its end."""

    def __init__(self, store: ObjectStore, manifest: Manifest) -> None:
        self.manifest = manifest
        """The newest one that this owner knows: its own."""
        self._store = store

    @property
    def epoch(self) -> int:
        return self.manifest.epoch

    @property
    def nonce(self) -> str:
        return self.manifest.owners[-1].nonce

    def publish(self, checkpoint: CheckpointRef, at_ms: int, damaged: Collection[str] = ()) -> None:
        """The checkpoint stands, and the newest of those before it that is not among the `damaged` (keys).

        After StoreUnavailable it may be called again, for this checkpoint or a later one: if the manifest of the first
        call got there after all, that is seen. Raises Fenced if the log is somebody else's now.
        """
        while True:
            manifest = self._next(checkpoint, at_ms, damaged)
            there = self._store.put_if_absent(key_of(manifest.number), encode(manifest))
            self.manifest = manifest if there is None else self._ours(there, manifest.number)
            if checkpoint in self.manifest.checkpoints:
                return

    def check(self) -> None:
        """The log is still this owner's, as of some moment during the call. Raises Fenced if it is not.

        What comes after the manifest we know may be our own, if another thread publishes.
        """
        while True:
            later = [info.key for info in self._store.list(PREFIX, key_of(self.manifest.number))]
            if not later:
                return
            with suppress(NoSuchObject):  # there is a later one by now
                self._ours(self._store.get(later[-1]), _number_of(later[-1]))
                return

    def _next(self, checkpoint: CheckpointRef, at_ms: int, damaged: Collection[str]) -> Manifest:
        standing = self.manifest.checkpoints
        good = tuple(each for each in standing if each.key not in damaged)
        if not good and len(standing) == CHECKPOINTS_KEPT:
            good = standing[:1]  # for its position: what comes before it may be gone, so the log begins no earlier
        manifest = msgspec.structs.replace(
            self.manifest,
            number=self.manifest.number + 1,
            claim=False,
            at_ms=at_ms,
            checkpoints=(checkpoint, *good)[:CHECKPOINTS_KEPT],
        )
        owners = tuple(owner for owner in manifest.owners if owner.epoch >= manifest.start.epoch)
        return msgspec.structs.replace(manifest, owners=owners)

    def _ours(self, data: bytes, number: int) -> Manifest:
        """The manifest that was found, which is this owner's. Raises Fenced if it is not."""
        manifest = decode(data, key_of(number))
        if manifest.owners[-1] == self.manifest.owners[-1]:
            return manifest
        raise Fenced(
            f"{self._store.url}: epoch {manifest.epoch} ({manifest.writer}) has taken the log over from epoch"
            f" {self.epoch} ({self.manifest.writer}). End this process."
        )


def claim(store: ObjectStore, *, log: str, nonce: str, writer: str, at_ms: int, epoch: int | None = None) -> Ownership:
    """The next epoch is the caller's, durably.

    `nonce` must be the caller's alone; `log` names a log that is new. `epoch`: that which the caller has taken in some
    other way already, and which is higher than any before. If somebody else claims at the same time, the later claim wins,
    and the other is Fenced.
    """
    while True:
        last = latest(store)
        taken = epoch or (last.epoch + 1 if last else 1)
        owner = Owner(taken, nonce)
        manifest = Manifest(
            version=VERSION,
            number=last.number + 1 if last else 1,
            log=last.log if last else log,
            claim=True,
            at_ms=at_ms,
            writer=writer,
            owners=(*last.owners, owner) if last else (owner,),
            checkpoints=last.checkpoints if last else (),
            generation=GENERATION,  # what is there is of no later one, or it would have been refused
        )
        if last and last.epoch >= taken:
            raise JournalCorrupt(f"{store.url}: its manifests speak of epoch {last.epoch}, the journal of {taken}.")
        if store.put_if_absent(key_of(manifest.number), encode(manifest)) is None:
            ownership = Ownership(store, manifest)
            ownership.check()  # or the number was free because its manifest, and later ones, were removed meanwhile
            return ownership


def superseded(store: ObjectStore, before: int) -> list[str]:
    """The keys of the manifests with lower numbers than `before`, one of which is there, that are no claims.

    Of the newest thousand: what is older had as many owners to remove it.
    """
    keys = [info.key for info in store.list(PREFIX) if info.key < key_of(before)]
    found: list[str] = []
    for key in keys[-SUPERSEDED_MAX:]:
        with suppress(NoSuchObject):
            if not decode(store.get(key), key).claim:
                found.append(key)
    return found


def encode(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def decode(data: bytes, key: str) -> Manifest:
    """What the manifest says. Raises JournalCorrupt if it is damaged, or says that there is no log."""
    try:
        if msgspec.json.decode(data, type=_Versioned).version > VERSION:
            raise JournalCorrupt(f"{key}: a newer version of taskservice wrote it. Start that one, or a later one.")
        manifest = msgspec.json.decode(data, type=Manifest)
        if manifest.generation > GENERATION:
            raise JournalCorrupt(
                f"{key}: a newer version of taskservice has used this. Start that one, or a later one."
            )
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise JournalCorrupt(f"{key}: damaged: {error}. Restore the state from a copy.") from error
    if manifest.unfinished:
        raise JournalCorrupt(f"{key}: {manifest.unfinished}")
    if key_of(manifest.number) != key or not manifest.owners:
        raise JournalCorrupt(f"{key}: this is not its manifest. Restore the state from a copy.")
    return manifest
