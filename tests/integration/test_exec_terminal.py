"""`exec` on a real terminal, in process groups that are signalled as a whole, and as process 1 of a container."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.ground import Ground, ended, wait_for

COUNTING = """
import os, signal, sys, time

seen = []
def note(number, frame):
    seen.append(signal.Signals(number).name)
    os.write(1, ("seen " + " ".join(seen) + "\\n").encode())

for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR2"):
    signal.signal(getattr(signal, name), note)
print("ready", flush=True)
while "SIGTERM" not in seen:
    time.sleep(0.05)
sys.exit(7)
"""
"""Prints each signal as often as it comes; SIGTERM ends it with 7."""
EXEC = (sys.executable, "-m", "ckpt_tier", "exec")
PROMPT = "prompt>"


def in_exec(*words: str) -> str:
    return " ".join((*EXEC, "--", *words))


COUNT = in_exec(sys.executable, "counting.py")
"""In the shell's environment as well: what it says of its jobs then is short."""


class Screen:
    """A terminal with a program on it, which leads its session. `text` is all that it has shown."""

    def __init__(self, ground: Ground, *words: str) -> None:
        process, self._master = pty.fork()
        if process == 0:
            os.chdir(ground.root)
            os.execvpe(words[0], words, {**ground.env(), "PS1": PROMPT, "TERM": "dumb", "COUNT": COUNT})  # noqa: S606 (the words are ours)
        self.process = process
        self.text = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait_for(self, wanted: str, times: int = 1) -> None:
        """Until it has shown that so many times."""
        deadline = time.monotonic() + 60
        while self.text.count(wanted) < times:
            assert time.monotonic() < deadline, f"{wanted!r} never came: {self.text!r}"
            assert self._read(0.5), f"it ended without {wanted!r}: {self.text!r}"

    def wait_for_a_command_in_front(self) -> None:
        """Until the shell has given the terminal away: what is typed before that is its own."""
        deadline = time.monotonic() + 60
        while os.tcgetpgrp(self._master) == self.process:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def close(self) -> None:
        """Hangs up, and kills what is left of its session."""
        os.close(self._master)
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.getsid(int(entry.name)) == self.process:
                    os.kill(int(entry.name), signal.SIGKILL)
        os.waitpid(self.process, 0)

    def _read(self, seconds: float) -> bool:
        """What it shows within that time; False once nothing can come any more."""
        if select.select([self._master], [], [], seconds)[0]:
            try:
                got = os.read(self._master, 65536)
            except OSError:  # the last process that had it open has ended
                return False
            self.text += got.decode(errors="replace")
            return bool(got)
        return True


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    ground = Ground(tmp_path)
    (tmp_path / "counting.py").write_text(COUNTING)
    return ground


@pytest.fixture
def shell(ground: Ground) -> Iterator[Screen]:
    """A shell with job control."""
    screen = Screen(ground, "bash", "--norc", "--noprofile", "-i")
    screen.wait_for(PROMPT)
    yield screen
    screen.close()


def test_ctrl_c_and_ctrl_backslash_reach_the_command_once_and_it_decides(shell: Screen) -> None:
    shell.type("$COUNT\n")
    shell.wait_for("ready")
    shell.type("\x03")
    shell.wait_for("seen SIGINT\r\n")
    shell.type("\x1c")
    shell.wait_for("seen SIGINT SIGQUIT\r\n")
    shell.type("\x03")
    shell.wait_for("seen SIGINT SIGQUIT SIGINT\r\n")


def test_ctrl_z_stops_both_and_fg_goes_on_with_both(shell: Screen) -> None:
    shell.type("$COUNT\n")
    shell.wait_for("ready")
    for turn in (1, 2):
        shell.type("\x1a")
        shell.wait_for(PROMPT, turn + 1)
        assert "Stopped" in shell.text
        shell.type("fg\n")
        shell.wait_for("$COUNT\r\n", turn + 1 + turn)
        shell.wait_for_a_command_in_front()
        shell.type("\x03")
        shell.wait_for("seen" + " SIGINT" * turn + "\r\n")


def test_in_the_background_it_goes_on_and_waits_with_reading_until_it_is_in_front(
    ground: Ground, shell: Screen
) -> None:
    (ground.root / "reading.py").write_text("print('got', input().upper())")
    shell.type(in_exec(sys.executable, "reading.py") + " &\n")
    shell.wait_for(PROMPT, 2)
    deadline = time.monotonic() + 60
    while "Stopped" not in shell.text:
        assert time.monotonic() < deadline, shell.text
        before = shell.text.count(PROMPT)
        shell.type("jobs\n")
        shell.wait_for(PROMPT, before + 1)
        time.sleep(0.1)
    shell.type("fg\n")
    shell.type("a line\n")
    shell.wait_for("got A LINE")


def test_the_command_reads_the_terminal(shell: Screen) -> None:
    shell.type(in_exec("sh", "-c", "'echo ask; read word; echo got $word'") + "\n")
    shell.wait_for("ask\r\n")
    shell.type("something\n")
    shell.wait_for("got something")


def test_in_a_pipeline_ctrl_c_reaches_the_command_once_and_ctrl_z_stops_it(ground: Ground, shell: Screen) -> None:
    (ground.root / "patient.sh").write_text("trap '' INT; exec cat")
    shell.type("$COUNT | sh patient.sh\n")
    shell.wait_for("ready")
    shell.type("\x1a")
    shell.wait_for(PROMPT, 2)
    shell.type("fg\n")
    shell.wait_for("patient.sh\r\n", 3)
    shell.wait_for_a_command_in_front()
    shell.type("\x03")
    shell.wait_for("seen SIGINT\r\n")


def test_ctrl_c_while_it_drains_ends_that_at_once(ground: Ground, shell: Screen) -> None:
    marker = ground.cold / ".ckpt-tier-store"
    content = marker.read_bytes()
    marker.unlink()
    ground.save(1)
    shell.type(in_exec("true") + "\n")
    shell.wait_for("draining: 1 to commit")
    begun = time.monotonic()
    shell.type("\x03")
    shell.wait_for("warning: 1 not committed")
    assert time.monotonic() - begun < 20, "the grace is 60 s"
    marker.write_bytes(content)  # so that the worker has its way, and ends


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGUSR2"])
def test_a_signal_to_the_whole_group_reaches_the_command_once(ground: Ground, name: str) -> None:
    command = [*EXEC, "--", sys.executable, "counting.py"]
    with subprocess.Popen(
        command, cwd=ground.root, env=ground.env(), text=True, process_group=0,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        wait_for(process, "ready")
        os.killpg(process.pid, getattr(signal, name))
        wait_for(process, "seen")
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGTERM)
        result = ended(process, 60)
    assert (result.code, result.out) == (7, f"seen {name} SIGTERM\n"), result.err


@pytest.fixture
def container() -> list[str]:
    """The words before a command that make it process 1."""
    words = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    words += [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no PID namespace for this user")
    return words


def test_as_process_1_it_reaps_orphans_and_passes_sigterm_on(ground: Ground, container: list[str]) -> None:
    script = """
for i in 1 2 3; do sh -c 'sleep 0.2 &'; done
trap 'echo told; exit 7' TERM
sleep 1
ps -e -o stat=,comm= | grep -c '^Z'
echo parent $PPID
while true; do sleep 0.05; done
"""
    command = [*container, *EXEC, "--", "sh", "-c", script]
    with subprocess.Popen(
        command, cwd=ground.root, env=ground.env(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n", "a zombie is left"
        wait_for(process, "parent 1")
        [first] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(first), signal.SIGTERM)
        result = ended(process, 60)
    assert (result.code, result.out) == (7, "told\n"), result.err
