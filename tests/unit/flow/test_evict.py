"""The only place that deletes a checkpoint's bytes, called directly at each of its steps."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from ckpt_tier.core.events import Evicted, NotEvicted, Warned
from ckpt_tier.core.states import State
from ckpt_tier.errors import IntegrityError, UnavailableError
from ckpt_tier.flow import evict as evict_module
from ckpt_tier.flow.evict import evict, let_go, release
from ckpt_tier.flow.interrupted import recover_evictions
from ckpt_tier.flow.parts import Parts
from ckpt_tier.hot.holds import hold
from ckpt_tier.journal.saves import Save
from ckpt_tier.system.durable import rename_no_replace
from tests.builders import TwoTiers, checkpoint


@pytest.fixture
def parts(tiers: TwoTiers) -> Iterator[Parts]:
    """The working parts, with step 1 committed, and still hot."""
    tiers.write(1)
    tiers.sync()
    tiers.events.clear()
    with tiers.parts() as parts:
        yield parts


@pytest.fixture
def save(parts: Parts) -> Save:
    [row] = parts.journal.saves()
    return row


def evicting(tiers: TwoTiers) -> list[str]:
    return [path.name.rsplit(".", 2)[0] for path in tiers.hot.rglob("*.evicting")]


def object_of(tiers: TwoTiers) -> Path:
    [found] = (tiers.cold / "run" / "0" / "data").rglob("*.pt")
    return found


def test_a_committed_copy_is_deleted_and_nothing_is_left_behind(tiers: TwoTiers, parts: Parts, save: Save) -> None:
    assert evict(parts, save, "enough")
    assert tiers.hot_steps() == []
    assert evicting(tiers) == []
    [event] = tiers.happened(Evicted)
    assert isinstance(event, Evicted)
    assert (event.reason, event.size_bytes) == ("enough", len(checkpoint(1)))


@pytest.mark.parametrize("state", [state for state in State if state is not State.COMMITTED])
def test_what_is_not_committed_is_never_deleted(tiers: TwoTiers, parts: Parts, save: Save, state: State) -> None:
    with pytest.raises(IntegrityError, match="not committed"):
        evict(parts, msgspec.structs.replace(save, state=state), "")
    assert tiers.hot_steps() == [1]


def remove(path: Path) -> None:
    path.unlink()


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [remove, shorten])
def test_an_object_that_is_missing_or_short_refuses_the_eviction(
    tiers: TwoTiers, parts: Parts, save: Save, damage: Callable[[Path], None]
) -> None:
    damage(object_of(tiers))
    with pytest.raises(IntegrityError):
        evict(parts, save, "")
    assert tiers.hot_steps() == [1]


@pytest.mark.parametrize("damage", [remove, shorten])
def test_a_manifest_that_is_missing_or_broken_refuses_the_eviction(
    tiers: TwoTiers, parts: Parts, save: Save, damage: Callable[[Path], None]
) -> None:
    [manifest] = (tiers.cold / "run" / "0" / "manifests").iterdir()
    damage(manifest)
    manifest_is_broken = manifest.exists() and manifest.read_bytes()[-1:] == b"}"
    if manifest_is_broken:  # only its last newline went
        shorten(manifest)
    with pytest.raises(IntegrityError):
        evict(parts, save, "")
    assert tiers.hot_steps() == [1]


def test_a_manifest_over_other_bytes_refuses_the_eviction(tiers: TwoTiers, parts: Parts, save: Save) -> None:
    [file] = save.files
    assert file.digest is not None
    forged = msgspec.structs.replace(file.digest, sha256="ab" * 32)
    other = msgspec.structs.replace(save, files=(msgspec.structs.replace(file, digest=forged),))
    with pytest.raises(IntegrityError, match="covers other bytes"):
        evict(parts, other, "")
    assert tiers.hot_steps() == [1]


def test_a_cold_tier_that_is_away_refuses_the_eviction(tiers: TwoTiers, parts: Parts, save: Save) -> None:
    (tiers.cold / ".ckpt-tier-store").unlink()
    with pytest.raises(UnavailableError):
        evict(parts, save, "")
    assert tiers.hot_steps() == [1]


@pytest.mark.parametrize("mode", ["rb", "r+b"])
def test_an_open_file_calls_the_eviction_off(tiers: TwoTiers, parts: Parts, save: Save, mode: str) -> None:
    with tiers.path(1).open(mode):
        assert not evict(parts, save, "")
    assert tiers.hot_steps() == [1]
    assert evicting(tiers) == []
    assert tiers.happened(NotEvicted)


def test_a_file_that_is_gone_already_is_no_eviction(tiers: TwoTiers, parts: Parts, save: Save) -> None:
    tiers.path(1).unlink()
    assert not evict(parts, save, "")
    assert not tiers.happened(Evicted)


def before_the_rename(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None], after: Callable[[], None]) -> None:
    """Something happens just before the file is hidden, or just after."""
    once = iter([True])

    def renamed(source: Path, target: Path) -> None:
        first = next(once, False)
        if first:
            act()
        rename_no_replace(source, target)
        if first:
            after()

    monkeypatch.setattr(evict_module, "rename_no_replace", renamed)


def nothing() -> None:
    return


def test_a_file_replaced_at_the_last_moment_is_put_back(
    tiers: TwoTiers, parts: Parts, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace() -> None:
        (tiers.hot / "new").write_bytes(b"new")
        (tiers.hot / "new").replace(tiers.path(1))

    before_the_rename(monkeypatch, replace, nothing)
    assert not evict(parts, save, "")
    assert tiers.path(1).read_bytes() == b"new"
    assert evicting(tiers) == []


def test_a_file_deleted_at_the_last_moment_leaves_nothing(
    tiers: TwoTiers, parts: Parts, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_the_rename(monkeypatch, lambda: tiers.path(1).unlink(), nothing)
    assert not evict(parts, save, "")
    assert evicting(tiers) == []


def test_a_file_opened_for_writing_at_the_last_moment_is_put_back(
    tiers: TwoTiers, parts: Parts, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    before_the_rename(monkeypatch, lambda: opened.append(tiers.path(1).open("ab")), nothing)
    assert not evict(parts, save, "")
    opened[0].close()
    assert tiers.hot_steps() == [1]


def test_what_a_writer_changed_before_it_closed_the_file_is_seen(
    tiers: TwoTiers, parts: Parts, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = evict_module.is_open_for_writing

    def writer_ends(path: Path) -> bool:
        with path.open("ab") as file:
            file.write(b"more")
        return real(path)

    monkeypatch.setattr(evict_module, "is_open_for_writing", writer_ends)
    assert not evict(parts, save, "")
    assert tiers.path(1).read_bytes().endswith(b"more")


def test_a_restore_that_puts_a_hold_at_the_last_moment_keeps_the_file(
    tiers: TwoTiers, parts: Parts, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_the_rename(monkeypatch, lambda: hold(tiers.hot, "0", 1, tiers.clock.now() + 100), nothing)
    assert not evict(parts, save, "")
    assert tiers.hot_steps() == [1]


def test_a_changed_file_whose_name_is_taken_again_stays_hidden_and_is_said_again_at_each_start(
    tiers: TwoTiers, parts: Parts, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change() -> None:
        with tiers.path(1).open("ab") as file:
            file.write(b"more")

    before_the_rename(monkeypatch, change, lambda: (tiers.path(1).write_bytes(b"newer"), None)[1])
    assert not evict(parts, save, "")
    assert tiers.path(1).read_bytes() == b"newer"
    assert evicting(tiers) == ["." + tiers.path(1).name]
    for _ in range(2):
        recover_evictions(parts, tiers.wiring().layout)
    assert evicting(tiers) == ["." + tiers.path(1).name]
    assert len(tiers.happened(Warned)) == 3


def interrupted(tiers: TwoTiers) -> None:
    """What a kill after the rename leaves behind."""
    path = tiers.path(1)
    path.rename(path.with_name(f".{path.name}.{'0' * 16}.evicting"))


def test_an_interrupted_eviction_is_undone_at_the_next_start(tiers: TwoTiers, parts: Parts, save: Save) -> None:
    interrupted(tiers)
    recover_evictions(parts, tiers.wiring().layout)
    assert tiers.path(1).read_bytes() == checkpoint(1)
    assert evicting(tiers) == []


def test_an_interrupted_eviction_whose_name_is_taken_is_finished_with_a_new_proof(
    tiers: TwoTiers, parts: Parts, save: Save
) -> None:
    interrupted(tiers)
    tiers.path(1).write_bytes(b"newer")
    recover_evictions(parts, tiers.wiring().layout)
    assert tiers.path(1).read_bytes() == b"newer"
    assert evicting(tiers) == []


def test_without_the_proof_the_hidden_file_stays_and_a_person_is_told(
    tiers: TwoTiers, parts: Parts, save: Save
) -> None:
    interrupted(tiers)
    tiers.path(1).write_bytes(b"newer")
    object_of(tiers).unlink()
    recover_evictions(parts, tiers.wiring().layout)
    assert evicting(tiers) == ["." + tiers.path(1).name]
    assert tiers.happened(Warned)


def test_a_cold_tier_that_is_away_leaves_an_interrupted_eviction_for_the_next_start(
    tiers: TwoTiers, parts: Parts
) -> None:
    interrupted(tiers)
    tiers.path(1).write_bytes(b"newer")
    (tiers.cold / ".ckpt-tier-store").rename(tiers.cold / "away")
    recover_evictions(parts, tiers.wiring().layout)
    assert evicting(tiers) == ["." + tiers.path(1).name]
    (tiers.cold / "away").rename(tiers.cold / ".ckpt-tier-store")
    recover_evictions(parts, tiers.wiring().layout)
    assert evicting(tiers) == []


def test_the_last_link_is_released_only_with_the_proof(tiers: TwoTiers, parts: Parts, save: Save) -> None:
    unsent = tiers.hot / ".ckpt-tier" / "unsent"
    unsent.mkdir()
    (unsent / "link").hardlink_to(tiers.path(1))
    tiers.path(1).unlink()
    kept = object_of(tiers).read_bytes()
    object_of(tiers).unlink()
    with pytest.raises(IntegrityError):
        release(parts, save, ["link"])
    assert (unsent / "link").exists()
    release(parts, msgspec.structs.replace(save, state=State.REJECTED), ["link"])
    assert (unsent / "link").exists()
    target = tiers.cold / next(iter(tiers.objects())).rpartition("/")[0]
    assert target.exists()
    manifest = parts.cold.manifests.read(parts.cold.manifests.entries("0")[0])
    place = tiers.cold / manifest.files[0].key
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(kept)
    release(parts, save, ["link"])
    release(parts, save, ["link"])
    assert not (unsent / "link").exists()
    assert len(tiers.happened(Evicted)) == 1


def test_a_spare_link_is_released_without_asking_anybody(tiers: TwoTiers, parts: Parts, save: Save) -> None:
    unsent = tiers.hot / ".ckpt-tier" / "unsent"
    unsent.mkdir()
    (unsent / "link").hardlink_to(tiers.path(1))
    object_of(tiers).unlink()
    release(parts, save, ["link"])
    assert not (unsent / "link").exists()
    assert tiers.hot_steps() == [1]


def test_letting_go_without_a_link_only_reports(tiers: TwoTiers, parts: Parts, save: Save) -> None:
    let_go(parts, msgspec.structs.replace(save, state=State.VALIDATED), "full")
    assert [row.state for row in parts.journal.saves()] == [State.LOST]


def test_the_target_of_a_symlink_and_what_a_tracker_file_names_are_not_evicted(tiers: TwoTiers) -> None:
    for step in range(5):
        tiers.write(step)
    (tiers.path(0).parent / "best.pt").symlink_to("model_step_0.pt")
    (tiers.path(0).parent / "latest").write_text("model_step_1.pt\n")
    tiers.sync()
    kept = [step for step in range(5) if tiers.path(step).exists()]
    assert kept == [0, 1, 3, 4]
