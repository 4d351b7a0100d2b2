"""Colours: text and marks stand out from what is behind them, in light and dark."""

import re

import pytest

from ckpt_tier.report.style import stylesheet

LIGHT, DARK = (dict(re.findall(r"--([\w-]+):(#[0-9a-f]+);", block)) for block in stylesheet().split("@media screen", 1))


def luminance(colour: str) -> float:
    """https://www.w3.org/TR/WCAG21/#dfn-relative-luminance"""
    digits = colour[1:] if len(colour) > 4 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_marks_have_enough_contrast(colours: dict[str, str]) -> None:
    for name in ("ink", "soft", "bad"):
        assert contrast(colours[name], colours["page"]) >= 4.5
        assert contrast(colours[name], colours["card"]) >= 4.5
    assert contrast(colours["ink"], colours["bad-band"]) >= 4.5
    for mark, band in (("hot", "hot-band"), ("bad", "hot-band"), ("late", "hot-band"), ("cold", "cold-band")):
        assert contrast(colours[mark], colours[band]) >= 3
    for line in range(8):
        assert contrast(colours[f"c{line}"], colours["page"]) >= 3


def test_light_and_dark_name_the_same_colours() -> None:
    assert set(LIGHT) == set(DARK)
    assert len(set(LIGHT) & {f"c{i}" for i in range(8)}) == 8


def test_every_colour_that_is_used_is_named() -> None:
    assert set(re.findall(r"var\(--([\w-]+)\)", stylesheet())) == set(LIGHT)
