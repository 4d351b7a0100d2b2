"""The work items without peers, most of them scripts of their own: what they print with `--json` is taken over."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from benchmarks.compare import tier
from benchmarks.compare.files import save_zeros
from benchmarks.compare.measure import Command, measure
from benchmarks.compare.peers import Cargo, Moving
from benchmarks.compare.results import Figure, Profile
from benchmarks.compare.rounds import fresh_folder
from benchmarks.compare.server import BUCKET, Server
from benchmarks.compare.tier import Saved

_LINES = 25
_SCRIPTS = Path(__file__).parents[1]
# The data is all zeros, and a server that compresses keeps 100 GB of them in next to nothing.
COMPRESSING = {
    "MINIO_COMPRESSION_ENABLE": "on",
    # Empty would mean its default list, in which there is no checkpoint.
    "MINIO_COMPRESSION_EXTENSIONS": ".pt",
    "MINIO_COMPRESSION_MIME_TYPES": "",
}


def of_script(name: str, arguments: list[str], environment: Mapping[str, str], folder: Path) -> tuple[Figure, ...]:
    """Runs a script of benchmarks/ and reads its figures. What it makes lies below `folder`."""
    command = [sys.executable, str(_SCRIPTS / name), *arguments, "--json"]
    measured = measure(Command(command, folder, {**environment, "TMPDIR": str(folder)}))
    return msgspec.json.decode(measured.output.strip().rpartition("\n")[2].encode(), type=tuple[Figure, ...])


def on_bucket(prefix: str, server: Server) -> list[str]:
    return [f"s3://{BUCKET}/{prefix}", "--endpoint-url", server.endpoint_url]


def growth(server: Server, scratch: Path, sizes: Mapping[str, int], restore_at_most: int) -> tuple[Figure, ...]:
    """Uploads of ever larger files, and restores of those that the disk has room for."""
    figures: list[Figure] = []
    for title, size in sizes.items():
        with fresh_folder(scratch / "growth") as folder:
            hot = folder / "hot"
            hot.mkdir()
            save_zeros(hot / f"step_{tier.STEP}.pt", size)
            moving = Moving(server, Cargo("up", hot, "growth/", ()), folder)
            tier.on_s3(moving, Saved(hot, "step_{step}.pt", ("main",)), "growth")
            try:
                figures += _measured(server, f"upload {title}", tier.run(moving, *tier.sync_arguments()))
                if size <= restore_at_most:
                    restore = tier.run(moving, *tier.restore_arguments(folder / "back"))
                    figures += _measured(server, f"restore {title}", restore)
            finally:
                server.clear("growth/")
    return tuple(figures)


def _measured(server: Server, title: str, command: Command) -> list[Figure]:
    before = server.counters()
    measured = measure(command)
    happened = server.counters().since(before)
    print(f"  {title}: {measured.wall_seconds:.2f} s", file=sys.stderr, flush=True)
    return [
        Figure(name=f"{title}: wall", value=measured.wall_seconds, unit="s"),
        Figure(name=f"{title}: CPU", value=measured.cpu_seconds, unit="s"),
        Figure(name=f"{title}: peak anonymous memory", value=measured.peak_anonymous_bytes / 2**20, unit="MiB"),
        Figure(name=f"{title}: requests", value=sum(happened.requests.values()), unit=""),
        Figure(name=f"{title}: server's CPU", value=happened.cpu, unit="s"),
    ]


def profiles_in(folder: Path) -> dict[str, Profile]:
    """What the sampler wrote there, by the name of each file: CPU seconds, and the largest lines."""
    profiles = {}
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text())
        lines = tuple((str(name), float(seconds)) for name, seconds in found["lines"][:_LINES])
        profiles[path.stem] = Profile(found["cpu_seconds"], lines)
    return profiles
