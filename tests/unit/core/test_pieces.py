from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.core.pieces import MIB, MIN_PIECE, piece_size, pieces

S3_LARGEST = 5 * 2**40


@given(st.integers(0, S3_LARGEST))
def test_every_file_fits_into_the_parts_that_s3_allows(size: int) -> None:
    step = piece_size(size)
    assert step >= MIN_PIECE
    assert step % MIB == 0
    assert -(-size // step) <= 10_000


@given(st.integers(0, 5000), st.integers(1, 700))
def test_pieces_cover_a_file_without_gap_or_overlap(size: int, step: int) -> None:
    cut = pieces(size, step)
    assert sum(length for _, length in cut) == size
    assert [offset for offset, _ in cut] == [index * step for index in range(len(cut))]
    assert all(length == step for _, length in cut[:-1])


def test_an_empty_file_is_one_empty_piece() -> None:
    assert pieces(0, MIN_PIECE) == [(0, 0)]


def test_the_seed_scenario_and_a_huge_file_are_cut_as_designed() -> None:
    assert piece_size(1_200_000_000) == 64 * MIB
    assert piece_size(900 * 2**30) == 103 * MIB
