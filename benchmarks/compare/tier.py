"""ckpt-tier as a contender: its whole command, and its transfer alone."""

import json
import sys
from pathlib import Path

import msgspec

from benchmarks.compare.measure import Command
from benchmarks.compare.peers import Moving
from benchmarks.compare.results import TRANSFER, WHOLE
from benchmarks.compare.server import BUCKET

RUN = "bench"
STEP = 5000


class Saved(msgspec.Struct, frozen=True):
    """Checkpoints of one step as ckpt-tier sees them: a hot folder, its layout, and the series in it."""

    hot: Path
    layout: str
    series: tuple[str, ...]


def configure(folder: Path, saved: Saved, url: str, endpoint_url: str | None, certificate: Path | None) -> None:
    """Writes the configuration into `folder`; the journal lies there, too."""
    lines = [
        f'run = "{RUN}"\nstate_dir = "state"\n[hot]\npath = "{saved.hot}"\nlayout = "{saved.layout}"',
        'settle = "0s"\nmin_free = "1MB"\n[cold]',
        f'url = "{url}"',
    ]
    lines += [f'endpoint_url = "{endpoint_url}"'] if endpoint_url else ["same_device = true"]
    lines += [f'ca_bundle = "{certificate}"'] if certificate else []
    (folder / "ckpt-tier.toml").write_text("\n".join(lines) + "\n")


def on_s3(moving: Moving, saved: Saved, prefix: str) -> None:
    server = moving.server
    configure(moving.scratch, saved, f"s3://{BUCKET}/{prefix}".rstrip("/"), server.endpoint_url, server.certificate)


def run(moving: Moving, *arguments: str, profile: Path | None = None) -> Command:
    """`ckpt-tier …`, or the same under the sampler."""
    return Command(command_line(*arguments, profile=profile), moving.scratch, moving.server.environment())


def command_line(*arguments: str, profile: Path | None = None) -> list[str]:
    module = ["ckpt_tier"] if profile is None else ["benchmarks.compare.children.profiled", str(profile)]
    return [sys.executable, "-m", *module, *arguments]


def sync_arguments() -> tuple[str, ...]:
    return ("sync", "-q")


def restore_arguments(to: Path) -> tuple[str, ...]:
    return ("restore", "-q", "--step", str(STEP), "--to", str(to))


def transfer(moving: Moving, told: dict[str, object]) -> Command:
    """The program that transfers without the command line."""
    path = moving.scratch / "job.json"
    path.write_text(json.dumps({"folder": str(moving.scratch), **told}))
    module = "benchmarks.compare.children.tier_transfer"
    return Command([sys.executable, "-m", module, str(path)], moving.scratch, moving.server.environment())


UPLOADS = {
    WHOLE: "`ckpt-tier sync`: validation, SHA-256, upload, commit",
    TRANSFER: "the store's `upload` of files that are already validated",
}
RESTORES = {
    WHOLE: "`ckpt-tier restore --to`: verified and fsynced before it appears",
    TRANSFER: "the same, with interpreter, imports and client at hand",
}
