"""Files in a real bucket: read by ranges, written whole or not at all."""

from __future__ import annotations

import secrets

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.config import Config

from helpers.seaweed import BUCKET
from taskservice.datafiles.bucket import PART_BYTES
from taskservice.datafiles.formats import Format
from taskservice.datafiles.places import sources_of
from taskservice.datafiles.reading import read_rows
from taskservice.datafiles.targets import target_of
from taskservice.datafiles.writers import Column, Files
from taskservice.errors import RequestError, TaskServiceError

COLUMNS = [Column("id", "text"), Column("text", "text")]


@pytest.fixture
def prefix(seaweed, monkeypatch):
    """A place of its own; the server is the one that boto3 finds."""
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/files/{secrets.token_hex(8)}"


@pytest.fixture
def s3(seaweed, prefix):
    client = boto3.client("s3", config=Config(s3={"addressing_style": "path"}), region_name="us-east-1")
    yield client
    client.close()


@pytest.fixture(autouse=True)
def region(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def keys(s3, prefix):
    return [each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET, Prefix=key_of(prefix)).get("Contents", ())]


def key_of(url):
    return url.removeprefix(f"s3://{BUCKET}/")


def write(url, format, rows, **more):
    files = Files(target_of(url, is_folder="partition" in more), format, COLUMNS, **more)
    files.write(rows, 200)
    return files


def read(url):
    found = []
    for source in sources_of(url, None):
        opened = source.open()
        with opened.file:
            found += [row.value for rows in read_rows(source, opened) for row in rows.rows]
    return found


@pytest.mark.parametrize("format", list(Format))
def test_what_is_written_is_read_again(prefix, format):
    rows = [{"id": str(n), "text": secrets.token_hex(100)} for n in range(500)]
    url = f"{prefix}/a.{format.value}"
    write(url, format, rows).finish()
    assert read(url) == rows


def test_an_object_of_several_parts_appears_at_the_end(prefix, s3):
    rows = [{"id": str(n), "text": secrets.token_hex(1_000)} for n in range(2 * PART_BYTES // 2_000 + 100)]
    files = write(f"{prefix}/a.jsonl", Format.JSONL, rows)
    assert keys(s3, prefix) == []
    files.finish()
    assert s3.head_object(Bucket=BUCKET, Key=key_of(f"{prefix}/a.jsonl"))["ContentLength"] > 2 * PART_BYTES
    assert read(f"{prefix}/a.jsonl") == rows


def test_what_is_given_up_is_not_there(prefix, s3):
    rows = [{"id": str(n), "text": secrets.token_hex(1_000)} for n in range(PART_BYTES // 1_000)]
    write(f"{prefix}/a.jsonl", Format.JSONL, rows).abort()
    assert keys(s3, prefix) == []
    uploads = s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())
    assert [each["Key"] for each in uploads if key_of(prefix) in each["Key"]] == []


def test_a_data_set_in_a_bucket(prefix, s3):
    rows = [{"id": str(n), "text": "even" if n % 2 else "odd"} for n in range(10)]
    files = write(f"{prefix}/set", Format.CSV, rows, partition=lambda row: [("text", row["text"])])
    assert keys(s3, prefix) == []
    files.finish()
    assert [key.removeprefix(key_of(prefix)) for key in keys(s3, prefix)] == [
        "/set/text=even/part-00000.csv", "/set/text=odd/part-00000.csv",
    ]  # fmt: skip
    assert sorted(row["id"] for row in read(f"{prefix}/set/")) == [str(n) for n in range(10)]
    assert len(read(f"{prefix}/set/*odd*.csv")) == 5


def test_an_object_that_is_changed_while_it_is_read_is_not_read_to_the_end(prefix, s3, tmp_path):
    table = pa.table({"text": [secrets.token_hex(500) for _ in range(5_000)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1_000)
    s3.upload_file(str(tmp_path / "a.parquet"), BUCKET, key_of(f"{prefix}/a.parquet"))
    (source,) = sources_of(f"{prefix}/a.parquet", None)
    opened = source.open()
    with opened.file:
        rows = read_rows(source, opened)
        next(rows)
        s3.put_object(Bucket=BUCKET, Key=key_of(f"{prefix}/a.parquet"), Body=b"another")
        with pytest.raises(TaskServiceError, match="was changed"):
            list(rows)


@pytest.mark.parametrize(
    "url", ["s3://", f"s3://{BUCKET}", f"s3://{BUCKET}/no-such-file.csv", "s3://no-such-bucket/a.csv"]
)
def test_what_is_not_there_is_said(prefix, url):
    with pytest.raises(RequestError, match="s3://"):
        read(url)
