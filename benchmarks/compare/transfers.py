"""The work items that move files to a bucket and back."""

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from benchmarks.compare import tier
from benchmarks.compare.errors import FailedError
from benchmarks.compare.files import check_same, forget_tier, names_of, warm
from benchmarks.compare.measure import Command, measure
from benchmarks.compare.peers import Cargo, Contender, Moving
from benchmarks.compare.results import TIER, TRANSFER, WHOLE
from benchmarks.compare.rounds import Runner, fresh_folder
from benchmarks.compare.server import Server
from benchmarks.compare.tier import Saved


class Scene(msgspec.Struct, frozen=True):
    """What a work item is played with."""

    server: Server
    saved: Saved
    scratch: Path

    @property
    def sources(self) -> list[Path]:
        return [self.saved.hot / name for name in names_of(self.saved)]


def uploads(scene: Scene, contenders: Sequence[Contender], *, ours: bool) -> list[Runner]:
    """Everything that can bring the scene's files up."""
    runners = [
        Runner(each.peer, each.settings, each.how, lambda each=each: _peer_up(scene, each))  # type: ignore[misc]
        for each in contenders
    ]
    if ours:
        runners.append(Runner(TIER, WHOLE, tier.UPLOADS[WHOLE], lambda: _tier_up(scene)))
        runners.append(Runner(TIER, TRANSFER, tier.UPLOADS[TRANSFER], lambda: _transfer_up(scene)))
    return runners


@contextlib.contextmanager
def _peer_up(scene: Scene, contender: Contender) -> Iterator[Command]:
    names = names_of(scene.saved)
    with fresh_folder(scene.scratch / "turn") as folder:
        warm(scene.sources)
        cargo = Cargo("up", scene.saved.hot, "peer/", names)
        try:
            yield contender.command(Moving(scene.server, cargo, folder))
            _check_there(scene, {f"peer/{name}": name for name in names})
        finally:
            scene.server.clear("peer/")


@contextlib.contextmanager
def _tier_up(scene: Scene, profile: Path | None = None) -> Iterator[Command]:
    with fresh_folder(scene.scratch / "turn") as folder:
        warm(scene.sources)
        moving = Moving(scene.server, Cargo("up", scene.saved.hot, "tier/", ()), folder)
        tier.on_s3(moving, scene.saved, "tier")
        try:
            yield tier.run(moving, *tier.sync_arguments(), profile=profile)
            _check_there(scene, committed(scene, "tier/"))
        finally:
            scene.server.clear("tier/")
            forget_tier(scene.saved)


@contextlib.contextmanager
def _transfer_up(scene: Scene) -> Iterator[Command]:
    names = names_of(scene.saved)
    with fresh_folder(scene.scratch / "turn") as folder:
        warm(scene.sources)
        moving = Moving(scene.server, Cargo("up", scene.saved.hot, "alone/", names), folder)
        tier.on_s3(moving, scene.saved, "alone")
        try:
            yield tier.transfer(moving, {"direction": "up", "names": names})
            _check_there(scene, {f"alone/{tier.RUN}/{name}": name for name in names})
        finally:
            scene.server.clear("alone/")


def committed(scene: Scene, prefix: str) -> dict[str, str]:
    """Key → name of the data that ckpt-tier has committed below `prefix`. Raises FailedError unless that is all."""
    there = scene.server.objects(prefix)
    manifests = [key for key in there if "/manifests/" in key]
    if len(manifests) != len(scene.saved.series):
        raise FailedError(f"{len(manifests)} manifests instead of {len(scene.saved.series)}")
    wanted = set(names_of(scene.saved))
    found = {}
    for key in there:
        # <run>/<series>/data/<step>/<member>/<path>
        words = key.removeprefix(prefix).split("/", 5)
        if len(words) == 6 and words[2] == "data" and words[5] in wanted:
            found[key] = words[5]
    return found


def _check_there(scene: Scene, names: dict[str, str]) -> None:
    """That each file is there, whole by its size."""
    wanted = set(names_of(scene.saved))
    if set(names.values()) != wanted:
        raise FailedError(f"{len(wanted - set(names.values()))} of {len(wanted)} files are not there")
    prefix = next(iter(names)).partition("/")[0] + "/"
    there = scene.server.objects(prefix)
    for key, name in names.items():
        size = (scene.saved.hot / name).stat().st_size
        if there.get(key) != size:
            raise FailedError(f"{key} has {there.get(key)} bytes instead of {size}")


@contextlib.contextmanager
def uploaded(scene: Scene) -> Iterator[dict[str, str]]:
    """The scene's files committed by ckpt-tier, for everybody to bring down: key → name."""
    with fresh_folder(scene.scratch / "committed") as folder:
        moving = Moving(scene.server, Cargo("up", scene.saved.hot, "tier/", ()), folder)
        tier.on_s3(moving, scene.saved, "tier")
        measure(tier.run(moving, *tier.sync_arguments()))
        forget_tier(scene.saved)
        try:
            yield committed(scene, "tier/")
        finally:
            scene.server.clear("tier/")


def restores(scene: Scene, keys: dict[str, str], contenders: Sequence[Contender], *, ours: bool) -> list[Runner]:
    """Everything that can bring `keys` down."""
    runners = [
        Runner(each.peer, each.settings, each.how, lambda each=each: _peer_down(scene, keys, each))  # type: ignore[misc]
        for each in contenders
    ]
    if ours:
        runners.append(Runner(TIER, WHOLE, tier.RESTORES[WHOLE], lambda: _tier_down(scene)))
        runners.append(Runner(TIER, TRANSFER, tier.RESTORES[TRANSFER], lambda: _transfer_down(scene)))
    return runners


@contextlib.contextmanager
def _peer_down(scene: Scene, keys: dict[str, str], contender: Contender) -> Iterator[Command]:
    prefix = _common_folder(list(keys))
    names = {key.removeprefix(prefix): name for key, name in keys.items()}
    with fresh_folder(scene.scratch / "turn") as folder:
        back = folder / "back"
        for name in names:
            (back / name).parent.mkdir(parents=True, exist_ok=True)
        yield contender.command(Moving(scene.server, Cargo("down", back, prefix, tuple(names)), folder))
        for got, name in names.items():
            check_same(back / got, scene.saved.hot / name)


@contextlib.contextmanager
def _tier_down(scene: Scene, profile: Path | None = None) -> Iterator[Command]:
    with fresh_folder(scene.scratch / "turn") as folder:
        moving = _down(scene, folder)
        yield tier.run(moving, *tier.restore_arguments(moving.cargo.folder), profile=profile)
        for name in names_of(scene.saved):
            check_same(moving.cargo.folder / name, scene.saved.hot / name)


@contextlib.contextmanager
def _transfer_down(scene: Scene) -> Iterator[Command]:
    with fresh_folder(scene.scratch / "turn") as folder:
        moving = _down(scene, folder)
        yield tier.transfer(moving, {"direction": "down", "to": str(moving.cargo.folder)})
        for name in names_of(scene.saved):
            check_same(moving.cargo.folder / name, scene.saved.hot / name)


def _down(scene: Scene, folder: Path) -> Moving:
    """A machine that knows the bucket and nothing else, and where it is to bring things."""
    (folder / "hot").mkdir()
    back = folder / "back"
    moving = Moving(scene.server, Cargo("down", back, "tier/", ()), folder)
    elsewhere = msgspec.structs.replace(scene.saved, hot=folder / "hot")
    tier.on_s3(moving, elsewhere, "tier")
    return moving


def _common_folder(keys: Sequence[str]) -> str:
    """The longest prefix of all keys that ends in a slash."""
    first, last = min(keys), max(keys)
    common = 0
    while common < min(len(first), len(last)) and first[common] == last[common]:
        common += 1
    return first[:common].rpartition("/")[0] + "/"


def under_sampler(scene: Scene, direction: str, target: Path) -> AbstractContextManager[Command]:
    """A turn of ckpt-tier under the sampler, which writes to `target`."""
    return _tier_up(scene, target) if direction == "up" else _tier_down(scene, target)
