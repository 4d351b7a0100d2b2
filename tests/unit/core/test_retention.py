import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.core.retention import newest


class Copy(msgspec.Struct, frozen=True):
    step: int
    saved_at: float


COPIES = st.lists(st.builds(Copy, st.integers(0, 20), st.integers(0, 20).map(float)), unique=True)


def test_without_a_rollback_the_newest_are_the_last_so_many() -> None:
    copies = [Copy(step, float(step)) for step in (10, 30, 20, 40)]
    assert newest(copies, 2) == [Copy(40, 40.0), Copy(30, 30.0)]


def test_after_a_rollback_the_newest_by_either_order_are_protected() -> None:
    before = [Copy(step, float(step)) for step in (740, 745, 750, 755)]
    after = [Copy(600, 1000.0), Copy(605, 1001.0)]
    assert set(newest(before + after, 2)) == {Copy(605, 1001.0), Copy(600, 1000.0), Copy(755, 755.0), Copy(750, 750.0)}


@given(COPIES, st.integers(0, 5))
def test_the_newest_by_time_and_by_step_are_always_among_them(copies: list[Copy], count: int) -> None:
    kept = newest(copies, count)
    assert len(set(kept)) == len(kept) <= 2 * count
    assert set(kept) <= set(copies)
    if copies and count:
        assert max(copies, key=lambda c: (c.saved_at, c.step)) in kept
        assert max(copies, key=lambda c: (c.step, c.saved_at)) in kept


@given(COPIES, st.integers(0, 5))
def test_the_order_in_which_copies_are_found_does_not_matter(copies: list[Copy], count: int) -> None:
    assert newest(copies, count) == newest(copies[::-1], count)


@given(COPIES, st.integers(0, 5))
def test_keeping_more_never_drops_what_fewer_would_keep(copies: list[Copy], count: int) -> None:
    assert set(newest(copies, count)) <= set(newest(copies, count + 1))
