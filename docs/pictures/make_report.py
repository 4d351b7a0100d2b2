"""Takes the pictures of docs/report.md: a real report of a run with made-up times, in a real Chromium.

python docs/pictures/make_report.py [FOLDER]    keeps the page in FOLDER too

The run is the one that this tool was made for, small: six series of 83 checkpoints over six days, a night in which the
cold tier was away, five checkpoints that were cut short, and three that still wait. What the commands do is real; when
it happened is set afterwards, in the files' times, and two folders get other names. Writes report-light.png and
report-dark.png beside this file.
"""

import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from ckpt_tier.cold.notes import write_metric  # noqa: E402 (the package stands beside docs/, installed or not)
from ckpt_tier.config import load  # noqa: E402
from ckpt_tier.wiring import Wiring  # noqa: E402

SERIES, SAVES, EVERY, FLOATS = 6, 83, 5000, 9_000
BETWEEN = 6 * 86_400 / SAVES
"""Seconds between two saves."""
CONFIG = """run = "swelu"
[hot]
path = "checkpoints"
layout = "model_gpu{{series}}/model_step_{{step}}.safetensors"
settle = "0s"
keep_last = 3
min_free = "1%"
[cold]
url = "{cold}"
same_device = true
keep_best = {{metric = "loss", mode = "min", count = 3}}
"""


def main(keep: str | None) -> None:
    with tempfile.TemporaryDirectory(prefix="report-") as made:
        folder = Path(keep or made)
        folder.mkdir(exist_ok=True)
        page = scene(folder)
        shown = page.read_text().replace(f"{folder}/cold", "/mnt/nas").replace(f"{folder}/", "/data/swelu/")
        page.write_text(shown)
        for look, scheme in (("light", "1"), ("dark", "0")):
            photograph(page, HERE / f"report-{look}.png", scheme)


def scene(folder: Path) -> Path:
    """The run, and its report."""
    now = time.time()
    cold = folder / "cold"
    cold.mkdir()
    save(folder, 0, 0, now)
    tier(folder, "init", "checkpoints", str(cold), "--same-device", "--run", "swelu", "--quiet")
    (folder / "ckpt-tier.toml").write_text(CONFIG.format(cold=cold))
    for number in range(SAVES - 1):
        for series in range(SERIES):
            save(folder, series, number, now)
    spoil(folder)
    tier(folder, "sync", "--quiet")
    note(folder)
    backdate(cold, now)
    tier(folder, "pin", str(40 * EVERY), "--reason", "paper")
    for series in range(3):
        save(folder, series, SAVES - 1, now)
    tier(folder, "report", "report.html")
    return folder / "report.html"


def save(folder: Path, series: int, number: int, now: float) -> None:
    """A small safetensors file, saved when it should have been."""
    step = (number + 1) * EVERY
    path = folder / "checkpoints" / f"model_gpu{series}" / f"model_step_{step}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"w": {"dtype": "F32", "shape": [FLOATS], "data_offsets": [0, 4 * FLOATS]}}).encode()
    body = random.Random(f"{series}.{step}").randbytes(4 * FLOATS)
    path.write_bytes(len(header).to_bytes(8, "little") + header + body)
    saved = now - (SAVES - number) * BETWEEN + BETWEEN / 2 + 40 * series
    os.utime(path, (saved, saved))


def spoil(folder: Path) -> None:
    """Cuts five of them short."""
    for series, number in ((0, SAVES - 2), (3, SAVES - 2), (5, 40), (1, 61), (4, 10)):
        path = folder / "checkpoints" / f"model_gpu{series}" / f"model_step_{(number + 1) * EVERY}.safetensors"
        times = path.stat()
        os.truncate(path, times.st_size * 2 // 3)
        os.utime(path, (times.st_atime, times.st_mtime))


def note(folder: Path) -> None:
    """A loss that falls, with some noise, for each committed checkpoint."""
    wiring = Wiring(load(folder / "ckpt-tier.toml", env=os.environ, cwd=folder))
    manifests = wiring.cold.manifests
    for series in manifests.series():
        for entry in manifests.entries(series):
            noise = random.Random(f"{series}{entry.step}").gauss(0, 0.02)
            loss = 1.6 + 2.2 * math.exp(-entry.step / 90_000) + 0.03 * int(series) + noise
            write_metric(manifests, (series, entry.step, entry.generation), 1, "loss", round(loss, 4))


def backdate(cold: Path, now: float) -> None:
    """Commits when an uplink would have: within minutes, but for a night without the cold tier."""
    away = now - 3 * 86_400, now - 3 * 86_400 + 9 * 3600
    for series in range(SERIES):
        for path in (cold / "swelu" / str(series) / "manifests").glob("*.json"):
            saved = json.loads(path.read_bytes())["saved_at"]
            at = time.mktime(time.strptime(saved[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
            committed = at + random.Random(path.name).lognormvariate(4.2, 0.5)
            if away[0] < committed < away[1]:
                committed = away[1] + (committed - away[0]) / 30
            os.utime(path, (committed, committed))


def tier(folder: Path, *words: str) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("CKPT_TIER_")}
    env |= {"XDG_STATE_HOME": str(folder / "state"), "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run([sys.executable, "-m", "ckpt_tier", *words], cwd=folder, env=env, check=False)
    if done.returncode not in (0, 9):
        raise SystemExit(f"{words} ended with {done.returncode}")


def photograph(page: Path, picture: Path, scheme: str, width: int = 960, height: int = 1440) -> None:
    """The top of the page, as Chromium shows it."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as profile:
        command = [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}",
            f"--blink-settings=preferredColorScheme={scheme}", f"--window-size={width},{height}",
            f"--screenshot={picture}", page.as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
