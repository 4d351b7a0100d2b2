"""`estimate`, as a person sees it."""

import contextlib
import json

import pytest

from ckpt_tier.config import default_state_dir
from ckpt_tier.journal.journal import Facts, Journal
from tests.cli.ground import GOLDEN, ROOT, Ground

WHOLE = ["estimate", "--steps", "757500", "--every", "5000", "--size", "1.2GB", "--keep", "3", "--series", "6"]


@pytest.fixture
def planned(ground: Ground) -> Ground:
    """Nothing but the command line."""
    ground.config.unlink()
    return ground


def test_the_estimate_of_a_training_that_is_planned(planned: Ground) -> None:
    out = planned.run(*WHOLE, "--budget", "60GB", COLUMNS="80").out
    planned.matches_golden("estimate.txt", out)
    [asked] = [line.split() for line in out.splitlines() if line.startswith("> ") and "+" in line]
    assert asked[1:5] == ["5,000", "151", "181", "1,087"]
    assert ["10,000", "75", "90.0", "540"] in [line.split()[:4] for line in out.splitlines()]
    assert ["3", "any", "3.60", "21.6", "28.8"] in [line.split()[1:6] for line in out.splitlines()]


def test_the_estimate_of_a_training_that_runs(ground: Ground) -> None:
    for step in (5000, 10_000, 15_000):
        for series in "01":
            ground.save(step, series)
    state = default_state_dir(ground.hot, {"XDG_STATE_HOME": str(ground.root / "state")})
    with contextlib.closing(Journal.open(state)) as journal:
        journal.learn(Facts(upload_bytes_per_second=120e6))
    before = sorted(ground.root.rglob("*"))
    out = ground.run("estimate", "--steps", "100k", "--budget", "30kB", "--price", "0.023", COLUMNS="80").out
    ground.matches_golden("estimate-running.txt", out)
    assert sorted(ground.root.rglob("*")) == before


def test_the_estimate_of_an_uplink_that_is_too_slow(planned: Ground) -> None:
    out = planned.run(
        "estimate", "--steps=100k", "--every=5k", "--size=1.2GB", "--series=6", "--budget=200GB", "--interval=25min",
        "--uplink=2MB/s", "--keep=3", "--price=0.023", COLUMNS="80",
    ).out  # fmt: skip
    planned.matches_golden("estimate-slow.txt", out)


def test_the_estimate_of_how_often_to_save(planned: Ground) -> None:
    out = planned.run(
        "estimate", "--steps=757500", "--size=1.2GB", "--series=6", "--budget=600GB", COLUMNS="80"
    ).out  # fmt: skip
    planned.matches_golden("estimate-often.txt", out)


def test_the_page_shows_what_is_printed() -> None:
    page = (ROOT / "docs/estimate.md").read_text()
    for name in ("estimate.txt", "estimate-slow.txt", "estimate-often.txt"):
        assert (GOLDEN / name).read_text() in page


def test_every_line_fits_80_columns(planned: Ground) -> None:
    for more in (["--budget", "5GB"], ["--interval", "25min", "--price", "0.023"]):
        out = planned.run(*WHOLE, *more, COLUMNS="80").out
        assert max(len(line) for line in out.splitlines()) <= 80


def test_a_budget_is_solved_in_json(planned: Ground) -> None:
    whole = [each for each in WHOLE if each not in ("--keep", "3")]
    document = planned.run(*whole, "--budget", "22GB", "--json").document
    assert (document["keep"], document["largest_keep"], document["room_bytes"]) == (2, 2, 22_000_000_000)
    by_key = {(each["every"], each["keep"]): each for each in document["estimates"]}
    assert by_key[5000, 2]["fits"]
    assert not by_key[5000, 3]["fits"]
    assert by_key[5000, "all"]["cold_bytes"] == 1_087_200_000_000
    planned.matches_golden("estimate.json", json.dumps(document, indent=1, separators=(",", ":")) + "\n")


@pytest.mark.parametrize(
    ("option", "text", "hint"),
    [
        ("--steps", "many", "757.5k"),
        ("--size", "1.2 gigs", "1.2GB"),
        ("--size", "0GB", "more than 0"),
        ("--keep", "some", "all"),
        ("--uplink", "100MB", "200MB/s"),
        ("--price", "nan", "0.023"),
        ("--budget", "9999999EB", "1.2GB"),
    ],
)
def test_bad_input_is_answered_with_what_to_write(planned: Ground, option: str, text: str, hint: str) -> None:
    error = planned.run(*WHOLE, option, text, "--json", code=2).error
    assert option in error["error"]
    assert hint in error["hint"]
