import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.cold import keys
from ckpt_tier.core.nouns import MAX_STEP

STEPS = st.integers(0, MAX_STEP)
GENERATION = "9f2c41aa03b7d5e1"


def test_the_keys_are_those_of_the_design() -> None:
    assert keys.run_key("swelu") == "swelu/run.json"
    assert keys.manifest_key("swelu", "0", 740_000, GENERATION) == (
        "swelu/0/manifests/000000740000.9f2c41aa03b7d5e1.json"
    )
    assert keys.member_prefix("swelu", "0", 740_000, GENERATION) == "swelu/0/data/000000740000/9f2c41aa03b7d5e1/"
    assert keys.sums_name(GENERATION) == "SHA256SUMS.9f2c41aa03b7d5e1"


@given(STEPS)
def test_a_manifests_name_reads_back(step: int) -> None:
    name = keys.manifest_key("run", "0", step, GENERATION).removeprefix(keys.manifests_prefix("run", "0"))
    assert keys.parse_manifest_name(name) == (step, GENERATION)


@given(STEPS, STEPS)
def test_keys_sort_by_step_and_a_listing_can_begin_before_any(one: int, other: int) -> None:
    first, second = (keys.manifest_key("run", "0", step, GENERATION) for step in (one, other))
    assert (first < second) == (one < other)
    begin = keys.manifests_before("run", "0", other)
    assert begin < second
    assert (begin > first) == (one < other)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "740000.9f2c41aa03b7d5e1.json",
        "000000740000.9f2c41aa03b7d5e1.json.tmp",
        "000000740000.9F2C41AA03B7D5E1.json",
        "000000740000.json",
        "0000007400000.9f2c41aa03b7d5e1.json",
        "-00000740000.9f2c41aa03b7d5e1.json",
        "000000740000.9f2c41aa03b7d5e1.json\n",
        "x/000000740000.9f2c41aa03b7d5e1.json",
    ],
)
def test_anything_else_beside_the_manifests_is_no_manifest(name: str) -> None:
    assert keys.parse_manifest_name(name) is None


def test_a_pins_name_reads_back_and_anything_else_is_no_pin() -> None:
    assert keys.parse_pin_name("000000740000.json") == 740_000
    assert keys.parse_pin_name("740000.json") is None
    assert keys.parse_pin_name("000000740000.txt") is None
