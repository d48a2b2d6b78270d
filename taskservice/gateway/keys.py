"""API keys: a secret that its owner keeps, and its hash, which is all that we keep.

The secret is random and long, so one round of SHA-256 is enough: there is nothing to guess.
"""

from __future__ import annotations

import base64
import hashlib
import secrets

SECRET_PREFIX = "tsk_"
SECRET_CHARS_MAX = 200
"""Nothing longer is hashed: it cannot be one of ours."""

_SECRET_BYTES = 32
_ID_HEX_CHARS = 16


def new_secret() -> str:
    """A secret that nobody has had before: `tsk_` and 32 random bytes in URL-safe base64."""
    return SECRET_PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).rstrip(b"=").decode()


def hash_secret(secret: str) -> bytes:
    """What is stored of a secret, and looked up by."""
    return hashlib.sha256(secret.encode()).digest()


def key_id(secret: str) -> str:
    """The key's public name: `key_` and 16 hexadecimal digits. It says nothing that helps to find the secret."""
    return "key_" + hashlib.sha256(b"id:" + secret.encode()).hexdigest()[:_ID_HEX_CHARS]


def may_be_secret(text: str) -> bool:
    """Whether `text` has the form of a secret; what has not is refused without a look-up."""
    return text.startswith(SECRET_PREFIX) and len(text) <= SECRET_CHARS_MAX
