"""What a command is told of the checkpoint that it goes on from."""

import pytest

from ckpt_tier.errors import UsageError
from ckpt_tier.running import RESUME, RESUME_STEP, Resumed, environment, filled

BACK = Resumed(series="0", step=7, generation="f" * 16, path="/hot/a b.pt")


def test_path_and_step_are_filled_in_wherever_they_stand() -> None:
    words = ["python", "train.py", "--resume", "{path}", "--from={path}", "--step", "{step}"]
    assert filled(words, BACK) == [
        "python", "train.py", "--resume", "/hot/a b.pt", "--from=/hot/a b.pt", "--step", "7",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["train", "--resume", "{path}", "--lr", "1"], ["train", "--lr", "1"]),
        (["train", "--resume={path}", "--lr", "1"], ["train", "--lr", "1"]),
        (["train", "-v", "resume_from={path}"], ["train", "-v"]),
        (["train", "--lr=1", "{path}"], ["train", "--lr=1"]),
        (["train", "--", "{path}"], ["train", "--"]),
        (["train", "data", "{path}", "{step}"], ["train", "data"]),
    ],
)
def test_at_the_first_start_nothing_is_left_of_them(words: list[str], left: list[str]) -> None:
    assert filled(words, None) == left


def test_a_template_of_file_names_is_nobodys_step() -> None:
    words = ["train", "--filename", "{epoch}-{step}", "--step={step}"]
    assert filled(words, BACK) == ["train", "--filename", "{epoch}-{step}", "--step=7"]
    assert filled(words, None) == ["train", "--filename", "{epoch}-{step}"]


@pytest.mark.parametrize("resumed", [BACK, None])
def test_a_script_in_one_word_is_refused_before_it_is_cut_up(resumed: Resumed | None) -> None:
    with pytest.raises(UsageError, match="in the middle of") as caught:
        filled(["bash", "-c", "python train.py --resume {path}"], resumed)
    assert "$CKPT_TIER_RESUME" in caught.value.fix


def test_the_environment_says_the_same_and_nothing_stale() -> None:
    env = {"A": "1", RESUME: "old", RESUME_STEP: "1"}
    assert environment(env, BACK) == {"A": "1", RESUME: "/hot/a b.pt", RESUME_STEP: "7"}
    assert environment(env, None) == {"A": "1"}
