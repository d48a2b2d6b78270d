"""Who owns the log, and which checkpoints stand: numbered manifests, each put where there was none.

    manifest/000000000041   claim: epoch 7 begins; the checkpoints of manifest 40
    manifest/000000000042   epoch 7 has published a checkpoint; the one before it stands as well
    manifest/000000000043   claim: epoch 8 begins

The next number is always free for whoever owns the log, for only a manifest of somebody else can have taken it: the
claim of a successor. So a put that finds one there is how an owner learns that it is none any more; no clock is asked.
Claims are never removed, or a zombie could put one of its own in the place of its successor's. Other manifests may
be removed once there is a later one: what follows a zombie's last manifest is always a claim.
"""

from __future__ import annotations

from typing import NoReturn

import msgspec

from taskservice.journal import BEGINNING, Fenced, JournalCorrupt, Position
from taskservice.objects import NoSuchObject, ObjectStore

PREFIX = "manifest/"
VERSION = 1
CHECKPOINTS_KEPT = 2


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


class Manifest(msgspec.Struct, frozen=True):
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

    @property
    def epoch(self) -> int:
        return self.owners[-1].epoch

    @property
    def start(self) -> Position:
        """Whatever comes after this place in the journal is kept: the older checkpoint, or the very beginning."""
        if len(self.checkpoints) < CHECKPOINTS_KEPT:
            return BEGINNING
        return self.checkpoints[-1].position


def key_of(number: int) -> str:
    return f"{PREFIX}{number:012d}"


def latest(store: ObjectStore) -> Manifest | None:
    """The manifest with the highest number; None if the log has never been claimed."""
    while True:
        keys = [info.key for info in store.list(PREFIX)]
        if not keys:
            return None
        try:
            return _decode(store.get(keys[-1]), keys[-1])
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

    def publish(self, checkpoint: CheckpointRef, at_ms: int) -> None:
        """The checkpoint stands, and the newest of those before it. Raises Fenced if the log is somebody else's now."""
        checkpoints = (checkpoint, *self.manifest.checkpoints)[:CHECKPOINTS_KEPT]
        manifest = msgspec.structs.replace(
            self.manifest,
            number=self.manifest.number + 1,
            claim=False,
            at_ms=at_ms,
            checkpoints=checkpoints,
        )
        start = manifest.start
        owners = tuple(owner for owner in manifest.owners if owner.epoch >= start.epoch)
        manifest = msgspec.structs.replace(manifest, owners=owners)
        other = self._store.put_if_absent(key_of(manifest.number), _encode(manifest))
        if other is not None:
            self._fenced(other)
        self.manifest = manifest

    def check(self) -> None:
        """The log is still this owner's, as of some moment during the call. Raises Fenced if it is not."""
        key = key_of(self.manifest.number + 1)
        try:
            self._fenced(self._store.get(key))
        except NoSuchObject:
            return

    def _fenced(self, other: bytes) -> NoReturn:
        successor = _decode(other, key_of(self.manifest.number + 1))
        raise Fenced(
            f"{self._store.url}: epoch {successor.epoch} ({successor.writer}) has taken the log over from epoch"
            f" {self.epoch} ({self.manifest.writer}). End this process."
        )


def claim(store: ObjectStore, *, log: str, nonce: str, writer: str, at_ms: int, epoch: int | None = None) -> Ownership:
    """The next epoch is the caller's, durably.

    `nonce` must be the caller's alone; `log` names a log that is new. `epoch`: that which the caller has taken in some
    other way already, and which is higher than any before. If somebody else claims at the same time, the later claim wins.
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
        )
        if last and last.epoch >= taken:
            raise JournalCorrupt(f"{store.url}: its manifests speak of epoch {last.epoch}, the journal of {taken}.")
        if store.put_if_absent(key_of(manifest.number), _encode(manifest)) is None:
            return Ownership(store, manifest)


def _encode(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def _decode(data: bytes, key: str) -> Manifest:
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise JournalCorrupt(f"{key}: damaged: {error}. Restore the state from a copy.") from error
    if manifest.version > VERSION:
        raise JournalCorrupt(f"{key}: a newer version of taskservice wrote it. Start that one, or a later one.")
    if key_of(manifest.number) != key or not manifest.owners:
        raise JournalCorrupt(f"{key}: this is not its manifest. Restore the state from a copy.")
    return manifest
