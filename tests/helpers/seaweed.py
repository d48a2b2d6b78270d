"""A real S3 server of one process: SeaweedFS, on loopback, with a folder of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from urllib.request import urlopen

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from helpers.ports import free_port
from taskservice.objects.s3 import S3Objects, S3Options

BUCKET = "tests"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "seaweed",
    "AWS_SECRET_ACCESS_KEY": "only-for-tests",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""The environment of whoever uses it; nothing of the user's own comes in."""

READY_WITHIN_S = 30.0
PORTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
         "s3.port", "s3.port.grpc", "admin.port", "admin.port.grpc", "metricsPort")  # fmt: skip
FLAGS = {
    "ip": "127.0.0.1",
    "ip.bind": "127.0.0.1",
    "bucket": BUCKET,
    "volume.max": "50",
    "master.volumeSizeLimitMB": "64",
    "master.telemetry": "false",
    "admin.ui": "false",
    "webdav": "false",
    "s3.iam": "false",
    "s3.autoCreateBucket": "false",
    "s3.port.iceberg": "0",
    "s3.port.lance": "0",
}
"""The leanest that honours If-None-Match: nothing is allocated in advance, nobody is called, no user interface."""


class Seaweed:
    """Runs from `start` to `kill`, as often as one likes; what it has acknowledged stays in the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports: dict[str, int] = {}
        while len(set(self._ports.values())) < len(PORTS):
            self._ports = {name: free_port() for name in PORTS}
        self._process: subprocess.Popen[bytes] | None = None
        self._session = boto3.session.Session(
            CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1"
        )

    @property
    def port(self) -> int:
        return self._ports["s3.port"]

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def requests(self) -> Counter[str]:
        """How many it has answered since it was started, by their kind: `PUT`, `GET`, `LIST` ... and its answer's status."""
        with urlopen(f"http://127.0.0.1:{self._ports['metricsPort']}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        counted: Counter[str] = Counter()
        for labels, count in re.findall(r"^SeaweedFS_s3_request_total\{(.*)\} (\S+)$", text, re.MULTILINE):
            known = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            counted[f"{known['type']} {known['code']}"] += int(float(count))
        return counted

    @property
    def environment(self) -> dict[str, str]:
        """With these variables a process finds it by boto3's own means."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.endpoint_url}

    def objects(self, prefix: str, options: S3Options | None = None) -> S3Objects:
        """A store of its own; quick to make, since all share what boto3 reads from its files."""
        return S3Objects(BUCKET, prefix, options or S3Options(self.endpoint_url), session=self._session)

    def start(self) -> None:
        """It answers, and the bucket is there. Fails with its log if that takes too long."""
        self._folder.mkdir(parents=True, exist_ok=True)
        weed = Path(sys.executable).with_name("weed")
        flags = FLAGS | {"dir": str(self._folder)} | {name: str(port) for name, port in self._ports.items()}
        command = [str(weed), "-logtostderr=true", "mini", *(f"-{name}={value}" for name, value in flags.items())]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=os.environ | CREDENTIALS,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        self._wait_until_ready(self._process)

    def kill(self) -> None:
        """It has ended, as by kill -9: asked to stop, it takes seconds. The folder stays; nothing else does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        for port in self._ports.values():
            for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # its choice, not ours
                socket.unlink()

    def pause(self) -> None:
        """It takes connections and answers nothing, until `resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def _log(self) -> Path:
        return self._folder / "weed.log"

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._has_bucket():
            ended = process.poll() is not None
            if ended or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(
                    f"SeaweedFS {'ended' if ended else 'is not ready'}:\n{self._log.read_text()[-5000:]}"
                )
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)

    def _has_bucket(self) -> bool:
        config = Config(retries={"total_max_attempts": 1}, connect_timeout=1, read_timeout=1)
        with closing(self._session.client("s3", endpoint_url=self.endpoint_url, config=config)) as s3:
            try:
                s3.head_bucket(Bucket=BUCKET)
            except (BotoCoreError, ClientError):
                return False
            return True
