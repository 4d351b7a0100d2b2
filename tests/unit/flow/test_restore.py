"""Bringing back: from the command's question down to the staging file."""

import errno
import hashlib
import json
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from ckpt_tier.cold.manifest import Manifest
from ckpt_tier.core.events import Note, PassedOver
from ckpt_tier.core.events import Restored as RestoredEvent
from ckpt_tier.core.nouns import FileDigest
from ckpt_tier.errors import ConflictError, IntegrityError, NoSpaceError, NotFoundError, UnavailableError, UsageError
from ckpt_tier.flow import fetch
from ckpt_tier.flow import restore as restore_module
from ckpt_tier.flow.placing import target_of
from ckpt_tier.flow.restore import Restoring, restore
from ckpt_tier.hot.holds import held
from ckpt_tier.hot.space import Space
from ckpt_tier.operations import Restored
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.store.protocol import Blocks
from ckpt_tier.system.clock import SystemClock
from ckpt_tier.system.digests import crc64nvme, to_hex
from ckpt_tier.system.streams import Width
from tests.builders import TwoTiers, checkpoint, manifest
from tests.kills import dying_at, killed_at
from tests.ready import go, started


@pytest.fixture
def filled(tiers: TwoTiers) -> TwoTiers:
    """Steps 0 to 3 committed, 2 and 3 hot."""
    for step in range(4):
        tiers.write(step)
    tiers.sync()
    tiers.events.clear()
    return tiers


def bring(tiers: TwoTiers, step: int | None, to: Path | None = None, **how: bool) -> Restored:
    [restored] = tiers.restored(step=step, to=to, **how)
    return restored


def everything_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


class Reading(FolderStore):
    """Reads in small blocks, counts their bytes, and fails as told."""

    def __init__(self, root: Path, fail: Exception | None = None, fail_after: int = 10**18) -> None:
        super().__init__(root)
        self.came = 0
        self._fail = fail
        self._fail_after = fail_after

    def read(self, key: str, offset: int, length: int) -> Blocks:
        for block in super().read(key, offset, length):
            for start in range(0, len(block), 3000):
                if self._fail and self.came >= self._fail_after:
                    raise self._fail
                part = block[start : start + 3000]
                self.came += len(part)
                yield part


class BreakingOff(Reading):
    """Each answer breaks off after so many bytes."""

    def __init__(self, root: Path, after: int) -> None:
        super().__init__(root)
        self._after = after

    def read(self, key: str, offset: int, length: int) -> Blocks:
        came = 0
        for block in super().read(key, offset, length):
            if came >= self._after:
                raise UnavailableError("the answer broke off")
            came += len(block)
            yield block


class FarAway(Reading):
    """Each stream brings little, and no more than its share of what the line carries."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.requests: list[tuple[int, int]] = []

    def read(self, key: str, offset: int, length: int) -> Blocks:
        self.requests.append((offset, length))
        for block in super().read(key, offset, length):
            time.sleep(0.001)
            yield block


def test_a_step_comes_back_to_its_place_byte_by_byte_with_mode_and_time(filled: TwoTiers) -> None:
    path = filled.write(9)
    path.chmod(0o600)
    status = path.stat()
    filled.sync()
    path.unlink()
    filled.sync()
    restored = bring(filled, 9)
    assert restored.files == (path,)
    assert path.read_bytes() == checkpoint(9)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_mtime_ns == status.st_mtime_ns


def test_a_restored_step_is_held_and_evicted_when_the_hold_runs_out(filled: TwoTiers) -> None:
    bring(filled, 0)
    filled.sync()
    assert filled.hot_steps() == [0, 2, 3]
    filled.clock.time += filled.config.hot.hold + 1
    filled.sync()
    assert filled.hot_steps() == [2, 3]
    assert held(filled.hot, filled.clock.now()) == {}


def test_elsewhere_nothing_but_the_file_is_left(filled: TwoTiers, tmp_path: Path) -> None:
    restored = bring(filled, 0, tmp_path / "to")
    assert everything_below(tmp_path / "to") == ["model_gpu0", "model_gpu0/model_step_0.pt"]
    assert restored.fetched_bytes == len(checkpoint(0))


def test_an_identical_file_is_recognised_and_not_fetched_again(filled: TwoTiers, tmp_path: Path) -> None:
    bring(filled, 0, tmp_path / "to")
    assert bring(filled, 0, tmp_path / "to").fetched_bytes == 0
    assert bring(filled, 3).fetched_bytes == 0
    assert held(filled.hot, filled.clock.now()).keys() == {("0", 3)}


@pytest.mark.parametrize("content", [b"another", None])
def test_a_different_file_is_kept_and_with_force_moved_aside(
    filled: TwoTiers, tmp_path: Path, content: bytes | None
) -> None:
    target = tmp_path / "to" / "model_gpu0" / "model_step_0.pt"
    target.parent.mkdir(parents=True)
    target.write_bytes(content or b"x" * len(checkpoint(0)))
    before = target.read_bytes()
    with pytest.raises(ConflictError, match=r"differs|damaged") as caught:
        bring(filled, 0, tmp_path / "to")
    assert "--force" in caught.value.fix
    assert target.read_bytes() == before
    bring(filled, 0, tmp_path / "to", force=True)
    assert target.read_bytes() == checkpoint(0)
    [aside] = (tmp_path / "to" / ".ckpt-tier" / "replaced").iterdir()
    assert aside.read_bytes() == before
    assert filled.happened(Note)


def test_a_folder_in_the_way_is_a_conflict_even_with_force(filled: TwoTiers, tmp_path: Path) -> None:
    (tmp_path / "to" / "model_gpu0" / "model_step_0.pt").mkdir(parents=True)
    with pytest.raises(ConflictError, match="regular file"):
        bring(filled, 0, tmp_path / "to", force=True)


def test_a_file_that_comes_while_the_bytes_are_fetched_is_not_replaced(
    filled: TwoTiers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "to" / "model_gpu0" / "model_step_0.pt"
    real = fetch.flush

    def then_somebody_saves(descriptor: int) -> None:
        real(descriptor)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(b"just saved")

    monkeypatch.setattr(fetch, "flush", then_somebody_saves)
    with pytest.raises(ConflictError, match="already there"):
        bring(filled, 0, tmp_path / "to")
    assert target.read_bytes() == b"just saved"


@pytest.mark.parametrize("flush_every", [fetch.FLUSH_EVERY, 1000], ids=["at the end", "while it arrives"])
def test_after_a_flush_that_failed_everything_is_fetched_anew(
    filled: TwoTiers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flush_every: int
) -> None:
    """Another flush may succeed without having written anything, and the page cache has it all:
    https://wiki.postgresql.org/wiki/Fsync_Errors"""
    monkeypatch.setattr(fetch, "FLUSH_EVERY", flush_every)
    real, failed = fetch.flush, threading.Event()
    threads: list[str] = []

    def failing_once(descriptor: int) -> None:
        threads.append(threading.current_thread().name)
        if failed.is_set():
            return real(descriptor)
        failed.set()
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fetch, "flush", failing_once)
    if flush_every < len(checkpoint(0)):  # the file ends only after that
        monkeypatch.setattr(fetch.Streams, "moved", lambda *_: failed.wait(10))
    with pytest.raises(OSError, match="Input/output error"):
        bring(filled, 0, tmp_path / "to")
    assert not list((tmp_path / "to").rglob("*.part"))
    assert threads[0].startswith("ckpt-tier-flush") == (flush_every < len(checkpoint(0)))
    filled.events.clear()
    bring(filled, 0, tmp_path / "to")
    [restored] = filled.happened(RestoredEvent)
    assert restored.fetched_bytes == len(checkpoint(0))
    assert (tmp_path / "to" / "model_gpu0" / "model_step_0.pt").read_bytes() == checkpoint(0)


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "", ".ckpt-tier/x", "a\\b"])
def test_a_path_that_leads_outside_is_refused_whoever_asks(tmp_path: Path, path: str) -> None:
    with pytest.raises(IntegrityError, match="leads outside"):
        target_of(tmp_path, path)


def test_a_symlinked_folder_on_the_way_is_refused(filled: TwoTiers, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "to" / "model_gpu0").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="not a folder"):
        bring(filled, 0, tmp_path / "to")
    assert everything_below(tmp_path / "elsewhere") == []


def test_a_symlink_in_the_place_of_the_file_is_a_conflict(filled: TwoTiers, tmp_path: Path) -> None:
    (tmp_path / "to" / "model_gpu0").mkdir(parents=True)
    (tmp_path / "victim").write_bytes(b"victim")
    (tmp_path / "to" / "model_gpu0" / "model_step_0.pt").symlink_to(tmp_path / "victim")
    for force in (False, True):
        with pytest.raises(ConflictError):
            bring(filled, 0, tmp_path / "to", force=force)
    assert (tmp_path / "victim").read_bytes() == b"victim"


def test_too_little_space_is_found_out_before_the_first_byte(
    filled: TwoTiers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore_module, "space", lambda _: Space(total=10**9, free=len(checkpoint(0)) - 1))
    with pytest.raises(NoSpaceError, match="are needed") as caught:
        bring(filled, 0, tmp_path / "to")
    assert caught.value.why == "nothing was fetched"
    assert not list((tmp_path / "to").rglob("*.pt"))
    monkeypatch.setattr(restore_module, "space", lambda _: Space(total=10**9, free=len(checkpoint(0))))
    bring(filled, 0, tmp_path / "to")


def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int = 50_000) -> tuple[Path, Manifest]:
    """A store with one object of many small pieces, and its manifest."""
    monkeypatch.setattr(fetch, "PIECE", 4096)
    monkeypatch.setattr(fetch, "MOST_STREAMS", 1)  # what arrives before a failure is the same in every run
    data = os.urandom(size)
    made = manifest(
        5,
        (FileDigest("a.pt", size, 0o444, 10**18, hashlib.sha256(data).hexdigest(), to_hex(crc64nvme(data))),),
    )
    root = tmp_path / "large"
    root.mkdir()
    FolderStore(root).create_marker()
    FolderStore(root).put(made.files[0].key, data)
    return root, made


def test_what_arrived_before_a_failure_is_not_fetched_again(
    tiers: TwoTiers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, made = large(tmp_path, monkeypatch)
    how = Restoring(root=tmp_path / "to")
    failing = Reading(root, UnavailableError("gone"), fail_after=20_000)
    with pytest.raises(UnavailableError):
        restore(failing, made, how, tiers.clock, tiers.events.append)
    assert not (tmp_path / "to" / "a.pt").exists()
    going_on = Reading(root)
    restore(going_on, made, how, tiers.clock, tiers.events.append)
    assert going_on.came <= 50_000 - 20_000 + 4096
    assert (tmp_path / "to" / "a.pt").read_bytes() == (root / made.files[0].key).read_bytes()


def test_answers_that_break_off_now_and_then_are_no_failure_however_many(
    tiers: TwoTiers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, made = large(tmp_path, monkeypatch, size=200_000)
    how = Restoring(root=tmp_path / "to")
    begun = tiers.clock.time
    restore(BreakingOff(root, after=9000), made, how, tiers.clock, tiers.events.append)
    assert (tmp_path / "to" / "a.pt").read_bytes() == (root / made.files[0].key).read_bytes()
    assert tiers.clock.time == begun


def test_over_a_line_with_a_long_way_streams_are_added_and_each_byte_comes_once(
    tiers: TwoTiers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, made = large(tmp_path, monkeypatch, size=800_000)
    monkeypatch.setattr(fetch, "MOST_STREAMS", 16)
    monkeypatch.setattr("ckpt_tier.system.streams.LOOK_EVERY", 0.02)
    far, width = FarAway(root), Width(2)
    restore(far, made, Restoring(root=tmp_path / "to", width=width), SystemClock(), tiers.events.append)
    assert (tmp_path / "to" / "a.pt").read_bytes() == (root / made.files[0].key).read_bytes()
    assert len(far.requests) > 2
    assert far.came < 1.1 * 800_000
    assert width.streams > 2


def test_a_piece_that_a_power_loss_took_back_is_fetched_again(
    tiers: TwoTiers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, made = large(tmp_path, monkeypatch)
    how = Restoring(root=tmp_path / "to")
    with pytest.raises(UnavailableError):
        restore(Reading(root, UnavailableError("gone"), 30_000), made, how, tiers.clock, tiers.events.append)
    staging = tmp_path / "to" / ".ckpt-tier" / "staging" / made.generation
    [part] = staging.glob("*.part")
    with part.open("r+b") as file:
        file.write(bytes(100))
    with part.with_suffix(".pieces").open("ab") as ledger:
        ledger.write(b"nonsense\nff ff\nzz 1\n\xff\xfe\n3")
    restore(Reading(root), made, how, tiers.clock, tiers.events.append)
    assert (tmp_path / "to" / "a.pt").read_bytes() == (root / made.files[0].key).read_bytes()


def test_a_staged_file_that_already_has_its_read_only_mode_can_be_gone_on_with(
    tiers: TwoTiers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, made = large(tmp_path, monkeypatch)
    how = Restoring(root=tmp_path / "to")
    refused: list[str] = []
    real = os.open

    def as_nobody_special(path: Path, flags: int, mode: int = 0o777) -> int:
        if str(path).endswith(".part") and Path(path).exists() and not Path(path).stat().st_mode & stat.S_IWUSR:
            refused.append(str(path))
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, flags, mode)

    with killed_at(3):
        restore(FolderStore(root), made, how, tiers.clock, tiers.events.append)
    staging = tmp_path / "to" / ".ckpt-tier" / "staging" / made.generation
    [part] = staging.glob("*.part")
    part.chmod(0o444)
    monkeypatch.setattr(os, "open", as_nobody_special)
    restore(Reading(root), made, how, tiers.clock, tiers.events.append)
    assert len(refused) == 1
    assert stat.S_IMODE((tmp_path / "to" / "a.pt").stat().st_mode) == 0o444


@pytest.mark.parametrize("offset", [0, 25_000, 49_999])
def test_a_damaged_object_never_reaches_the_destination(
    tiers: TwoTiers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int
) -> None:
    root, made = large(tmp_path, monkeypatch)
    target = root / made.files[0].key
    good = target.read_bytes()
    target.write_bytes(good[:offset] + bytes([good[offset] ^ 1]) + good[offset + 1 :])
    how = Restoring(root=tmp_path / "to")
    with pytest.raises(IntegrityError, match="damaged"):
        restore(FolderStore(root), made, how, tiers.clock, tiers.events.append)
    assert not [path for path in (tmp_path / "to").rglob("*") if path.name.endswith(".pt") or path.suffix == ".part"]
    target.write_bytes(good)
    restore(FolderStore(root), made, how, tiers.clock, tiers.events.append)
    assert (tmp_path / "to" / "a.pt").read_bytes() == good


def test_a_missing_object_is_damage_and_not_a_missing_checkpoint(
    tiers: TwoTiers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, made = large(tmp_path, monkeypatch)
    (root / made.files[0].key).unlink()
    with pytest.raises(IntegrityError, match="missing"):
        restore(FolderStore(root), made, Restoring(root=tmp_path / "to"), tiers.clock, tiers.events.append)


def test_an_empty_file_is_restored_too(tiers: TwoTiers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, made = large(tmp_path, monkeypatch, size=0)
    restore(FolderStore(root), made, Restoring(root=tmp_path / "to"), tiers.clock, tiers.events.append)
    assert (tmp_path / "to" / "a.pt").read_bytes() == b""


def test_one_object_that_cannot_be_read_while_its_neighbour_can_is_damaged_and_not_busy(
    filled: TwoTiers, tmp_path: Path
) -> None:
    class Rotten(FolderStore):
        def read(self, key: str, offset: int, length: int) -> Blocks:
            if key.endswith("step_3.pt"):
                raise UnavailableError("SlowDownRead")
            return super().read(key, offset, length)

    store = Rotten(filled.cold)
    with pytest.raises(IntegrityError, match="its neighbour can"):
        filled.restored(step=3, store=store, to=tmp_path / "to")
    [restored] = filled.restored(step=None, store=store, to=tmp_path / "to")
    assert restored.step == 2


def test_latest_goes_by_time_and_passes_over_the_damaged_and_says_why(filled: TwoTiers, tmp_path: Path) -> None:
    filled.write(1, 5)
    filled.sync()
    assert bring(filled, None, tmp_path / "a").step == 1
    data = filled.cold / "run" / "0" / "data"
    [rollback] = [path for path in data.rglob("*.pt") if path.read_bytes() == checkpoint(1, 5)]
    [last] = (data / "000000000003").rglob("*.pt")
    for target in (rollback, last):
        target.write_bytes(bytes(target.stat().st_size))
    assert bring(filled, None, tmp_path / "b").step == 2
    passed = [event for event in filled.happened(PassedOver) if isinstance(event, PassedOver)]
    assert [event.step for event in passed] == [1, 3]
    assert all("damaged" in event.reason for event in passed)


def test_latest_passes_over_a_known_nan_and_what_cannot_be_trusted(filled: TwoTiers, tmp_path: Path) -> None:
    folder = filled.cold / "run" / "0" / "manifests"
    names = sorted(folder.iterdir())
    tree = json.loads(names[3].read_bytes())
    tree["members"][0]["findings"] |= {"nan": 7, "inf": 0}
    names[3].write_text(json.dumps(tree))
    names[2].write_bytes(b"{")
    (filled.hot / "model_gpu0/model_step_2.pt").unlink()
    assert bring(filled, None, tmp_path / "to").step == 1
    reasons = {event.step: event.reason for event in filled.happened(PassedOver) if isinstance(event, PassedOver)}
    assert reasons.keys() == {2, 3}
    assert "7 NaN" in reasons[3]
    assert bring(filled, 3, tmp_path / "to").step == 3, "who asks for it by its step gets it"


def test_when_nothing_is_good_latest_says_so(filled: TwoTiers, tmp_path: Path) -> None:
    for target in (filled.cold / "run" / "0" / "data").rglob("*.pt"):
        target.write_bytes(b"")
    with pytest.raises(IntegrityError, match="no checkpoint of series"):
        bring(filled, None, tmp_path / "to")


def test_latest_survives_a_short_failure_of_the_cold_tier(filled: TwoTiers, tmp_path: Path) -> None:
    class Hiccup(FolderStore):
        failures = 2

        def get(self, key: str, limit: int) -> bytes:
            if "/manifests/" in key and Hiccup.failures:
                Hiccup.failures -= 1
                raise UnavailableError("hiccup")
            return super().get(key, limit)

    (filled.state_dir / "manifests.sqlite").unlink(missing_ok=True)
    [restored] = filled.restored(step=None, store=Hiccup(filled.cold), to=tmp_path / "to")
    assert restored.step == 3


def test_a_step_that_is_not_there_names_the_nearest(filled: TwoTiers) -> None:
    with pytest.raises(NotFoundError) as caught:
        filled.restored(step=77, series=["0"])
    assert "1, 2, 3" in caught.value.why
    with pytest.raises(NotFoundError, match="no generation"):
        filled.restored(step=1, series=["0"], generation="f" * 16)
    with pytest.raises(UsageError, match="there is no series '7': there are 0"):
        filled.restored(step=None, series=["7"])


def test_a_damaged_manifest_of_the_step_is_not_silently_replaced_by_an_older_generation(
    filled: TwoTiers, tmp_path: Path
) -> None:
    filled.write(1, 5)
    filled.sync()
    folder = filled.cold / "run" / "0" / "manifests"
    one, other = sorted(folder.glob("000000000001.*"))
    one.write_bytes(b"{")
    with pytest.raises(IntegrityError):
        bring(filled, 1, tmp_path / "to")
    generation = other.name.split(".")[1]
    filled.restored(step=1, generation=generation, to=tmp_path / "to")


def test_each_series_comes_back_or_only_the_one_asked_for(filled: TwoTiers, tmp_path: Path) -> None:
    filled.write(3, series="1")
    filled.sync()
    everything = filled.restored(step=3, to=tmp_path / "a")
    assert [restored.series for restored in everything] == ["0", "1"]
    only = filled.restored(step=3, series=["1"], to=tmp_path / "b")
    assert [restored.series for restored in only] == ["1"]
    with pytest.raises(UsageError, match="has the series 0, 1"):
        filled.tier().restore(3)


@dying_at(range(12))
def test_a_kill_anywhere_in_a_restore_shows_nothing_half_and_the_next_one_ends_it(
    filled: TwoTiers, tmp_path: Path, count: int
) -> None:
    with killed_at(count):
        bring(filled, 0, tmp_path / "to")
    for path in (tmp_path / "to").rglob("*.pt"):
        assert path.read_bytes() == checkpoint(0)
    bring(filled, 0, tmp_path / "to")
    assert everything_below(tmp_path / "to") == ["model_gpu0", "model_gpu0/model_step_0.pt"]


EIGHT = """
import sys
from pathlib import Path
sys.path.insert(0, ".")
from tests.builders import TwoTiers
tiers = TwoTiers(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
[restored] = tiers.restored(step=0, to=Path(sys.argv[2]))
print(restored.fetched_bytes)
"""


@pytest.mark.slow
def test_of_eight_processes_at_once_one_fetches_and_all_have_the_file(filled: TwoTiers, tmp_path: Path) -> None:
    processes = [started(EIGHT, filled.root, tmp_path / "to") for _ in range(8)]
    go(*processes)
    fetched = [int(process.communicate(timeout=120)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * 8
    assert sorted(fetched) == [0] * 7 + [len(checkpoint(0))]
    assert (tmp_path / "to" / "model_gpu0" / "model_step_0.pt").read_bytes() == checkpoint(0)


def test_set_user_id_bits_do_not_come_back(tiers: TwoTiers, tmp_path: Path) -> None:
    made = manifest(5, (FileDigest("a.pt", 0, 0o6755, 0, hashlib.sha256(b"").hexdigest(), "0" * 16),))
    FolderStore(tiers.cold).put(made.files[0].key, b"")
    restore(FolderStore(tiers.cold), made, Restoring(root=tmp_path / "to"), tiers.clock, tiers.events.append)
    assert stat.S_IMODE((tmp_path / "to" / "a.pt").stat().st_mode) == 0o755
