"""`ckpt-tier inspect`, as a process, over both tiers and over plain paths."""

import argparse
import os
import re
from pathlib import Path

import pytest
import torch

from tests.cli.ground import Ground
from tests.cli.test_documents_fit_their_schemas import fits


def training(path: Path) -> Path:
    """A small training state whose output stands still."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Linear(16, 8)).bfloat16()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    model(torch.randn(2, 8, dtype=torch.bfloat16)).sum().backward()
    optimizer.step()
    tied = torch.zeros(4, 6)
    state = {"step": 740_000, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    state["embedding"] = {"in": tied, "out": tied, "turned": tied.t()}
    state["args"] = argparse.Namespace(rate=0.1)
    for group in state["optimizer"]["param_groups"]:
        group.clear()
        group.update(lr=3e-4, betas=(0.9, 0.999), params=list(range(4)))
    torch.save(state, path)
    return path


def steady(text: str) -> str:
    """Without the size of the whole file, which differs between versions of torch."""
    return re.sub(r"[\d.]+ kB( of| were|\n)", r"<n> kB\1", text, flags=re.ASCII)


def test_a_torch_file_in_words(ground: Ground) -> None:
    training(ground.root / "model.pt")
    whole = ground.run("inspect", "model.pt").out
    chosen = ground.run("inspect", "model.pt", "--filter", "model.*").out
    ground.matches_golden("inspect-path.txt", steady(f"{whole}\n{chosen}"))


def test_a_step_in_both_tiers_in_words(ground: Ground) -> None:
    for step in (0, 5000):
        ground.save(step)
    ground.run("sync")
    hot = ground.run("inspect", "--step", "5_000").out
    cold = re.sub(r"saved with .*", "saved with <versions>", ground.run("inspect", "--latest", "--tier", "cold").out)
    ground.matches_golden("inspect-tiers.txt", f"{hot}\n{cold}")


def test_what_is_printed_fits_a_terminal_of_80_columns(ground: Ground) -> None:
    training(ground.root / "model.pt")
    for more in ((), ("--all",)):
        out = ground.run("inspect", "model.pt", *more, COLUMNS="80").out
        assert max(map(len, out.splitlines())) <= 80


def test_the_document_fits_its_schema(ground: Ground) -> None:
    training(ground.root / "model.pt")
    document = ground.run("inspect", "model.pt", "--json").document
    assert fits(document, "inspect")
    [file] = document["files"]
    assert file["sharing"] == [["embedding.in", "embedding.out", "embedding.turned"]]
    shapes = {tensor["name"]: (tensor["dtype"], tensor["shape"]) for tensor in file["tensors"]}
    assert shapes["model.0.weight"] == ("bfloat16", [16, 8])
    assert "optimizer.state.3.exp_avg_sq" in shapes


def test_a_hot_copy_that_changed_since_it_was_validated_is_not_read(ground: Ground) -> None:
    path = ground.save(5000)
    ground.run("sync")
    assert ground.run("inspect", "--step", "5000", "--json").document["where"] == "hot"
    os.utime(path, (1, 1))
    assert ground.run("inspect", "--step", "5000", "--json").document["where"] == "cold"
    assert "unchanged" in ground.run("inspect", "--step", "5000", "--tier", "hot", code=4).err


def test_a_folder_is_looked_at_file_by_file(ground: Ground) -> None:
    ground.save(5000)
    ground.save(10_000)
    document = ground.run("inspect", "hot", "--json").document
    assert [file["path"] for file in document["files"]] == [
        "model_gpu0/model_step_10000.safetensors",
        "model_gpu0/model_step_5000.safetensors",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((), 2, "say which checkpoint"),
        (("--latest", "hot"), 2, "give one of"),
        (("hot", "--rank", "1"), 2, "a path is not looked up"),
        (("nowhere",), 4, "is not there"),
        (("--step", "7"), 4, "the nearest step is 5000"),
        (("--step", "5000", "--filter", "x*"), 4, "no name in this checkpoint matches 'x*'"),
        (("cut.safetensors",), 5, "truncated"),
    ],
)
def test_bad_input_is_an_error_that_says_what_to_do(
    ground: Ground, arguments: tuple[str, ...], code: int, told: str
) -> None:
    (ground.root / "cut.safetensors").write_bytes(ground.save(5000).read_bytes()[:500])
    ground.run("sync")
    result = ground.run("inspect", *arguments, code=code)
    assert told in result.err.replace("\n", " ")
    assert "hint: " in result.err
    assert "Traceback" not in result.err
