"""Takes the terminal pictures of the README from real runs of the real commands.

python docs/pictures/make.py                     a folder as cold tier
python docs/pictures/make.py s3://bucket/prefix  a bucket; credentials and AWS_ENDPOINT_URL by environment

Needs torch to make a few checkpoints, and Chromium to take the picture of the page of `report`. Writes *.svg and *.png
beside this file; architecture.svg is drawn by hand. The only thing that is changed in what the commands say is the
names of the two temporary folders.
"""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

HERE = Path(__file__).resolve().parent
COLUMNS = 104
SETTLE = 11.0
"""Seconds until what was just written is taken up: a little more than [hot] settle."""
SERIES, SAVES, EVERY, FLOATS = 2, 5, 5000, 300_000
SCENES: dict[str, list[list[str]]] = {
    "init": [["init", "checkpoints", "{cold}"]],
    "sync": [["sync", "--dry-run"], ["sync"]],
    "status": [["status"], ["list"]],
    "restore": [["restore", "--step", "5000"], ["verify", "--step", "5000", "--read"]],
}
"""File name → the commands in it, in this order in one folder."""


def main(cold: str | None) -> None:
    memory = "/dev/shm"  # noqa: S108 (another device than the checkpoints', as a NAS is; private folders below it)
    with (
        tempfile.TemporaryDirectory(prefix="pictures-") as data,
        tempfile.TemporaryDirectory(prefix="pictures-", dir=memory) as nas,
    ):
        folder = Path(data) / "swelu"
        folder.mkdir()
        make_checkpoints(folder / "checkpoints")
        time.sleep(SETTLE)
        for scene, commands in SCENES.items():
            shown = []
            for command in commands:
                words = [word.format(cold=cold or nas) for word in command]
                shown.append(f"$ ckpt-tier {' '.join(words)}\n{run(words, folder)}\n")
            text = "\n".join(shown)
            draw(scene, text.replace(f"{os.path.realpath(data)}/", "/data/").replace(nas, "/mnt/nas"))
        run(["report", "out.html"], folder)
        page = folder / "out.html"
        told = page.read_text().replace(f"{os.path.realpath(data)}/", "/data/").replace(nas, "/mnt/nas")
        page.write_text(told)
        take_picture(page)


def take_picture(page: Path) -> None:
    """What Chromium shows of a page."""
    with tempfile.TemporaryDirectory(prefix="pictures-browser-") as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
        picture = [f"--screenshot={HERE / 'report.png'}", "--window-size=900,1150"]
        subprocess.run(["chromium", *options, *picture, page.as_uri()], check=True, capture_output=True)


def make_checkpoints(hot: Path) -> None:
    """A few training states per series, the last one of the last series cut short, as on a full disk."""
    import torch

    for series in range(SERIES):
        (hot / f"model_gpu{series}").mkdir(parents=True)
        for save in range(1, SAVES + 1):
            place = hot / f"model_gpu{series}" / f"model_step_{save * EVERY}.pt"
            torch.save({"step": save * EVERY, "weights": torch.randn(FLOATS)}, place)
            age = (SAVES - save) * 3600
            os.utime(place, ns=(place.stat().st_atime_ns, place.stat().st_mtime_ns - (age + 60) * 10**9))
    with place.open("r+b") as file:
        file.truncate(place.stat().st_size // 2)
    os.utime(place, ns=(place.stat().st_atime_ns, place.stat().st_mtime_ns - 60 * 10**9))


def run(words: list[str], folder: Path) -> str:
    """What the command writes to a terminal. Exit codes 0 and 9 (a person is needed) are what the scenes show."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    env = {k: v for k, v in os.environ.items() if not k.startswith("CKPT_TIER_") and k not in ("NO_COLOR", "COLUMNS")}
    env |= {"TERM": "xterm-256color", "XDG_STATE_HOME": str(folder.parent / "state")}
    env["PYTHONPATH"] = str(HERE.parents[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "ckpt_tier", *words],
        cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    written = bytearray()
    try:
        while block := os.read(ours, 65536):
            written += block
    except OSError:
        pass  # Linux says EIO when the last writer has closed the terminal
    os.close(ours)
    if process.wait() not in (0, 9):
        raise SystemExit(f"{words} ended with {process.returncode}:\n{written.decode()}")
    return settled(written.decode())


def settled(text: str) -> str:
    """What stays on the screen when bars have moved and gone: lines that were erased are left out."""
    lines: list[str] = [""]
    row = 0
    for part in split_controls(text.replace("\r\n", "\n")):
        if part == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif part == "\r":
            continue  # rich erases a line before it writes it anew
        elif part.startswith("\x1b[") and part.endswith("A"):
            row = max(0, row - int(part[2:-1] or 1))
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part.startswith("\x1b[") and not part.endswith("m"):
            continue
        else:
            lines[row] += part
    return "\n".join(lines[: row + 1]).rstrip("\n")


def split_controls(text: str) -> list[str]:
    """Text in pieces: newlines, carriage returns and escape sequences each on their own."""
    return [part for part in re.split(r"(\n|\r|\x1b\[[0-9;?]*[A-Za-z])", text) if part]


def draw(name: str, text: str) -> None:
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor", highlight=False
    )
    console.print(Text.from_ansi(text.rstrip("\n")))
    svg = console.export_svg(title="ckpt-tier", theme=MONOKAI, unique_id=f"ckpt-tier-{name}")
    # Fonts come from the reader's machine: a picture in a README loads nothing.
    kept = [line for line in svg.split("\n") if "cdnjs" not in line and "fonts" not in line]
    (HERE / f"{name}.svg").write_text("\n".join(kept) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
