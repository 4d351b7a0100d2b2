"""How the command line behaves whatever the command: options, streams, locales, speed."""

import os
import subprocess
import sys

import pytest

from ckpt_tier.cli.group import COMMANDS, cli
from ckpt_tier.cli.listing import listing
from ckpt_tier.cli.log_lines import LogLines
from ckpt_tier.cli.sync import parse_step
from ckpt_tier.core.events import Note
from ckpt_tier.errors import UsageError
from ckpt_tier.flow.listing import Listed
from ckpt_tier.system.clock import SystemClock
from tests.cli.ground import ROOT, Ground


@pytest.mark.parametrize("order", [["--json", "list"], ["list", "--json"]])
def test_global_options_stand_before_or_after_the_command(ground: Ground, order: list[str]) -> None:
    ground.save(0)
    assert ground.run(*order).document["schema"] == "ckpt-tier/list/1"


@pytest.mark.parametrize("order", [["--config", "other.toml", "list"], ["list", "--config", "other.toml"]])
def test_config_stands_before_or_after_the_command(ground: Ground, order: list[str]) -> None:
    ground.save(0)
    ground.config.rename(ground.root / "other.toml")
    assert "1 checkpoint" in ground.run(*order).out


def test_quiet_prints_nothing_when_all_is_well(ground: Ground) -> None:
    ground.save(0)
    for command in (["sync"], ["status"], ["verify"], ["restore", "--latest"]):
        result = ground.run("-q", *command)
        assert (result.out.strip(), result.err) == ("", "")


def test_a_log_line_has_time_word_series_step_and_size(ground: Ground) -> None:
    ground.save(740_000)
    out = ground.run("sync").out
    words = out.splitlines()[0].split()
    assert words[1:6] == ["committed", "series=0", "step=740000", "4.08", "kB"]
    assert words[0].endswith("Z")


def test_a_rejection_is_a_warning_in_the_log_even_when_quiet(ground: Ground) -> None:
    ground.save(0).write_bytes(b"")
    [line] = ground.run("sync", "-q", code=9).out.splitlines()
    assert line.split()[1:5] == ["WARNING", "rejected", "series=0", "step=0"]


def test_what_is_in_a_name_can_not_forge_a_log_line(capsys: pytest.CaptureFixture[str]) -> None:
    LogLines(SystemClock(), verbose=False, quiet=False)(Note(text="a\nb\x1b[31mc"))
    assert capsys.readouterr().out.endswith("note a\\nb\\x1b[31mc\n")


def test_a_metric_from_a_bucket_can_not_move_the_cursor() -> None:
    row = Listed(
        series="0", step=1, generation=None, state="committed", hot=False, saved_at=None, committed_at=None,
        size_bytes=1, metrics={"a\x1b[2J": 1.0},
    )  # fmt: skip
    assert "\x1b" not in listing([row], long=False)


def test_a_closed_pipe_is_quiet(ground: Ground) -> None:
    for step in range(300):
        ground.save(step)
    command = f"{sys.executable} -m ckpt_tier list | head -n 1"
    for _ in range(3):
        done = subprocess.run(
            ["sh", "-c", command], cwd=ground.root, env=ground.env(), capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        assert done.stdout.startswith("series")


def test_a_log_whose_reader_went_away_does_not_stop_the_sync(ground: Ground) -> None:
    for step in range(20):
        ground.save(step)
    command = f"{sys.executable} -m ckpt_tier sync | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command], cwd=ground.root, env=ground.env(), capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert ground.run("list", "--json").document["checkpoints"][0]["state"] == "committed"
    assert all(row["committed_at"] for row in ground.run("list", "--json").document["checkpoints"])


@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONUTF8": "0", "LC_ALL": "C"}])
def test_a_locale_without_utf_8_is_no_crash(ground: Ground, locale: dict[str, str]) -> None:
    ground.save(0)
    ground.run("sync", **locale)
    for command in (["status"], ["verify"], ["list"], ["restore", "--latest"]):
        assert ground.run(*command, **locale).err == ""


def test_a_file_name_that_is_not_utf_8_is_no_crash(ground: Ground) -> None:
    ground.save(0)
    (ground.hot / "model_gpu0" / os.fsdecode(b"model_step_1\xff.safetensors")).write_bytes(b"x")
    ground.run("sync")
    ground.run("status")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_fits_a_narrow_terminal(ground: Ground, name: str) -> None:
    out = ground.run(name, "--help", COLUMNS="60").out
    assert out.startswith(f"Usage: ckpt-tier {name}")
    assert max(len(line) for line in out.splitlines()) <= 60


def test_help_and_version_import_nothing_heavy() -> None:
    heavy = ("boto3", "botocore", "torch", "rich", "sqlite3", "fsspec", "msgspec", "awscrt", "tenacity")
    script = (
        "import sys; from ckpt_tier.cli.group import run; code = run(sys.argv[1:]);"
        f"loaded = [name for name in {heavy!r} if name in sys.modules]; sys.exit(str(loaded) if loaded else code)"
    )
    for option in ("--help", "--version"):
        done = subprocess.run(
            [sys.executable, "-c", script, option], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_the_group_names_every_command_that_it_can_load() -> None:
    for name in COMMANDS:
        command = cli.get_command(cli.make_context("ckpt-tier", [], resilient_parsing=True), name)
        assert command is not None
        assert command.name == name


@pytest.mark.parametrize(("text", "step"), [("740000", 740_000), ("740_000", 740_000), ("740,000", 740_000), ("0", 0)])
def test_a_step_is_read_as_people_write_it(text: str, step: int) -> None:
    assert parse_step(text) == step


@pytest.mark.parametrize("text", ["", "-1", "7e5", "740k", "\u0661", "1" * 13])
def test_what_is_no_step_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_step(text)


def test_torch_may_do_without_numpy_in_silence() -> None:
    program = (
        "import sys, warnings\n"
        "from ckpt_tier.cli import main\n"
        "sys.argv = ['ckpt-tier', '--version']\n"
        "try:\n    main()\n"
        "except SystemExit:\n"
        "    warnings.warn(\"Failed to initialize NumPy: No module named 'numpy' (Triggered …)\", UserWarning)\n"
        "    warnings.warn('something else', UserWarning)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr
    assert "something else" in said
    assert "NumPy" not in said
