"""Small real checkpoints, configurations and tiers for tests."""

import contextlib
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ckpt_tier.cold.manifest import FORMAT, Manifest, Member, place
from ckpt_tier.config.model import ColdConfig, Config, FreeSpace, HotConfig, UploadConfig, ValidateConfig
from ckpt_tier.core.events import Event
from ckpt_tier.core.findings import Findings
from ckpt_tier.core.nouns import FileDigest, generation_id
from ckpt_tier.errors import CancelledError
from ckpt_tier.flow.parts import Parts
from ckpt_tier.flow.sync import Syncing
from ckpt_tier.journal.journal import Journal, peek
from ckpt_tier.journal.saves import Save
from ckpt_tier.operations import Operations
from ckpt_tier.restoring import Restored
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.store.protocol import Store
from ckpt_tier.tier import Tier
from ckpt_tier.wiring import Wiring

LAYOUT = "model_gpu{series}/model_step_{step}.pt"
START = 2_000_000_000.0
"""Later than any real ctime, so that nothing looks as if it had changed in the future."""


class SteppedClock:
    """A clock that the test moves; sleeping on it moves it too. `cancelled` ends the next sleep."""

    def __init__(self, now: float = START) -> None:
        self.time = now
        self.cancelled = False

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time - START

    def sleep(self, seconds: float) -> None:
        if self.cancelled:
            raise CancelledError("stopped by the test")
        self.time += max(0.0, seconds)


class TwoTiers:
    """A hot folder, a cold folder and a journal below one folder, and what a training and a person do with them."""

    def __init__(self, root: Path, clock: SteppedClock | None = None, **hot: object) -> None:
        self.root = root
        self.clock = clock or SteppedClock()
        self.hot = root / "hot"
        self.cold = root / "cold"
        self.state_dir = root / "state"
        self.hot.mkdir(parents=True, exist_ok=True)
        self.cold.mkdir(exist_ok=True)
        FolderStore(self.cold).create_marker()
        settings = {"layout": LAYOUT, "keep_last": 2, "min_free": FreeSpace(size=0), "settle": 0.0, **hot}
        self.config = Config(
            file=None,
            run="run",
            run_id=None,
            state_dir=self.state_dir,
            hot=HotConfig(path=self.hot, **settings),  # type: ignore[arg-type]
            cold=ColdConfig(url=str(self.cold), same_device=True),
            validate=ValidateConfig(),
            upload=UploadConfig(attempts=2),
        )
        self.events: list[Event] = []

    def set(self, **sections: dict[str, object]) -> None:
        """Changes keys of the configuration: set(validate={"on_rejected": "aside"})."""
        for section, keys in sections.items():
            changed = msgspec.structs.replace(getattr(self.config, section), **keys)
            self.config = msgspec.structs.replace(self.config, **{section: changed})

    def wiring(self, store: Store | None = None) -> Wiring:
        """Fresh objects, as a new process would have them."""
        wiring = Wiring(self.config, self.clock)
        if store is not None:
            wiring.store = store
        return wiring

    def tier(self) -> Tier:
        return Tier(self.config, clock=self.clock)

    def operations(self) -> Operations:
        return Operations(self.wiring())

    def restored(self, *, step: int | None, store: Store | None = None, **how: Any) -> list[Restored]:
        """What came back, of each series that was asked for. Raises the error of what did not."""
        back = Operations(self.wiring(store)).restore(self.events.append, step=step, **how)
        if error := back.error():
            raise error
        return back.restored

    @contextlib.contextmanager
    def parts(self) -> Iterator[Parts]:
        """What the verbs work with, without the worker's lock."""
        wiring = self.wiring()
        with contextlib.closing(Journal.open(self.state_dir)) as journal:
            yield Parts(
                config=self.config,
                cold=wiring.begin_run(),
                journal=journal,
                inbox=wiring.inbox,
                clock=self.clock,
                emit=self.events.append,
            )

    @contextlib.contextmanager
    def syncing(self, store: Store | None = None) -> Iterator[Syncing]:
        with self.wiring(store).syncing(self.events.append, "test") as syncing:
            yield syncing

    def sync(self, store: Store | None = None) -> Syncing:
        """One pass, as `ckpt-tier sync` does it."""
        with self.syncing(store) as syncing:
            syncing.run_until_idle()
            return syncing

    def path(self, step: int, series: str = "0") -> Path:
        return self.hot / LAYOUT.format(series=series, step=step)

    def write(self, step: int, seed: int = 0, series: str = "0") -> Path:
        """A checkpoint as torch.save writes it, under its name at once, with the clock's time."""
        path = self.path(step, series)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(checkpoint(step, seed))
        self.touch(path)
        return path

    def touch(self, path: Path) -> None:
        """Sets the file's mtime to the test's clock, which moves on."""
        self.clock.time += 1.0
        os.utime(path, (self.clock.time, self.clock.time))

    def hot_steps(self, series: str = "0") -> list[int]:
        return sorted(int(p.stem.rpartition("_")[2]) for p in self.path(0, series).parent.glob("*.pt"))

    def cold_steps(self, series: str = "0") -> list[int]:
        """Steps by the manifests in the cold tier; one for each generation."""
        names = (self.cold / "run" / series / "manifests").glob("*.json")
        return sorted(int(path.name.partition(".")[0]) for path in names)

    def saves(self) -> list[Save]:
        """The journal's rows."""
        return (peek(self.state_dir) or ([], None))[0]

    def states(self) -> dict[int, str]:
        """Step → state, of the journal's rows."""
        return {save.step: str(save.state) for save in self.saves()}

    def unsent(self) -> list[Path]:
        folder = self.hot / ".ckpt-tier" / "unsent"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def happened(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def objects(self) -> dict[str, bytes]:
        """Every object of the run in the cold tier, by key."""
        return {
            path.relative_to(self.cold).as_posix(): path.read_bytes()
            for path in sorted((self.cold / "run").rglob("*"))
            if path.is_file()
        }

    def lose_journal(self) -> None:
        for path in self.state_dir.glob("*"):
            path.unlink()


_MADE: dict[tuple[int, int], bytes] = {}


def checkpoint(step: int, seed: int = 0) -> bytes:
    """The bytes of a small training state, the same for the same step and seed."""
    if (step, seed) not in _MADE:
        import torch  # takes seconds, and the processes that the crash tests kill often do without

        generator = torch.Generator().manual_seed(step * 1000 + seed)
        state = {"step": step, "model": {"w": torch.randn(64, generator=generator)}, "lr": 0.1}
        buffer = io.BytesIO()
        torch.save(state, buffer)
        _MADE[step, seed] = buffer.getvalue()
    return _MADE[step, seed]


def flip_a_bit(path: Path) -> None:
    """Damages a byte of the first tensor's data, in place, keeping size and mtime."""
    status = path.stat()
    with zipfile.ZipFile(path) as archive:
        [record] = [info for info in archive.infolist() if info.filename.endswith("data/0")]
        with path.open("r+b") as file:
            file.seek(record.header_offset + 26)
            lengths = file.read(4)
            start = record.header_offset + 30 + int.from_bytes(lengths[:2], "little")
            start += int.from_bytes(lengths[2:], "little")
            file.seek(start + 8)
            byte = file.read(1)[0]
            file.seek(start + 8)
            file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def digest(path: str = "model_gpu0/model_step_5.pt", size: int = 3, sha256: str = "ab" * 32) -> FileDigest:
    return FileDigest(
        path=path, size=size, mode=0o644, mtime_ns=1_700_000_000_123_456_789, sha256=sha256, crc64nvme="0" * 16
    )


def manifest(step: int = 5, files: tuple[FileDigest, ...] = (), series: str = "0", **fields: object) -> Manifest:
    """A sound manifest with one member."""
    member, placed = place("run", series, step, files or (digest(),))
    made = Manifest(
        format=FORMAT,
        run="run",
        run_id="0123456789abcdef",
        series=series,
        step=step,
        saved_at="2023-11-14T22:13:20.123456Z",
        generation=generation_id([member]),
        save_id=None,
        layout=LAYOUT,
        members=(
            Member(
                id=member,
                rank=None,
                host="node-1",
                files=placed,
                findings=Findings(format="torch-zip", level="full", checksums=4),
            ),
        ),
        metrics={"loss": 1.83},
        versions={"ckpt-tier": "0.1.0", "python": "3.11.9", "torch": "2.4.0"},
    )
    return msgspec.structs.replace(made, **fields)
