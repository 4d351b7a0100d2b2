"""The page of `report` in a real Chromium: light and dark, and on a phone. What is measured is what it has laid out."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.ground import Ground

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MEASURE = """<!doctype html><body><iframe src="out.html" width="{width}" height="4000"></iframe><script>
addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentWindow, inner = page.document;
  const all = [...inner.body.querySelectorAll("*")];
  const words = all.filter(each => [...each.childNodes].some(node => node.nodeType == 3 && node.data.trim()));
  const shown = words.filter(each => each.getClientRects().length && each.tagName != "title");
  const right = each => each.getBoundingClientRect().right;
  document.body.textContent = JSON.stringify({{
    background: page.getComputedStyle(inner.body).backgroundColor,
    ink: page.getComputedStyle(inner.body).color,
    wide: inner.documentElement.scrollWidth,
    beyond: shown.filter(each => right(each) > {width} && !each.closest(".wide")).map(each => each.textContent),
    smallest: Math.min(...shown.map(each => parseFloat(page.getComputedStyle(each).fontSize))),
    marks: inner.querySelectorAll(".lane rect").length,
    asked: page.performance.getEntriesByType("resource").map(each => each.name),
  }});
}});
</script>"""


@pytest.fixture(scope="session")
def chromium() -> str:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("CI must look at the page in a real Chromium: none was found", pytrace=False)
        pytest.skip("needs a Chromium on PATH")
    return found


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """A page about two series: some committed, one rejected, with a metric."""
    made = Ground(tmp_path)
    for series in "01":
        for step in range(0, 50_000, 5000):
            made.save(step, series)
    made.save(60_000, "1").write_bytes(b"cut")
    made.run("sync", code=9)
    made.run("annotate", "0", "loss=2.5", "--series", "0")
    made.run("annotate", "5000", "loss=1.5", "--series", "0")
    made.run("report", "out.html")
    return made


def laid_out(chromium: str, ground: Ground, *, width: int = 1000, dark: bool = False) -> dict[str, Any]:
    (ground.root / "measure.html").write_text(MEASURE.format(width=width))
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={ground.root / 'browser'}",
        "--allow-file-access-from-files",  # so that the page around it may measure it
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        "--virtual-time-budget=5000",
        f"--window-size={width + 100},900",
        "--dump-dom",
        (ground.root / "measure.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=ground.env())
    found = re.search(r"<body>(\{.*\})</body>", done.stdout, re.DOTALL)
    assert found is not None, done.stdout + done.stderr
    measured: dict[str, Any] = json.loads(html.unescape(found[1]))
    return measured


def brightness(colour: str) -> float:
    red, green, blue = (int(each) for each in re.findall(r"\d+", colour)[:3])
    return (299 * red + 587 * green + 114 * blue) / 1000


def test_it_is_light_by_day_and_dark_by_night(chromium: str, ground: Ground) -> None:
    light, dark = laid_out(chromium, ground), laid_out(chromium, ground, dark=True)
    assert brightness(light["background"]) > 230 > 60 > brightness(light["ink"])
    assert brightness(dark["background"]) < 40 < 200 < brightness(dark["ink"])
    assert light["marks"] == dark["marks"] == 21
    assert light["asked"] == []


def test_it_is_readable_on_a_phone(chromium: str, ground: Ground) -> None:
    phone = laid_out(chromium, ground, width=360)
    assert phone["wide"] <= 360
    assert phone["beyond"] == []
    assert phone["smallest"] >= 12
