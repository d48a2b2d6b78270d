"""What an answer of S3, or its absence, means: nothing decided, a no, or one of the answers that are expected."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

import urllib3.exceptions
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from taskservice.objects import NoSuchObject, StoreError, StoreRefused
from taskservice.objects.retry import Undecided

FAILURES = (boto.BotoCoreError, boto.ClientError, ResponseParserError, urllib3.exceptions.HTTPError, OSError)
"""All that a call may raise which is not a mistake of the caller's."""

_UNDECIDED = {
    "BadDigest", "ConditionalRequestConflict", "IncompleteBody", "InternalError", "OperationAborted", "RequestLimitExceeded",
    "RequestTimeout", "RequestTimeoutException", "ServiceUnavailable", "SlowDown", "Throttling", "ThrottlingException",
    "TooManyRequestsException", "XAmzContentSHA256Mismatch",
}  # fmt: skip
"""Codes that a fault of the moment has: the same request may well succeed. Bodies that were damaged on the way, too."""
_UNDECIDED_STATUS = {408, 409, 425, 429, 500, 502, 503, 504}

_WRONG_CREDENTIALS = {
    "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSecurity", "InvalidToken",
    "SignatureDoesNotMatch", "TokenRefreshRequired", "UnrecognizedClientException",
}  # fmt: skip
_WRONG_REGION = {
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "TemporaryRedirect",
}
_NO_CREDENTIALS = (
    boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError, boto.ProfileNotFound,
    boto.SSOError, boto.TokenRetrievalError, boto.NoAuthTokenError,
)  # fmt: skip
_CONNECTION = (
    boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError, boto.FlexibleChecksumError, ResponseParserError,
    urllib3.exceptions.HTTPError, OSError,
)  # fmt: skip

PERMISSIONS = {
    "PutObject": "s3:PutObject",
    "GetObject": "s3:GetObject (and s3:ListBucket, without which S3 says this of objects that do not exist)",
    "ListObjectsV2": "s3:ListBucket",
    "DeleteObjects": "s3:DeleteObject",
}


class Taken(Exception):
    """The condition did not hold: there is an object of that key."""


class BeyondTheEnd(Exception):
    """The object has no bytes there."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the calls go, for what people are told."""

    url: str
    bucket: str
    endpoint: str

    def meaning(self, operation: str, error: Exception) -> Undecided | Taken | BeyondTheEnd | StoreError:
        """What to raise for what the call raised."""
        if isinstance(error, boto.ClientError):
            code, message = (str(error.response.get("Error", {}).get(part, "")) for part in ("Code", "Message"))
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            return self.meaning_of(operation, code, message, status)
        if isinstance(error, _NO_CREDENTIALS):
            return StoreRefused(
                f"There are no credentials for {self.url}: {error}. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                "AWS_PROFILE, or give this machine a role."
            )
        causes = _causes(error)
        if any(isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN for cause in causes):
            return StoreRefused(
                f"The endpoint {self.endpoint} of {self.url} has no address. Check AWS_ENDPOINT_URL and AWS_DEFAULT_REGION."
            )
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
            return StoreRefused(
                f"The endpoint {self.endpoint} of {self.url} has a certificate that is not trusted here: {causes[-1]}. Name "
                "the authority's file in AWS_CA_BUNDLE."
            )
        if isinstance(error, _CONNECTION):
            return Undecided(f"no whole answer from {self.endpoint}: {error}")
        return StoreRefused(f"{operation} on {self.url} cannot be asked: {error}")

    def meaning_of(
        self, operation: str, code: str, message: str, status: int = 0
    ) -> Undecided | Taken | BeyondTheEnd | StoreError:
        """What to raise for this answer. `status` is 0 for one object's among many."""
        said = f"{self.endpoint} said {status or ''} {code}: {message}".replace("  ", " ")
        if operation == "PutObject" and (status == 412 or code == "PreconditionFailed"):
            return Taken(said)
        if operation == "GetObject" and (status == 416 or code == "InvalidRange"):
            return BeyondTheEnd(said)
        if code in _UNDECIDED or status in _UNDECIDED_STATUS:
            return Undecided(said)
        if code in {"NoSuchKey", "NoSuchVersion"}:
            return NoSuchObject(said)
        return StoreRefused(f"{self._advice(operation, code, status)} ({said})")

    def _advice(self, operation: str, code: str, status: int) -> str:
        """What has happened, and what somebody has to do about it."""
        if code == "NoSuchBucket":
            return f"There is no bucket {self.bucket} at {self.endpoint}: create it, or name another."
        if code in _WRONG_CREDENTIALS:
            return (
                f"{self.endpoint} does not accept the credentials for {self.url}: see AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the profile or role that is used."
            )
        if code == "RequestTimeTooSkewed":
            return "The clock of this machine is wrong: set it."
        if code in _WRONG_REGION or status in {301, 307}:
            return f"The bucket {self.bucket} is in another region: set AWS_DEFAULT_REGION to it."
        if status in {401, 403} or code in {"AccessDenied", "AllAccessDisabled"}:
            permission = PERMISSIONS.get(operation, operation)
            return f"{operation} is not allowed on {self.url}: give the credentials that are used {permission}."
        if status in {405, 501}:
            return f"{self.endpoint} cannot do {operation} as it was asked, so it cannot hold this state: use another store."
        if status == 507:
            return f"{self.endpoint} is full: make room."
        return f"{operation} was refused on {self.url}."


def _causes(error: BaseException) -> list[BaseException]:
    """The error, and what it came from; the last is the first that happened."""
    chain: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in chain:
        chain.append(step)
        inner = getattr(step, "kwargs", {}).get("error") if isinstance(step, boto.BotoCoreError) else None
        step = inner if isinstance(inner, BaseException) else step.__cause__ or step.__context__
    return chain
