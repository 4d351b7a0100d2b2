import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckpt_tier.core.nouns import FileStamp, Stamp
from ckpt_tier.errors import ConfigError
from ckpt_tier.hot.layout import Layout, Place
from ckpt_tier.hot.scan import Ambiguous, Skipped, look_at, scan, tracked

SEED = Layout.parse("model_gpu{series}/model_step_{step}.pt")
FLAT = Layout.parse("step_{step}.pt")

NOBODY = 65_534


def save(root: Path, *paths: str, data: bytes = b"data") -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def test_a_scan_says_of_each_file_what_one_stat_knows(tmp_path: Path) -> None:
    save(tmp_path, "model_gpu1/model_step_10.pt", "model_gpu1/model_step_9.pt", "model_gpu0/model_step_10.pt")
    path = tmp_path / "model_gpu0/model_step_10.pt"
    found = scan(tmp_path, SEED)
    assert [(copy.series, copy.step) for copy in found.copies] == [("0", 10), ("1", 9), ("1", 10)]
    first, seen = found.copies[0], path.stat()
    assert first.path == "model_gpu0/model_step_10.pt"
    assert first.stamp == Stamp(seen.st_ino, 4, seen.st_mtime_ns)
    assert first.files == (FileStamp(first.path, first.stamp),)
    assert (first.mtime_ns, first.changed_ns) == (seen.st_mtime_ns, max(seen.st_mtime_ns, seen.st_ctime_ns))
    assert first.rank is None
    assert (found.ambiguous, found.skipped, found.errors, found.problems) == ((), (), (), ())


def test_what_the_layout_has_no_place_for_is_passed_over(tmp_path: Path) -> None:
    save(
        tmp_path,
        "model_gpu0/model_step_5.pt",
        "model_gpu0/model_step_5.pt.tmp",
        "model_gpu0/last.pt",
        "model_gpuA/model_step_5.pt",
        "model_gpu0/deeper/model_step_5.pt",
        "model_step_5.pt",
    )
    assert [copy.path for copy in scan(tmp_path, SEED).copies] == ["model_gpu0/model_step_5.pt"]


def test_our_own_folder_is_never_scanned(tmp_path: Path) -> None:
    save(tmp_path, ".ckpt-tier/5.pt", ".other/5.pt")
    found = scan(tmp_path, Layout.parse(".{series}/{step}.pt"))
    assert [copy.path for copy in found.copies] == [".other/5.pt"]


def test_two_names_for_one_step_are_reported_and_neither_is_taken(tmp_path: Path) -> None:
    save(tmp_path, "step_5.pt", "step_005.pt", "step_6.pt")
    found = scan(tmp_path, FLAT)
    assert [copy.step for copy in found.copies] == [6]
    assert found.ambiguous == (Ambiguous("main", 5, ("step_005.pt", "step_5.pt")),)
    (problem,) = found.problems
    assert problem.startswith("step_005.pt and step_5.pt both claim to be step 5 of series main: neither is taken")


def test_symlinks_folders_and_pipes_are_skipped_with_their_reason(tmp_path: Path) -> None:
    save(tmp_path, "step_1.pt")
    (tmp_path / "step_2.pt").symlink_to("step_1.pt")
    (tmp_path / "step_3.pt").mkdir()
    os.mkfifo(tmp_path / "step_4.pt")
    (tmp_path / "step_5.pt").symlink_to("nowhere")
    found = scan(tmp_path, FLAT)
    assert [copy.step for copy in found.copies] == [1]
    assert found.skipped == (
        Skipped("step_2.pt", "it is a symlink"),
        Skipped("step_3.pt", "it is a folder: a layout that ends in / takes folders"),
        Skipped("step_4.pt", "it is not a file"),
        Skipped("step_5.pt", "it is a symlink"),
    )


def test_a_symlinked_folder_is_not_followed(tmp_path: Path) -> None:
    save(tmp_path, "elsewhere/model_step_5.pt")
    (tmp_path / "hot").mkdir()
    (tmp_path / "hot" / "model_gpu0").symlink_to(tmp_path / "elsewhere")
    found = scan(tmp_path / "hot", SEED)
    assert found.copies == ()
    assert found.skipped == (Skipped("model_gpu0", "it is a symlink: put the folder itself here"),)


@pytest.fixture
def ours() -> Iterator[Path]:
    """A folder in which permissions count: root takes another user's place for the time of the test."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        uid = os.geteuid()
        if uid == 0:
            os.seteuid(NOBODY)
        yield Path(name)
        os.seteuid(uid)


def test_an_unreadable_folder_is_an_error_in_the_result(ours: Path) -> None:
    save(ours, "model_gpu0/model_step_5.pt", "model_gpu1/model_step_5.pt", "model_gpu2/model_step_5.pt")
    (ours / "model_gpu1").chmod(0)
    (ours / "model_gpu2").chmod(stat.S_IRUSR)
    found = scan(ours, SEED)
    assert [copy.series for copy in found.copies] == ["0"]
    assert found.problems == (
        "can't look at model_gpu2/model_step_5.pt: Permission denied",
        "can't look into model_gpu1/: Permission denied",
    )
    assert tracked(ours) == set()
    for folder in ("model_gpu1", "model_gpu2"):
        (ours / folder).chmod(stat.S_IRWXU)


def test_a_missing_hot_folder_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    for root in (tmp_path / "gone", tmp_path / "file"):
        save(tmp_path, "file")
        with pytest.raises(ConfigError) as caught:
            scan(root, FLAT)
        assert caught.value.what == f"the hot folder {root} is not there"
        assert caught.value.fix == "check [hot] path, and that its disk is mounted"
        assert caught.value.exit_code == 3


def test_one_file_can_be_looked_at_again(tmp_path: Path) -> None:
    save(tmp_path, "step_5.pt")
    (tmp_path / "step_6.pt").symlink_to("step_5.pt")
    assert look_at(tmp_path, "step_5.pt", Place("main", 5)) == scan(tmp_path, FLAT).copies[0]
    for path in ("step_6.pt", "step_7.pt", "step_5.pt/x", "."):
        assert look_at(tmp_path, path, Place("main", 5)) is None


def test_ten_thousand_files_are_scanned_at_once(tmp_path: Path) -> None:
    for series in range(10):
        (tmp_path / f"model_gpu{series}").mkdir()
        for step in range(1000):
            (tmp_path / f"model_gpu{series}/model_step_{step}.pt").touch()
    begin = time.process_time()
    assert len(scan(tmp_path, SEED).copies) == 10_000
    assert time.process_time() - begin < 1.0


# What eviction must not take


def test_the_target_of_a_symlink_is_tracked(tmp_path: Path) -> None:
    save(tmp_path, "model_gpu0/model_step_5.pt", "model_gpu1/model_step_5.pt", "outside/x.pt")
    (tmp_path / "model_gpu0" / "last.pt").symlink_to("model_step_5.pt")
    (tmp_path / "best.pt").symlink_to(tmp_path / "model_gpu1" / "model_step_5.pt")
    (tmp_path / "chain.pt").symlink_to("best.pt")
    (tmp_path / "away.pt").symlink_to("/etc/hostname")
    (tmp_path / "loop.pt").symlink_to("loop.pt")
    assert {"model_gpu0/model_step_5.pt", "model_gpu1/model_step_5.pt"} <= tracked(tmp_path)
    assert not any(path.startswith("/") or "outside" in path for path in tracked(tmp_path))


def test_a_hot_folder_reached_by_a_symlink_is_looked_at_like_itself(tmp_path: Path) -> None:
    save(tmp_path, "real/step_5.pt")
    (tmp_path / "real" / "last.pt").symlink_to(tmp_path / "real" / "step_5.pt")
    (tmp_path / "hot").symlink_to("real")
    assert tracked(tmp_path / "hot") == {"step_5.pt"}


@pytest.mark.parametrize("text", ["step_5.pt\n", "run/step_5.pt", "{absolute}"])
def test_what_a_latest_file_names_is_tracked(text: str, tmp_path: Path) -> None:
    save(tmp_path, "run/step_5.pt")
    (tmp_path / "run" / "latest").write_text(text.format(absolute=tmp_path / "run" / "step_5.pt"))
    assert tracked(tmp_path) == {"run/step_5.pt"}


@pytest.mark.parametrize("data", [b"", b"\0", b"\xff\xfe", b"../../etc/passwd", b"gone", b"a" * 10_000, b"."])
def test_a_latest_file_of_nonsense_protects_no_file(data: bytes, tmp_path: Path) -> None:
    save(tmp_path, "hot/step_5.pt")
    save(tmp_path / "hot", "latest", data=data)
    assert tracked(tmp_path / "hot") == set()


def test_a_latest_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "latest")
    assert tracked(tmp_path) == set()


def test_a_symlink_to_the_folder_of_a_step_tracks_its_files(tmp_path: Path) -> None:
    save(tmp_path, "a/step_5/model.pt", "a/step_6/model.pt")
    (tmp_path / "a" / "latest").symlink_to("step_6")
    layout = Layout.parse("{series}/step_{step}/model.pt")
    assert tracked(tmp_path, layout) == {"a/step_6/model.pt"}
    assert tracked(tmp_path) == {"a/step_6/model.pt"}


def test_a_symlink_to_a_whole_series_does_not_stop_eviction_there(tmp_path: Path) -> None:
    save(tmp_path, "run_a/step_5.pt", "run_a/step_6.pt")
    (tmp_path / "newest").symlink_to("run_a")
    assert tracked(tmp_path, Layout.parse("run_{series}/step_{step}.pt")) == set()
    assert tracked(tmp_path) == {"run_a/step_5.pt", "run_a/step_6.pt"}
