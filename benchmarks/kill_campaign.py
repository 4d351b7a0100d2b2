"""kill -9 at random moments of a `sync`: what is lost, what is half-visible, and how many bytes were sent twice.

    AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… \
        python benchmarks/kill_campaign.py s3://bucket/prefix --endpoint-url http://127.0.0.1:9000 [--kills 100]

Rounds of three checkpoints of 150 MB (three pieces each) are synced through a proxy on loopback that counts what goes
up. Each `sync` is killed after a random time, until the round is through; then every step is restored and compared.
After each kill every visible manifest must be complete, and every file must be on disk or committed.
"""

import asyncio
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import torch
from campaign import Campaign, sha256, start

from ckpt_tier.config import load
from ckpt_tier.core.pieces import MIN_PIECE
from ckpt_tier.flow.proof import prove_present
from ckpt_tier.wiring import Wiring

FILES = 3
FILE_MB = 150


class CountingProxy:
    """Forwards a TCP port and counts the bytes that go up. Runs in a thread of its own."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.sent_up = 0
        self.port = 0
        self._ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True).start()
        self._ready.wait()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=2**20)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        async with server:
            await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._target, limit=2**20)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pump(reader, up_writer, count=True), self._pump(up_reader, writer, count=False))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool) -> None:
        try:
            while data := await reader.read(2**18):
                if count:
                    self.sent_up += len(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


class Round:
    """One set of checkpoints on its way up."""

    def __init__(self, folder: Path, url: str, endpoint_url: str, number: int) -> None:
        self.folder = folder
        self.hot = folder / "checkpoints"
        self.hot.mkdir()
        (folder / "ckpt-tier.toml").write_text(
            f'run = "kills-{os.getpid()}-{number}"\nstate_dir = "state"\n[hot]\npath = "checkpoints"\n'
            f'layout = "step_{{step}}.pt"\nkeep_last = 1\nsettle = "0s"\nmin_free = "1MB"\n'
            f'[cold]\nurl = "{url}"\nendpoint_url = "{endpoint_url}"\n'
        )
        for step in range(1, FILES + 1):
            torch.save({"w": torch.randn(FILE_MB * 250_000)}, self.hot / f"step_{step}.pt")
        self.sums = {path.name: sha256(path) for path in self.hot.iterdir()}
        self.size = sum(path.stat().st_size for path in self.hot.iterdir())

    def check(self) -> int:
        """How many checkpoints are committed; raises AssertionError when a promise is broken."""
        config = load(self.folder / "ckpt-tier.toml", env=os.environ, cwd=self.folder)
        wiring = Wiring(config)
        committed = set()
        wiring.begin_run()
        for entry in wiring.cold.manifests.entries("main"):
            manifest = wiring.cold.manifests.read_fresh(entry)
            prove_present(wiring.store, manifest.files)
            committed |= {file.path for file in manifest.files if file.sha256 == self.sums[file.path]}
        for name in self.sums:
            hidden = list(self.hot.glob(f".{name}.*.evicting"))
            on_disk = (self.hot / name).exists() and (self.hot / name).stat().st_size > 0
            assert on_disk or name in committed or hidden, f"{name} is lost"
        return len(committed)

    def restore_all(self) -> None:
        for step in range(1, FILES + 1):
            assert start(self.folder, "restore", "-q", "--step", str(step), "--to", "back").wait() == 0
            path = self.folder / "back" / f"step_{step}.pt"
            assert sha256(path) == self.sums[path.name], f"step {step} came back with other bytes"


def main() -> None:
    campaign = Campaign(__doc__)
    kills = campaign.kills()
    target = urlsplit(campaign.endpoint_url)
    proxy = CountingProxy(target.hostname or "127.0.0.1", target.port or 80)
    rounds = size = 0
    most = 4.0
    while not kills.done:
        folder = Path(tempfile.mkdtemp())
        rounds += 1
        current = Round(folder, campaign.url, f"http://127.0.0.1:{proxy.port}", rounds)
        size += current.size
        begun = time.monotonic()
        while kills.hit(start(folder, "sync", "-q"), 0.2, most):
            current.check()
            begun = time.monotonic()
        most = max(2.0, time.monotonic() - begun)
        assert current.check() == FILES
        current.restore_all()
        shutil.rmtree(folder)
        print(f"round {rounds}: {kills.count} kills so far, nothing lost, nothing half-visible", flush=True)
    twice = proxy.sent_up - size
    print(
        f"{kills.count} kills, {rounds} rounds, {size / 1e6:.0f} MB of checkpoints, "
        f"{proxy.sent_up / 1e6:.0f} MB sent up"
    )
    print(
        f"sent twice: {twice / 1e6:.0f} MB in all, {twice / kills.count / 1e6:.1f} MB a kill; "
        f"a piece is {MIN_PIECE / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()
