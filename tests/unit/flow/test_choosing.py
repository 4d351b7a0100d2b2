"""Which checkpoints are meant, of several series at once."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckpt_tier import choosing
from ckpt_tier.core.events import PassedOver, Warned
from ckpt_tier.errors import CancelledError, ConflictError, IntegrityError, NotFoundError, UnavailableError
from ckpt_tier.operations import Operations
from ckpt_tier.store.folder import MARKER, FolderStore
from ckpt_tier.store.protocol import Blocks, Stat
from tests.builders import TwoTiers

SERIES = ("0", "1", "2")


class Asked(FolderStore):
    """Counts the questions, and those that come once bytes are fetched."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.lists: Counter[str] = Counter()
        self.gets: Counter[str] = Counter()
        self.late: list[str] = []
        self._fetched = False

    def list(self, prefix: str, after: str = "") -> Iterator[Stat]:
        self.lists[prefix] += 1
        self._note(prefix)
        return super().list(prefix, after)

    def get(self, key: str, limit: int) -> bytes:
        self.gets[key] += 1
        self._note(key)
        return super().get(key, limit)

    def read(self, key: str, offset: int, length: int) -> Blocks:
        self._fetched = True
        return super().read(key, offset, length)

    def _note(self, key: str) -> None:
        if self._fetched:
            self.late.append(key)


class Pruned(FolderStore):
    """Somebody else prunes step 2 of series 1, whose manifest has just been listed."""

    def get(self, key: str, limit: int) -> bytes:
        if key.startswith("run/1/manifests/000000000002."):
            self.delete(key)
        return super().get(key, limit)


class Stopped(FolderStore):
    """Somebody presses Ctrl-C while series 1 is fetched."""

    def read(self, key: str, offset: int, length: int) -> Blocks:
        if "/1/" in key:
            raise CancelledError("stopped on request")
        return super().read(key, offset, length)


@pytest.fixture
def three(tiers: TwoTiers) -> TwoTiers:
    """Three series of two checkpoints each, committed; the manifests are not cached."""
    for series in SERIES:
        for step in (1, 2):
            tiers.write(step, series=series)
    tiers.sync()
    tiers.events.clear()
    (tiers.state_dir / "manifests.sqlite").unlink(missing_ok=True)
    return tiers


def damage(tiers: TwoTiers, series: str) -> None:
    """Flips a byte of every object of the series."""
    for path in (tiers.cold / "run" / series / "data").rglob("*.pt"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.chmod(0o644)
        path.write_bytes(data)


@pytest.mark.parametrize("step", [None, 1])
def test_all_is_asked_before_the_first_byte_is_fetched(three: TwoTiers, tmp_path: Path, step: int | None) -> None:
    store = Asked(three.cold)
    three.restored(step=step, store=store, to=tmp_path / "to")
    assert not store.late


@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize("held", [choosing.READ_TOGETHER, 4, 1])
def test_the_cold_tier_is_asked_once_about_each_series_however_many_come_back(
    three: TwoTiers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int | None, held: int
) -> None:
    monkeypatch.setattr(choosing, "READ_TOGETHER", held)
    store = Asked(three.cold)
    back = three.restored(step=step, store=store, to=tmp_path / "to")
    assert [(each.series, each.step) for each in back] == [(series, step or 2) for series in SERIES]
    assert set(store.lists.values()) == {1}
    assert {prefix for prefix in store.lists if "manifests" in prefix} == {f"run/{s}/manifests/" for s in SERIES}
    assert set(store.gets.values()) == {1}


def test_of_many_manifests_only_one_series_is_held(three: TwoTiers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "READ_TOGETHER", 4)
    candidates = choosing.Candidates(three.wiring(), three.events.append)
    assert candidates.series(None) == list(SERIES)
    assert next(candidates.of("0")).manifest.step == 2
    assert not candidates._seen
    assert next(candidates.of("1")).manifest.step == 2
    assert sorted(candidates._seen) == ["2"]  # the last two are few enough again


def test_a_series_that_does_not_come_back_keeps_none_of_the_others_back(three: TwoTiers, tmp_path: Path) -> None:
    damage(three, "1")
    for step in (None, 2):
        to = tmp_path / f"to-{step}"
        back = three.operations().restore(three.events.append, step=step, to=to)
        assert [each.series for each in back.restored] == ["0", "2"]
        assert [path.relative_to(to).parts[0] for path in sorted(to.glob("*/*.pt"))] == ["model_gpu0", "model_gpu2"]
        assert list(back.failed) == ["1"]
        error = back.error()
        assert isinstance(error, IntegrityError)
        assert str(error).startswith("1 of 3 series did not come back: series 1: ")


def test_of_several_failures_the_one_that_matters_most_is_raised(three: TwoTiers, tmp_path: Path) -> None:
    damage(three, "2")
    (tmp_path / "to/model_gpu0").mkdir(parents=True)
    (tmp_path / "to/model_gpu0/model_step_2.pt").write_bytes(b"mine")
    back = three.operations().restore(three.events.append, step=2, to=tmp_path / "to")
    assert {series: type(error) for series, error in back.failed.items()} == {"0": ConflictError, "2": IntegrityError}
    assert isinstance(back.error(), IntegrityError)
    assert (tmp_path / "to/model_gpu0/model_step_2.pt").read_bytes() == b"mine"


def test_one_series_alone_fails_in_its_own_words(three: TwoTiers, tmp_path: Path) -> None:
    damage(three, "1")
    with pytest.raises(IntegrityError, match=r"^run/1/data/.* is damaged"):
        three.restored(step=2, series=["1"], to=tmp_path / "to")


def test_a_stop_ends_all_of_it(three: TwoTiers, tmp_path: Path) -> None:
    with pytest.raises(CancelledError):
        Operations(three.wiring(Stopped(three.cold))).restore(three.events.append, step=2, to=tmp_path / "to")
    assert [path.parent.name for path in (tmp_path / "to").glob("*/*.pt")] == ["model_gpu0"]


def test_only_what_has_the_step_is_meant(three: TwoTiers, tmp_path: Path) -> None:
    three.write(3, series="1")
    three.sync()
    assert [each.series for each in three.restored(step=3, to=tmp_path / "to")] == ["1"]
    with pytest.raises(NotFoundError, match=r"step 7 is not in the cold tier.*1, 2, 3"):
        three.restored(step=7, to=tmp_path / "to")


def test_of_each_series_its_own_damage_is_said(three: TwoTiers, tmp_path: Path) -> None:
    for series in ("0", "2"):
        [newest] = (three.cold / "run" / series / "manifests").glob("000000000002.*")
        newest.chmod(0o644)
        newest.write_bytes(b"{")
    back = three.restored(step=None, hot=False, to=tmp_path / "to")
    assert [(each.series, each.step) for each in back] == [("0", 1), ("1", 2), ("2", 1)]
    assert [(e.series, e.step) for e in three.events if isinstance(e, PassedOver)] == [("0", 2), ("2", 2)]


def test_with_the_cold_tier_away_each_series_is_taken_from_the_hot_one_and_that_is_said_once(three: TwoTiers) -> None:
    (three.cold / MARKER).unlink()
    back = three.restored(step=None)
    assert [(each.series, each.step, each.fetched_bytes) for each in back] == [(series, 2, 0) for series in SERIES]
    assert sum("the cold tier is away" in event.text for event in three.events if isinstance(event, Warned)) == 1
    with pytest.raises(UnavailableError):
        three.restored(step=None, hot=False)


def test_what_is_pruned_between_two_looks_is_looked_at_no_more_and_keeps_nobody_back(
    three: TwoTiers, tmp_path: Path
) -> None:
    store = Pruned(three.cold)
    back = three.restored(step=None, hot=False, store=store, to=tmp_path / "newest")
    assert [(each.series, each.step) for each in back] == [("0", 2), ("1", 1), ("2", 2)]


def test_a_step_that_is_pruned_in_one_series_meanwhile_comes_back_in_the_others(
    three: TwoTiers, tmp_path: Path
) -> None:
    back = three.restored(step=2, store=Pruned(three.cold), to=tmp_path / "to")
    assert [each.series for each in back] == ["0", "2"]
