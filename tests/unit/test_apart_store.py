"""A folder behind a process of its own: what happens when the process hangs, dies or is asked to stop.

A stopped process stands in for one that hangs: it does not answer. It differs in that SIGKILL ends it; the tests with a
hung mount of FUSE are about one that survives.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import ckpt_tier
from ckpt_tier import errors
from ckpt_tier.errors import (
    CancelledError,
    CkptTierError,
    ConfigError,
    KeyExistsError,
    MissingKeyError,
    SourceChangedError,
    UnavailableError,
)
from ckpt_tier.store import apart, apart_messages, apart_process
from ckpt_tier.store.apart import ApartStore
from ckpt_tier.store.apart_process import Child
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.store.protocol import READ_BLOCK
from tests.cli.ground import Ground
from tests.hung_mount import beside_a_hung_mount
from tests.stores import PIECE, Counter, apart_store, random_bytes, source_of

MakeFile = Callable[[bytes], Path]
KEY = "run/main/data/x.pt"


@pytest.fixture
def store(tmp_path: Path) -> ApartStore:
    return apart_store(tmp_path / "cold", patience=2.0)


def child(store: ApartStore) -> Child:
    """The store's process, started if it is not there yet."""
    return store._running()


def stop(store: ApartStore) -> int:
    """Makes the store's process hang."""
    os.kill(child(store).pid, signal.SIGSTOP)
    return child(store).pid


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


# Hanging


@pytest.mark.slow
def test_what_does_not_answer_is_given_up_and_begun_anew(store: ApartStore) -> None:
    store.put("a", b"x")
    pid = stop(store)
    begun = time.monotonic()
    with pytest.raises(UnavailableError, match=rf"does not answer.*2 s.*process {pid}") as caught:
        store.get("a", 1)
    assert 1.9 < time.monotonic() - begun < 10
    assert caught.value.exit_code == 6
    assert "server" in caught.value.fix
    assert store.get("a", 1) == b"x"
    assert child(store).pid != pid
    wait_until(lambda: not is_alive(pid))


@pytest.mark.slow
def test_all_calls_that_wait_are_told(store: ApartStore, make_file: MakeFile) -> None:
    source = source_of(make_file(random_bytes(PIECE)))
    store.put("a", b"x")
    listing = store.list("")
    stop(store)
    calls: list[Callable[[], object]] = [
        lambda: store.get("a", 1),
        lambda: store.put("b", b"x"),
        lambda: store.stat("a"),
        lambda: store.delete("a"),
        lambda: store.folders(""),
        lambda: list(listing),
        lambda: list(store.read("a", 0, 1)),
        lambda: store.upload(KEY, source, Counter()),
    ]
    with ThreadPoolExecutor(len(calls)) as pool:
        for call in [pool.submit(call) for call in calls]:
            with pytest.raises(UnavailableError, match="does not answer"):
                call.result(timeout=30)


@pytest.mark.slow
def test_a_large_message_to_what_does_not_read_is_not_waited_for(store: ApartStore) -> None:
    stop(store)
    with pytest.raises(UnavailableError, match="does not answer"):
        store.put("a", bytes(2**23))


@pytest.mark.slow
def test_an_upload_that_hung_goes_on_where_it_stopped(store: ApartStore, make_file: MakeFile) -> None:
    data = random_bytes(4 * PIECE)
    source = source_of(make_file(data))

    class Stopping(Counter):
        def moved(self, count: int) -> None:
            super().moved(count)
            if self.moved_bytes == 3 * PIECE:
                stop(store)

    with pytest.raises(UnavailableError):
        store.upload(KEY, source, Stopping())
    counter = Counter()
    store.upload(KEY, source, counter)
    assert counter.resumed_bytes >= 2 * PIECE
    assert counter.moved_bytes + counter.resumed_bytes == len(data)
    assert (Path(store.url) / KEY).read_bytes() == data


@pytest.mark.slow
def test_a_slow_folder_is_no_hung_one(store: ApartStore, make_file: MakeFile) -> None:
    """The process is held up again and again, longer in all than the patience, and something moves in between."""

    class Slow(Counter):
        def moved(self, count: int) -> None:
            super().moved(count)
            if count:
                pid = stop(store)
                threading.Timer(0.5, os.kill, (pid, signal.SIGCONT)).start()

    pid = child(store).pid
    begun = time.monotonic()
    store.upload(KEY, source_of(make_file(random_bytes(PIECE))), Slow())
    assert time.monotonic() - begun > 2.0
    assert child(store).pid == pid


@pytest.mark.slow
def test_a_block_stays_as_it_is_until_the_next_is_asked_for(store: ApartStore) -> None:
    data = random_bytes(3 * READ_BLOCK)
    store.put("a", data)
    blocks = store.read("a", 0, len(data))
    for start in range(0, len(data), READ_BLOCK):
        block = next(blocks)
        time.sleep(0.1)
        assert block == data[start : start + READ_BLOCK]
    assert list(blocks) == []


@pytest.mark.slow
def test_a_reading_that_hangs_between_two_blocks_is_given_up(store: ApartStore) -> None:
    store.put("a", b"x" * 3 * READ_BLOCK)
    blocks = store.read("a", 0, 3 * READ_BLOCK)
    assert len(next(blocks)) == READ_BLOCK
    stop(store)
    with pytest.raises(UnavailableError, match="does not answer"):
        list(blocks)


def test_a_reading_that_nobody_goes_on_with_keeps_nobody_waiting(store: ApartStore) -> None:
    store.put("a", b"x" * 3 * READ_BLOCK)
    with contextlib.closing(store.read("a", 0, 3 * READ_BLOCK)) as blocks:
        next(blocks)
    assert store.get("a", 2**25)[:1] == b"x"


# Dying


def test_a_process_that_somebody_kills_is_replaced(store: ApartStore) -> None:
    store.put("a", b"x")
    os.kill(child(store).pid, signal.SIGKILL)
    for _ in range(2):  # the first call may come before its end is noticed
        try:
            assert store.get("a", 1) == b"x"
        except UnavailableError as error:
            assert "ended" in error.what  # noqa: PT017
    assert store.get("a", 1) == b"x"


def test_a_kill_during_a_call_is_said(store: ApartStore, make_file: MakeFile) -> None:
    class Killing(Counter):
        def moved(self, count: int) -> None:
            super().moved(count)
            os.kill(child(store).pid, signal.SIGKILL)

    with pytest.raises(UnavailableError, match="ended"):
        store.upload(KEY, source_of(make_file(random_bytes(3 * PIECE))), Killing())
    assert list(store.list("")) == []


def test_a_process_that_can_not_start_is_said(store: ApartStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart_process, "_START", "raise SystemExit(3)")
    with pytest.raises(UnavailableError, match="ended"):
        store.get("a", 1)
    monkeypatch.setattr(sys, "executable", "/no/python")
    with pytest.raises(UnavailableError, match="no process could be started"):
        store.get("a", 1)


PARENT = """
import os, signal, sys, time
from pathlib import Path
from ckpt_tier.store.apart import ApartStore
store = ApartStore(Path(sys.argv[1]))
list(store.list(""))
print(store._running().pid, flush=True)
if sys.argv[2] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "leave"])
def test_the_process_ends_with_its_parent(store: ApartStore, how: str) -> None:
    run = subprocess.run([sys.executable, "-c", PARENT, store.url, how], capture_output=True, text=True, check=False)
    assert run.returncode == (-signal.SIGKILL if how == "kill" else 0), run.stderr
    wait_until(lambda: not is_alive(int(run.stdout)))


def test_the_process_keeps_nothing_of_ours_open(store: ApartStore, tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        names = {str(entry.readlink()) for entry in Path(f"/proc/{child(store).pid}/fd").iterdir()}
    assert {name.partition(":")[0] for name in names} == {"socket", "/dev/null"}
    assert os.getsid(child(store).pid) != os.getsid(0)  # Ctrl-C is not for it


# Asked to stop


def test_a_cancelled_upload_lets_go_at_once(store: ApartStore, make_file: MakeFile) -> None:
    data = random_bytes(4 * PIECE)
    source = source_of(make_file(data))
    pid = child(store).pid
    with pytest.raises(CancelledError, match="stopped by the test"):
        store.upload(KEY, source, Counter(stop_after=2 * PIECE))
    counter = Counter()
    store.upload(KEY, source, counter)  # its lock is free, and the process is the same
    assert counter.resumed_bytes >= PIECE
    assert child(store).pid == pid


@pytest.mark.slow
def test_a_stop_request_does_not_wait_for_what_hangs(tmp_path: Path, make_file: MakeFile) -> None:
    asked = threading.Event()

    def still_wanted() -> None:
        if asked.is_set():
            raise CancelledError("stopped by the test")

    class Asked(Counter):
        def moved(self, count: int) -> None:
            still_wanted()

    root = Path(apart_store(tmp_path / "cold").url)
    store = ApartStore(root, 60.0, still_wanted)
    source = source_of(make_file(b"x"))
    asked.set()
    for call in (lambda: list(store.list("")), lambda: store.stat("a"), lambda: store.upload(KEY, source, Asked())):
        stop(store)
        begun = time.monotonic()
        with pytest.raises(CancelledError):
            call()
        assert time.monotonic() - begun < 15


def test_a_listing_that_nobody_reads_to_its_end_is_ended(store: ApartStore) -> None:
    folder = Path(store.url) / "many"
    folder.mkdir()
    for number in range(2500):
        (folder / f"{number:04}").touch()
    listing = store.list("many/")
    assert next(listing).key == "many/0000"
    listing.close()  # type: ignore[attr-defined]
    assert child(store)._exchanges == {}
    assert [entry.key for entry in store.list("many/")] == [f"many/{number:04}" for number in range(2500)]


@pytest.mark.slow
def test_whoever_holds_the_bandwidth_holds_the_process(store: ApartStore, make_file: MakeFile) -> None:
    block = 2**20
    lead: list[int] = []

    class Looking(Counter):
        def moved(self, count: int) -> None:
            super().moved(count)
            time.sleep(0.02)
            [partial] = (Path(store.url) / ".ckpt-tier-tmp").glob("*.partial")
            lead.append(partial.stat().st_size - self.moved_bytes)

    store.upload(KEY, source_of(make_file(random_bytes(2 * PIECE))), Looking())
    assert len(lead) >= 2 * PIECE // block
    assert max(lead) <= block


# Errors


def test_errors_come_over_as_they_were_raised(store: ApartStore, make_file: MakeFile) -> None:
    direct = FolderStore(Path(store.url))
    path = make_file(random_bytes(PIECE))
    source = source_of(path)
    store.put("there", b"x")
    path.write_bytes(b"changed")
    for call, kind in (
        (lambda each: each.get("missing", 1), MissingKeyError),
        (lambda each: each.put("there", b"y", if_absent=True), KeyExistsError),
        (lambda each: each.upload(KEY, source, Counter()), SourceChangedError),
        (lambda each: each.put("x" * 300, b""), ConfigError),
    ):
        with pytest.raises(kind) as theirs:
            call(direct)
        with pytest.raises(kind) as ours:
            call(store)
        assert type(ours.value) is type(theirs.value)
        assert (ours.value.what, ours.value.why, ours.value.fix) == (
            theirs.value.what,
            theirs.value.why,
            theirs.value.fix,
        )


def test_every_error_of_ours_can_come_over() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, CkptTierError)]
    assert len(kinds) > 10
    for kind in kinds:
        back = apart_messages.error_of(apart_messages.failure(1, kind("what \udcff", "why", "fix")))
        assert type(back) is kind
        assert (back.what, back.why, back.fix) == ("what \\udcff", "why", "fix")


def test_any_other_error_is_said_with_its_trace() -> None:
    back = apart_messages.error_of(apart_messages.failure(1, ZeroDivisionError("by nought")))
    assert back.exit_code == 1
    assert "by nought" in back.why


def test_a_marker_is_made_and_taken_back(tmp_path: Path) -> None:
    root = tmp_path / "cold"
    store = ApartStore(root)
    with pytest.raises(ConfigError, match="no folder"):
        store.create_marker()
    root.mkdir()
    with pytest.raises(UnavailableError, match="marker"):
        list(store.list(""))
    assert store.create_marker()
    assert not store.create_marker()
    store.remove_marker()
    assert list(root.iterdir()) == []


def test_names_that_are_not_utf_8_come_over(tmp_path: Path) -> None:
    store = apart_store(Path(os.fsdecode(os.fsencode(tmp_path) + b"/c\xff")))
    (Path(store.url) / os.fsdecode(b"f\xfe")).mkdir()
    assert list(store.folders("")) == [os.fsdecode(b"f\xfe")]
    with pytest.raises(MissingKeyError):
        store.get("missing", 1)


# A mount that hangs

HUNG = """
import json, os, signal, sys, time
from pathlib import Path
from ckpt_tier.errors import UnavailableError
from ckpt_tier.store.apart import ApartStore
from ckpt_tier.store.apart_process import hung

def attempt():
    begun = time.monotonic()
    try:
        list(store.list(""))
    except UnavailableError as error:
        return [round(time.monotonic() - begun, 1), str(error)]

store = ApartStore(Path(sys.argv[1]), patience=1.0)
name = store._name()
said = {"first": attempt(), "second": attempt()}
stuck = hung(name)
said["stuck"] = [Path(f"/proc/{pid}/comm").read_text().strip() == name for pid in stuck]
others = [ApartStore(Path(sys.argv[1]), patience=0.5) for _ in range(5)]
said["others"] = []
for store in others:
    said["others"].append(attempt()[1])
    time.sleep(0.3)
said["most"] = len(hung(name))
os.kill(int(os.environ["SERVER"]), signal.SIGKILL)
deadline = time.monotonic() + 20
while hung(name) and time.monotonic() < deadline:
    time.sleep(0.05)
said["left"] = hung(name)
said["after"] = attempt()
print(json.dumps(said))
"""


@pytest.mark.slow
def test_a_mount_that_hangs_holds_few_processes_and_never_us(tmp_path: Path) -> None:
    point = tmp_path / "nas"
    run = beside_a_hung_mount(point, [sys.executable, "-c", HUNG, str(point)])
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert 0.9 < said["first"][0] < 5
    assert "does not answer" in said["first"][1]
    assert said["stuck"] == [True]  # killed, and still there
    assert said["second"][0] < 2  # nobody is sent after it
    assert "still hangs there" in said["second"][1]
    assert said["most"] == apart._MOST_HUNG
    assert "still hangs there" in said["others"][-1]
    assert said["left"] == []  # they end with the hanging
    assert said["after"][0] < 5
    assert "not connected" in said["after"][1]


def test_a_hook_never_touches_the_cold_tier(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even to see whether it is there: on a mount that hangs, that alone would hold training for ever."""
    for name in ("stat", "lstat", "open", "scandir", "listdir", "readlink", "link", "statvfs", "access"):
        real = getattr(os, name)

        def guarded(path: Any, *rest: Any, real: Any = real, **more: Any) -> Any:
            assert not str(path).startswith(str(ground.root / "nas")), f"{real} of {path}"
            return real(path, *rest, **more)

        monkeypatch.setattr(os, name, guarded)
    (ground.root / "nas").mkdir()
    monkeypatch.setenv("CKPT_TIER_STATE_DIR", str(ground.root / "own-state"))
    for url in (str(ground.root / "nas"), "hot/../nas"):
        tier = ckpt_tier.open(ground.config, url=url, worker=False)
        tier.saved(ground.hot / "model_gpu0" / "model_step_10000.safetensors", step=10_000)
        assert tier.drain(timeout=0.1).pending == (("0", 10_000),)
        tier.close()
    assert not (ground.root / "own-state" / "hook-errors.log").exists()


IMPATIENT = """
import sys
from ckpt_tier.store import apart
apart.PATIENCE = 1.0
from ckpt_tier.cli import main
main()
"""


def on_the_hung_mount(ground: Ground, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command whose cold tier hangs; its output is read to the end, which a process left behind must not delay."""
    command = [sys.executable, "-c", IMPATIENT, *arguments, "--config", str(ground.config)]
    begun = time.monotonic()
    run = beside_a_hung_mount(ground.root / "nas", command, **ground.env())
    assert time.monotonic() - begun < 40
    return run


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """A hot tier with a checkpoint that was committed before the cold tier hung, and one that was not."""
    ground = Ground(tmp_path)
    ground.save(5000)
    ground.run("sync")
    ground.save(10_000)
    ground.config.write_text(ground.config.read_text().replace(str(ground.cold), str(ground.root / "nas")))
    return ground


@pytest.mark.slow
def test_status_shows_the_hot_tier_and_says_that_the_cold_one_hangs(ground: Ground) -> None:
    run = on_the_hung_mount(ground, "status")
    assert run.returncode == 6, run.stdout + run.stderr
    assert "The cold tier is away" in run.stdout
    assert "does not answer" in run.stdout
    assert re.search(r"^ *0 +nothing yet +2 ", run.stdout, re.MULTILINE), run.stdout
    assert run.stderr == ""


@pytest.mark.slow
def test_list_shows_the_hot_tier_and_says_that_the_cold_one_hangs(ground: Ground) -> None:
    run = on_the_hung_mount(ground, "list", "--json")
    assert run.returncode == 6, run.stdout + run.stderr
    told = json.loads(run.stdout)
    assert [row["step"] for row in told["checkpoints"]] == [5000, 10_000]
    assert "does not answer" in told["cold_error"]
    assert json.loads(run.stderr)["exit_code"] == 6


EVERYTHING_APART = """
from ckpt_tier.system import mounts
mounts._LOCAL = frozenset()
from ckpt_tier.cli import main
main()
"""


@pytest.mark.slow
def test_the_whole_job_is_done_through_the_process(tmp_path: Path) -> None:
    ground = Ground(tmp_path)
    saved = {step: ground.save(step, size=3_000_000).read_bytes() for step in (5000, 10_000, 15_000)}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-c", EVERYTHING_APART, *arguments]
        done = subprocess.run(
            command, cwd=ground.root, env=ground.env(), capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("sync")
    assert len(list(ground.hot.rglob("*.safetensors"))) == 2
    assert "3 of 3 checkpoints good" in run("verify", "--read")
    run("restore", "--step", "5000")
    assert (ground.hot / "model_gpu0" / "model_step_5000.safetensors").read_bytes() == saved[5000]


@pytest.mark.slow
def test_init_on_a_mount_that_hangs_writes_nothing(ground: Ground) -> None:
    ground.config.unlink()
    run = on_the_hung_mount(ground, "init", str(ground.hot), str(ground.root / "nas"))
    assert run.returncode == 6, run.stdout + run.stderr
    assert "does not answer" in run.stderr
    assert not ground.config.exists()


TRAINING = """
import json, os, signal, sys, time
from pathlib import Path
import ckpt_tier
from ckpt_tier.system.locks import FileLock

took = {}
def timed(name, call):
    begun = time.monotonic()
    value = call()
    took[name] = time.monotonic() - begun
    return value

hot = Path(sys.argv[1]).parent / "hot"
tier = timed("open", lambda: ckpt_tier.open(sys.argv[1]))
timed("saved", lambda: tier.saved(hot / "model_gpu0/model_step_10000.safetensors", step=10_000))
drained = timed("drain", lambda: tier.drain(timeout=3.0))
timed("close", tier.close)
lock = FileLock(hot / ".ckpt-tier/worker.lock", "")
pid = lock.holder().pid
os.kill(pid, signal.SIGTERM)
def ended():
    deadline = time.monotonic() + 30
    while lock.is_held() and time.monotonic() < deadline:
        time.sleep(0.05)
timed("worker", ended)
print(json.dumps({"took": took, "pending": drained.pending, "committed": drained.committed}))
"""


@pytest.mark.slow
def test_training_and_its_worker_do_not_wait_for_a_mount_that_hangs(ground: Ground) -> None:
    """The worker, whose cold tier hangs for 60 s until it gives up, still ends when it is asked to."""
    command = [sys.executable, "-c", TRAINING, str(ground.config)]
    run = beside_a_hung_mount(ground.root / "nas", command, **ground.env())
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert said["pending"] == [["0", 10_000]]
    assert said["took"]["open"] < 2
    assert said["took"]["saved"] < 1
    assert 2.9 < said["took"]["drain"] < 5
    assert said["took"]["close"] < 1
    assert said["took"]["worker"] < 15
