"""Curves, drawn in a terminal and as SVG."""

import math
from xml.etree import ElementTree as Xml

import pytest

from ckpt_tier.cli.curves import Curve
from ckpt_tier.cli.drawing import MOST_LINES, drawing, nice_ticks
from ckpt_tier.cli.plotting import plot, plots


def parsed(text: str) -> Xml.Element:
    return Xml.fromstring(text)  # noqa: S314 (our own)


RISING = Curve("k", "value", tuple((step, float(step)) for step in range(0, 100, 10)))


def test_a_rising_line_rises() -> None:
    lines = list(plot(RISING, braille=False, columns=20))
    assert lines[0] == "k"
    rows = [line.partition("|")[2] for line in lines[1:-1]]
    assert rows[0].rstrip().endswith("*")
    assert rows[-1].startswith("*")
    assert (lines[1].split()[0], lines[-2].split()[0]) == ("90", "0")
    assert lines[-1].split() == ["0", "90"]


def test_braille_has_the_same_shape_in_finer_dots() -> None:
    lines = list(plot(RISING, braille=True, columns=20))
    assert all(0x2800 < ord(char) < 0x2900 for line in lines[1:-1] for char in line.partition("│")[2].replace(" ", ""))
    assert len(lines) == 9


def test_a_gap_is_not_drawn_through_and_a_step_saved_again_begins_anew() -> None:
    curve = Curve("k", "mean", ((0, 1.0), (1, None), (2, 1.0), (1, 3.0), (2, 4.0)))
    assert curve.pieces == [[(0, 1.0)], [(2, 1.0)], [(1, 3.0), (2, 4.0)]]


@pytest.mark.parametrize("values", [(1.0,), (2.0, 2.0), (-1.7e308, 1.7e308), (0.0, 5e-324), (1.0, 1.0 + 1e-16)])
def test_extreme_values_are_drawn(values: tuple[float, ...]) -> None:
    curve = Curve("k", "value", tuple(enumerate(values)))
    assert len(list(plot(curve, braille=True))) == 9
    assert "nan" not in drawing([curve], title="t")
    parsed(drawing([curve], title="t"))


def test_more_than_fit_are_counted() -> None:
    lines = list(plots([RISING] * 11))
    assert "3 more" in lines[-1]


def test_the_svg_has_a_panel_for_each_figure_and_a_line_for_each_name() -> None:
    curves = [Curve(name, stat, RISING.points) for name in ("a", "b") for stat in ("mean", "std")]
    root = parsed(drawing(curves, title="series 0"))
    paths = [each for each in root.iter("{http://www.w3.org/2000/svg}path") if "L" in each.attrib["d"]]
    texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert len(paths) == 4
    assert {"mean", "std", "a", "b", "series 0"} <= set(texts)
    assert "prefers-color-scheme:dark" in drawing(curves, title="t")


def test_hostile_names_stay_text() -> None:
    text = drawing([Curve('<script>"&\x1b[2J', "value", RISING.points)], title="<b>")
    assert "<script" not in text
    assert "\x1b" not in text
    parsed(text)


def test_lines_beyond_the_most_are_told() -> None:
    text = drawing([Curve(str(n), "value", RISING.points) for n in range(MOST_LINES + 3)], title="t")
    assert "3 more are left out" in text


def test_nothing_with_a_value_is_an_empty_drawing() -> None:
    parsed(drawing([Curve("k", "value", ((1, None),))], title="t"))


@pytest.mark.parametrize(
    ("low", "high"), [(0, 83), (5000, 415_000), (-1.5e-7, 2e-7), (0.99, 1.01), (3, 3), (0, math.pi)]
)
def test_ticks_are_few_round_and_cover_all(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert 1 <= len(ticks) <= 7
    assert ticks == sorted(ticks)
    slack = 1e-9 * (high - low)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
