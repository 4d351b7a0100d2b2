"""The work items, by the name that `--work` takes."""

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from benchmarks.compare import figures, folders, transfers
from benchmarks.compare.errors import BenchmarkError
from benchmarks.compare.files import folder_of_files, names_of, series_files
from benchmarks.compare.measure import measure
from benchmarks.compare.peers import PEERS, Contender
from benchmarks.compare.results import TIER, Figure, NotRun, Profile, Row
from benchmarks.compare.rounds import fresh_folder, interleave
from benchmarks.compare.server import measured_environment, running
from benchmarks.compare.tier import Saved
from benchmarks.compare.transfers import Scene

FULL_SIZE = 1_200_000_000
FULL_ROUNDS = 5
SMALL_FILE = 100_000
SMALL_FILES = 10_000
GB = 10**9


class Plan(msgspec.Struct, frozen=True):
    """What was asked for. `size` is that of the one file; everything else that a goal names is scaled with it.

    Attributes:
        peers: names; ckpt-tier's is one of them.
        folder: where files, objects and copies lie.
        profile: whether ckpt-tier is run once more under the sampler.
        drop_after: rounds after which peers without a chance are left out; None for never.
    """

    size: int
    rounds: int
    seed: int
    peers: tuple[str, ...]
    folder: Path
    profile: bool
    drop_after: int | None = None

    @property
    def is_full(self) -> bool:
        return self.size == FULL_SIZE and self.rounds >= FULL_ROUNDS

    def scaled(self, number: int, least: int = 1) -> int:
        return max(least, round(number * self.size / FULL_SIZE))


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What measuring one item gave."""

    rows: tuple[Row, ...] = ()
    figures: tuple[Figure, ...] = ()
    not_run: tuple[NotRun, ...] = ()
    profiles: dict[str, Profile] = {}
    notes: tuple[str, ...] = ()
    file_bytes: int = 0
    files: int = 0
    versions: dict[str, str] = {}


class Work(msgspec.Struct, frozen=True):
    """A work item.

    Attributes:
        room: GB of disk that it needs at full size.
        files: what makes its files, where other items may need the same ones.
    """

    title: str
    measure: Callable[[Plan], Found]
    room: int
    files: Callable[[Plan], Saved] | None = None


def _one(plan: Plan) -> Saved:
    return series_files(plan.folder, 1, plan.size)


def _ten(plan: Plan) -> Saved:
    return series_files(plan.folder, 10, plan.size)


def _many(plan: Plan) -> Saved:
    return folder_of_files(plan.folder, plan.scaled(SMALL_FILES, 10), SMALL_FILE)


def _moved(direction: str, files: Callable[[Plan], Saved], *, https: bool = False) -> Callable[[Plan], Found]:
    def measure_moves(plan: Plan) -> Found:
        contenders, versions, not_run = contenders_of(plan.peers)
        saved = files(plan)
        ours = TIER in plan.peers
        with running(plan.folder, https=https) as server:
            scene = Scene(server, saved, plan.folder)
            if direction == "up":
                runners = transfers.uploads(scene, contenders, ours=ours)
                rows = interleave(runners, plan.rounds, plan.seed, server.counters, plan.drop_after)
                profiles = _profiles(scene, direction) if plan.profile else {}
            else:
                with transfers.uploaded(scene) as keys:
                    runners = transfers.restores(scene, keys, contenders, ours=ours)
                    rows = interleave(runners, plan.rounds, plan.seed, server.counters, plan.drop_after)
                    profiles = _profiles(scene, direction) if plan.profile else {}
        names = names_of(saved)
        return Found(
            rows=tuple(rows),
            not_run=tuple(not_run),
            profiles=profiles,
            file_bytes=(saved.hot / names[0]).stat().st_size,
            files=len(names),
            versions=versions,
        )

    return measure_moves


def contenders_of(names: Sequence[str]) -> tuple[list[Contender], dict[str, str], list[NotRun]]:
    """Those of the named peers that can be installed, their versions, and what can't with the reason."""
    contenders: list[Contender] = []
    versions: dict[str, str] = {}
    not_run: list[NotRun] = []
    for peer in PEERS:
        if peer.name not in names:
            not_run.append(NotRun(peer.name, "not asked for"))
            continue
        try:
            versions[peer.name], those = peer.install()
            contenders += those
        except BenchmarkError as error:
            not_run.append(NotRun(peer.name, str(error)))
    return contenders, versions, not_run


def _profiles(scene: Scene, direction: str) -> dict[str, Profile]:
    with fresh_folder(scene.scratch / "profiles") as folder:
        with transfers.under_sampler(scene, direction, folder / f"{_COMMANDS[direction]}.json") as command:
            measure(command)
        return figures.profiles_in(folder)


_COMMANDS = {"up": "sync", "down": "restore"}


def _folder(plan: Plan) -> Found:
    saved = _one(plan)
    runners, not_run = folders.folder_runners(saved, plan.folder, measured_environment())
    rows = interleave(runners, plan.rounds, plan.seed)
    profiles = {}
    if plan.profile:
        with fresh_folder(plan.folder / "profiles") as folder:
            with folders.under_sampler(saved, plan.folder, measured_environment(), folder / "sync.json") as command:
                measure(command)
            profiles = figures.profiles_in(folder)
    notes = ("Both folders are on the same disk. `cp`, `rsync` and `shutil.copyfile` end in the page cache.",)
    return Found(
        rows=tuple(rows), not_run=tuple(not_run), files=1, notes=notes, profiles=profiles,
        file_bytes=(saved.hot / names_of(saved)[0]).stat().st_size,
    )  # fmt: skip


def _save(plan: Plan) -> Found:
    runners = folders.saving_runners(plan.size, plan.folder, measured_environment())
    rows = interleave(runners, plan.rounds, plan.seed)
    return Found(rows=tuple(rows), files=1, file_bytes=plan.size)


def _hook(plan: Plan) -> Found:
    arguments = ["--calls", str(plan.scaled(10_000, 20)), "--megabytes", "0.1", "--busy"]
    return Found(figures=figures.of_script("hook_latency.py", arguments, measured_environment(), plan.folder))


def _steps(plan: Plan) -> Found:
    # The server stands for another machine: it takes only what the training leaves.
    with running(plan.folder, nice=19) as server:
        arguments = [*figures.on_bucket("steps", server), "--megabytes", str(plan.size / 1e6)]
        arguments += ["--turns", str(plan.rounds)]
        found = figures.of_script("step_time.py", arguments, server.environment(), plan.folder)
    return Found(figures=found, files=1, file_bytes=plan.size)


def _scale(number: int) -> Callable[[Plan], Found]:
    def measure_scale(plan: Plan) -> Found:
        with running(plan.folder) as server, fresh_folder(plan.folder / "profiles") as profiles:
            arguments = [*figures.on_bucket("scale", server), "--checkpoints", str(plan.scaled(number, 10))]
            arguments += ["--runs", str(plan.rounds)]
            arguments += ["--profiles", str(profiles)] if plan.profile else []
            found = figures.of_script("scale.py", arguments, server.environment(), plan.folder)
            return Found(figures=found, files=plan.scaled(number, 10), profiles=figures.profiles_in(profiles))

    return measure_scale


def _ranks(plan: Plan) -> Found:
    with running(plan.folder) as server:
        ranks, files = plan.scaled(64, 2), plan.scaled(64, 2)
        arguments = [*figures.on_bucket("ranks", server), "--ranks", str(ranks), "--files", str(files)]
        before = server.counters()
        found = figures.of_script("many_ranks.py", arguments, server.environment(), plan.folder)
        requests = server.counters().since(before).requests
    counted = tuple(Figure(name=f"requests: {name}", value=count, unit="") for name, count in requests.items())
    return Found(figures=(*found, *counted), files=ranks * files, file_bytes=4_000_000)


_GROWTH_NOTE = (
    "One run each. The files are real torch files of zeros with holes on the disk, and MinIO compresses what it keeps: "
    "so 100 GB fit here. A restored copy has no holes."
)


def _growth(plan: Plan) -> Found:
    sizes = {f"{number} GB": plan.scaled(number * GB) for number in (1, 10, 20, 100)}
    if not plan.is_full:
        sizes = {f"{number} GB, scaled to {size / 1e6:.0f} MB": size for (number, size) in
                 ((int(title.split()[0]), size) for title, size in sizes.items())}  # fmt: skip
    at_most = plan.scaled(20 * GB)
    with running(plan.folder, settings=figures.COMPRESSING) as server:
        found = figures.growth(server, plan.folder, sizes, at_most)
    not_run = (NotRun("restore of 100 GB", "the disk has no room for it"),)
    return Found(figures=found, not_run=not_run, notes=(_GROWTH_NOTE,))


# In this order files that several items need are made once. Room: GB at full size, with what was made before.
WORK = {
    "upload-one": Work("Upload of one file", _moved("up", _one), 4, _one),
    "restore-one": Work("Restore of one file", _moved("down", _one), 5, _one),
    "tls-upload": Work("Upload over https", _moved("up", _one, https=True), 4, _one),
    "tls-restore": Work("Restore over https", _moved("down", _one, https=True), 5, _one),
    "folder": Work("A folder as cold tier", _folder, 4, _one),
    "upload-ten": Work("Upload of ten files", _moved("up", _ten), 25, _ten),
    "restore-ten": Work("Restore of ten files", _moved("down", _ten), 37, _ten),
    "upload-many": Work("Upload of many small files", _moved("up", _many), 3, _many),
    "restore-many": Work("Restore of many small files", _moved("down", _many), 4, _many),
    "save": Work("Saving", _save, 4),
    "hook": Work("The hook beside a busy training", _hook, 4),
    "steps": Work("Step time during an upload", _steps, 10),
    "scale": Work("10,000 committed checkpoints", _scale(10_000), 1),
    "ranks": Work("One checkpoint of many ranks", _ranks, 21),
    "growth": Work("Growing files", _growth, 23),
    "scale-more": Work("100,000 committed checkpoints", _scale(100_000), 3),
}


def measured(plan: Plan, name: str) -> Found:
    """What the work item gives; "not run" where the disk has no room for it."""
    work = WORK[name]
    free, needed = shutil.disk_usage(plan.folder).free, plan.scaled(work.room * GB)
    if free < needed:
        why = f"it needs {needed / GB:.3g} GB of disk, {free / GB:.3g} GB are free"
        return Found(not_run=(NotRun("all of it", why),))
    return work.measure(plan)


def clear_unless_shared(plan: Plan, name: str, following: str | None) -> None:
    """Removes the files of a work item, unless the one that follows is about the same."""
    shared = WORK[following].files if following else None
    if shared is None or shared is not WORK[name].files:
        for path in plan.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
