"""Where objects are kept, as people write it: `s3://bucket/prefix`, or a path."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from taskservice.objects import ObjectStore
from taskservice.objects.directory import DirectoryObjects
from taskservice.objects.readonly import ReadOnlyObjects

if TYPE_CHECKING:
    from taskservice.objects.s3 import S3Options

_S3 = re.compile(r"s3://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]*)(?:/(?P<prefix>.*))?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def open_objects(location: str, *, s3: S3Options | None = None) -> ObjectStore:
    """The store there; a directory is made if it is not there, a bucket is not. `s3` says how to talk to a bucket.

    Raises ValueError if the location is neither `s3://bucket/prefix` nor a path, and StoreRefused if it cannot be used.
    """
    if location.startswith("s3:"):
        match = _S3.fullmatch(location)
        if match is None:
            raise ValueError(f"{location!r:.200} names no bucket: write s3://bucket or s3://bucket/prefix")
        from taskservice.objects.s3 import S3Objects  # noqa: PLC0415 - boto3 takes long to import

        return S3Objects(match["bucket"], (match["prefix"] or "").strip("/"), s3)
    if not location or _SCHEME.match(location):
        raise ValueError(_no_place(location))
    return DirectoryObjects(Path(location).expanduser())


def open_to_look(location: str, *, s3: S3Options | None = None) -> ObjectStore:
    """The store there, through which nothing can be changed; nothing is made, not even a directory. Raises ValueError as above."""
    if location.startswith("s3:"):
        return ReadOnlyObjects(open_objects(location, s3=s3))
    if not location or _SCHEME.match(location):
        raise ValueError(_no_place(location))
    return ReadOnlyObjects(DirectoryObjects(Path(location).expanduser(), look_only=True))


def _no_place(location: str) -> str:
    return f"{location!r:.200} is no place for objects: write s3://bucket/prefix, or the path of a directory"
