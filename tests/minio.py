"""A real MinIO for the tests.

In this order: the endpoint in CKPT_TIER_TEST_S3_ENDPOINT (credentials from AWS_*); Docker Compose; a `minio` on PATH;
one in this user's cache; one built into that cache by Go (3-4 minutes, once); else moto, which accepts wrong checksums
and so proves little: then the run ends with a loud notice. With CI set in the environment a missing MinIO is an error.
"""

import base64
import contextlib
import ctypes
import functools
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest
from botocore.config import Config

VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
REPOSITORY = Path(__file__).parent.parent
ACCESS_KEY = "ckpt-tier-tests"
SECRET_KEY = "ckpt-tier-tests-secret"
READY_SECONDS = 60.0
PR_SET_PDEATHSIG = 1

_moto_instead = pytest.StashKey[str]()


class Server(msgspec.Struct, frozen=True):
    """An S3 server. `kind` is "minio" or "moto"; `shared` if it outlives the tests, `composed` if it was
    set up by docker-compose.yml: neither has our settings for encryption and virtual hosts. `ca_bundle` is a PEM file.
    """

    kind: str
    endpoint_url: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    shared: bool = False
    composed: bool = False
    ca_bundle: str | None = None

    def client(self) -> Any:
        """boto3's client for setting scenes, with nothing of the program in it."""
        return _client(self)


@functools.cache
def _client(server: Server) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
        verify=server.ca_bundle,
        config=Config(s3={"addressing_style": "path"}),
    )


class Bucket(msgspec.Struct, frozen=True):
    """A fresh bucket of one test. AWS_* in the environment opens it, for subprocesses too."""

    server: Server
    bucket: str
    client: Any

    @property
    def endpoint_url(self) -> str:
        return self.server.endpoint_url

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}"


@pytest.fixture(scope="session")
def minio_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A MinIO, from wherever there is one; moto, loudly, where there is none."""
    with contextlib.ExitStack() as stack:
        endpoint = os.environ.get("CKPT_TIER_TEST_S3_ENDPOINT")
        if endpoint:
            keys = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
            yield Server("minio", endpoint, *keys, shared=True)
        elif composed := stack.enter_context(_composed()):
            yield composed
        elif binary := find_binary():
            yield stack.enter_context(running_minio(binary))
        elif os.environ.get("CI"):
            pytest.fail("CI must test against MinIO: none was found, and none could be built with Go", pytrace=False)
        else:
            request.config.stash[_moto_instead] = "no endpoint, no Docker, no binary, and none could be built with Go"
            yield stack.enter_context(running_moto())


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Says loudly when MinIO was replaced."""
    why = config.stash.get(_moto_instead, None)
    if why is not None:
        terminalreporter.section("MinIO WAS NOT TESTED", sep="!", red=True, bold=True)
        terminalreporter.line(f"{why}. The S3 tests ran against moto, which accepts wrong checksums.")
        terminalreporter.line("Set CKPT_TIER_TEST_S3_ENDPOINT, start Docker, or install minio or Go.")


@pytest.fixture(scope="session")
def minio_binary() -> Path:
    """The path of a MinIO to start with settings of one's own."""
    binary = find_binary()
    if binary is None:
        if os.environ.get("CI"):
            pytest.fail("CI must test against MinIO: no binary was found, and none could be built", pytrace=False)
        pytest.skip("needs a MinIO binary of its own, or Go to build one")
    return binary


@pytest.fixture(scope="session")
def minio_https(minio_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A MinIO that speaks https under a private certificate authority, `ca_bundle`."""
    import trustme

    folder = tmp_path_factory.mktemp("certs")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost", "*.localhost")
    certificate.private_key_pem.write_to_path(str(folder / "private.key"))
    for index, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(str(folder / "public.crt"), append=index > 0)
    bundle = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    with running_minio(minio_binary, certificates=folder, ca_bundle=bundle) as server:
        yield server


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch, minio_server: Server) -> None:
    """Credentials of the test server, and nothing else of this machine's AWS set-up."""
    set_credentials(monkeypatch, minio_server)


@pytest.fixture
def s3(aws_environment: None, minio_server: Server) -> Iterator[Bucket]:
    """A fresh bucket on MinIO."""
    with fresh_bucket(minio_server) as bucket:
        yield bucket


@pytest.fixture
def s3_over_tls(minio_https: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A fresh bucket on a MinIO that is reached by https."""
    set_credentials(monkeypatch, minio_https)
    with fresh_bucket(minio_https) as bucket:
        yield bucket


def set_credentials(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    """Puts a server's credentials, and nothing else of this machine's AWS set-up, into the environment."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    settings = {
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost,.localhost",
        "no_proxy": "127.0.0.1,localhost,.localhost",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


@contextlib.contextmanager
def fresh_bucket(server: Server) -> Iterator[Bucket]:
    """A new bucket; emptied and removed afterwards where the server outlives the tests."""
    client = server.client()
    name = f"test-{os.urandom(6).hex()}"
    client.create_bucket(Bucket=name)
    try:
        yield Bucket(server, name, client)
    finally:
        if server.shared:
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
                for entry in page.get("Contents", []):
                    client.delete_object(Bucket=name, Key=entry["Key"])
            client.delete_bucket(Bucket=name)


def cache_folder() -> Path:
    """Where a MinIO that was built once is kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ckpt-tier" / "bin"


def find_binary() -> Path | None:
    """A `minio` on PATH or in the cache, else one built into the cache; None without Go or when that fails."""
    on_path = shutil.which("minio")
    cached = cache_folder() / "minio"
    if on_path:
        return Path(on_path)
    if not cached.exists() and shutil.which("go"):
        cached.parent.mkdir(parents=True, exist_ok=True)
        command = ["go", "install", f"github.com/minio/minio@{VERSION}"]
        subprocess.run(command, env=os.environ | {"GOBIN": str(cached.parent)}, timeout=900, check=False)
    return cached if cached.exists() else None


@contextlib.contextmanager
def running_minio(binary: Path, *, certificates: Path | None = None, ca_bundle: Path | None = None) -> Iterator[Server]:
    """A MinIO on a free port of this machine, with a data folder of its own; ended with the block."""
    scheme = "https" if certificates else "http"
    with tempfile.TemporaryDirectory(prefix="ckpt-tier-minio-", ignore_cleanup_errors=True) as folder:
        port = free_port()
        command = [str(binary), "server", "--quiet", "--address", f"127.0.0.1:{port}", f"{folder}/data"]
        if certificates:
            command[2:2] = ["--certs-dir", str(certificates)]
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(
                command, env=_minio_environment(), stdout=log, stderr=log, preexec_fn=_die_with_parent
            )
        try:
            _wait_until_ready(f"{scheme}://127.0.0.1:{port}", process, Path(folder, "log"))
            yield Server("minio", f"{scheme}://127.0.0.1:{port}", ca_bundle=str(ca_bundle) if ca_bundle else None)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _minio_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MINIO_", "AWS_"))}
    return kept | {
        "MINIO_ROOT_USER": ACCESS_KEY,
        "MINIO_ROOT_PASSWORD": SECRET_KEY,
        "MINIO_DOMAIN": "localhost",  # virtual-host style
        "MINIO_KMS_SECRET_KEY": "test-key:" + base64.b64encode(bytes(range(32))).decode(),  # SSE
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
    }


def _die_with_parent() -> None:
    """So that even a killed pytest leaves no server behind (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_ready(endpoint_url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting))
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            direct.open(f"{endpoint_url}/minio/health/ready", timeout=2).close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"MinIO did not start:\n{log.read_text(errors='replace')[-4000:]}")


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_moto() -> Iterator[Server]:
    """An S3 server that keeps no CRC-64/NVME and accepts wrong ones."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield Server("moto", f"http://{host}:{port}")
    finally:
        server.stop()


@contextlib.contextmanager
def _composed() -> Iterator[Server | None]:
    """The `minio` service of the repository's docker-compose.yml under a project name of its own, if Docker works."""
    compose = ["docker", "compose", "-f", str(REPOSITORY / "docker-compose.yml"), "-p", "ckpt-tier-tests"]
    environment = os.environ | {
        "MINIO_ROOT_USER": ACCESS_KEY,
        "MINIO_ROOT_PASSWORD": SECRET_KEY,
        "MINIO_PORT": str(free_port()),
        "MINIO_CONSOLE_PORT": str(free_port()),
    }
    if not _docker_works() or not (REPOSITORY / "docker-compose.yml").exists():
        yield None
        return

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*compose, *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    try:
        if run("up", "-d", "--wait", "minio").returncode != 0:
            yield None
            return
        port = run("port", "minio", "9000").stdout.strip().rpartition(":")[2]
        yield Server("minio", f"http://127.0.0.1:{port}", composed=True)
    finally:
        run("down", "--volumes")


def _docker_works() -> bool:
    if not shutil.which("docker"):
        return False
    try:
        answer = subprocess.run(
            ["docker", "info", "--format", "{{json .ServerVersion}}"], capture_output=True, timeout=20, check=False
        )
        return answer.returncode == 0 and bool(json.loads(answer.stdout or b'""'))
    except (subprocess.TimeoutExpired, ValueError):
        return False
