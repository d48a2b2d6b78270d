"""Where the service is and with which key to talk to it: what is given, the environment, this machine's own service."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from taskservice.errors import RequestError, UnreachableError

HOW_TO_START = (
    "Start one with `taskservice up --app MODULE:app`, or say where it is with TASKSERVICE_URL and TASKSERVICE_API_KEY."
)


@dataclass(frozen=True, slots=True)
class Place:
    """A service's address, and the key to use there; it is not shown by `repr`."""

    url: str
    api_key: str | None

    def __repr__(self) -> str:
        return f"Place({self.url!r}, {'with' if self.api_key else 'without'} a key)"


def discover(url: str | None, api_key: str | None, environ: Mapping[str, str]) -> Place:
    """The service that is meant.

    The key in this machine's `client.json` goes to the URL beside it only. Raises UnreachableError if no service is
    known, RequestError if what is known of it is not usable.
    """
    said_url = url or environ.get("TASKSERVICE_URL") or None
    said_key = api_key or environ.get("TASKSERVICE_API_KEY") or None
    if said_url is not None and said_key is not None:
        return Place(_checked(said_url), said_key)
    own = read_client_file(client_file(environ))
    if said_url is not None:
        own_key = own.api_key if own is not None and own.url == _checked(said_url) else None
        return Place(_checked(said_url), own_key)
    if own is None:
        raise UnreachableError(f"No service is known here. {HOW_TO_START}", code="no_service")
    return Place(own.url, said_key or own.api_key)


def client_file(environ: Mapping[str, str]) -> Path:
    """Where `taskservice up` says how to reach it."""
    return Path(environ.get("TASKSERVICE_HOME") or "~/.taskservice").expanduser() / "client.json"


def read_client_file(path: Path) -> Place | None:
    """What the file says; None if there is none. Raises RequestError if it is not such a file."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Place(_checked(values["url"]), values["api_key"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RequestError) as error:
        message = f'{path} cannot be used ({error}); it should hold {{"url": ..., "api_key": ...}}.'
        raise RequestError(message, code="bad_client_file") from error


def _checked(url: str) -> str:
    """The URL without a slash at its end."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise RequestError(f"{url!r} is not the URL of a service; write it like http://127.0.0.1:8700.", code="bad_url")
    return url.rstrip("/")
