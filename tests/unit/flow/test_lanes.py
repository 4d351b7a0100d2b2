"""Which stream brings which pieces of a file."""

from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.flow.lanes import WORTH_HALVING, Lane, Lanes


def pieces_of(lanes: Lanes, lane: Lane) -> list[int]:
    """What one stream brings if nobody takes anything from it."""
    found = [lane.at]
    while lanes.advance(lane):
        found.append(lane.at)
    return found


def test_what_is_missing_is_shared_out_in_long_runs() -> None:
    lanes = Lanes(range(71), 2)
    first, second = lanes.claim(), lanes.claim()
    assert first is not None
    assert second is not None
    assert pieces_of(lanes, first) == list(range(36))
    assert pieces_of(lanes, second) == list(range(36, 71))
    assert lanes.claim() is None


def test_what_is_there_parts_the_runs() -> None:
    lanes = Lanes([0, 1, 5, 6, 7, 9], 1)
    found = []
    while (lane := lanes.claim()) is not None:
        found.append(pieces_of(lanes, lane))
    assert found == [[0, 1], [5, 6, 7], [9]]


def test_a_stream_that_is_added_takes_half_of_what_the_slowest_has_still_to_do() -> None:
    lanes = Lanes(range(100), 2)
    slow, fast = lanes.claim(), lanes.claim()
    assert slow is not None
    assert fast is not None
    pieces_of(lanes, fast)
    for _ in range(9):
        lanes.advance(slow)
    added = lanes.claim()
    assert added is not None
    assert (slow.at, slow.end) == (9, 30)
    assert (added.at, added.end) == (30, 50)


def test_a_rest_that_is_not_worth_it_is_left_to_its_stream() -> None:
    lanes = Lanes(range(WORTH_HALVING - 1), 1)
    assert lanes.claim() is not None
    assert lanes.claim() is None


@given(
    st.sets(st.integers(0, 200), min_size=1),
    st.integers(1, 5),
    st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=400),
)
def test_every_missing_piece_is_brought_once_whoever_is_fast(
    missing: set[int], streams: int, turns: list[int | None]
) -> None:
    """A turn is a stream that is added, or the number of one that has done its piece."""
    lanes = Lanes(sorted(missing), streams)
    under_way: list[Lane] = []
    brought: list[int] = []

    def done(lane: Lane) -> None:
        brought.append(lane.at)
        if not lanes.advance(lane):
            under_way.remove(lane)

    for turn in turns:
        if turn is None:
            lane = lanes.claim()
            if lane is not None:
                under_way.append(lane)
        elif under_way:
            done(under_way[turn % len(under_way)])
    while under_way or (lane := lanes.claim()) is not None:
        if not under_way:
            under_way.append(lane)
        done(under_way[0])
    assert sorted(brought) == sorted(missing)
