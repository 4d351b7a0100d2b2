"""Verifying again in the background: what comes when, and what becomes of what is found."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.cold.manifests import Entry
from ckpt_tier.core.events import Committed, Evicted, Note, NotEvicted, Warned
from ckpt_tier.errors import CancelledError, ConfigError, IntegrityError, MissingKeyError, UnavailableError
from ckpt_tier.flow import rounds as rounds_module
from ckpt_tier.flow.rounds import AWAY_WAIT, RECHECK, Rounds, next_due
from ckpt_tier.flow.sync import Syncing
from ckpt_tier.journal.journal import peek_verdicts
from ckpt_tier.journal.verdicts import Verdict
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.store.protocol import Blocks, Stat
from tests.builders import TwoTiers

EVERY = 1000.0


def entry(step: int, committed_at: float = 0.0) -> Entry:
    return Entry("0", step, f"{step:016x}", committed_at)


def verdict(of: Entry, verified_at: float, problem: str = "") -> Verdict:
    return Verdict(
        series=of.series, step=of.step, generation=of.generation, verified_at=verified_at, problem=problem, since=1.0
    )


def due(entries: list[Entry], *verdicts: Verdict, sent_again: dict[int, float] | None = None) -> tuple[int, float]:
    again = {("0", step, f"{step:016x}"): at for step, at in (sent_again or {}).items()}
    found = next_due(entries, {each.key: each for each in verdicts}, again, EVERY)
    assert found is not None
    return found[0].step, found[1]


# What to verify when


def test_nothing_is_due_where_nothing_is() -> None:
    assert next_due([], {}, {}, EVERY) is None


def test_the_oldest_verification_comes_first_and_a_commit_counts_as_one() -> None:
    entries = [entry(1, 500.0), entry(2, 300.0), entry(3, 100.0)]
    assert due(entries) == (3, 100.0 + EVERY)
    assert due(entries, verdict(entries[2], 400.0)) == (2, 300.0 + EVERY)
    assert due(entries, verdict(entries[2], 400.0), verdict(entries[1], 600.0)) == (3, 400.0 + EVERY)


def test_what_is_overdue_comes_at_twice_the_pace_of_a_round_and_not_in_a_heap() -> None:
    entries = [entry(step) for step in range(10)]
    late = 10 * EVERY
    assert due(entries)[1] <= late
    assert due(entries, verdict(entries[0], late)) == (1, late + EVERY / 20)


def test_what_was_found_damaged_comes_again_within_the_hour_and_at_once_when_it_was_sent_again() -> None:
    entries = [entry(1, 9000.0), entry(2, 9000.0)]
    bad = verdict(entries[1], 9000.0, "damaged")
    assert due(entries, verdict(entries[0], 9000.0 + RECHECK), bad) == (2, 9000.0 + RECHECK)
    assert due(entries, bad, sent_again={2: 8999.0})[1] != 9000.0
    assert due(entries, bad, sent_again={2: 9001.0}) == (2, 9000.0)


@given(st.integers(1, 20), st.floats(0, 5 * EVERY), st.floats(0.0, 1.0))
def test_each_is_verified_every_period_at_most_half_a_period_late_and_a_heap_is_spread(
    count: int, away_for: float, tick: float
) -> None:
    """The worker looks every so often; `away_for` seconds ago everything was committed, in one heap."""
    entries = [entry(step, -away_for) for step in range(count)]
    verdicts: dict[tuple[str, int, str], Verdict] = {}
    asked: list[tuple[float, int]] = []
    now, tick = 0.0, 1.0 + tick
    while now < 3 * EVERY:
        found = next_due(entries, verdicts, {}, EVERY)
        assert found is not None
        now = max(now, found[1]) + tick
        verdicts[found[0].series, found[0].step, found[0].generation] = verdict(found[0], now)
        asked.append((now, found[0].step))
    for begin in (0.0, EVERY, 2 * EVERY):
        in_time = [step for at, step in asked if begin <= at <= begin + EVERY]
        assert len(in_time) <= 2 * count + 1
    slack = tick * (count + 2)
    for step in range(count):
        times = [at for at, which in asked if which == step]
        assert times[0] <= 1.5 * EVERY + slack
        assert all(b - a <= EVERY + slack for a, b in itertools.pairwise(times))


# Doing it


class Asked(FolderStore):
    """A folder that notes what it is asked, and answers some of it as told."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[str] = []
        self.away = False
        self.unreadable = ""

    def _note(self, what: str) -> None:
        self.asked.append(what)
        if self.away:
            raise UnavailableError("the line is down", fix="wait")

    def list(self, prefix: str, after: str = "") -> Iterator[Stat]:
        self._note(f"list {prefix}")
        return super().list(prefix, after)

    def folders(self, prefix: str) -> Sequence[str]:
        self._note(f"folders {prefix}")
        return super().folders(prefix)

    def stat(self, key: str) -> Stat:
        self._note(f"stat {key}")
        return super().stat(key)

    def get(self, key: str, limit: int) -> bytes:
        self._note(f"get {key}")
        return super().get(key, limit)

    def read(self, key: str, offset: int, length: int) -> Blocks:
        self._note(f"read {key}")
        if self.unreadable and self.unreadable in key:
            raise UnavailableError("SlowDownRead")
        return super().read(key, offset, length)


class Watching:
    """A worker with nothing else to do than its rounds."""

    def __init__(self, tiers: TwoTiers, syncing: Syncing) -> None:
        self.tiers = tiers
        self.syncing = syncing
        self.rounds = Rounds(syncing.parts, syncing.send_again)

    def pass_by(self, seconds: float, tick: float = 0.5) -> None:
        """Lets the time pass; the worker looks at its queue first, as it does, every `tick` seconds."""
        until = self.tiers.clock.time + seconds
        while self.tiers.clock.time < until:
            if not self.syncing.advance():
                self.rounds.step()
            self.tiers.clock.time += tick

    def problems(self) -> dict[int, str]:
        return {each.step: each.problem for each in self.syncing.parts.journal.damaged()}


@pytest.fixture
def store(tiers: TwoTiers) -> Asked:
    return Asked(tiers.cold)


@pytest.fixture
def watching(tiers: TwoTiers, store: Asked) -> Iterator[Watching]:
    """Five committed steps, of which the last two are hot; a round takes 60 seconds."""
    tiers.set(watch={"verify_every": 60.0})
    for step in range(5):
        tiers.write(step)
    with tiers.syncing(store) as syncing:
        syncing.run_until_idle()
        store.asked.clear()
        tiers.events.clear()
        yield Watching(tiers, syncing)


def object_of(tiers: TwoTiers, step: int) -> Path:
    return next((tiers.cold / "run" / "0" / "data" / f"{step:012}").rglob("*.pt"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)


def warnings(tiers: TwoTiers) -> list[str]:
    return [str(event.text) for event in tiers.happened(Warned) if isinstance(event, Warned)]


def test_a_round_looks_at_every_object_once_or_twice_and_asks_for_one_thing_at_a_time(
    watching: Watching, store: Asked
) -> None:
    steps = []
    for _ in range(120):
        before = len(store.asked)
        watching.rounds.step()
        steps.append(len(store.asked) - before)
        watching.tiers.clock.time += 0.5
    assert max(steps) == 1
    stats = [what for what in store.asked if what.startswith("stat")]
    assert len(set(stats)) == 5
    assert 5 <= len(stats) <= 12
    assert not [what for what in store.asked if what.startswith("read")]
    verdicts = peek_verdicts(watching.tiers.state_dir)
    assert [each.step for each in verdicts] == [0, 1, 2, 3, 4]
    assert not any(each.problem for each in verdicts)
    assert watching.tiers.events == []


def test_a_missing_object_is_sent_again_from_the_hot_copy_and_the_report_ends(
    watching: Watching, tiers: TwoTiers
) -> None:
    lost = object_of(tiers, 4)
    data = lost.read_bytes()
    lost.unlink()
    watching.pass_by(90)
    assert lost.read_bytes() == data
    [warned] = warnings(tiers)
    assert "is missing" in warned
    assert "sent again" in warned
    assert [event.step for event in tiers.happened(Committed) if isinstance(event, Committed)] == [4]
    assert watching.problems() == {}
    [note] = tiers.happened(Note)
    assert "step 4 of series 0 is whole again" in str(note)


def test_a_missing_object_without_a_hot_copy_is_reported_until_somebody_brings_it_back(
    watching: Watching, tiers: TwoTiers
) -> None:
    lost = object_of(tiers, 1)
    data = lost.read_bytes()
    lost.unlink()
    watching.pass_by(90)
    watching.pass_by(2 * RECHECK, tick=20)
    [warned] = warnings(tiers)
    assert "step 1 of series 0" in warned
    attention = watching.syncing.attention()
    assert isinstance(attention, IntegrityError)
    assert "1 damaged" in str(attention)
    now = tiers.operations().status()
    [trouble] = now.attention
    assert (trouble.state, trouble.step, trouble.path) == ("damaged", 1, "model_gpu0/model_step_1.pt")
    assert "is missing" in trouble.reason
    assert trouble.since is not None
    assert now.cold.last_verified_at is not None
    assert trouble.since < now.cold.last_verified_at
    lost.parent.mkdir(parents=True, exist_ok=True)
    lost.write_bytes(data)
    watching.pass_by(RECHECK + 90, tick=20)
    assert watching.syncing.attention() is None
    assert tiers.operations().status().attention == ()


def test_a_flipped_bit_is_found_by_content_only_and_keeps_the_hot_copy_from_being_evicted(
    watching: Watching, tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(object_of(tiers, 3))
    watching.pass_by(90)
    assert watching.problems() == {}
    monkeypatch.setattr(rounds_module, "_STRETCH", 512)
    tiers.set(watch={"verify": "content"})
    watching.rounds._reads = True
    watching.pass_by(150)
    assert list(watching.problems()) == [3]
    [warned] = warnings(tiers)
    assert "another checksum" in warned
    assert tiers.states()[3] == "committed"  # no key is overwritten, so sending it again would be in vain
    for step in (5, 6, 7):
        tiers.write(step)
    watching.pass_by(10)
    assert tiers.hot_steps() == [3, 6, 7]
    assert not tiers.happened(NotEvicted)
    # As the advice says: delete the damaged object, and it is sent again; then the copy may go.
    object_of(tiers, 3).unlink()
    watching.pass_by(RECHECK + 90, tick=20)
    watching.pass_by(5)
    assert watching.problems() == {}
    assert tiers.hot_steps() == [6, 7]
    flipped = tiers.path(3)
    assert not flipped.exists()


def test_the_hooks_link_to_what_is_damaged_stays_as_long(tiers: TwoTiers, store: Asked) -> None:
    tiers.set(watch={"verify_every": 60.0})
    tier = tiers.tier()
    tiers.write(1)
    tiers.sync(store)
    [row] = tiers.saves()
    with tiers.syncing(store) as syncing:
        bad = Verdict(series="0", step=1, generation=row.generation or "", verified_at=tiers.clock.time, problem="rot")
        syncing.parts.journal.judge(bad)
        # The trainer saves the same bytes once more, hands them over, and deletes its own copy.
        path = tiers.write(1)
        tier.saved(path, 1)
        path.unlink()
        syncing.list_cold()
        while syncing.advance():
            pass
        assert len(tiers.unsent()) == 1
        assert tier.drain(0).pending == (("0", 1),)
        syncing.parts.journal.judge(
            Verdict(series="0", step=1, generation=row.generation or "", verified_at=tiers.clock.time)
        )
        while syncing.advance():
            pass
        assert tiers.unsent() == []


def test_one_object_that_cannot_be_read_while_its_neighbour_can_is_damaged_not_away(
    watching: Watching, tiers: TwoTiers, store: Asked
) -> None:
    watching.rounds._reads = True
    store.unreadable = "model_step_2.pt"
    watching.pass_by(300)
    assert list(watching.problems()) == [2]
    assert "can't be read while its neighbour can" in watching.problems()[2]


def test_a_cold_tier_that_goes_away_is_nobodys_damage_and_is_said_once(
    watching: Watching, tiers: TwoTiers, store: Asked
) -> None:
    watching.rounds._reads = True
    watching.pass_by(20)
    store.away = True
    watching.pass_by(10 * AWAY_WAIT)
    asked = len(store.asked)
    watching.pass_by(10 * AWAY_WAIT)
    assert len(store.asked) - asked <= 2 * 10 + 2
    assert len(warnings(tiers)) == 1
    assert "the line is down" in warnings(tiers)[0]
    store.away = False
    watching.pass_by(150)
    assert watching.problems() == {}
    assert {each.step for each in peek_verdicts(tiers.state_dir)} == {0, 1, 2, 3, 4}


def test_an_object_that_vanishes_between_the_look_and_the_reading_is_missing(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanished(*_: object) -> None:
        raise MissingKeyError("gone")

    monkeypatch.setattr(Asked, "read", vanished)
    watching.rounds._reads = True
    watching.pass_by(10)
    assert all("is missing" in problem for problem in watching.problems().values())
    assert watching.problems()


def test_a_manifest_that_cannot_be_trusted_is_reported(watching: Watching, tiers: TwoTiers) -> None:
    next((tiers.cold / "run" / "0" / "manifests").glob("000000000001.*")).write_bytes(b"{}")
    watching.pass_by(90)
    assert list(watching.problems()) == [1]


def test_what_is_pruned_while_it_is_looked_at_is_no_damage_and_is_forgotten(
    watching: Watching, tiers: TwoTiers, store: Asked
) -> None:
    watching.pass_by(50)
    assert len(peek_verdicts(tiers.state_dir)) >= 4
    before = len(store.asked)
    manifest = next((tiers.cold / "run" / "0" / "manifests").glob("000000000001.*"))
    while len(store.asked) == before or "manifests/000000000001" not in store.asked[-1]:
        watching.pass_by(0.5)  # its manifest was just read: now it goes, and its data with it
    object_of(tiers, 1).unlink()
    manifest.unlink()
    watching.pass_by(120)
    assert watching.problems() == {}
    assert warnings(tiers) == []
    assert [each.step for each in peek_verdicts(tiers.state_dir)] == [0, 2, 3, 4]


def test_a_lost_journal_only_begins_the_round_again(tiers: TwoTiers, store: Asked) -> None:
    tiers.set(watch={"verify_every": 60.0})
    tiers.write(1)
    tiers.sync(store)
    object_of(tiers, 1).unlink()
    for _ in range(2):
        with tiers.syncing(store) as syncing:
            syncing.parts.journal.saves()
            syncing.list_cold()
            rounds = Rounds(syncing.parts, lambda *_: None)
            for _ in range(60):
                rounds.step()
                tiers.clock.time += 0.5
            assert [each.step for each in syncing.parts.journal.damaged()] == [1]
        tiers.lose_journal()
        assert peek_verdicts(tiers.state_dir) == []


def test_off_asks_for_nothing(watching: Watching, tiers: TwoTiers, store: Asked) -> None:
    tiers.set(watch={"verify": "off"})
    off = Rounds(dataclasses.replace(watching.syncing.parts, config=tiers.config), watching.syncing.send_again)
    for _ in range(10):
        off.step()
        tiers.clock.time += 100.0
    assert store.asked == []


def test_an_error_that_waiting_does_not_mend_is_said_and_put_off_for_an_hour(
    watching: Watching, tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> list[str]:
        raise ConfigError("there is no bucket", fix="make it")

    with monkeypatch.context() as patch:
        patch.setattr(Asked, "folders", refused)
        for _ in range(50):
            watching.rounds.step()
            tiers.clock.time += RECHECK / 60
    assert len(warnings(tiers)) == 1
    assert "there is no bucket" in warnings(tiers)[0]
    tiers.clock.time += RECHECK
    watching.pass_by(60)
    assert len(peek_verdicts(tiers.state_dir)) == 5


def test_a_stop_request_goes_through(watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> list[str]:
        raise CancelledError("stopped")

    monkeypatch.setattr(Asked, "folders", stopped)
    with pytest.raises(CancelledError):
        watching.rounds.step()


def test_a_pass_that_somebody_starts_looks_again_at_what_was_damaged(
    watching: Watching, tiers: TwoTiers, store: Asked
) -> None:
    lost = {step: object_of(tiers, step) for step in (0, 1)}
    data = {step: path.read_bytes() for step, path in lost.items()}
    for path in lost.values():
        path.unlink()
    watching.pass_by(90)
    assert list(watching.problems()) == [0, 1]
    lost[0].parent.mkdir(parents=True, exist_ok=True)
    lost[0].write_bytes(data[0])
    store.away = True
    watching.rounds.recheck()
    assert list(watching.problems()) == [0, 1]
    store.away = False
    watching.rounds.recheck()
    assert list(watching.problems()) == [1]


def test_a_new_save_does_not_wait_for_a_round(watching: Watching, tiers: TwoTiers, store: Asked) -> None:
    """Between two requests of a round, a save that has come meanwhile is committed first."""
    watching.rounds._reads = True
    watching.pass_by(3)
    before = len(store.asked)
    tiers.write(9)
    assert watching.syncing.advance()
    while watching.syncing.advance():
        pass
    assert tiers.cold_steps()[-1] == 9
    assert not [what for what in store.asked[before:] if what.startswith("read")]
    assert tiers.happened(Evicted)


def test_reading_a_large_object_gives_way_every_quarter_of_a_second_and_ends_right(
    watching: Watching, tiers: TwoTiers, store: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds_module, "_STRETCH", 256)
    read = FolderStore.read

    def slowly(self: FolderStore, key: str, offset: int, length: int) -> Blocks:
        tiers.clock.time += 0.1
        return read(self, key, offset, length)

    monkeypatch.setattr(FolderStore, "read", slowly)
    watching.rounds._reads = True
    in_one_step = []
    for _ in range(200):
        before = len(store.asked)
        watching.rounds.step()
        in_one_step.append(len(store.asked) - before)
        tiers.clock.time += 0.5
    assert max(in_one_step) == 3
    assert {each.step for each in peek_verdicts(tiers.state_dir)} == {0, 1, 2, 3, 4}
    assert watching.problems() == {}


def test_what_is_pruned_before_its_manifest_is_read_is_no_damage(watching: Watching, tiers: TwoTiers) -> None:
    while not any(what.startswith("stat") for what in watching.rounds._parts.cold.store.asked):  # type: ignore[attr-defined]
        watching.pass_by(0.5)
    for manifest in (tiers.cold / "run" / "0" / "manifests").glob("*"):
        manifest.unlink()
    watching.pass_by(30)
    assert watching.problems() == {}
    assert warnings(tiers) == []


def test_a_hot_file_that_is_no_longer_what_was_committed_mends_nothing(
    watching: Watching, tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was overwritten a moment ago: the queue has not yet looked."""
    object_of(tiers, 4).unlink()
    tiers.path(4).write_bytes(b"something else")
    for _ in range(180):
        watching.rounds.step()
        tiers.clock.time += 0.5
    assert list(watching.problems()) == [4]
    assert "sent again" not in warnings(tiers)[0]


def test_a_block_that_arrives_at_the_second_try_is_no_damage(watching: Watching, tiers: TwoTiers, store: Asked) -> None:
    watching.rounds._reads = True
    store.unreadable = "model_step_2.pt"
    while not any("read" in what and "model_step_2" in what for what in store.asked):
        watching.pass_by(0.5)
    store.unreadable = ""
    watching.pass_by(200)
    assert watching.problems() == {}
    assert warnings(tiers) == []
