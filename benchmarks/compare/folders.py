"""The work items without a server: a folder as cold tier, and saving."""

import contextlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.compare import tier
from benchmarks.compare.errors import BenchmarkError, FailedError
from benchmarks.compare.files import check_same, forget_tier, names_of, warm
from benchmarks.compare.installed import on_path
from benchmarks.compare.measure import Command
from benchmarks.compare.results import TIER, TRANSFER, WHOLE, NotRun
from benchmarks.compare.rounds import Runner, fresh_folder
from benchmarks.compare.tier import Saved
from ckpt_tier.store.folder import FolderStore

READ = "one read"
PAST_CACHE = "past the page cache"
FLUSHED = "then flushed"


def folder_runners(saved: Saved, scratch: Path, environment: Mapping[str, str]) -> tuple[list[Runner], list[NotRun]]:
    """A file into another folder: what copies, what ckpt-tier does, and what reading it once costs."""
    [name] = names_of(saved)
    source, target = saved.hot / name, scratch / "turn" / "copy.pt"
    shell, whole = "/bin/sh", ["--whole-file", "--inplace"]
    commands = [
        ("cp", "defaults", "`cp`: the page cache is its end", ["cp", str(source), str(target)]),
        ("cp", FLUSHED, "`cp && sync FILE`", [shell, "-c", f"cp '{source}' '{target}' && sync '{target}'"]),
        ("rsync", "defaults", "`rsync`", ["rsync", str(source), str(target)]),
        ("rsync", "tuned", "`--whole-file --inplace`", ["rsync", *whole, str(source), str(target)]),
    ]  # fmt: skip
    runners, not_run = [], []
    for peer, settings, how, arguments in commands:
        try:
            on_path(peer)
        except BenchmarkError as error:
            not_run.append(NotRun(f"{peer}, {settings}", str(error)))
            continue
        runners.append(
            Runner(peer, settings, how, lambda a=arguments: _copied(source, target, a, environment))  # type: ignore[misc]
        )
    script = [sys.executable, "-m", "benchmarks.compare.children.shutil_copy", str(target.with_name("job.json"))]
    runners += [
        Runner("shutil.copyfile", "defaults", "in Python", lambda: _copied(source, target, script, environment)),
        Runner(READ, PAST_CACHE, "`dd iflag=direct` of the same bytes", lambda: _read(source, target, environment)),
        Runner(TIER, WHOLE, "`ckpt-tier sync`: validated, copied, flushed, read back past the cache, committed",
               lambda: _tier_copied(saved, scratch, environment)),
        Runner(TIER, TRANSFER, "the store's `upload`: copied, flushed, read back past the cache",
               lambda: _transferred(saved, scratch, environment)),
    ]  # fmt: skip
    return runners, not_run


@contextlib.contextmanager
def _copied(source: Path, target: Path, arguments: list[str], environment: Mapping[str, str]) -> Iterator[Command]:
    with fresh_folder(target.parent) as folder:
        warm([source])
        (folder / "job.json").write_text(
            json.dumps(
                {
                    "direction": "up",
                    "endpoint_url": "",
                    "bucket": "",
                    "certificate": None,
                    "files": [(str(target), str(source))],
                    "settings": {},
                }
            )
        )
        yield Command(arguments, folder, environment)
        check_same(target, source)


@contextlib.contextmanager
def _read(source: Path, target: Path, environment: Mapping[str, str]) -> Iterator[Command]:
    with fresh_folder(target.parent) as folder:
        shutil.copyfile(source, target)
        arguments = ["dd", f"if={target}", "of=/dev/null", "bs=1M", "iflag=direct", "status=none"]
        yield Command(arguments, folder, environment)


@contextlib.contextmanager
def _cold(saved: Saved, scratch: Path) -> Iterator[Path]:
    """A folder with a configuration and an empty cold tier."""
    with fresh_folder(scratch / "turn") as folder:
        (folder / "cold").mkdir()
        FolderStore(folder / "cold").create_marker()
        tier.configure(folder, saved, str(folder / "cold"), None, None)
        warm(saved.hot / name for name in names_of(saved))
        try:
            yield folder
        finally:
            forget_tier(saved)


def under_sampler(
    saved: Saved, scratch: Path, environment: Mapping[str, str], target: Path
) -> AbstractContextManager[Command]:
    """A turn of ckpt-tier under the sampler, which writes to `target`."""
    return _tier_copied(saved, scratch, environment, target)


@contextlib.contextmanager
def _tier_copied(
    saved: Saved, scratch: Path, environment: Mapping[str, str], profile: Path | None = None
) -> Iterator[Command]:
    with _cold(saved, scratch) as folder:
        yield Command(tier.command_line(*tier.sync_arguments(), profile=profile), folder, environment)
        if not list((folder / "cold").rglob("manifests/*.json")):
            raise FailedError("nothing was committed")
        _check_copies(saved, folder)


@contextlib.contextmanager
def _transferred(saved: Saved, scratch: Path, environment: Mapping[str, str]) -> Iterator[Command]:
    with _cold(saved, scratch) as folder:
        told = {"direction": "up", "names": names_of(saved), "folder": str(folder)}
        (folder / "job.json").write_text(json.dumps(told))
        module = "benchmarks.compare.children.tier_transfer"
        yield Command([sys.executable, "-m", module, str(folder / "job.json")], folder, environment)
        _check_copies(saved, folder)


def _check_copies(saved: Saved, folder: Path) -> None:
    for name in names_of(saved):
        copies = [path for path in (folder / "cold").rglob(Path(name).name) if path.is_file()]
        if len(copies) != 1:
            raise FailedError(f"{len(copies)} copies of {name}")
        check_same(copies[0], saved.hot / name)


SAVINGS = {
    ("torch.save", "defaults"): ("torch.save", "`torch.save` to a local file"),
    ("torch DCP", "async_save"): ("dcp.async_save", "`torch.distributed.checkpoint.async_save`, one process"),
    (TIER, "hook"): ("hook", "`torch.save`, then `Tier.saved`"),
    (TIER, "Tier.save"): ("tier.save", "atomic, flushed, handed over"),
}


def saving_runners(size: int, scratch: Path, environment: Mapping[str, str]) -> list[Runner]:
    """Saving `size` bytes of tensors."""
    return [
        Runner(peer, settings, how, lambda way=way: _saved(way, size, scratch, environment))  # type: ignore[misc]
        for (peer, settings), (way, how) in SAVINGS.items()
    ]


@contextlib.contextmanager
def _saved(way: str, size: int, scratch: Path, environment: Mapping[str, str]) -> Iterator[Command]:
    with fresh_folder(scratch / "turn") as folder:
        (folder / "hot").mkdir()
        tier.configure(folder, Saved(folder / "hot", "step_{step}.pt", ("main",)), str(folder / "cold"), None, None)
        module = "benchmarks.compare.children.save"
        yield Command([sys.executable, "-m", module, way, str(folder), str(size)], folder, environment)
        written = sum(
            path.stat().st_size for path in folder.rglob("*") if path.is_file() and ".ckpt-tier" not in path.parts
        )
        if written < size * 0.9:
            raise FailedError(f"{written} bytes were written")
