"""A hot folder, a cold folder and a configuration to run commands on, and golden files to hold the output against."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from ckpt_tier.store.folder import FolderStore

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden"
UPDATE = "CKPT_TIER_TEST_UPDATE_GOLDEN"
EPOCH = 1_577_836_800
"""2020-01-01: checkpoints are saved a second per step after it, so that times in golden files stand still."""
CONFIG = """run = "swelu"
[hot]
path = "hot"
layout = "model_gpu{{series}}/model_step_{{step}}.safetensors"
settle = "0s"
keep_last = 2
min_free = "1B"
[cold]
url = "{cold}"
same_device = true
"""


class Result(msgspec.Struct, frozen=True):
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """stdout, if it is exactly one JSON document."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """stderr, if it is exactly one JSON document."""
        assert self.err.count("\n") == 1, self.err
        return json.loads(self.err)


class Ground:
    """One test's folders. Commands run in `root`, with their state below it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.hot = root / "hot"
        self.cold = root / "cold"
        self.config = root / "ckpt-tier.toml"
        self.hot.mkdir()
        self.cold.mkdir()
        FolderStore(self.cold).create_marker()
        self.config.write_text(CONFIG.format(cold=self.cold))

    def save(self, step: int, series: str = "0", size: int = 4000, fill: int = 0) -> Path:
        """A small, whole safetensors file whose bytes follow from the arguments."""
        path = self.hot / f"model_gpu{series}" / f"model_step_{step}.safetensors"
        path.parent.mkdir(exist_ok=True)
        header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
        header += b" " * (-len(header) % 8)
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes([(step + fill) % 251]) * size)
        saved_at = EPOCH + step + fill
        os.utime(path, (saved_at, saved_at))
        return path

    def objects(self, step: int) -> list[Path]:
        """The data files of a step in the cold tier."""
        found = self.cold.glob(f"swelu/*/data/{step:012d}/*/*/*.safetensors")
        return sorted(found)

    def env(self, **more: str) -> dict[str, str]:
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("CKPT_TIER_", "AWS_", "XDG_", "LC_", "LANG"))}
        ours = {
            "XDG_STATE_HOME": str(self.root / "state"),
            "HOME": str(self.root),
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
        }
        return {**keep, **ours, **more}

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "ckpt_tier", *arguments]
        return subprocess.Popen(
            command, cwd=self.root, env=self.env(**env), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def run(self, *arguments: str, code: int | None = 0, **env: str) -> Result:
        """Runs a command to its end; `code` is the exit code that it must have (None: any)."""
        with self.start(*arguments, **env) as process:
            result = ended(process, timeout=60)
        assert code is None or result.code == code, f"exit code {result.code}\n{result.out}\n{result.err}"
        return result

    def normalised(self, text: str) -> str:
        """`text` without what differs from run to run."""
        for pattern, replacement in (
            (re.escape(str(self.root)), "<root>"),
            (r'"run_id":"[0-9a-f]{16}"', '"run_id":"<id>"'),
            (r"(?!2020-)20\d\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?", "<now>"),
            (r'"((?:total|free|min_free)_bytes|age_seconds|elapsed_seconds)":\d+', r'"\1":<n>'),
            (r'"(\w+_per_second)":\d+', r'"\1":<n>'),
            (r"\d+ d( \d+ h)? ago *", "<age> ago  "),
            (r"saved {2,}hot", "saved  hot"),
            (r"[\d.]+ [kMGTP]?B of [\d.]+ [kMGTP]?B free", "<free>"),
            (r" in \d+\.\d s(, [\d.]+ [kMGT]?B/s)?", " in <time>"),
        ):
            text = re.sub(pattern, replacement, text)
        return text

    def matches_golden(self, name: str, text: str) -> None:
        """Holds `text` against a golden file; CKPT_TIER_TEST_UPDATE_GOLDEN=1 writes it."""
        file = GOLDEN / name
        text = self.normalised(text)
        if os.environ.get(UPDATE):
            file.write_text(text)
        assert text == file.read_text(), text


def interrupt(process: subprocess.Popen[str], number: signal.Signals) -> Result:
    """Sends the signal and waits for the end."""
    process.send_signal(number)
    return ended(process, timeout=30)


def ended(process: subprocess.Popen[str], timeout: float) -> Result:
    """What the process left; one that does not end in time is killed, and the test fails."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Result(process.returncode, out, err)


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Reads stdout until a line holds `text`."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"{text!r} never came: {seen}")
