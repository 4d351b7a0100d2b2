"""`exec` with real processes and signals: a training that saves when it is told to end, and the worker beside it."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckpt_tier.store.folder_paths import MARKER
from ckpt_tier.system.locks import FileLock
from tests.cli.ground import Ground, Result, ended, wait_for

TRAINING = """
import json, os, signal, sys
from pathlib import Path

def save(step):
    header = json.dumps({"w": {"dtype": "U8", "shape": [64], "data_offsets": [0, 64]}}).encode()
    header += b" " * (-len(header) % 8)
    path = Path(f"hot/model_gpu0/model_step_{step}.safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_suffix(".tmp")
    hidden.write_bytes(len(header).to_bytes(8, "little") + header + bytes([step]) * 64)
    hidden.replace(path)

def end(number, frame):
    save(9)
    sys.exit(7)

signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGUSR1, lambda number, frame: print("usr1", flush=True))
print("words", sys.argv[1:], os.environ.get("CKPT_TIER_RESUME"), flush=True)
if "once" in sys.argv:
    save(5)
    sys.exit(0)
while True:
    signal.pause()
"""


class Running(Ground):
    def exec(self, *words: str, **options: str) -> "subprocess.Popen[str]":
        (self.root / "train.py").write_text(TRAINING)
        return self.start("exec", *words, **options)

    @property
    def lock(self) -> FileLock:
        return FileLock(self.hot / ".ckpt-tier/worker.lock", "a test")

    def committed(self) -> list[int]:
        return sorted(int(path.name[:12]) for path in self.cold.glob("swelu/0/manifests/*.json"))


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Running]:
    ground = Running(tmp_path)
    yield ground
    for process in Path("/proc").glob("[0-9]*"):  # workers that wait for a cold tier hold no lock
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == tmp_path and b"--for-training" in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)


def train(*more: str) -> tuple[str, ...]:
    return ("--", "python3", "train.py", *more)


def test_a_save_made_on_sigterm_is_committed_and_the_exit_code_is_the_commands(ground: Running) -> None:
    with ground.exec(*train()) as process:
        wait_for(process, "words")
        process.send_signal(signal.SIGUSR1)
        wait_for(process, "usr1")
        process.send_signal(signal.SIGTERM)
        result = ended(process, 60)
    assert result.code == 7, result.err
    assert ground.committed() == [9], result.err
    assert "everything that can be is committed" in result.err


def test_one_line_serves_the_first_start_and_the_next(ground: Running) -> None:
    def run() -> Result:
        with ground.exec("--resume", "--json", *train("once", "--resume", "{path}")) as process:
            return ended(process, 60)

    first = run()
    assert first.code == 0, first.err
    assert first.out == "words ['once'] None\n"
    second = run()
    path = ground.hot / "model_gpu0/model_step_5.safetensors"
    assert second.out == f"words ['once', '--resume', '{path}'] {path}\n"
    account = json.loads(second.err.splitlines()[-1])
    assert (account["exit_code"], account["drained"], account["resumed"]["step"]) == (0, True, 5)


def test_what_it_says_in_words(ground: Running) -> None:
    said = []
    for _ in range(2):
        with ground.exec("--resume", *train("once", "--resume", "{path}")) as process:
            said.append(ended(process, 60).err)
    text = "\n".join(said)
    draining = [line + "\n" for line in text.splitlines() if "draining" in line]
    for line in draining:  # a worker that is quick, on a machine that is not, leaves nothing to wait for
        text = text.replace(line, "")
    assert {line.partition(" to commit")[2] for line in draining} <= {
        ", 136 B, at most 1 min; Ctrl-C or a second SIGTERM ends it at once\n"
    }
    ground.matches_golden("exec.txt", text)


def test_a_command_that_is_killed_gives_128_and_the_signal(ground: Running) -> None:
    with ground.exec("--", "sh", "-c", "kill -9 $$") as process:
        assert ended(process, 60).code == 128 + 9


def test_a_command_that_is_not_there_gives_127_and_one_that_cannot_be_run_126_before_anything_is_fetched(
    ground: Running,
) -> None:
    lost = ground.save(1)
    ground.run("sync")
    lost.unlink()
    for word, code in (("no-such-command", 127), (str(ground.config), 126)):
        result = ground.run("exec", "--resume", "--", word, "{path}", code=code)
        assert f"can't run {word}" in result.err
        assert ground.run("exec", "--json", "--", word, code=code).error["exit_code"] == code
        assert not lost.exists()
        assert not ground.lock.is_held()


def test_a_worker_that_runs_already_is_used(ground: Running) -> None:
    with ground.start("sync", "--watch") as worker:
        try:
            while (holder := ground.lock.holder()) is None or not ground.lock.is_held():
                assert worker.poll() is None
            with ground.exec(*train("once")) as process:
                assert ended(process, 60).code == 0
            assert ground.committed() == [5]
            assert ground.lock.is_held()
            assert ground.lock.holder() == holder
        finally:
            worker.terminate()
            ended(worker, 30)


def test_with_the_cold_tier_away_the_training_runs_and_what_is_left_is_said(ground: Running) -> None:
    (ground.cold / MARKER).unlink()
    with ground.exec("--grace", "2s", *train("once")) as process:
        result = ended(process, 60)
    assert result.code == 0, result.err
    assert "warning: 1 not committed" in result.err
    with ground.exec("--resume", *train("once", "{step}")) as process:
        wait_for(process, "'once', '5'")
        assert process.stderr is not None
        assert any("draining: 1 to commit" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert ended(process, 60).code == 0


def test_what_cannot_be_had_is_no_first_start(ground: Running) -> None:
    (ground.cold / MARKER).unlink()
    with ground.exec("--resume", *train("once", "{path}")) as process:
        result = ended(process, 60)
    assert (result.code, result.out) == (6, "")
    assert "error: the cold tier at" in result.err
    assert "the command was not started" in result.err


def test_a_usage_error_says_what_to_write(ground: Running) -> None:
    assert "exec --resume -- python train.py" in ground.run("exec", code=2).err
    assert "add --resume" in ground.run("exec", "--rank", "0", "--", "true", code=2).err
