"""`ckpt-tier diff`, as a process, over both tiers and over plain paths."""

import re
from pathlib import Path

import pytest
import torch

from tests.cli.ground import Ground
from tests.cli.test_documents_fit_their_schemas import fits
from tests.cli.test_inspect import training


def two(ground: Ground) -> tuple[Path, Path]:
    """A training state, and what became of it some steps later."""
    before, after = training(ground.root / "a.pt"), ground.root / "b.pt"
    state = torch.load(before, weights_only=False)
    state["step"] = 745_000
    model, optimizer = state["model"], state["optimizer"]
    model["0.weight"] += 0.5
    model["0.bias"][0] = torch.nan
    model["2.weight"] = torch.ones(2, 3)
    model["1.bias"] = model["1.bias"].float()
    del optimizer["state"][3]["exp_avg"]
    optimizer["param_groups"][0]["lr"] = 1e-4
    state["scaler"] = {"scale": 65536.0}
    state["embedding"]["in"] = state["embedding"]["in"][:3].clone()
    torch.save(state, after)
    return before, after


def steady(text: str) -> str:
    """Without the sizes of whole files, which differ between versions of torch."""
    return re.sub(r"[\d.]+ kB( ·| of| were)", r"<n> kB\1", text)


def test_two_torch_files_in_words(ground: Ground) -> None:
    two(ground)
    whole = ground.run("diff", "a.pt", "b.pt").out
    chosen = ground.run("diff", "a.pt", "b.pt", "--filter", "model.*").out
    same = ground.run("diff", "a.pt", "a.pt").out
    ground.matches_golden("diff-paths.txt", steady("\n".join((whole, chosen, same))))


def test_steps_of_both_tiers_and_of_two_series_in_words(ground: Ground) -> None:
    for step in (0, 5000, 10_000):
        for series in ("0", "1"):
            ground.save(step, series, fill=int(series))
    ground.run("sync")
    steps = ground.run("diff", "0", "latest", "--series", "0").out
    series = ground.run("diff", "0/5_000", "1/5000").out
    same = ground.run("diff", "0/5000", "0/latest", "--tier", "cold", "--filter", "w").out
    ground.matches_golden("diff-tiers.txt", "\n".join((steps, series, same)))


def test_what_is_printed_fits_a_terminal_of_80_columns(ground: Ground) -> None:
    two(ground)
    out = ground.run("diff", "a.pt", "b.pt", "--all", COLUMNS="80").out
    lines = out.splitlines()[1:]
    assert max(map(len, lines)) <= 80, max(lines, key=len)


def test_only_the_first_lines_of_many_are_shown_and_all_with_all(ground: Ground) -> None:
    for name, value in (("a", 1.0), ("b", 2.0)):
        torch.save({f"layer.{i:02}": torch.full((3,), value) for i in range(30)}, ground.root / f"{name}.pt")
    out = ground.run("diff", "a.pt", "b.pt").out
    assert out.count("layer.") == 24
    assert "and 6 more: --all shows them" in out
    assert ground.run("diff", "a.pt", "b.pt", "--all").out.count("layer.") == 30


def test_the_document_fits_its_schema(ground: Ground) -> None:
    two(ground)
    document = ground.run("diff", "a.pt", "b.pt", "--json").document
    assert fits(document, "diff")
    assert document["equal"] is False
    assert [each["name"] for each in document["changed"]][:2] == ["model.0.bias", "embedding.in"]
    same = ground.run("diff", "a.pt", "a.pt", "--json").document
    assert fits(same, "diff")
    assert (same["equal"], same["unread_tensors"]) == (True, same["equal_tensors"])


def test_a_generation_can_be_named(ground: Ground) -> None:
    ground.save(5000)
    ground.run("sync")
    ground.save(5000, fill=7)
    ground.run("sync")
    saves = {manifest.stem.split(".")[1] for manifest in ground.cold.glob("swelu/0/manifests/*.json")}
    first, second = sorted(saves)
    document = ground.run("diff", f"5000@{first}", f"0/5_000@{second}", "--json").document
    assert [document[side]["generation"] for side in ("before", "after")] == [first, second]
    assert [each["name"] for each in document["changed"]] == ["w"]


def test_a_path_needs_no_configuration_and_a_name_of_digits_is_a_step(ground: Ground) -> None:
    two(ground)
    ground.save(5000)
    ground.run("sync")
    (ground.root / "740000").write_bytes((ground.root / "a.pt").read_bytes())
    assert "write ./740000" in ground.run("diff", "740000", "5000", code=4).err.replace("\n", " ")
    ground.config.unlink()
    assert ground.run("diff", "./740000", "a.pt").out.startswith("Equal")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("5000",), 2, "B"),
        (("5000", "nowhere.pt"), 4, "is not there"),
        (("5000", "7"), 4, "the nearest steps are 5000, 6000"),
        (("5000", "5000@0123456789abcdef"), 4, "no generation 0123456789abcdef"),
        (("5000", "none/5000"), 4, "none"),
        (("6000", "5000"), 2, "there are the series 0, 1"),
        (("5000", "5000", "--filter", "x*"), 4, "no name in either checkpoint matches 'x*'"),
        (("cut.safetensors", "5000"), 5, "truncated"),
        (("bad.pt", "good.pt"), 5, "tensor w of bad.pt is damaged"),
    ],
)
def test_bad_input_is_an_error_that_says_what_to_do(
    ground: Ground, arguments: tuple[str, ...], code: int, told: str
) -> None:
    (ground.root / "cut.safetensors").write_bytes(ground.save(5000).read_bytes()[:500])
    for series in ("0", "1"):
        ground.save(6000, series)
    for name, value in (("good", 1.0), ("bad", 2.0)):
        torch.save({"w": torch.full((300_000,), value)}, ground.root / f"{name}.pt")
    damaged = bytearray((ground.root / "bad.pt").read_bytes())
    damaged[600_000] ^= 1
    (ground.root / "bad.pt").write_bytes(damaged)
    ground.run("sync")
    result = ground.run("diff", *arguments, code=code)
    assert told in result.err.replace("\n", " ")
    assert "hint: " in result.err
    assert "Traceback" not in result.err
