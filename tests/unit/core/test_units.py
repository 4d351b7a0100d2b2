import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.core.units import (
    common_unit,
    format_duration,
    format_in,
    format_size,
    format_time,
    parse_count,
    parse_duration,
    parse_rate,
    parse_size,
    parse_time,
)
from ckpt_tier.errors import UsageError


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("123", 123),
        ("1 B", 1),
        ("1.2GB", 1_200_000_000),
        ("1.2 gb", 1_200_000_000),
        ("50GiB", 50 * 2**30),
        (" 3 TiB ", 3 * 2**40),
        ("0.5KiB", 512),
        ("9007199254740993", 9_007_199_254_740_993),
    ],
)
def test_a_size_is_read_as_people_write_it(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-1", "1e3", "1,5GB", "5 XB", "5 GB/s", "nan", "inf", "0x10"])
def test_what_is_not_a_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size") as caught:
        parse_size(text)
    assert "1.2GB" in caught.value.fix


def test_a_number_beyond_all_disks_is_refused_as_any_other_wrong_size() -> None:
    with pytest.raises(UsageError, match="is not a size"):
        parse_size("9" * 400)


@given(st.integers(0, 9 * 10**17))
def test_a_size_written_with_three_digits_reads_back_within_half_a_percent(count: int) -> None:
    assert abs(parse_size(format_size(count)) - count) <= count * 0.005


@given(st.integers(0, 10**18))
def test_a_size_has_at_most_three_significant_digits_and_a_unit(count: int) -> None:
    number, unit = format_size(count).split(" ")
    assert len(number.replace(".", "").lstrip("0")) <= 3
    assert unit in ("B", "kB", "MB", "GB", "TB", "PB", "EB")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (9_994_999, "9.99 MB"),
        (9_996_000, "10.0 MB"),
        (1_200_000_000, "1.20 GB"),
        (-1_200_000_000, "-1.20 GB"),
        (10**21, "1000 EB"),
    ],
)
def test_sizes_step_to_the_next_unit_where_they_round_to_it(count: int, text: str) -> None:
    assert format_size(count) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("2m", 120), ("1.5h", 5400), ("7d", 604800), ("250ms", 0.25), ("1w", 604800)]
)
def test_a_duration_is_read_as_people_write_it(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["10", "", "s", "-3s", "3 parsecs"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3599.6, "1 h"),
        (7500, "2 h 5 min"),
        (86399.7, "1 d"),
        (273_600, "3 d 4 h"),
        (86400 * 400, "400 d"),
    ],
)
def test_a_duration_is_written_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_bandwidth_is_a_size_per_second() -> None:
    assert parse_rate("200MB/s") == 200_000_000
    for wrong in ("200MB", "200MB/min", "/s", "fast"):
        with pytest.raises(UsageError):
            parse_rate(wrong)


@given(st.integers(0, 4 * 10**15))
def test_a_time_is_written_in_utc_and_reads_back_to_the_microsecond(microseconds: int) -> None:
    seconds = microseconds / 1e6
    text = format_time(seconds)
    assert text.endswith("Z")
    assert parse_time(text) == pytest.approx(seconds, abs=2e-6)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        parse_time("2026-11-24T01:50:22")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("757500", 757_500),
        ("757_500", 757_500),
        ("757,500", 757_500),
        ("757.5k", 757_500),
        ("1M", 10**6),
        ("5 K", 5000),
    ],
)
def test_a_count_is_read_as_people_write_it(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "k", "-1", "1.5", "1,5k", "0.0001k", "1e3", "5GB", "nan"])
def test_what_is_not_a_whole_number_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="is not a whole number") as caught:
        parse_count(text)
    assert "757.5k" in caught.value.fix


def test_a_column_of_sizes_has_one_unit() -> None:
    name, unit = common_unit([0, 2_400_000_000, 1_087_200_000_000])
    assert (name, unit) == ("GB", 10**9)
    assert [format_in(each, unit) for each in (3_600_000_000, 28_800_000_000, 1_087_200_000_000)] == [
        "3.60",
        "28.8",
        "1,087",
    ]


@given(st.lists(st.integers(0, 10**24), min_size=1))
def test_nothing_in_a_column_but_0_is_less_than_1_of_its_unit(counts: list[int]) -> None:
    _, unit = common_unit(counts)
    assert all(count >= unit for count in counts if count)
