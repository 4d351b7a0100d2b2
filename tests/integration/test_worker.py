"""The hook, the worker that `open` starts, and `sync --watch`: real trainings and real processes, killed for real."""

import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import ckpt_tier
from ckpt_tier.inbox import HIDDEN
from ckpt_tier.system.locks import FileLock, is_open_for_writing
from tests.cli.ground import Ground
from tests.minio import ACCESS_KEY, SECRET_KEY, free_port, running_minio

BLOCKED_SECONDS = 0.5
"""`saved` never takes longer, whatever the cold tier does."""
TRAINING = """
import os, resource, signal, sys, time
from pathlib import Path
import torch
import ckpt_tier

steps, keep, end = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
folder = Path("hot/model_gpu0")
folder.mkdir(parents=True, exist_ok=True)
left_open = os.open("marker", os.O_RDWR | os.O_CREAT)
os.set_inheritable(left_open, True)
high = min(5000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1)
os.dup2(left_open, high, inheritable=True)

torch.manual_seed(0)
torch.set_num_threads(1)
model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
tier = ckpt_tier.open("ckpt-tier.toml")
print("opened", flush=True)
if end == "killed":
    sys.stdin.readline()
slowest = 0.0
for step in range(1, steps + 1):
    inputs = torch.randn(64, 16)
    loss = torch.nn.functional.mse_loss(model(inputs), inputs.sum(dim=1, keepdim=True))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    state = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    path = folder / f"model_step_{step}.pt"
    if step % 3 == 0:
        tier.save(state, step=step, series="0", metrics={"loss": loss.item()})
    else:
        torch.save(state, path)
        begun = time.monotonic()
        tier.saved(path, step=step, metrics={"loss": loss.item()})
        slowest = max(slowest, time.monotonic() - begun)
    if keep and step > keep:
        (folder / f"model_step_{step - keep}.pt").unlink()
if end == "drained":
    tier.drain(120)
if end in ("killed", "killed at once"):
    os.killpg(os.getpgrp(), signal.SIGKILL)
print(f"slowest {slowest:.6f}", flush=True)
"""


class Place(Ground):
    """Trainings, workers and watches over one hot folder of torch files."""

    extra: dict[str, str]

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.extra = {}
        self.training = root / "training.py"
        self.training.write_text(TRAINING)
        self.configure()

    def env(self, **more: str) -> dict[str, str]:
        return super().env(**self.extra, **more)

    def configure(self, top: str = "", hot: str = "keep_last = 9", cold: str = "", more: str = "") -> None:
        """Writes the configuration; what is given goes into its sections."""
        cold = cold or f'url = "{self.cold}"\nsame_device = true'
        text = (
            f'run = "swelu"\nstate_dir = "state"\n{top}\n'
            f'[hot]\npath = "hot"\nlayout = "model_gpu{{series}}/model_step_{{step}}.pt"\n'
            f'min_free = "1B"\nsettle = "1s"\n{hot}\n[cold]\n{cold}\n{more}\n'
        )
        temporary = self.config.with_suffix(".new")
        temporary.write_text(text)
        temporary.replace(self.config)

    def train(self, steps: int, keep: int, end: str, **options: Any) -> "subprocess.Popen[str]":
        """A training in a session of its own: `end` is "killed", "killed at once", "drained" or "left"."""
        return subprocess.Popen(
            [sys.executable, str(self.training), str(steps), str(keep), end],
            cwd=self.root, env=self.env(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True, **options,
        )  # fmt: skip

    def write(self, step: int, words: int = 64) -> Path:
        """A checkpoint of about 4 bytes per word, whole at once under its name, as copied from elsewhere."""
        path = self.hot / f"model_gpu0/model_step_{step}.pt"
        path.parent.mkdir(exist_ok=True)
        hidden = self.root / f"{step}.tmp"
        torch.save({"step": step, "w": torch.randn(words)}, hidden)
        hidden.replace(path)
        return path

    @property
    def lock(self) -> FileLock:
        return FileLock(self.hot / HIDDEN / "worker.lock", "a test")

    def worker(self, within: float = 60.0) -> int:
        """The pid of the process that works on the queue, once there is one."""
        until(lambda: self.lock.is_held() and self.lock.holder() is not None, within, "a worker")
        holder = self.lock.holder()
        assert holder is not None
        return holder.pid

    def committed(self) -> list[int]:
        return sorted(int(path.name[:12]) for path in self.cold.glob("swelu/0/manifests/*.json"))

    def names(self) -> list[str]:
        return sorted(path.name for path in self.hot.glob("model_gpu0/*"))

    def worker_log(self) -> str:
        log = self.root / "state/worker.log"
        return log.read_text() if log.exists() else ""


def until(condition: Callable[[], object], within: float, what: str) -> float:
    """Waits for it, and says after how many seconds it came."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < within, f"{what} did not come within {within} s"
        time.sleep(0.05)
    return time.monotonic() - begun


def has_ended(pid: int) -> bool:
    """Whether the process is gone; a zombie that nobody has reaped yet is."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def open_files(pid: int) -> set[str]:
    """What the descriptors of a process lead to."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(entry.readlink()))
    return found


def kill_if_there(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    holder = place.lock.holder()
    if holder is not None and holder.pid != os.getpid() and place.lock.is_held():
        kill_if_there(holder.pid)


class Watch:
    """A `sync --watch --json` and what it says."""

    def __init__(self, place: Place) -> None:
        self.process = place.start("sync", "--watch", "--json")
        self.events: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line) | {"seen": time.time()})

    def all(self, kind: str, **fields: object) -> list[dict[str, Any]]:
        return [e for e in list(self.events) if e["type"] == kind and fields.items() <= e.items()]

    def wait(self, kind: str, within: float = 30.0, **fields: object) -> dict[str, Any]:
        """The first such event, once it has come."""
        until(lambda: self.all(kind, **fields) or self.process.poll() is not None, within, f"{kind} {fields}")
        assert self.all(kind, **fields), (self.events, self.process.stderr and self.process.stderr.read())
        return self.all(kind, **fields)[0]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def watch(place: Place) -> Iterator[Callable[[], Watch]]:
    started: list[Watch] = []

    def start() -> Watch:
        started.append(Watch(place))
        until(lambda: place.lock.is_held() or started[-1].process.poll() is not None, 30, "the watch")
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.wait()
        each._reader.join()
        for stream in (each.process.stdout, each.process.stderr):
            assert stream is not None
            stream.close()


# The worker that open() starts


def test_a_training_killed_right_after_saved_leaves_a_worker_that_finishes_and_ends(place: Place) -> None:
    with place.train(5, 0, "killed at once") as training:
        assert training.wait(120) == -signal.SIGKILL
    until(lambda: place.committed() == [1, 2, 3, 4, 5], 60, f"every commit ({place.worker_log()})")
    until(lambda: not place.lock.is_held(), 30, "the worker's end")
    assert "no training uses the folder and the queue is empty" in place.worker_log()
    assert place.run("status").code == 0
    assert list((place.hot / HIDDEN / "inbox").iterdir()) == []
    assert list((place.hot / HIDDEN / "unsent").iterdir()) == []


def test_the_worker_shares_neither_session_nor_descriptors_with_the_training_that_started_it(place: Place) -> None:
    reading, writing = os.pipe()
    with place.train(2, 0, "killed", pass_fds=[writing]) as training:
        os.close(writing)
        assert training.stdin is not None
        assert training.stdout is not None
        assert training.stdout.readline() == "opened\n"
        worker = place.worker()
        assert os.getsid(worker) == worker != os.getsid(training.pid)
        assert os.getpgid(worker) == worker
        assert str(place.root / "marker") in open_files(training.pid)
        of_training = {name for name in open_files(worker) if name.startswith(("pipe:", str(place.root / "marker")))}
        assert of_training == set()
        time.sleep(1.0)
        assert not has_ended(worker)  # there is nothing to do, but a training uses the folder
        training.stdin.write("go on\n")
        training.stdin.flush()
        assert training.wait(60) == -signal.SIGKILL
    assert os.read(reading, 1) == b""  # or this waits for the worker
    os.close(reading)
    until(lambda: place.committed() == [1, 2], 60, f"every commit ({place.worker_log()})")
    until(lambda: has_ended(worker), 30, "the worker's end")


def test_six_trainings_of_one_folder_have_one_worker(place: Place) -> None:
    with open_here(place, processes=6) as tier:
        tier.saved(place.write(7), 7)
        assert tier.drain(60).committed == (("0", 7),)
    assert "error" not in place.worker_log()


# Beside a trainer that deletes its own files


def test_nothing_is_lost_beside_a_trainer_that_keeps_one_file(place: Place) -> None:
    with place.train(12, 1, "drained") as training:
        out, err = training.communicate(timeout=180)
    assert training.returncode == 0, err
    assert float(out.split("slowest ")[1]) < BLOCKED_SECONDS
    assert place.committed() == list(range(1, 13))
    assert place.names() == ["model_step_12.pt"]
    assert "lost" not in place.worker_log()
    assert json.loads(place.run("status", "--json").out)["attention"] == []


@pytest.mark.slow
def test_a_cold_tier_that_is_away_all_through_training_gets_everything_once_it_is_back(
    place: Place, minio_binary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    place.configure(
        top='run_id = "0123456789abcdef"', cold=f'url = "s3://later/on"\nendpoint_url = "http://127.0.0.1:{port}"'
    )
    place.extra = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    with place.train(9, 1, "left") as training:
        out, err = training.communicate(timeout=120)
    assert training.returncode == 0, err
    assert float(out.split("slowest ")[1]) < BLOCKED_SECONDS
    worker = place.worker()
    status = place.run("status", "--json", code=None)
    assert status.code == 6
    assert len(list((place.hot / HIDDEN / "unsent").iterdir())) == 9

    monkeypatch.setattr("tests.minio.free_port", lambda: port)
    with running_minio(minio_binary) as server:
        client = server.client()
        client.create_bucket(Bucket="later")
        waited = until(lambda: has_ended(worker), 150, f"the worker's end ({place.worker_log()})")
        keys = [entry["Key"] for entry in client.list_objects_v2(Bucket="later")["Contents"]]
        print(f"all committed, and the worker ended, {waited:.1f} s after the cold tier came back")
        assert sorted(int(key.split("/")[-1][:12]) for key in keys if "/manifests/" in key) == list(range(1, 10))
        assert json.loads(place.run("status", "--json").out)["attention"] == []
    assert "lost" not in place.worker_log()


# sync --watch


def test_a_file_that_was_copied_into_the_folder_is_taken_up_soon_after_it_settled(
    place: Place, watch: Callable[[], Watch]
) -> None:
    watching = watch()
    place.write(1)
    watching.wait("committed", step=1)
    source = place.write(2).rename(place.root / "elsewhere.pt")
    path = place.hot / "model_gpu0/model_step_2.pt"
    shutil.copyfile(source, path)
    settled_at = path.stat().st_mtime + 1.0
    seen = watching.wait("committed", step=2)["seen"]
    print(f"committed {seen - settled_at:.2f} s after it had settled")
    assert 0 <= seen - settled_at < 10
    assert watching.end() == 0


def test_a_file_that_still_grows_is_neither_taken_up_nor_rejected_until_it_is_closed(
    place: Place, watch: Callable[[], Watch]
) -> None:
    path = place.write(1, words=50_000)
    data = path.read_bytes()
    path.unlink()
    watching = watch()
    with path.open("wb", buffering=0) as file:
        if not is_open_for_writing(path):
            pytest.skip("this file system has no leases, so nothing tells whether a file is open for writing")
        for third in range(3):
            file.write(data[third * len(data) // 3 : (third + 1) * len(data) // 3])
            time.sleep(1.8)  # longer than `settle`
        assert not watching.all("committed") + watching.all("rejected") + watching.all("validated")
    watching.wait("committed", step=1)
    assert not watching.all("rejected")
    assert watching.end() == 0


def test_sighup_reads_the_configuration_again_and_a_broken_one_leaves_the_old_in_force(
    place: Place, watch: Callable[[], Watch]
) -> None:
    for step in (1, 2, 3):
        place.write(step)
    watching = watch()
    for step in (1, 2, 3):
        watching.wait("committed", step=step)
    assert not watching.all("evicted")

    place.configure(hot="keep_last = 1")
    watching.process.send_signal(signal.SIGHUP)
    watching.wait("note", text="the configuration was read again")
    watching.wait("evicted", step=1)
    watching.wait("evicted", step=2)

    place.config.write_text("run = [broken")
    watching.process.send_signal(signal.SIGHUP)
    until(lambda: any("can't be read" in e["text"] for e in watching.all("warned")), 30, "the warning")
    place.write(4)
    watching.wait("committed", step=4)
    watching.wait("evicted", step=3)
    assert watching.end() == 0


def test_sighup_with_a_configuration_that_can_not_work_leaves_the_old_in_force(
    place: Place, watch: Callable[[], Watch]
) -> None:
    place.write(1)
    watching = watch()
    watching.wait("committed", step=1)
    whole = place.config.read_text()
    place.config.write_text(whole.replace('path = "hot"', 'path = "nowhere"'))  # reads well, and names nothing
    watching.process.send_signal(signal.SIGHUP)
    until(lambda: any("the old one stays in force" in e["text"] for e in watching.all("warned")), 30, "the warning")
    place.write(2)
    watching.wait("committed", step=2)
    assert watching.end() == 0


def test_sighup_is_heard_while_the_cold_tier_is_away(place: Place, watch: Callable[[], Watch]) -> None:
    place.cold.rename(place.root / "moved")  # without a run_id the run has to be asked for first
    place.cold.mkdir()
    place.write(1)
    watching = Watch(place)
    try:
        until(lambda: any("the cold tier is away" in e["text"] for e in watching.all("warned")), 60, "the warning")
        place.configure(cold=f'url = "{place.root / "moved"}"\nsame_device = true')
        begun = time.monotonic()
        watching.process.send_signal(signal.SIGHUP)
        watching.wait("committed", within=20, step=1)
        print(f"committed {time.monotonic() - begun:.1f} s after SIGHUP")
        assert watching.end() == 0
    finally:
        watching.process.kill()
        watching.process.communicate()


def amid_an_upload(place: Place, watch: Callable[[], Watch]) -> Watch:
    """A watch whose upload of step 1 takes 40 seconds, of which few have passed."""
    place.configure(more='[upload]\nbandwidth = "10KB/s"')
    place.write(1, words=100_000)
    watching = watch()
    watching.wait("validated", step=1)
    return watching


def test_sigterm_ends_a_watch_with_0_and_frees_the_lock_even_in_the_middle_of_an_upload(
    place: Place, watch: Callable[[], Watch]
) -> None:
    watching = amid_an_upload(place, watch)
    begun = time.monotonic()
    assert watching.end() == 0
    assert time.monotonic() - begun < 10
    assert not place.lock.is_held()
    place.configure()
    assert place.run("sync").code == 0
    assert place.committed() == [1]


def test_a_second_uploader_says_who_holds_the_folder_and_a_new_one_goes_on_after_kill_9(
    place: Place, watch: Callable[[], Watch]
) -> None:
    watching = amid_an_upload(place, watch)
    for arguments in (["sync"], ["sync", "--watch"]):
        refused = place.run(*arguments, code=8)
        assert f"process {watching.process.pid} on {socket.gethostname()}" in refused.err
    watching.process.kill()
    watching.process.wait()
    assert place.committed() == []
    place.configure()
    again = watch()
    again.wait("committed", step=1)
    assert again.end() == 0


# drain


@contextlib.contextmanager
def open_here(place: Place, *, worker: bool = True, processes: int = 1) -> Iterator[ckpt_tier.Tier]:
    """A tier of this process; its worker, a child of ours, is waited for. `processes`: how many tiers are opened."""
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(place.env()):
            patch.delenv(name)
        for name, value in place.env().items():
            patch.setenv(name, value)
        tiers = [ckpt_tier.open(place.config, worker=worker) for _ in range(processes)]
    try:
        yield tiers[-1]
    finally:
        for tier in tiers:
            tier.close()
        holder = place.lock.holder()
        if worker and holder is not None:
            until(lambda: has_ended(holder.pid), 60, "the worker's end")
            with contextlib.suppress(ChildProcessError):
                os.waitpid(holder.pid, os.WNOHANG)


def test_drain_tells_what_is_committed_from_what_is_not_and_does_not_wait_for_a_truncated_file(place: Place) -> None:
    with open_here(place) as tier:
        tier.saved(place.write(1), 1)
        cut = place.write(2)
        cut.write_bytes(cut.read_bytes()[:-300])
        tier.saved(cut, 2)
        tier.saved(place.write(3), 3)
        begun = time.monotonic()
        drained = tier.drain(60)
        assert time.monotonic() - begun < 50
    assert drained.committed == (("0", 1), ("0", 3))
    assert drained.pending == (("0", 2),)
    assert place.committed() == [1, 3]


def test_a_rejected_save_stays_pending_after_the_trainer_has_deleted_it(place: Place) -> None:
    with open_here(place) as tier:
        cut = place.write(1)
        cut.write_bytes(cut.read_bytes()[:-300])
        tier.saved(cut, 1)
        assert tier.drain(60).pending == (("0", 1),)
        cut.unlink()
        tier.saved(place.write(2), 2)
        assert tier.drain(60).committed == (("0", 2),)
        time.sleep(1.5)  # the worker forgets what is gone
        drained = tier.drain(60)
    assert (drained.committed, drained.pending) == ((("0", 2),), (("0", 1),))


def test_a_rejected_save_that_was_deleted_before_anybody_drained_is_pending(place: Place) -> None:
    with open_here(place) as tier:
        cut = place.write(1)
        cut.write_bytes(cut.read_bytes()[:-300])
        tier.saved(cut, 1)
        until(lambda: list((place.hot / HIDDEN / "inbox").glob("*.rejected")), 30, "the rejection")
        cut.unlink()
        time.sleep(3)
        drained = tier.drain(10)
    assert (drained.committed, drained.pending) == ((), (("0", 1),))


def test_a_rejected_save_that_was_handed_over_twice_is_never_told_as_committed(place: Place) -> None:
    with open_here(place) as tier:
        cut = place.write(1)
        cut.write_bytes(cut.read_bytes()[:-300])
        tier.saved(cut, 1)
        tier.saved(cut, 1)
        first = tier.drain(60)
        tier.saved(cut, 1)
        second = tier.drain(60)
    assert first.committed == second.committed == ()
    assert set(first.pending) == set(second.pending) == {("0", 1)}


@pytest.mark.slow
def test_a_worker_that_is_killed_during_drain_is_started_again(place: Place) -> None:
    place.configure(more='[upload]\nbandwidth = "200KB/s"')
    with open_here(place) as tier:
        tier.saved(place.write(1, words=250_000), 1)
        first = place.worker()
        killing = threading.Timer(1.0, os.kill, (first, signal.SIGKILL))
        killing.start()
        drained = tier.drain(90)
        killing.join()
        assert drained.committed == (("0", 1),), place.worker_log()
        assert place.worker() != first


def test_drain_without_a_worker_returns_at_once(place: Place) -> None:
    with open_here(place, worker=False) as tier:
        tier.saved(place.write(1), 1)
        begun = time.monotonic()
        drained = tier.drain(60)
        assert time.monotonic() - begun < 1
    assert (drained.committed, drained.pending) == ((), (("0", 1),))
    assert not place.lock.is_held()
    assert place.run("sync").code == 0
    assert tier.drain(0) == ckpt_tier.Drained(committed=(("0", 1),), pending=())


def test_leaving_the_with_block_drains(place: Place) -> None:
    script = (
        "import ckpt_tier, torch\n"
        "with ckpt_tier.open('ckpt-tier.toml') as tier:\n"
        "    for step in range(3):\n"
        "        tier.save({'w': torch.ones(9)}, step=step, series='0')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=place.root, env=place.env(), timeout=120, capture_output=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert place.committed() == [0, 1, 2]


# saved() never raises


def test_a_save_that_can_not_be_handed_over_is_logged_and_shown_and_never_raises(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    good = place.write(1)
    link = good.with_name("model_step_9.pt")
    link.symlink_to(good)
    loop = good.with_name("loop")
    loop.symlink_to(loop)
    bad: list[tuple[Any, Any, dict[str, Any]]] = [
        (place.root / "elsewhere.pt", 1, {}),
        (good.with_name("model_step_2.pt"), 2, {}),
        (good, -1, {}),
        (good, "5", {}),
        (good, 10**12, {}),
        (good, 1, {"series": "../up"}),
        (good, 1, {"save_id": object()}),
        (good, 1, {"metrics": 5}),
        (link, 9, {}),
        (good.parent, 1, {}),
        (place.hot / ".." / "hot" / "model_gpu0" / "loop" / "x.pt", 1, {}),
        (None, 1, {}),
        (os.fsdecode(b"hot/\xff.pt"), 1, {}),
        ("hot/a\nb.pt", 1, {}),
    ]
    with open_here(place, worker=False) as tier, caplog.at_level(logging.WARNING, "ckpt_tier"):
        for path, step, options in bad:
            before = len(caplog.records)
            tier.saved(path, step, **options)
            assert len(caplog.records) == before + 1, (path, step, options)
            told = place.run("status", "--json", code=None).document["warnings"] if step == -1 else []
            assert step != -1 or "-1 is not a step" in told[-1]
        assert tier.drain(0) == ckpt_tier.Drained(committed=(), pending=())
    log = (place.hot / HIDDEN / "hook-errors.log").read_text().splitlines()
    assert len(log) == len(bad)
    assert place.run("sync", code=None).code == 0  # the scan finds the good one all the same
    assert place.committed() == [1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "1.5", None])
def test_a_metric_that_is_no_finite_number_is_left_out_and_said_but_the_save_is_handed_over(
    place: Place, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with open_here(place, worker=False) as tier, caplog.at_level(logging.WARNING, "ckpt_tier"):
        path = place.write(1)
        tier.saved(path, 1, metrics={"loss": value, "lr": 0.5})
        path.unlink()
        assert tier.drain(0).pending == (("0", 1),)
    assert "loss" in caplog.text
    assert any("loss" in line for line in place.run("status", "--json", code=None).document["warnings"])
    place.run("sync")
    [manifest] = place.cold.glob("swelu/0/manifests/*.json")
    assert json.loads(manifest.read_text())["metrics"] == {"lr": 0.5}


def test_something_in_the_way_of_our_own_folder_stops_no_training(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    (place.hot / HIDDEN).write_text("in the way")
    with caplog.at_level(logging.WARNING, "ckpt_tier"), open_here(place) as tier:
        tier.saved(place.write(1), 1)
        assert tier.drain(1) == ckpt_tier.Drained(committed=(), pending=())
    assert "was not handed over" in caplog.text
    told = place.run("status", code=None)
    assert told.code != 0
    assert HIDDEN in told.err + told.out


FULL_DISK = """
import os, sys
import torch
import ckpt_tier
tier = ckpt_tier.open("ckpt-tier.toml", worker=False)
os.makedirs("hot/model_gpu0")
torch.save({"w": torch.ones(9)}, "hot/model_gpu0/model_step_1.pt")
tier.saved("hot/model_gpu0/model_step_1.pt", step=1)
with open("hot/filler", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
torch.save({"w": torch.ones(9)}, "new.pt")
os.rename("hot/model_gpu0/model_step_1.pt", "hot/model_gpu0/model_step_2.pt")
tier.saved("hot/model_gpu0/model_step_2.pt", step=2)
try:
    tier.save({"w": torch.ones(100_000)}, step=3, series="0")
except (OSError, RuntimeError) as error:
    print("raised", type(error).__name__)
print(sorted(os.listdir("hot/model_gpu0")))
"""


def test_a_full_disk_stops_no_training_and_shows_in_status(place: Place) -> None:
    mount = 'mount -t tmpfs -o size=256k none hot && "$0" -c "$1" && { "$0" -m ckpt_tier status; echo "status $?"; }'
    isolated = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    possible = [*isolated, "sh", "-c", "mount -t tmpfs none hot"]
    if subprocess.run(possible, cwd=place.root, capture_output=True, check=False).returncode != 0:
        pytest.skip("no mount namespace for this user")
    done = subprocess.run(
        [*isolated, "sh", "-c", mount, sys.executable, FULL_DISK],
        cwd=place.root, env=place.env(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "raised" in done.stdout  # save() says what torch.save says, and leaves no half file:
    assert "['model_step_2.pt']" in done.stdout
    assert "was not handed over" in done.stderr
    assert "model_step_2.pt was not handed over" in (place.root / "state/hook-errors.log").read_text()
    assert "The disk is filling up" in done.stdout
    assert "status 9" in done.stdout


def test_open_with_a_server_that_is_not_there_is_fast_and_says_nothing(place: Place, tmp_path: Path) -> None:
    place.configure(cold='url = "s3://bucket"\nendpoint_url = "http://127.0.0.1:1"', top='run_id = "0123456789abcdef"')
    with open_here(place, worker=False) as tier:
        begun = time.monotonic()
        tier.saved(place.write(1), 1)
        assert time.monotonic() - begun < BLOCKED_SECONDS
        assert tier.drain(0).pending == (("0", 1),)
