"""Deleting all shares of a checkpoint or none: what calls it off, and what every kill leaves to the next start."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from ckpt_tier.flow import evict_set
from ckpt_tier.hot.holds import hold
from tests.kills import STRIDE, Kill, dying_at, killed_at
from tests.shares import EVERY, LATER, LAYOUTS, RANKS, Ranks, four_sets

TOKEN = "0123456789abcdef"


@pytest.fixture(params=LAYOUTS)
def ranks(request: pytest.FixtureRequest, tmp_path: Path) -> Ranks:
    """Four whole sets, of which two are kept: in each of the layouts."""
    return four_sets(tmp_path, request.param)


@pytest.fixture
def files(tmp_path: Path) -> Ranks:
    """The same as files of one folder."""
    return four_sets(tmp_path)


def during_the_deletion(at: str, do: Callable[[], object]) -> contextlib.AbstractContextManager[object]:
    """Does something at the first call of a function of `evict_set`."""
    real = getattr(evict_set, at)
    done: list[object] = []

    def then(*args: object) -> object:
        if not done:
            done.append(do())
        return real(*args)

    return mock.patch.object(evict_set, at, then)


def test_a_share_that_changed_at_the_last_moment_puts_all_of_its_set_back(ranks: Ranks) -> None:
    changed = ranks.place(0, 2)
    inside = changed / "a.pt" if changed.is_dir() else changed
    ranks.plan()

    def write() -> None:
        with inside.open("ab") as file:
            file.write(b"more")

    with during_the_deletion("rename_no_replace", write):
        ranks.delete()
    assert ranks.there() == {0: [0, 1], 2: EVERY, 3: EVERY}
    assert inside.read_bytes().endswith(b"more")
    assert ranks.hidden() == []
    assert ranks.said("a share changed since it was validated")


def test_a_hold_at_the_last_moment_puts_all_of_its_set_back(ranks: Ranks) -> None:
    with during_the_deletion("is_as_validated", lambda: hold(ranks.tiers.hot, "0", 0, 2 * ranks.tiers.clock.now())):
        ranks.delete()
    assert ranks.there() == {0: EVERY, 2: EVERY, 3: EVERY}
    assert ranks.hidden() == []


@pytest.mark.parametrize("fails", ["rename_no_replace", "fsync_folder"])
@pytest.mark.parametrize("call", range(RANKS + 1))
def test_a_disk_that_fails_before_the_leader_has_its_name_loses_nothing(ranks: Ranks, fails: str, call: int) -> None:
    real = getattr(evict_set, fails)
    count = iter(range(1000))

    def failing(*args: Path) -> None:
        if next(count) == call:
            raise OSError(5, "Input/output error")
        real(*args)

    with mock.patch.object(evict_set, fails, failing):
        ranks.delete()
    assert set(ranks.there()) >= {2, 3}
    assert all(found == EVERY for found in ranks.there().values())
    ranks.delete()
    assert ranks.there() == {2: EVERY, 3: EVERY}
    assert ranks.hidden() == []


def test_the_hidden_names_are_on_the_disk_before_the_leader_has_its_own_and_the_mates_are_gone_before_it_goes(
    ranks: Ranks,
) -> None:
    """A power loss between two lines is a question of what was flushed when: so the order is held, not the outcome."""
    done: list[str] = []

    def noted(name: str) -> Callable[..., object]:
        real = getattr(evict_set, name)

        def note(*args: Path) -> object:
            done.append(f"{name} {args[-1].name.rpartition('.')[2] if name != 'fsync_folder' else ''}".strip())
            return real(*args)

        return note

    with contextlib.ExitStack() as stack:
        for name in ("rename_no_replace", "fsync_folder", "_remove"):
            stack.enter_context(mock.patch.object(evict_set, name, noted(name)))
        ranks.delete()
    one = [each for index, each in enumerate(done) if index == 0 or each != done[index - 1]]
    assert one == 2 * [
        "rename_no_replace evicting",
        "fsync_folder",
        "rename_no_replace evicted",
        "fsync_folder",
        "_remove evicting",
        "fsync_folder",
        "_remove evicted",
    ]


class Deaths:
    """Raises Kill at the N-th of all calls that change the folder, and at each later one."""

    def __init__(self, count: int) -> None:
        self.left = count

    def around(self, call: Callable[..., object]) -> Callable[..., object]:
        def counted(*args: object, **kwargs: object) -> object:
            self.left -= 1
            if self.left < 0:
                raise Kill
            return call(*args, **kwargs)

        return counted


@contextlib.contextmanager
def dead_at(count: int) -> Iterator[Deaths]:
    """Inside, the process dies before its call number `count` that renames, flushes or removes anything in a set."""
    deaths = Deaths(count)
    with contextlib.ExitStack() as stack:
        for owner, name in [
            (evict_set, "rename_no_replace"),
            (evict_set, "fsync_folder"),
            (evict_set, "put_back"),
            (os, "unlink"),
            (os, "rmdir"),
        ]:
            stack.enter_context(mock.patch.object(owner, name, deaths.around(getattr(owner, name))))
        with contextlib.suppress(Kill):
            yield deaths


@pytest.mark.parametrize("layout", LAYOUTS)
@dying_at(range(STRIDE), "first")
def test_a_kill_between_any_two_lines_leaves_every_set_whole_or_gone_at_the_next_start(
    layout: str, tmp_path: Path, first: int
) -> None:
    for count in range(first, 1000, STRIDE):
        ranks = four_sets(tmp_path / str(count), layout)
        ranks.plan()
        with dead_at(count) as deaths:
            ranks.delete()
        ranks.recover()
        assert all(found == EVERY for found in ranks.there().values()), count
        assert ranks.there().keys() >= {2, 3}, count
        assert ranks.hidden() == [], count
        ranks.delete()
        assert ranks.there() == {2: EVERY, 3: EVERY}, count
        shutil.rmtree(tmp_path / str(count))
        if deaths.left >= 0:
            assert count > 15
            return


@pytest.mark.parametrize("layout", LAYOUTS)
@dying_at(range(STRIDE), "first")
def test_a_kill_of_the_recovery_itself_is_recovered_from(layout: str, tmp_path: Path, first: int) -> None:
    for count in range(first, 1000, STRIDE):
        ranks = four_sets(tmp_path / str(count), layout)
        ranks.plan()
        with dead_at(RANKS + 2 + count % 3):  # the leader has its name, and perhaps a mate is gone
            ranks.delete()
        for kill in (count, 1000):
            with dead_at(kill) as deaths:
                ranks.recover()
            if kill == count:
                through = deaths.left >= 0
        assert all(found == EVERY for found in ranks.there().values()), count
        assert ranks.hidden() == [], count
        shutil.rmtree(tmp_path / str(count))
        if through:
            return


def hide(place: Path, ending: str, token: str = TOKEN) -> Path:
    return place.rename(place.with_name(f".{place.name}.{token}.{ending}"))


def test_hidden_shares_without_a_leader_have_their_names_back(ranks: Ranks) -> None:
    for rank in EVERY:
        hide(ranks.place(0, rank), "evicting")
    ranks.recover()
    assert ranks.there()[0] == EVERY


def test_hidden_shares_with_a_leader_go_and_those_of_another_token_have_their_names_back(ranks: Ranks) -> None:
    hide(ranks.place(0, 0), "evicted")
    hide(ranks.place(0, 1), "evicting")
    hide(ranks.place(0, 2), "evicting", "f" * 16)
    ranks.recover()
    assert ranks.there()[0] == [2]
    assert ranks.hidden() == []


def test_a_cold_tier_that_was_added_after_the_kill_changes_nothing_of_that(ranks: Ranks) -> None:
    for rank, ending in enumerate(("evicted", "evicting", "evicting")):
        hide(ranks.place(0, rank), ending)
        hide(ranks.place(1, rank), "evicting", "f" * 16)
    ranks.tiers.set(cold={"url": str(ranks.tiers.cold)}, hot={"keep_last": 9})
    ranks.tiers.clock.time += LATER
    ranks.tiers.sync()
    assert ranks.there() == {1: EVERY, 2: EVERY, 3: EVERY}
    assert ranks.hidden() == []
    assert ranks.tiers.cold_steps() == [1, 2, 3]


def test_a_symlink_that_pretends_to_be_a_leader_deletes_nothing(ranks: Ranks) -> None:
    for rank in (1, 2):
        hide(ranks.place(0, rank), "evicting")
    lie = ranks.place(0, 0).with_name(f".{ranks.place(0, 0).name}.{TOKEN}.evicted")
    lie.symlink_to(ranks.place(3, 0))
    ranks.recover()
    assert len(ranks.hidden()) == 3
    assert ranks.there()[3] == EVERY
    assert ranks.said("is not one checkpoint of several ranks")
    lie.unlink()
    ranks.recover()
    assert ranks.there()[0] == EVERY


@pytest.mark.parametrize(
    "name",
    [
        f".notes.txt.{TOKEN}.evicted",  # no share by the layout
        f".step_0_rank_0.pt.{TOKEN[:-1]}.evicted",  # no token
        f".step_0_rank_0.pt.{TOKEN.upper()}.evicted",
        f"step_0_rank_0.pt.{TOKEN}.evicted",  # not hidden
        f".step_0_rank_0.pt.{TOKEN}.evicted.bak",
    ],
)
def test_a_file_that_only_looks_like_a_leader_stays(files: Ranks, name: str) -> None:
    lie = files.tiers.hot / "gpu0" / name
    lie.write_bytes(b"not ours")
    files.recover()
    assert lie.read_bytes() == b"not ours"


def test_a_leader_of_one_step_takes_no_share_of_another_with_it(files: Ranks) -> None:
    hide(files.place(0, 0), "evicted")
    hide(files.place(1, 1), "evicting")
    files.recover()
    assert len(files.hidden()) == 2
    assert files.said("is not one checkpoint of several ranks")


def test_two_leaders_are_one_too_many(files: Ranks) -> None:
    hide(files.place(0, 0), "evicted")
    hide(files.place(0, 1), "evicted")
    files.recover()
    assert len(files.hidden()) == 2


def test_a_share_whose_name_is_taken_again_is_left_to_a_person_and_the_others_are_put_back(files: Ranks) -> None:
    for rank in EVERY:
        hide(files.place(0, rank), "evicting")
    files.place(0, 1).write_bytes(b"newer")
    files.recover()
    assert files.there()[0] == [0, 2]
    assert files.hidden() == [f".step_0_rank_1.pt.{TOKEN}.evicting"]
    assert files.said("its name is taken again")


def test_a_new_share_under_a_name_that_is_free_again_outlives_the_end_of_the_deletion(files: Ranks) -> None:
    hide(files.place(0, 0), "evicted")
    hide(files.place(0, 1), "evicting")
    files.place(0, 1).write_bytes(b"newer")
    files.recover()
    assert files.place(0, 1).read_bytes() == b"newer"
    assert files.hidden() == []


@dying_at(range(0, 60, 3))
def test_a_prune_killed_anywhere_leaves_the_newest_whole_sets_and_the_next_one_ends_it(
    ranks: Ranks, count: int
) -> None:
    ranks.plan()
    with killed_at(count):
        ranks.delete()
    assert ranks.there().items() >= {2: EVERY, 3: EVERY}.items()
    for _ in range(2):  # the first gives what was on its way out its name back, and reads what the journal forgot
        ranks.delete()
    assert ranks.there() == {2: EVERY, 3: EVERY}
    assert ranks.hidden() == []
