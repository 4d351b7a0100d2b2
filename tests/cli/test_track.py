"""`ckpt-tier track`, as a process: its table, CSV, document and plots, and what it says when something is wrong."""

import csv
import io
import os
import re
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
import torch

from tests.cli.ground import EPOCH, Ground
from tests.cli.test_documents_fit_their_schemas import fits


@pytest.fixture
def trained(ground: Ground) -> Ground:
    """Six steps of a small training in both tiers, four of them in the cold one alone."""
    ground.config.write_text(ground.config.read_text().replace(".safetensors", ".pt"))
    for number in range(1, 7):
        save(ground, number * 5000, number)
    ground.run("sync")
    return ground


def save(ground: Ground, step: int, number: float) -> Path:
    path = ground.hot / "model_gpu0" / f"model_step_{step}.pt"
    path.parent.mkdir(exist_ok=True)
    layers = {
        str(layer): {"swelu": {"k": torch.tensor(1 + layer + number / 8)}, "w": torch.arange(6.0).bfloat16() * number}
        for layer in range(2)
    }
    groups = [{"lr": 0.5**number}]
    torch.save({"layers": layers, "optimizer": {"param_groups": groups}, "step": step}, path)
    os.utime(path, (EPOCH + step,) * 2)
    return path


def steady(text: str) -> str:
    """Without sizes, which differ between versions of torch, and without the number of requests: kinds of checkpoints
    are learnt about at the same time, and the one may profit from the other or not."""
    return re.sub(r"[\d.]+ kB of [\d.]+ kB read, \d+ requests", "<n> kB of <n> kB read, <n> requests", text)


def test_scalars_share_a_table_and_tensors_have_one_each(trained: Ground) -> None:
    scalars = trained.run("track", "layers.*.swelu.k").out
    tensors = trained.run("track", "layers.*.w", "--stat", "mean,max", "--from", "10_000", "--to", "20000").out
    numbers = trained.run("track", "*.lr", "step", "-q").out
    trained.matches_golden("track.txt", steady(f"{scalars}\n{tensors}\n{numbers}"))


def test_plots_in_a_terminal_with_and_without_braille(trained: Ground) -> None:
    fine = trained.run("track", "layers.0.swelu.k", "--plot", "-q").out
    plain = trained.run("track", "layers.0.swelu.k", "--plot", "-q", LANG="C", PYTHONIOENCODING="ascii").out
    trained.matches_golden("track-plot.txt", f"{fine}\n{plain}")


def test_csv_has_a_line_for_each_checkpoint_and_name(trained: Ground) -> None:
    out = trained.run("track", "layers.*", "--csv", "--stat", "mean,std").out
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 24
    assert {row["verified"] for row in rows} == {"true"}
    assert [float(row["mean"]) for row in rows if row["name"] == "layers.1.swelu.k"] == [2 + n / 8 for n in range(1, 7)]


def test_the_document_fits_its_schema_and_a_second_call_reads_nothing(trained: Ground) -> None:
    first = trained.run("track", "layers.*", "--json").document
    assert fits(first, "track")
    assert [each["where"] for each in first["checkpoints"]] == ["cold"] * 4 + ["hot"] * 2
    again = trained.run("track", "layers.*", "--json").document
    assert (again["requests"], again["read_bytes"], again["cached_count"]) == (0, 0, 6)
    assert [each["values"] for each in again["checkpoints"]] == [each["values"] for each in first["checkpoints"]]


def test_an_svg_is_written_beside_the_table(trained: Ground) -> None:
    out = trained.run("track", "layers.*.swelu.k", "--svg", "k.svg").out
    assert "k.svg" in out
    assert "layers.0.swelu.k" in (trained.root / "k.svg").read_text()
    Xml.parse(trained.root / "k.svg")  # noqa: S314 (our own)


def test_a_damaged_checkpoint_is_told_and_the_others_are_shown(trained: Ground) -> None:
    [data] = trained.cold.glob("swelu/*/data/000000010000/*/*/*.pt")
    data.chmod(0o644)
    content = data.read_bytes()
    at = content.index((torch.arange(6.0).bfloat16() * 2).view(torch.uint8).numpy().tobytes())
    data.write_bytes(content[: at + 2] + b"\xff" + content[at + 3 :])
    result = trained.run("track", "layers.0.w", code=5)
    assert "30000  hot" in result.out
    assert "error: step 10000 could not be read whole" in result.err
    assert "CRC32" in result.err
    assert "hint: " in result.err


def test_while_the_cold_tier_is_away_the_hot_one_is_shown_and_the_code_says_so(trained: Ground) -> None:
    trained.cold.rename(trained.root / "away")
    result = trained.run("track", "step", code=6)
    assert "30000  hot" in result.out
    assert "note: the cold tier was left out" in result.out


def test_a_table_fits_a_terminal_of_80_columns(trained: Ground) -> None:
    for more in ((), ("--stat", "mean,min,max,std"), ("--plot",)):
        out = trained.run("track", "layers.*", *more, COLUMNS="80").out
        assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((), 2, "nothing was named"),
        (("step", "--stat", "median"), 2, "'median' is not a figure"),
        (("step", "--csv", "--plot"), 2, "one form of output"),
        (("step", "--from", "x"), 2, "x"),
        (("stepp",), 4, "the nearest names are step"),
        (("step", "--series", "7"), 4, "no checkpoint to track"),
        (("step", "--from", "900000"), 4, "no checkpoint to track"),
        (("step", "--svg", "missing/k.svg"), 1, "missing"),
    ],
)
def test_bad_input_is_an_error_that_says_what_to_do(
    trained: Ground, arguments: tuple[str, ...], code: int, told: str
) -> None:
    result = trained.run("track", *arguments, code=code)
    assert told in result.err.replace("\n", " ")
    assert "hint: " in result.err
    assert "Traceback" not in result.err
