import inspect

import pytest

from ckpt_tier import errors
from ckpt_tier.errors import CkptTierError, worst_exit_code

EXIT_CODES = {
    "CkptTierError": 1,
    "UsageError": 2,
    "ConfigError": 3,
    "NoColdTierError": 3,
    "NotFoundError": 4,
    "MissingKeyError": 4,
    "IntegrityError": 5,
    "SourceChangedError": 5,
    "UnavailableError": 6,
    "AccessDeniedError": 6,
    "NoSpaceError": 7,
    "ConflictError": 8,
    "KeyExistsError": 8,
    "AttentionError": 9,
    "CancelledError": 130,
}


def test_every_error_has_the_exit_code_of_the_design() -> None:
    found = {name: kind.exit_code for name, kind in inspect.getmembers(errors, inspect.isclass)}
    assert found == EXIT_CODES


def test_an_error_says_what_and_why_in_one_line_and_keeps_the_fix_apart() -> None:
    error = CkptTierError("it broke", "the disk is full", "free some space")
    assert str(error) == "it broke: the disk is full"
    assert (error.what, error.why, error.fix) == ("it broke", "the disk is full", "free some space")
    assert str(CkptTierError("it broke")) == "it broke"


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (set(), 0),
        ({0}, 0),
        ({0, 9}, 9),
        ({9, 6}, 6),
        ({6, 7}, 7),
        ({7, 5, 6, 9}, 5),
        ({3, 9}, 9),
        ({0, 8}, 8),
        ({1}, 1),
    ],
)
def test_of_several_outcomes_damage_counts_before_space_before_absence_before_attention(
    codes: set[int], expected: int
) -> None:
    assert worst_exit_code(codes) == expected
