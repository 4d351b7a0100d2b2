"""Which shares make one checkpoint, and which must never be put together."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.core.nouns import Pass
from ckpt_tier.core.sets import Waiting, set_of

WINDOW = 120.0
LATER = 10_000.0


class Share(msgspec.Struct, frozen=True):
    rank: int
    saved: float = 1000.0
    world_size: int = 3
    save_id: str | None = None
    during: Pass | None = None
    content: str = ""

    @property
    def member_id(self) -> str:
        return f"{self.rank}-{self.saved}-{self.content}"


def during(started_at: float, number: int = 0) -> Pass:
    return Pass(number=number, started_at=started_at)


def whole(mine: Share, shares: list[Share], now: float = LATER) -> tuple[Share, ...] | Waiting:
    return set_of(mine, shares, window=WINDOW, now=now)


def waits(found: tuple[Share, ...] | Waiting) -> str:
    assert isinstance(found, Waiting), found
    return found.why


def test_all_ranks_of_one_save_are_a_set_in_whatever_order_they_are_seen() -> None:
    shares = [Share(rank, saved=1000.0 + rank) for rank in range(3)]
    for order in itertools.permutations(shares):
        assert whole(order[0], list(order)) == tuple(shares)


def test_a_set_waits_for_its_missing_ranks_and_names_them() -> None:
    assert waits(whole(Share(1), [Share(1)])) == "waits for ranks 0, 2 of 3"
    assert waits(whole(Share(1), [Share(0), Share(1)])) == "waits for rank 2 of 3"
    many = Share(0, world_size=64)
    assert waits(whole(many, [many])) == "waits for ranks 1, 2, 3, 4, 5, 6, 7, 8 and 55 more of 64"


def test_shares_without_a_save_id_belong_together_only_within_the_window() -> None:
    shares = [Share(0), Share(1), Share(2, saved=1000.0 + WINDOW + 1)]
    assert waits(whole(shares[0], shares)) == "waits for rank 2 of 3"
    assert waits(whole(shares[2], shares)) == "waits for ranks 0, 1 of 3"


def test_a_chain_of_neighbours_that_is_longer_than_the_window_is_no_set() -> None:
    shares = [Share(0, saved=1000.0), Share(1, saved=1100.0), Share(2, saved=1200.0)]
    found = whole(shares[1], shares)
    assert isinstance(found, Waiting)
    assert found.ambiguous


def test_a_rank_that_saved_twice_within_the_window_is_never_guessed_about() -> None:
    shares = [Share(0), Share(1), Share(2), Share(1, saved=1050.0)]
    found = whole(shares[0], shares)
    assert isinstance(found, Waiting)
    assert found.ambiguous
    assert "rank 1 saved it more than once" in found.why


def test_what_scanning_found_is_settled_only_when_nobody_can_join_any_more() -> None:
    shares = [Share(rank) for rank in range(3)]
    assert waits(whole(shares[0], shares, now=1060.0)) == "waits 60 s, in case a rank saves it again"
    assert whole(shares[0], shares, now=1000.0 + WINDOW) == tuple(shares)


def test_what_the_hook_brought_need_not_wait() -> None:
    shares = [Share(rank, during=during(500.0 + rank)) for rank in range(3)]
    assert whole(shares[0], shares, now=1001.0) == tuple(shares)


def test_a_pass_that_died_and_one_that_was_started_again_within_the_window_are_not_mixed() -> None:
    dead = [Share(rank, saved=1000.0, during=during(500.0)) for rank in (0, 1)]
    again = [Share(2, saved=1060.0, during=during(1030.0))]
    for mine in dead + again:
        found = whole(mine, dead + again)
        assert isinstance(found, Waiting)
        assert found.ambiguous, "it is reported: time alone will not help"
        assert "in another pass of the training" in found.why


def test_passes_of_one_process_are_told_apart_by_their_number() -> None:
    first = [Share(rank, during=during(500.0)) for rank in (0, 1)]
    second = [Share(2, saved=1060.0, during=during(500.0, number=1))]
    for mine in first + second:
        assert "in another pass of the training" in waits(whole(mine, first + second))


def test_a_save_id_joins_over_any_time_and_parts_within_any() -> None:
    shares = [Share(0, save_id="a"), Share(1, save_id="a", saved=9e6), Share(2, save_id="a")]
    assert whole(shares[0], [*shares, Share(0, save_id="b"), Share(1)]) == tuple(shares)
    assert "waits for" in waits(whole(Share(0, save_id="b"), [*shares, Share(0, save_id="b")]))


def test_an_id_of_the_job_does_not_join_a_process_that_was_started_after_another_had_saved() -> None:
    shares = [
        Share(0, save_id="job-0", during=during(500.0)),
        Share(1, save_id="job-0", during=during(500.0)),
        Share(2, save_id="job-0", saved=1060.0, during=during(1030.0)),
    ]
    assert "in another pass of the training" in waits(whole(shares[0], shares))


def test_shares_of_another_number_of_ranks_are_another_save() -> None:
    shares = [Share(0), Share(1), Share(2, world_size=4)]
    assert waits(whole(shares[0], shares)) == "waits for rank 2 of 3"


passes = st.none() | st.builds(during, started_at=st.sampled_from([0.0, 900.0, 1030.0]), number=st.integers(0, 1))
shares_of_a_step = st.lists(
    st.builds(
        Share,
        rank=st.integers(0, 2),
        saved=st.sampled_from([1000.0, 1010.0, 1060.0, 1200.0]),
        save_id=st.sampled_from([None, "a", "b"]),
        during=passes,
    ),
    min_size=1,
    max_size=9,
    unique=True,
)


@given(shares_of_a_step)
def test_whoever_of_a_set_asks_gets_the_same_set(shares: list[Share]) -> None:
    for mine in shares:
        found = whole(mine, shares)
        if not isinstance(found, Waiting):
            assert [share.rank for share in found] == [0, 1, 2]
            assert len({share.save_id for share in found}) == 1
            if mine in found:
                assert all(whole(other, shares) == found for other in found)


@given(shares_of_a_step)
def test_no_share_is_in_two_sets(shares: list[Share]) -> None:
    sets = {found for mine in shares if not isinstance(found := whole(mine, shares), Waiting)}
    taken = [share for found in sets for share in found]
    assert len(taken) == len(set(taken))


@pytest.mark.parametrize("first", [0, 1, 2])
def test_two_passes_with_everything_saved_are_two_sets(first: int) -> None:
    one = [Share(rank, saved=1000.0 + rank) for rank in range(3)]
    two = [Share(rank, saved=5000.0 + rank) for rank in range(3)]
    assert whole(one[first], one + two) == tuple(one)
    assert whole(two[first], one + two) == tuple(two)
