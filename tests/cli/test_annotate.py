"""annotate, and pin --best, as a person and a script meet them."""

import pytest

from tests.cli.ground import Ground
from tests.cli.test_golden import _sorted_lines


@pytest.fixture
def evaluated(ground: Ground) -> Ground:
    return prepared(ground)


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """The same, for all tests that change nothing."""
    return prepared(Ground(tmp_path_factory.mktemp("unchanged")))


def prepared(ground: Ground) -> Ground:
    """Two series of three committed checkpoints; in series 0 they were evaluated later."""
    for series in "01":
        for step in (5000, 10_000, 15_000):
            ground.save(step, series)
    ground.run("sync")
    for step, loss in ((5000, 1.9), (10_000, 1.83), (15_000, 2.25)):
        ground.run("annotate", f"{step}", f"loss={loss}", "--series", "0")
    return ground


def test_what_is_noted_stands_in_the_list_and_decides_about_pins(evaluated: Ground) -> None:
    said = evaluated.run("annotate", "10_000", "val/accuracy=0.75", "loss=1.5", "--series", "0").out
    said += evaluated.run("annotate", "10_000", "loss=1.5", "--series", "0").out
    said += evaluated.run("pin", "--best", "loss", "-n", "2").out
    said += evaluated.run("pin", "--best", "loss,max", "--series", "0", "--reason", "the worst").out
    evaluated.matches_golden("annotate.txt", said + "\n" + evaluated.run("list", "--long", "--series", "0").out)


def test_annotate_and_pin_best_as_json(evaluated: Ground) -> None:
    noted = evaluated.run("annotate", "5000", "accuracy=0.5", "--series", "0", "--json").document
    evaluated.matches_golden("annotate.json", _sorted_lines(noted))
    pinned = evaluated.run("pin", "--best", "loss", "--json").document
    evaluated.matches_golden("pin-best.json", _sorted_lines(pinned))


def test_what_was_noted_is_why_prune_keeps_it(evaluated: Ground) -> None:
    evaluated.config.write_text(
        evaluated.config.read_text() + 'keep_last = 3\nkeep_best = {metric = "loss", mode = "min"}\n'
    )
    plan = evaluated.run("prune", "--dry-run", "--json").document["checkpoints"]
    reasons = {(each["series"], each["step"]): each["reasons"] for each in plan}
    assert "one of the 1 best by loss (min)" in reasons["0", 10_000]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["annotate", "5000", "loss"], 2, "write it like loss=1.83"),
        (["annotate", "5000", "loss=nan"], 2, "it has no finite number"),
        (["annotate", "5000", "loss=1", "loss=2"], 2, "'loss' is given twice"),
        (["annotate", "5000", f"{'x' * 51}=1"], 2, "is too long"),
        (["annotate", "5000", "loss=1"], 2, "name it: --series S"),
        (["annotate", "5001", "loss=1"], 4, "nearest steps are"),
        (["annotate", "5000"], 2, "METRIC=NUMBER"),
        (["annotate", "-1", "loss=1"], 2, "--help"),
        (["annotate", "5000", "loss=1", "--series", "typo"], 4, "typo"),
        (["annotate", "5000", "loss=1", "--series", "0", "--generation", "f" * 16], 4, "generation"),
        (["pin", "--best", "loss", "-n", "0"], 2, "-n"),
        (["pin"], 2, "one of the two"),
        (["pin", "5000", "--best", "loss"], 2, "one of the two"),
        (["pin", "5000", "-n", "2"], 2, "give --best METRIC"),
        (["pin", "--best", "loss,least"], 2, "does not say min or max"),
        (["pin", "--best", "acc"], 4, "there are loss"),
        (["pin", "--best", "loss", "--series", "1"], 4, "annotate STEP loss="),
    ],
)
def test_what_can_not_be_says_what_to_do(unchanged: Ground, arguments: list[str], code: int, said: str) -> None:
    result = unchanged.run(*arguments, code=code)
    assert said in result.err
    assert "Traceback" not in result.err


def test_a_cold_tier_that_is_away_is_exit_6(evaluated: Ground) -> None:
    (evaluated.cold / ".ckpt-tier-store").rename(evaluated.root / "away")
    assert evaluated.run("annotate", "5000", "loss=1", "--series", "0", "--json", code=6).error["exit_code"] == 6
    evaluated.run("pin", "--best", "loss", code=6)


def test_a_manifest_that_can_not_be_read_does_not_keep_the_others_from_being_pinned(evaluated: Ground) -> None:
    [path] = (evaluated.cold / "swelu/0/manifests").glob("000000005000.*")
    path.write_bytes(b"{}")
    (evaluated.root / "state").rename(evaluated.root / "old-state")  # with the cache of manifests
    result = evaluated.run("pin", "--best", "loss", code=5)
    assert result.out == "✓ pinned series 0, step 10000, best by loss (min): 1.83\n"
    assert "the manifest of step 5000 of series 0 was passed over" in result.err
