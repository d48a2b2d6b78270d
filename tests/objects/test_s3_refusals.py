"""What people are told when a bucket cannot be used, and what passes by itself."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from contextlib import closing
from pathlib import Path

import boto3.session
import pytest
from botocore import exceptions as boto

from helpers.ports import free_port
from helpers.s3fault import S3Fault
from helpers.seaweed import BUCKET, CREDENTIALS, Seaweed
from taskservice.objects import StoreRefused, StoreUnavailable
from taskservice.objects.location import open_objects
from taskservice.objects.probe import probe
from taskservice.objects.retry import Undecided
from taskservice.objects.s3 import S3Objects, S3Options
from taskservice.objects.s3_errors import Place

CALLS = {
    "PUT": lambda store: store.put_if_absent("a", b"x"),
    "GET": lambda store: store.get("a"),
    "LIST": lambda store: list(store.list("")),
    "POST": lambda store: store.delete(["a"]),
}


@pytest.mark.parametrize(
    ("call", "status", "code", "says"),
    [
        ("PUT", 403, "AccessDenied", rf"PutObject is not allowed on s3://{BUCKET}/.*: give .* s3:PutObject"),
        ("GET", 403, "AccessDenied", r"GetObject is not allowed .* s3:GetObject \(and s3:ListBucket"),
        ("LIST", 403, "AccessDenied", r"ListObjectsV2 is not allowed .* s3:ListBucket"),
        ("POST", 403, "AccessDenied", r"DeleteObjects is not allowed .* s3:DeleteObject"),
        ("PUT", 404, "NoSuchBucket", f"There is no bucket {BUCKET} at http://127.0.0.1:.*: create it, or name another"),
        ("PUT", 400, "ExpiredToken", r"does not accept the credentials .* AWS_SESSION_TOKEN"),
        ("PUT", 403, "InvalidAccessKeyId", r"does not accept the credentials .* AWS_ACCESS_KEY_ID"),
        ("PUT", 403, "RequestTimeTooSkewed", "The clock of this machine is wrong"),
        ("PUT", 400, "AuthorizationHeaderMalformed", r"in another region: set AWS_DEFAULT_REGION"),
        ("PUT", 501, "NotImplemented", r"cannot do PutObject as it was asked, so it cannot hold this state"),
        ("PUT", 507, "XMinioStorageFull", "is full: make room"),
        ("PUT", 400, "EntityTooLarge", r"PutObject was refused on .* said 400 EntityTooLarge: so it says"),
        ("GET", 400, "InvalidRequest", r"GetObject was refused on .* said 400 InvalidRequest: so it says"),
    ],
)
def test_a_refusal_says_what_to_do(behind, fault: S3Fault, call: str, status: int, code: str, says: str):
    rule = fault.answer(status, code, method="GET" if call == "LIST" else call)
    with pytest.raises(StoreRefused, match=says):
        CALLS[call](behind())
    assert rule.matched == 1, "a refusal is not asked for again"


def test_a_bucket_that_is_not_there(seaweed: Seaweed):
    with closing(S3Objects("nobodys", "", S3Options(seaweed.endpoint_url))) as store:
        for call in CALLS.values():
            with pytest.raises(StoreRefused, match="There is no bucket nobodys"):
                call(store)
        with pytest.raises(StoreRefused, match="There is no bucket nobodys"):
            probe(store)


@pytest.mark.parametrize(("key", "secret"), [("unknown", "secret"), (CREDENTIALS["AWS_ACCESS_KEY_ID"], "wrong")])
def test_credentials_that_are_wrong(seaweed: Seaweed, key: str, secret: str):
    session = boto3.session.Session(key, secret)
    with closing(S3Objects(BUCKET, "", S3Options(seaweed.endpoint_url), session=session)) as store:
        for call in CALLS.values():
            with pytest.raises(StoreRefused, match="does not accept the credentials"):
                call(store)


def test_no_credentials(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with closing(S3Objects(BUCKET, "", S3Options(seaweed.endpoint_url))) as store:
        for call in CALLS.values():
            with pytest.raises(StoreRefused, match=r"no credentials for s3://.* Set AWS_ACCESS_KEY_ID"):
                call(store)


def test_settings_that_make_no_sense(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(StoreRefused, match="cannot be used with these settings of AWS: Invalid endpoint"):
        S3Objects(BUCKET, "", S3Options("nowhere"))
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StoreRefused, match=r"The config profile \(nobody\) could not be found"):
        S3Objects(BUCKET)


def test_a_server_that_is_not_there_may_come_back(seaweed: Seaweed):
    options = S3Options(f"http://127.0.0.1:{free_port()}", deadline_s=0.1)
    with closing(S3Objects(BUCKET, "", options)) as store:
        for call in CALLS.values():
            with pytest.raises(StoreUnavailable, match=r"Could not connect to the endpoint URL"):
                call(store)


def from_boto(cause: Exception) -> boto.EndpointConnectionError:
    """As botocore tells of a connection that could not be made."""
    outer = OSError("urllib3 says so")
    outer.__cause__ = cause
    return boto.EndpointConnectionError(endpoint_url="https://x", error=outer)


PLACE = Place("s3://bucket/p", "bucket", "https://x")


def test_a_name_without_address_is_a_refusal_and_a_name_server_that_is_away_is_not():
    refusal = PLACE.meaning("GetObject", from_boto(socket.gaierror(socket.EAI_NONAME, "unknown")))
    assert isinstance(refusal, StoreRefused)
    assert "https://x of s3://bucket/p has no address. Check AWS_ENDPOINT_URL" in str(refusal)
    assert isinstance(PLACE.meaning("GetObject", from_boto(socket.gaierror(socket.EAI_AGAIN, "later"))), Undecided)
    assert isinstance(
        PLACE.meaning("GetObject", from_boto(ConnectionRefusedError(errno.ECONNREFUSED, "no"))), Undecided
    )


def test_a_certificate_that_is_not_trusted_is_a_refusal():
    outer = OSError("urllib3 says so")
    outer.__context__ = ssl.SSLCertVerificationError("self-signed")
    refusal = PLACE.meaning("GetObject", boto.SSLError(endpoint_url="https://x", error=outer))
    assert isinstance(refusal, StoreRefused)
    assert "AWS_CA_BUNDLE" in str(refusal)
    assert isinstance(
        PLACE.meaning("GetObject", boto.SSLError(endpoint_url="https://x", error=OSError("eof"))), Undecided
    )


def test_it_is_found_by_boto3s_own_means(
    seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch, prefix: str, tmp_path: Path
):
    """From the environment, and from files."""
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)
    with closing(open_objects(f"s3://{BUCKET}/{prefix}")) as store:
        assert store.put_if_absent("a", b"x") is None
    for name in seaweed.environment:
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(
        f"[profile ours]\nendpoint_url = {seaweed.endpoint_url}\nregion = eu-central-1\n"
        f"aws_access_key_id = {CREDENTIALS['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {CREDENTIALS['AWS_SECRET_ACCESS_KEY']}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_PROFILE", "ours")
    with closing(open_objects(f"s3://{BUCKET}/{prefix}")) as store:
        assert store.get("a") == b"x"
