"""`recover`: another machine, which has the cold tier and nothing else."""

import json
import os
import subprocess
import sys

import pytest

from ckpt_tier.cold.configs import config_id
from tests.cli.ground import EPOCH, GOLDEN, Ground, Result, ended
from tests.cli.test_documents_fit_their_schemas import fits

STEPS = (0, 5000, 10_000)


class NewMachine:
    """An empty home and folder, and the cold tier of a machine that is gone."""

    def __init__(self, ground: Ground, name: str = "new") -> None:
        self.ground = ground
        self.root = ground.root / name
        self.root.mkdir()
        self.to = self.root / "checkpoints"
        self.config = self.root / "ckpt-tier.toml"

    def run(self, *arguments: str, code: int = 0, **env: str) -> Result:
        home = {"HOME": str(self.root), "XDG_STATE_HOME": ""}
        command = [sys.executable, "-m", "ckpt_tier", *arguments]
        with subprocess.Popen(
            command, cwd=self.root, env=self.ground.env(**home, **env), text=True, stdout=-1, stderr=-1
        ) as process:
            result = ended(process, timeout=60)
        assert result.code == code, f"exit code {result.code}\n{result.out}\n{result.err}"
        return result

    def recover(self, *arguments: str, code: int = 0) -> Result:
        return self.run("recover", str(self.ground.cold), "--to", "checkpoints", "--same-device", *arguments, code=code)

    def files(self) -> dict[str, bytes]:
        """Every checkpoint that is there, by its path."""
        return {path.relative_to(self.to).as_posix(): path.read_bytes() for path in self.to.glob("model*/*")}


@pytest.fixture
def gone(ground: Ground) -> Ground:
    """Two series of three checkpoints in the cold tier."""
    for series in "01":
        for step in STEPS:
            ground.save(step, series)
    ground.run("sync")
    return ground


@pytest.fixture
def new(gone: Ground) -> NewMachine:
    return NewMachine(gone)


def name(step: int, series: str) -> str:
    return f"model_gpu{series}/model_step_{step}.safetensors"


def damage(ground: Ground, step: int, series: str) -> None:
    [path] = [path for path in ground.objects(step) if f"model_gpu{series}" in path.parts]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_the_url_alone_brings_every_series_back_with_its_settings(gone: Ground, new: NewMachine) -> None:
    saved = {name(10_000, s): (gone.hot / name(10_000, s)).read_bytes() for s in "01"}
    out = new.recover().out
    assert new.files() == saved
    assert "keep_last = 2" in new.config.read_text()
    assert 'path = "checkpoints"' in new.config.read_text()
    gone.matches_golden("recover.txt", out)


def test_the_next_sync_has_nothing_to_do_and_a_second_recovery_fetches_nothing(gone: Ground, new: NewMachine) -> None:
    new.recover()
    before = sorted(path for path in gone.cold.rglob("*") if path.is_file() and "_configs" not in path.parts)
    synced = new.run("sync", "--json").document
    assert (synced["committed"], synced["evicted"], synced["trouble"], synced["warnings"]) == ([], [], [], [])
    after = sorted(path for path in gone.cold.rglob("*") if path.is_file() and "_configs" not in path.parts)
    assert after == before
    again = new.recover("--json").document
    assert not again["config_written"]
    assert [each["fetched_bytes"] for each in again["restored"]] == [0, 0]
    assert new.run("status", "--json").document["attention"] == []


def test_the_document_fits_its_schema_and_stands_still(gone: Ground, new: NewMachine) -> None:
    damage(gone, 10_000, "0")
    document = new.recover("--json").document
    assert fits(document, "recover")
    gone.matches_golden("recover.json", _held(json.dumps(document, indent=1, separators=(",", ":")) + "\n"))


def _held(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if '"held_until"' not in line)


def test_a_damaged_checkpoint_is_passed_over_and_said(gone: Ground, new: NewMachine) -> None:
    damage(gone, 10_000, "0")
    result = new.recover()
    assert new.files().keys() == {name(5000, "0"), name(10_000, "1")}
    assert "passed over series=0 step=10000" in result.out


def test_a_series_without_a_good_one_does_not_keep_the_others_back(gone: Ground, new: NewMachine) -> None:
    for step in STEPS:
        damage(gone, step, "0")
    result = new.recover(code=5)
    assert new.files().keys() == {name(10_000, "1")}
    assert result.err.startswith("error: 1 of 2 series did not come back: series 0: ")
    document = new.recover("--json", code=5).document
    assert [each["series"] for each in document["failed"]] == ["0"]
    assert fits(document, "recover")


def test_one_series_of_several(new: NewMachine) -> None:
    new.recover("--series", "1")
    assert new.files().keys() == {name(10_000, "1")}


def test_several_runs_are_shown_and_one_has_to_be_named(gone: Ground, new: NewMachine) -> None:
    gone.config.write_text(gone.config.read_text().replace('run = "swelu"', 'run = "gelu"'))
    gone.run("sync")
    result = new.recover(code=2)
    gone.matches_golden("recover-runs.txt", result.out)
    assert result.err.splitlines()[-1] == "hint: say which: --run gelu"
    assert [path.name for path in new.root.iterdir()] == [".local"], "nothing but the cache of manifests"
    document = json.loads(new.recover("--json", code=2).out)
    assert fits(document, "recover")
    assert [(run["name"], run["series"], run["newest_step"]) for run in document["runs"]] == [
        ("gelu", 2, 10_000),
        ("swelu", 2, 10_000),
    ]
    new.recover("--run", "gelu")
    assert 'run = "gelu"' in new.config.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--run", "other"], "there is: swelu"), (["--series", "7"], "has no committed checkpoint")],
)
def test_what_is_not_there_is_4_and_writes_nothing(new: NewMachine, arguments: list[str], words: str) -> None:
    assert words in new.recover(*arguments, code=4).err
    assert not new.config.exists()
    assert not new.to.exists()


def test_an_empty_cold_tier_has_no_run(ground: Ground) -> None:
    assert "there is no run" in NewMachine(ground).recover(code=4).err


def test_another_configuration_is_never_replaced(new: NewMachine) -> None:
    new.config.write_text('run = "mine"\n[cold]\nurl = "s3://mine/x"\n')
    before = new.config.read_text()
    result = new.recover(code=8)
    assert "differs from the configuration that the run gives" in result.err
    assert new.config.read_text() == before
    assert not new.to.exists()
    new.recover("--config", "other.toml")
    assert new.config.read_text() == before
    assert (new.root / "other.toml").exists()


def test_a_configuration_of_the_same_meaning_is_fine(new: NewMachine) -> None:
    new.recover()
    new.config.write_text("# mine\n" + new.config.read_text().replace('level = "full"', 'level = "full" # all of it'))
    before = new.config.read_text()
    new.recover()
    assert new.config.read_text() == before


def test_another_file_in_the_way_is_kept_named_and_with_force_moved_aside(new: NewMachine) -> None:
    there = new.to / name(10_000, "0")
    there.parent.mkdir(parents=True)
    there.write_bytes(b"something else")
    result = new.recover(code=8)
    assert str(there) in result.err
    assert "--force" in result.err
    assert there.read_bytes() == b"something else"
    assert name(10_000, "1") in new.files()
    new.recover("--force")
    [aside] = (new.to / ".ckpt-tier" / "replaced").iterdir()
    assert aside.read_bytes() == b"something else"
    assert there.read_bytes() != b"something else"


def test_a_broken_journal_is_set_aside_and_a_newer_save_on_the_hot_tier_is_pointed_at(
    gone: Ground, new: NewMachine
) -> None:
    new.recover()
    [journal] = new.root.rglob("journal.sqlite")
    journal.write_bytes(b"broken" * 100)
    later = new.to / name(15_000, "0")
    later.write_bytes((gone.hot / name(10_000, "0")).read_bytes())
    os.utime(later, (EPOCH + 15_000, EPOCH + 15_000))
    out = new.recover().out
    assert "the hot tier has step 15000 of series 0, saved later" in out
    assert new.run("sync", "--json").document["committed"][0]["step"] == 15_000


def test_a_worker_at_the_folder_is_left_alone(new: NewMachine) -> None:
    from ckpt_tier.system.locks import FileLock

    new.recover()
    for file in new.to.glob("model*/*"):
        file.unlink()
    with FileLock(new.to / ".ckpt-tier" / "worker.lock", "the worker").acquire(""):
        out = new.recover().out
    assert "the journal was not touched" in out
    assert len(new.files()) == 2


# What the bucket says is not obeyed


def planted(gone: Ground, text: str) -> None:
    """A configuration that somebody put to the run after ours."""
    path = gone.cold / "swelu" / "_configs" / f"{config_id(text.encode())}.toml"
    path.write_text(text)
    os.utime(path, (4_000_000_000, 4_000_000_000))


def test_a_planted_configuration_runs_nothing_and_leads_nowhere(gone: Ground, new: NewMachine) -> None:
    (new.root / "evil.py").write_text("import pathlib\npathlib.Path('pwned').touch()\ndef check(path): pass\n")
    planted(
        gone,
        'run = "other"\nrun_id = "0000000000000000"\nstate_dir = "/tmp/evil"\n[validate]\ncustom = "evil:check"\n'
        '[hot]\npath = "/tmp/evil"\nlayout = "../{step}.pt"\nkeep_last = 7\n[cold]\nurl = "s3://evil/x"\n'
        'endpoint_url = "http://evil"\nprofile = "evil"\n',
    )
    result = new.recover("--json")
    warnings = result.document["warnings"]
    assert len(warnings) == 5, warnings
    text = new.config.read_text()
    assert "keep_last = 7" in text
    assert "evil" not in text
    assert str(gone.cold) in text
    new.run("sync")
    assert not (new.root / "pwned").exists()
    assert len(new.files()) == 2


@pytest.mark.parametrize("text", ["{no toml", "[hot]\nkeep_last = 1\n[hot]\nkeep_last = 2\n", "#" * (10 * 2**20)])
def test_an_unreadable_one_is_a_warning_and_the_one_before_it_counts(gone: Ground, new: NewMachine, text: str) -> None:
    planted(gone, text)
    out = new.recover().out
    assert "warning: swelu/_configs/" in out
    assert "keep_last = 2" in new.config.read_text()


def test_without_a_copy_the_layout_comes_from_the_manifests(gone: Ground, new: NewMachine) -> None:
    for path in (gone.cold / "swelu" / "_configs").iterdir():
        path.unlink()
    out = new.recover().out
    assert "the run has no readable copy of its configuration: the defaults hold" in out
    text = new.config.read_text()
    assert 'layout = "model_gpu{series}/model_step_{step}.safetensors"' in text
    assert "keep_last = 3" in text
    assert new.run("sync", "--json").document["committed"] == []


def test_the_golden_files_name_no_machine() -> None:
    for file in GOLDEN.glob("recover*"):
        assert "/tmp" not in file.read_text()  # noqa: S108


def test_paths_that_fit_no_layout_come_back_all_the_same(ground: Ground) -> None:
    import ckpt_tier

    config = ground.config.read_text().replace('layout = "model_gpu{series}/model_step_{step}.safetensors"', "")
    ground.config.write_text(config + "[validate]\nlevel = 'fast'\n")
    for step in (1, 2, 3):  # a layout that is recognised, and one file that only the hook knows of
        ground.save(step)
    odd = ground.hot / "best.safetensors"
    odd.write_bytes(ground.save(9).read_bytes())
    (ground.hot / "model_gpu0/model_step_9.safetensors").unlink()
    ckpt_tier.open(ground.config, worker=False).saved(odd, 9, series="0")
    ground.run("sync")
    for path in (ground.cold / "swelu" / "_configs").iterdir():
        path.unlink()
    new = NewMachine(ground)
    out = new.recover().out
    assert "no layout fits the paths of all checkpoints" in out
    assert (new.to / "best.safetensors").read_bytes() == odd.read_bytes()


def test_a_state_folder_that_can_not_be_used_keeps_nothing_back(new: NewMachine) -> None:
    (new.root / "a-file").touch()
    command = ("recover", str(new.ground.cold), "--to", "checkpoints", "--same-device")
    out = new.run(*command, CKPT_TIER_STATE_DIR=str(new.root / "a-file" / "state")).out
    assert "the journal was not touched" in out
    assert len(new.files()) == 2
    assert "state_dir" not in new.config.read_text()
