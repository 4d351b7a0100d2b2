"""The grammar of ckpt:// paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.core.nouns import MAX_STEP, NAME_PATTERN
from ckpt_tier.integrations.places import Place, UnfitError, parse

NAMES = st.from_regex(NAME_PATTERN, fullmatch=True)
PARTS = st.text("abcXYZ019._-@ ü*", min_size=1, max_size=8).filter(lambda part: part not in (".", ".."))
PATHS = st.lists(PARTS, max_size=4).map("/".join)
GENERATIONS = st.none() | st.text("0123456789abcdef", min_size=16, max_size=16)


@given(NAMES, NAMES, st.integers(0, MAX_STEP), GENERATIONS, PATHS)
def test_every_place_is_read_as_it_was_written(
    run: str, series: str, step: int, generation: str | None, path: str
) -> None:
    place = Place(run=run, series=series, step=step, generation=generation, path=path)
    assert parse(str(place)) == place


@given(NAMES, NAMES, PATHS)
def test_the_places_without_a_number_too(run: str, series: str, path: str) -> None:
    for place in (Place(), Place(run=run), Place(run=run, series=series)):
        assert parse(str(place)) == place
    assert parse(f"{run}/{series}/latest/{path}") == Place(run=run, series=series, latest=True, path=path)


@given(st.text(max_size=60))
def test_whatever_the_text_no_place_leads_outside_its_checkpoint(text: str) -> None:
    try:
        place = parse(text)
    except UnfitError:
        return
    assert not {"", ".", ".."} & set(str(place).split("/")) or place == Place()
    assert str(place).isprintable()


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("run/0/../1", "'..'"),
        ("run/0/5//a", "an empty part"),
        ("run/0/5/a\nb", "control character"),
        ("Run/0", "'Run' is not a run name"),
        ("run/S", "'S' is not a series name"),
        ("run/0/007", "neither a step"),
        ("run/0/1000000000000", "neither a step"),
        ("run/0/-1", "neither a step"),
        ("run/0/newest", "nor 'latest'"),
        ("run/0/5@abc", "'abc' is not a generation"),
        ("run/0/5@", "'' is not a generation"),
        ("run/0/latest@0123456789abcdef", "neither a step"),
    ],
)
def test_what_names_nothing_says_why(path: str, why: str) -> None:
    with pytest.raises(UnfitError) as error:
        parse(path)
    assert why in str(error.value)
