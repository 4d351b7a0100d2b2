"""The MinIO that everything is measured against, and what it counts."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import msgspec
from botocore.config import Config

from benchmarks.compare.errors import BenchmarkError
from benchmarks.compare.measure import cpu_seconds, loopback_bytes
from tests.minio import ACCESS_KEY, SECRET_KEY, find_binary, free_port

BUCKET = "bench"
READY_SECONDS = 60.0
_REQUESTS = re.compile(r'^minio_api_requests_total\{name="(\w+)",.*type="s3"\} (\S+)$', re.MULTILINE)
_TRAFFIC = re.compile(r'^minio_api_requests_traffic_(received|sent)_bytes\{.*type="s3"\} (\S+)$', re.MULTILINE)


class Counters(msgspec.Struct, frozen=True):
    """What had happened so far."""

    received: int
    sent: int
    line: int
    requests: dict[str, int]
    cpu: float

    def since(self, before: "Counters") -> "Counters":
        requests = {name: count - before.requests.get(name, 0) for name, count in self.requests.items()}
        return Counters(
            self.received - before.received,
            self.sent - before.sent,
            self.line - before.line,
            {name: count for name, count in sorted(requests.items()) if count},
            self.cpu - before.cpu,
        )


class Server:
    """A MinIO of our own, with one bucket and its data in a folder. `certificate` is the PEM file of the authority to
    trust."""

    def __init__(self, endpoint_url: str, pid: int, data: Path, certificate: Path | None) -> None:
        self.endpoint_url = endpoint_url
        self.certificate = certificate
        self._data = data
        self._pid = pid
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint_url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            verify=str(certificate) if certificate else None,
            config=Config(s3={"addressing_style": "path"}),
        )
        self._opener = _opener(certificate)

    @property
    def host(self) -> str:
        return self.endpoint_url.partition("://")[2]

    def counters(self) -> Counters:
        """By the server's own count, which is up to date at once (v3; v2 is cached for seconds). Bodies only."""
        with self._opener.open(f"{self.endpoint_url}/minio/metrics/v3/api/requests", timeout=30) as answer:
            text = answer.read().decode()
        traffic = {name: int(float(value)) for name, value in _TRAFFIC.findall(text)}
        return Counters(
            traffic.get("received", 0),
            traffic.get("sent", 0),
            loopback_bytes(),
            {name: int(float(value)) for name, value in _REQUESTS.findall(text)},
            cpu_seconds(self._pid),
        )

    def objects(self, prefix: str) -> dict[str, int]:
        """Sizes by key."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}

    def clear(self, prefix: str) -> None:
        """Removes every object below a prefix, from the disk too: MinIO keeps what was deleted for minutes."""
        keys = [{"Key": key} for key in self.objects(prefix)]
        for start in range(0, len(keys), 1000):
            self.client.delete_objects(Bucket=BUCKET, Delete={"Objects": keys[start : start + 1000], "Quiet": True})
        for left in (self._data / ".minio.sys" / "tmp" / ".trash").glob("*"):
            shutil.rmtree(left, ignore_errors=True)

    def environment(self) -> dict[str, str]:
        return measured_environment(self.certificate)


def measured_environment(certificate: Path | None = None) -> dict[str, str]:
    """The whole environment of everything that is measured."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    trusted = {"AWS_CA_BUNDLE": str(certificate), "SSL_CERT_FILE": str(certificate)}
    return {
        **kept,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        **(trusted if certificate else {}),
    }


@contextlib.contextmanager
def running(
    folder: Path, *, https: bool = False, nice: int = 0, settings: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A MinIO that keeps its data below `folder`, ended and cleared away with the block. `settings` are more of its
    environment variables."""
    binary = find_binary()
    if binary is None:
        raise BenchmarkError("there is no MinIO: put a `minio` on PATH, or install Go so that one can be built")
    with tempfile.TemporaryDirectory(prefix="minio-", dir=folder, ignore_cleanup_errors=True) as name:
        base = Path(name)
        certificate = _certificates(base / "certs") if https else None
        port = free_port()
        command = [str(binary), "server", "--quiet", "--address", f"127.0.0.1:{port}"]
        command += ["--certs-dir", str(base / "certs")] if https else []
        with (base / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, str(base / "data")], env=_environment() | dict(settings or {}), stdout=log, stderr=log
            )
        os.setpriority(os.PRIO_PROCESS, process.pid, nice)
        try:
            url = f"{'https' if https else 'http'}://127.0.0.1:{port}"
            _wait_until_ready(url, certificate, process, base / "log")
            server = Server(url, process.pid, base / "data", certificate)
            server.client.create_bucket(Bucket=BUCKET)
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MINIO_", "AWS_"))}
    return kept | {
        "MINIO_ROOT_USER": ACCESS_KEY,
        "MINIO_ROOT_PASSWORD": SECRET_KEY,
        "MINIO_PROMETHEUS_AUTH_TYPE": "public",
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        # Its crawler would read what was just written, at moments of its own.
        "MINIO_SCANNER_SPEED": "slowest",
    }


def _certificates(folder: Path) -> Path:
    """A private authority and the server's certificate of it; the authority's PEM file."""
    import trustme

    (folder / "CAs").mkdir(parents=True)
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_pem.write_to_path(str(folder / "private.key"))
    for index, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(str(folder / "public.crt"), append=index > 0)
    path = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def _opener(certificate: Path | None) -> urllib.request.OpenerDirector:
    import ssl

    context = ssl.create_default_context(cafile=str(certificate) if certificate else None)
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))


def _wait_until_ready(url: str, certificate: Path | None, process: "subprocess.Popen[bytes]", log: Path) -> None:
    opener = _opener(certificate)
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            opener.open(f"{url}/minio/health/ready", timeout=2).close()
            return
        time.sleep(0.05)
    raise BenchmarkError(f"MinIO did not start:\n{log.read_text(errors='replace')[-4000:]}")
