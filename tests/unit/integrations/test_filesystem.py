"""ckpt:// over a hot folder and a cold one: what is there, what is read, and what the errors are."""

import errno
import io
import os
import pickle
import tomllib
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest
import torch
from safetensors.torch import load, save

from ckpt_tier.errors import CkptTierError, ConfigError, IntegrityError, NotFoundError, SourceChangedError, UsageError
from ckpt_tier.integrations import errors
from ckpt_tier.integrations.filesystem import CkptFileSystem
from tests.builders import TwoTiers, checkpoint

Fs = CkptFileSystem


def at(step: int | str) -> str:
    number = 15 if step == "latest" else step
    return f"run/0/{step}/model_gpu0/model_step_{number}.pt"


def object_of(tiers: TwoTiers, step: int) -> Path:
    [key] = [key for key in tiers.objects() if f"/data/{step:012d}/" in key and key.endswith(".pt")]
    return tiers.cold / key


def test_each_level_lists_what_is_below_it(fs: Fs) -> None:
    assert fs.ls("ckpt://", detail=False) == ["run"]
    assert fs.ls("ckpt://run", detail=False) == ["run/0"]
    assert fs.ls("ckpt://run/0/", detail=False) == ["run/0/5", "run/0/10", "run/0/15"]
    assert fs.ls("ckpt://run/0/5", detail=False) == ["run/0/5/model_gpu0"]
    assert fs.ls("ckpt://run/0/5/model_gpu0", detail=False) == [at(5)]
    assert fs.ls(at(5), detail=False) == [at(5)]


def test_find_glob_and_walk_go_through_every_step_of_both_tiers(fs: Fs) -> None:
    every = sorted(at(step) for step in (5, 10, 15))
    assert fs.find("ckpt://run") == every
    assert sorted(fs.glob("ckpt://run/*/1*/**/*.pt")) == sorted([at(10), at(15)])
    assert [files for _, _, files in fs.walk("run") if files] == [[f"model_step_{s}.pt"] for s in (5, 10, 15)]
    assert fs.find("run/0/7") == []


@pytest.mark.parametrize("step", [5, 10, 15, "latest"])
def test_torch_loads_a_step_of_either_tier_without_a_restore(fs: Fs, config: Path, step: int | str) -> None:
    with fsspec.open(f"ckpt://{at(step)}", config=str(config)) as file:
        state = torch.load(file, weights_only=True)
    assert state["step"] == (15 if step == "latest" else step)
    assert torch.equal(state["model"]["w"], torch.load(io.BytesIO(checkpoint(state["step"])))["model"]["w"])


def test_a_zip_reader_and_a_copy_see_the_bytes_that_were_saved(fs: Fs, tmp_path: Path) -> None:
    for step in (5, 15):
        with fs.open(at(step)) as file, zipfile.ZipFile(file) as archive:
            assert archive.testzip() is None
        fs.get(at(step), str(tmp_path / "copies" / f"{step}.pt"))
        assert (tmp_path / "copies" / f"{step}.pt").read_bytes() == checkpoint(step)
        assert fs.cat(at(step)) == checkpoint(step)
        assert fs.cat_file(at(step), 10, -20) == checkpoint(step)[10:-20]
    fs.get("run/0", str(tmp_path / "all"), recursive=True)
    assert sorted(path.name for path in (tmp_path / "all").rglob("*.pt")) == [
        "model_step_10.pt",
        "model_step_15.pt",
        "model_step_5.pt",
    ]


def test_a_safetensors_file_is_read_from_its_bytes(fs: Fs, tiers: TwoTiers) -> None:
    tiers.set(hot={"layout": "model_gpu{series}/model_step_{step}.safetensors"})
    path = tiers.hot / "model_gpu0/model_step_20.safetensors"
    path.write_bytes(save({"w": torch.arange(6, dtype=torch.bfloat16)}))
    tiers.touch(path)
    tiers.sync()
    found = load(fs.cat("run/0/20/model_gpu0/model_step_20.safetensors"))
    assert torch.equal(found["w"], torch.arange(6, dtype=torch.bfloat16))


def test_info_says_where_a_file_is_read_and_what_proves_it(fs: Fs, tiers: TwoTiers) -> None:
    found = fs.info(at(5))
    [save] = [save for save in tiers.operations().checkpoints() if save.step == 5]
    assert (found["type"], found["size"], found["tier"]) == ("file", len(checkpoint(5)), "cold")
    assert (found["series"], found["step"], found["generation"]) == ("0", 5, save.generation)
    assert fs.info(at(15))["tier"] == "hot"
    assert fs.ukey(at(5)) == found["sha256"]
    assert fs.checksum(at(5)) == int(found["sha256"], 16) != fs.checksum(at(10))
    assert fs.modified(at(5)) == datetime.fromtimestamp(found["mtime"], UTC)
    assert fs.info("run/0/5")["type"] == fs.info("run/0/5/model_gpu0")["type"] == "directory"
    assert all(fs.isdir(path) for path in ("", "run", "run/0", "run/0/5", "run/0/5/model_gpu0"))
    assert fs.isfile(at(5))
    assert not fs.isdir(at(5))


def test_a_step_that_was_saved_twice_has_a_name_for_each_generation(fs: Fs, tiers: TwoTiers) -> None:
    tiers.write(5, seed=1)
    tiers.sync()
    one, *generations = [name for name in fs.ls("run/0", detail=False) if name.startswith("run/0/5")]
    assert one == "run/0/5"
    assert len(generations) == 2
    contents = {fs.cat(f"{name}/model_gpu0/model_step_5.pt") for name in generations}
    assert contents == {checkpoint(5), checkpoint(5, seed=1)}
    fs.invalidate_cache()
    assert fs.cat(at(5)) == checkpoint(5, seed=1)


def test_what_only_the_hot_tier_has_is_there_too(fs: Fs, tiers: TwoTiers) -> None:
    for path in (tiers.cold / "run/0/manifests").iterdir():
        path.unlink()
    assert fs.ls("run/0", detail=False) == ["run/0/10", "run/0/15"]
    assert fs.cat(at(10)) == checkpoint(10)
    assert not fs.exists(at(5))


def test_a_configuration_without_a_cold_tier_shows_its_hot_tier(fs: Fs, config: Path) -> None:
    config.write_text(config.read_text().partition("[cold]")[0])
    assert fs.ls("", detail=False) == ["run"]
    assert fs.ls("run/0", detail=False) == ["run/0/10", "run/0/15"]
    assert fs.cat(at("latest")) == checkpoint(15)
    with pytest.raises(ConfigError, match="no cold tier"):
        fs.cat(at(5))


def test_another_run_of_the_same_cold_tier_is_read_from_there(fs: Fs, config: Path) -> None:
    config.write_text(config.read_text().replace('run = "run"', 'run = "next"'))
    assert fs.ls("", detail=False) == ["next", "run"]
    assert fs.info(at(15))["tier"] == "cold"
    assert fs.cat(at(15)) == checkpoint(15)


def test_a_hot_copy_that_is_not_what_was_validated_is_not_read(fs: Fs, tiers: TwoTiers) -> None:
    tiers.path(15).write_bytes(b"something else")
    assert fs.info(at(15))["tier"] == "cold"
    assert fs.cat(at(15)) == checkpoint(15)


def test_a_hot_copy_that_was_evicted_a_moment_ago_is_read_from_the_cold_tier(fs: Fs, tiers: TwoTiers) -> None:
    assert fs.info(at(15))["tier"] == "hot"
    tiers.path(15).unlink()
    assert fs.cat(at(15)) == checkpoint(15)


def test_an_eviction_does_not_disturb_who_is_reading(fs: Fs, tiers: TwoTiers) -> None:
    with fs.open(at(15)) as file:
        tiers.path(15).unlink()
        assert file.read() == checkpoint(15)


def test_a_hot_copy_that_changes_under_its_reader_is_an_error(fs: Fs, tiers: TwoTiers) -> None:
    with fs.open(at(15)) as file:
        assert file.read(4) == b"PK\x03\x04"
        with tiers.path(15).open("r+b") as writer:
            writer.write(b"other")
        with pytest.raises(SourceChangedError, match="changed since it was validated") as error:
            file.read(4)
    assert isinstance(error.value, OSError)


def test_a_copy_of_a_damaged_object_is_refused_and_removed(fs: Fs, tiers: TwoTiers, tmp_path: Path) -> None:
    path = object_of(tiers, 5)
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="CRC-64/NVME") as error:
        fs.cat(at(5))
    assert isinstance(error.value, OSError)
    with pytest.raises(IntegrityError, match="not what was saved"):
        fs.get(at(5), str(tmp_path / "copy.pt"))
    assert not (tmp_path / "copy.pt").exists()


@pytest.mark.parametrize("harm", ["missing", "short"])
def test_an_object_that_is_missing_or_short_is_damage_and_no_missing_file(fs: Fs, tiers: TwoTiers, harm: str) -> None:
    path = object_of(tiers, 5)
    path.chmod(0o600)
    path.unlink() if harm == "missing" else path.write_bytes(b"short")
    with pytest.raises(IntegrityError) as error, fs.open(at(5)) as file:
        file.read()
    assert isinstance(error.value, OSError)
    assert not isinstance(error.value, FileNotFoundError)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("run/0/7", "the nearest steps are 5, 10, 15"),
        ("run/1/7", "step 7"),
        ("run/1", "there are 0"),
        ("nope/0/5", "there is no run 'nope'"),
        ("run/0/5/other.pt", "it has model_gpu0/model_step_5.pt"),
        ("run/0/5@0000000000000000", "no generation"),
        ("run/0/../../etc/passwd", "write it as ckpt://RUN/SERIES/STEP"),
    ],
)
def test_what_is_not_there_is_a_file_not_found_that_says_what_is(fs: Fs, path: str, says: str) -> None:
    for ask in (fs.info, fs.ls, fs.open):
        with pytest.raises(FileNotFoundError) as error:
            ask(path)
        assert isinstance(error.value, NotFoundError)
        assert error.value.errno == errno.ENOENT
        assert says in str(error.value)
    assert not fs.exists(path)


def test_a_folder_can_not_be_opened(fs: Fs) -> None:
    for path in ("run", "run/0", "run/0/5", "run/0/5/model_gpu0"):
        with pytest.raises(IsADirectoryError, match="is a folder"):
            fs.open(path)


def test_nothing_is_written_and_the_error_says_what_to_use(fs: Fs, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")

    changes: list[Callable[[], object]] = [
        lambda: fs.open(at(5), "wb"),
        lambda: fs.pipe(at(5), b"x"),
        lambda: fs.put(str(tmp_path / "a"), at(5)),
        lambda: fs.rm(at(5)),
        lambda: fs.rm("run/0/5", recursive=True),
        lambda: fs.mv(at(5), "run/0/6"),
        lambda: fs.cp(at(5), at(10)),
        lambda: fs.mkdir("run/0/6"),
        lambda: fs.touch(at(5)),
    ]
    for change in changes:
        with pytest.raises(OSError, match=r"read only.*tier\.saved") as error:
            change()
        assert error.value.errno == errno.EROFS
        assert isinstance(error.value, UsageError)


def test_a_cold_tier_that_is_away_is_not_an_empty_one(fs: Fs, tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckpt_tier.system.clock.SystemClock.sleep", lambda _, seconds: None)
    tiers.cold.rename(tiers.root / "away")
    assert fs.cat(at(15)) == checkpoint(15)
    for ask in (lambda: fs.exists(at(5)), lambda: fs.find("run"), lambda: fs.glob("run/0/*"), lambda: fs.isfile(at(5))):
        with pytest.raises(OSError, match="marker") as error:
            ask()
        assert not isinstance(error.value, FileNotFoundError)


def test_without_a_configuration_the_error_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("CKPT_TIER_")]:
        monkeypatch.delenv(variable)
    with pytest.raises(OSError, match="ckpt-tier init") as error:
        CkptFileSystem(skip_instance_cache=True).ls("")
    assert isinstance(error.value, ConfigError)


def test_the_configuration_is_found_as_the_command_line_finds_it(
    fs: Fs, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config.parent / "hot")
    assert CkptFileSystem(skip_instance_cache=True).exists(at(5))
    monkeypatch.chdir("/")
    monkeypatch.setenv("CKPT_TIER_CONFIG", str(config))
    assert CkptFileSystem(skip_instance_cache=True).exists(at(5))


def test_a_step_that_is_committed_later_is_seen(fs: Fs, tiers: TwoTiers) -> None:
    assert not fs.exists(at(20))
    tiers.write(20)
    tiers.sync()
    assert fs.cat(at(20)) == checkpoint(20)
    assert "run/0/20" in fs.ls("run/0", detail=False)


def test_filesystem_and_open_files_are_pickled_by_what_they_name(fs: Fs) -> None:
    assert pickle.loads(pickle.dumps(fs)).cat(at(5)) == checkpoint(5)
    with fs.open(at("latest")) as file:
        file.seek(100)
        copy = pickle.loads(pickle.dumps(file))
    assert "latest" not in copy.path
    assert copy.read() == checkpoint(15)[100:]
    copy.close()


def test_a_child_that_was_forked_reads_on_by_itself(fs: Fs, tiers: TwoTiers) -> None:
    with fs.open(at(5), cache_type="none") as file:
        file.read(10)
        child = os.fork()
        if child == 0:
            good = file.read(50) == checkpoint(5)[10:60] and fs.cat(at(10)) == checkpoint(10)
            os._exit(0 if good else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert file.read() == checkpoint(5)[10:]


def test_many_threads_share_one_filesystem(fs: Fs) -> None:
    def read(number: int) -> bool:
        step = (5, 10, 15)[number % 3]
        with fs.open(at(step)) as file:
            return bool(file.read() == checkpoint(step)) and fs.isdir("run/0")

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(48)))


def test_every_error_is_pickled_whole() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, OSError)]
    for kind in kinds:
        error = kind("it failed", "because", "mend it")
        assert isinstance(error, CkptTierError)
        copy = pickle.loads(pickle.dumps(error))
        assert (str(copy), copy.errno, copy.fix) == ("it failed: because (mend it)", error.errno, "mend it")


def test_the_project_announces_the_filesystem_to_fsspec() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["fsspec.specs"]["ckpt"].partition(":")
    assert (module, name) == (CkptFileSystem.__module__, CkptFileSystem.__name__)


def test_an_installed_project_makes_fsspec_know_the_scheme() -> None:
    import importlib.metadata

    [announced] = [each for each in importlib.metadata.entry_points(group="fsspec.specs") if each.name == "ckpt"]
    assert announced.load() is CkptFileSystem
    assert fsspec.get_filesystem_class("ckpt") is CkptFileSystem
