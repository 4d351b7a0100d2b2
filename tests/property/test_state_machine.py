"""The promises, checked after every step of a training that saves, deletes, rolls back and loses its machine.

The real code runs over real folders; only the clock is the test's. The model is a list of what was ever saved.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from ckpt_tier.cold.documents import decode
from ckpt_tier.cold.manifest import Manifest as ColdManifest
from ckpt_tier.cold.manifest import check
from ckpt_tier.config.model import FreeSpace
from ckpt_tier.core.events import Lost
from ckpt_tier.core.retention import newest
from ckpt_tier.core.states import State
from ckpt_tier.errors import UnavailableError
from ckpt_tier.store.folder_paths import MARKER
from tests.builders import TwoTiers, checkpoint, flip_a_bit
from tests.examples import examples
from tests.kills import killed_at, one_thread

STEPS = st.integers(1, 6)
SEEDS = st.integers(0, 2)
KEEP = 2
MEMORY = Path("/dev/shm")  # noqa: S108 (an fsync costs nothing there)


class Saved:
    """One save in the model: `expendable` once the trainer itself has destroyed its bytes (or let go of them while
    the disk was full), `known` once the tool had the chance to know of it."""

    def __init__(self, step: int, data: bytes, at: float, *, valid: bool, linked: bool) -> None:
        self.step = step
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.at = at
        self.valid = valid
        self.linked = linked
        self.deleted = False
        self.expendable = False

    def __repr__(self) -> str:
        return f"<{self.step} {self.sha256[:6]} linked={self.linked} deleted={self.deleted} gone={self.expendable}>"


class Life(RuleBasedStateMachine):
    """A training and its two tiers."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="ckpt-tier-life-", dir=MEMORY if MEMORY.is_dir() else None))
        self.tiers = TwoTiers(self.root, keep_last=KEEP)
        self.history: list[Saved] = []
        self.current: dict[int, Saved] = {}
        self.digests: dict[str, str] = {}
        self.flipped = False
        self.restores = 0

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    # What the training does.

    @rule(step=STEPS, seed=SEEDS)
    def save_with_the_hook(self, step: int, seed: int) -> None:
        self._save(step, checkpoint(step, seed), valid=True, hook=True)

    @rule(step=STEPS, seed=SEEDS)
    def save_without_the_hook(self, step: int, seed: int) -> None:
        self._save(step, checkpoint(step, seed), valid=True, hook=False)

    @rule(step=STEPS, hook=st.booleans(), cut=st.integers(0, 1500))
    def save_a_truncated_file(self, step: int, hook: bool, cut: int) -> None:
        self._save(step, checkpoint(step)[:cut], valid=False, hook=hook)

    @rule(step=STEPS, seed=SEEDS, hook=st.booleans())
    def overwrite_in_place(self, step: int, seed: int, hook: bool) -> None:
        path = self.tiers.path(step)
        if path.exists():
            self.current[step].expendable = True
        data = checkpoint(step, seed)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        self._saved(path, step, data, valid=True, hook=hook)

    @precondition(lambda self: self.current)
    @rule(data=st.data())
    def the_trainer_deletes_a_file(self, data: st.DataObject) -> None:
        step = data.draw(st.sampled_from(sorted(self.current)))
        self._leave(step)
        self.tiers.path(step).unlink(missing_ok=True)
        self.current.pop(step)

    @precondition(lambda self: self.current)
    @rule(data=st.data())
    def a_disk_flips_a_bit(self, data: st.DataObject) -> None:
        step = data.draw(st.sampled_from(sorted(self.current)))
        path = self.tiers.path(step)
        if path.exists() and self.current[step].valid:
            self.current[step].expendable = True
            flip_a_bit(path)
            self.flipped = True

    # What the tool does.

    @rule()
    def sync(self) -> None:
        before = dict(self.current)
        hot = {step: saved for step, saved in before.items() if self.tiers.path(step).exists()}
        self._crowded_may_lose()
        with one_thread():
            self.tiers.sync()
        self._a_quiet_sync_leaves_nothing_undone(hot)

    @rule(count=st.integers(0, 60))
    def a_sync_is_killed(self, count: int) -> None:
        self._crowded_may_lose()
        with one_thread(), killed_at(count):
            self.tiers.sync()

    @rule()
    def the_cold_tier_is_away_for_a_sync(self) -> None:
        marker = self.tiers.cold / MARKER
        away = marker.with_name("away")
        marker.rename(away)
        try:
            with one_thread():
                self.tiers.sync()
        except UnavailableError:
            pass
        finally:
            away.rename(marker)

    @rule()
    def the_journal_is_lost(self) -> None:
        self.tiers.lose_journal()

    @rule(full=st.booleans())
    def the_disk_fills_up_or_empties(self, full: bool) -> None:
        self.tiers.set(hot={"min_free": FreeSpace(percent=100.0) if full else FreeSpace(size=0)})

    @rule(seconds=st.sampled_from([1.0, 100.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        self.tiers.clock.time += seconds

    @rule(pick=st.integers(0, 30), count=st.none() | st.integers(0, 12))
    def restore(self, pick: int, count: int | None) -> None:
        # By number: what is committed after a kill depends on the threads, and must not steer what is drawn.
        manifests = self._manifests()
        if not manifests:
            return
        manifest = manifests[pick % len(manifests)]
        to = self.root / f"restored-{self.restores}"
        self.restores += 1
        call = lambda: self.tiers.restored(  # noqa: E731
            step=manifest.step, series=["0"], generation=manifest.generation, to=to
        )
        if count is not None:
            with killed_at(count):
                call()
            for path in to.rglob("*.pt"):
                assert hashlib.sha256(path.read_bytes()).hexdigest() == manifest.files[0].sha256
        [restored] = call()
        [path] = restored.files
        assert hashlib.sha256(path.read_bytes()).hexdigest() in {
            saved.sha256 for saved in self.history if saved.step == manifest.step and saved.valid
        }
        assert [p for p in to.rglob("*") if p.is_file()] == [path]

    # What must hold after every step.

    @invariant()
    def what_was_saved_is_on_disk_or_committed(self) -> None:
        committed = {(m.step, m.files[0].sha256) for m in self._manifests()}
        on_disk = {hashlib.sha256(p.read_bytes()).hexdigest() for p in self.tiers.hot.rglob("*") if p.is_file()}
        for saved in self.history:
            if saved.valid and not saved.expendable:
                assert (saved.step, saved.sha256) in committed or saved.sha256 in on_disk, saved

    @invariant()
    def lost_is_said_only_of_what_the_trainer_destroyed(self) -> None:
        for event in self.tiers.happened(Lost):
            assert isinstance(event, Lost)
            assert any(s.step == event.step and (s.expendable or not s.valid) for s in self.history), event

    @invariant()
    def manifests_name_only_what_is_there_and_right(self) -> None:
        good = {saved.sha256 for saved in self.history if saved.valid}
        for manifest in self._manifests():
            for file in manifest.files:
                data = (self.tiers.cold / file.key).read_bytes()
                assert len(data) == file.size
                assert hashlib.sha256(data).hexdigest() == file.sha256
                assert file.sha256 in good, "a rejected file was committed"

    @invariant()
    def no_object_ever_changes(self) -> None:
        for key, data in self.tiers.objects().items():
            seen = hashlib.sha256(data).hexdigest()
            assert self.digests.setdefault(key, seen) == seen
        assert not [key for key in self.digests if not (self.tiers.cold / key).exists()]

    # The model's bookkeeping.

    def _save(self, step: int, data: bytes, *, valid: bool, hook: bool) -> None:
        if step in self.current:
            self._leave(step)
        path = self.tiers.path(step)
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_bytes(data)
        temporary.replace(path)
        self._saved(path, step, data, valid=valid, hook=hook)

    def _saved(self, path: Path, step: int, data: bytes, *, valid: bool, hook: bool) -> None:
        self.tiers.touch(path)
        saved = Saved(step, data, self.tiers.clock.time, valid=valid, linked=hook)
        if hook:
            self.tiers.tier().saved(path, step, series="0")
        self.history.append(saved)
        self.current[step] = saved

    def _leave(self, step: int) -> None:
        """The trainer takes a file's name away: only the hook's link can keep its bytes."""
        saved = self.current[step]
        saved.deleted = True
        if not saved.linked:
            saved.expendable = True

    def _crowded_may_lose(self) -> None:
        if self.tiers.config.hot.min_free.percent:
            for saved in self.history:
                saved.expendable |= saved.deleted

    def _manifests(self) -> list[ColdManifest]:
        found = []
        for path in sorted((self.tiers.cold / "run" / "0" / "manifests").glob("*.json")):
            key = path.relative_to(self.tiers.cold).as_posix()
            found.append(check(decode(path.read_bytes(), ColdManifest, key), key))
        return found

    def _a_quiet_sync_leaves_nothing_undone(self, hot: dict[int, Saved]) -> None:
        committed = {(m.step, m.files[0].sha256) for m in self._manifests()}
        for saved in self.history:
            if saved.valid and not saved.expendable:
                assert (saved.step, saved.sha256) in committed, saved
        done = {link for save in self.tiers.saves() if save.state is State.COMMITTED for link in save.links}
        for link in self.tiers.unsent():
            # What was rejected, and what was written in place under a name that is gone again, is kept all the same.
            assert link.stat().st_nlink == 1
            assert link.name not in done
        assert not list(self.tiers.hot.rglob(".*.evicting"))
        if self.flipped or self.tiers.config.hot.min_free.percent:
            return
        valid = [Hot(step, saved.at) for step, saved in hot.items() if saved.valid]
        rejected = {step for step, saved in hot.items() if not saved.valid}
        kept = {copy.step for copy in newest(valid, KEEP)}
        assert set(self.tiers.hot_steps()) == kept | rejected


class Hot:
    def __init__(self, step: int, saved_at: float) -> None:
        self.step = step
        self.saved_at = saved_at


_CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


def test_the_promises_hold_whatever_happens() -> None:
    run_state_machine_as_test(
        Life,
        settings=examples(20, stateful_step_count=25, suppress_health_check=_CHECKS),
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_promises_hold_over_many_long_lives() -> None:
    run_state_machine_as_test(
        Life,
        settings=examples(100, stateful_step_count=50, suppress_health_check=_CHECKS),
    )
