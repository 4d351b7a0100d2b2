from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.errors import ConfigError
from ckpt_tier.hot.candidates import candidates
from ckpt_tier.hot.recognise import SeriesFound, find_layout, recognise
from ckpt_tier.hot.survey import MOST_FOLDERS_DEEP, Unfit, survey

SEED = [f"model_gpu{gpu}/model_step_{step}.pt" for gpu in range(6) for step in range(5000, 60_001, 5000)]

UPPER_CASE = " (a series name holds no upper-case letters: rename 'Run_A' if it is one)"


def made(root: Path, paths: list[str]) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"12345")
    return root


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        (
            "checkpoint-{step}/",
            [f"checkpoint-{n}/{name}" for n in (500, 1000) for name in ("model.safetensors", "optimizer.pt", "x.json")],
        ),
        (
            "global_step{step}/",
            [f"global_step{n}/zero_pp_rank_{rank}_optim_states.pt" for n in (10, 20) for rank in range(4)],
        ),
        ("{step}/", [f"{n}/{name}" for n in (10, 20, 30) for name in ("model.pt", "optimizer.pt")]),
        (
            "run_{series}/step_{step}/",
            [f"run_{run}/step_{n}/{name}" for run in "ab" for n in (5, 6, 7) for name in ("a.pt", "b.pt")],
        ),
        ("model_gpu{series}/model_step_{step}.pt", SEED),
        (
            "model_gpu{series}/model_step_{step}.pt",
            [f"model_gpu{gpu}/model_step_{step}.pt" for gpu in range(12) for step in (5, 10)],
        ),
        ("model_gpu{series}/model_step_{step}.pt", ["model_gpu0/model_step_5.pt", "model_gpu1/model_step_5.pt"]),
        ("step_{step}.pt", ["step_100.pt"]),
        ("ckpt-{step}.safetensors", ["ckpt-000100.safetensors", "ckpt-000200.safetensors"]),
        ("run-a/epoch_{step}.pt", ["run-a/epoch_3.pt"]),
        ("run-{series}/epoch_{step}.pt", ["run-a/epoch_3.pt", "run-b/epoch_3.pt", "run-b/epoch_4.pt"]),
        ("{series}/epoch_{step}.pt", ["alpha/epoch_3.pt", "beta/epoch_3.pt"]),
        ("seed{series}/net.{step}.pth", [f"seed{seed}/net.{step}.pth" for seed in (1, 2) for step in (1, 2, 3)]),
        ("step_{step}/model.pt", ["step_500/model.pt", "step_1000/model.pt"]),
        ("step_{step}/model_step_{step}.pt", ["step_5/model_step_5.pt", "step_6/model_step_6.pt"]),
        ("{series}/{series}_step_{step}.pt", [f"{s}/{s}_step_{n}.pt" for s in ("alpha", "beta") for n in (1, 2)]),
        ("{series}/{step}.pt", [f"{series}/{step}.pt" for series in range(3) for step in (10, 20, 30, 40)]),
        ("rl_model_{step}_steps.zip", ["rl_model_1000_steps.zip", "rl_model_2000_steps.zip"]),
        ("model_v2_step_{step}.pt", ["model_v2_step_5.pt", "model_v2_step_6.pt"]),
        ("{step}.pt", ["100.pt", "200.pt", "300.pt"]),
        ("CKPT/Step{step}.PT", ["CKPT/Step5.PT", "CKPT/Step6.PT"]),
    ],
)
def test_the_layout_of_a_folder_is_recognised(pattern: str, paths: list[str], tmp_path: Path) -> None:
    found = recognise(made(tmp_path, paths))
    assert found.layout is not None, found.why_not
    assert found.layout.pattern == pattern
    assert found.scan is not None
    assert {file.path for copy in found.scan.copies for file in copy.files} == set(paths)
    assert (found.unfit, found.why_not, found.complete) == ((), "", True)


def test_the_result_says_what_was_found_and_what_does_not_fit(tmp_path: Path) -> None:
    made(
        tmp_path,
        [*SEED, "model_gpu0/best.pt", "model_gpu0/model_step_9.pt.tmp", "notes.txt", "model_gpuX/model_step_5.pt"],
    )
    made(tmp_path, [".ckpt-tier/unsent/step_5.pt", ".hidden/step_5.pt"])
    (tmp_path / "model_gpu0" / "last.pt").symlink_to("model_step_5000.pt")
    found = recognise(tmp_path)
    assert found.layout is not None
    assert found.layout.pattern == "model_gpu{series}/model_step_{step}.pt"
    assert found.series == tuple(SeriesFound(str(gpu), 12, 60, 60_000) for gpu in range(6))
    assert set(found.unfit) == {
        Unfit("model_gpu0/best.pt", "there is no step in its name"),
        Unfit("model_gpuX/model_step_5.pt", "a series name holds no upper-case letters"),
        Unfit("model_gpu0/model_step_9.pt.tmp", "its name says that it is unfinished"),
        Unfit("model_gpu0/last.pt", "it is a symlink"),
        Unfit("notes.txt", "its name does not end like a checkpoint's"),
    }


def test_a_few_leftovers_do_not_become_a_series(tmp_path: Path) -> None:
    paths = [f"step_{step}.pt" for step in range(100, 1000, 100)]
    found = recognise(made(tmp_path, [*paths, "backup_100.pt", "best.pt"]))
    assert found.layout is not None
    assert found.layout.pattern == "step_{step}.pt"
    assert {each.path for each in found.unfit} == {"backup_100.pt", "best.pt"}


def test_other_layouts_that_cover_more_are_told(tmp_path: Path) -> None:
    found = recognise(made(tmp_path, [*SEED, "old/model_step_5.pt"]))
    assert found.layout is not None
    assert found.layout.pattern == "model_gpu{series}/model_step_{step}.pt"
    assert ("{series}/model_step_{step}.pt", len(SEED) + 1) in found.others


@pytest.mark.parametrize(
    ("paths", "why_not"),
    [
        ([], "it holds no files yet"),
        (["readme.txt"], "no file in it is named like a checkpoint"),
        (["last.pt", "best.pt"], "no number in names such as 'best.pt' is surely the step"),
        (["resnet50.pt", "resnet101.pt"], "no number in names such as 'resnet101.pt' is surely the step"),
        (
            [f"alpha_{n}.pt" for n in range(5)] + [f"beta/{n}.ckpt" for n in range(5)],
            "'alpha_{step}.pt' and 'beta/{step}.ckpt' fit it equally well",
        ),
        (
            [f"Run_{name}/step_{n}.pt" for name in "AB" for n in range(5)],
            f"'Run_A/step_{{step}}.pt' and 'Run_B/step_{{step}}.pt' fit it equally well{UPPER_CASE}",
        ),
        (
            [f"epoch={n}-step={n * 500 + 500}.ckpt" for n in range(5)],
            "in 'epoch=0-step=500.ckpt' and its like another number changes with the step",
        ),
        (
            [f"epoch={n}-val_loss=0.{n * 7 + 11}.ckpt" for n in range(5)],
            "in 'epoch=0-val_loss=0.11.ckpt' and its like another number changes with the step",
        ),
    ],
)
def test_what_is_not_clear_is_said_and_not_guessed(paths: list[str], why_not: str, tmp_path: Path) -> None:
    found = recognise(made(tmp_path, paths))
    assert found.layout is None
    assert found.why_not == why_not
    assert found.fix


def test_auto_at_run_time_takes_what_is_recognised_or_says_why_not(tmp_path: Path) -> None:
    assert find_layout(tmp_path, "step_{step}.pt").pattern == "step_{step}.pt"
    with pytest.raises(ConfigError) as caught:
        find_layout(tmp_path, "auto")
    assert str(caught.value) == f"the layout of {tmp_path} can't be recognised: it holds no files yet"
    assert caught.value.fix == 'set [hot] layout, for example layout = "model_step_{step}.pt"'
    made(tmp_path, SEED)
    assert find_layout(tmp_path, "auto").pattern == "model_gpu{series}/model_step_{step}.pt"


def test_a_missing_folder_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't look into the hot folder .*: No such file"):
        recognise(tmp_path / "gone")


def test_the_survey_keeps_to_its_depth_and_follows_no_symlink(tmp_path: Path) -> None:
    deep = "/".join(["d"] * (MOST_FOLDERS_DEEP + 1))
    made(tmp_path, [f"{deep}/step_5.pt", "step_5.pt"])
    (tmp_path / "loop").symlink_to(tmp_path)
    seen = survey(tmp_path)
    assert seen.paths == ("step_5.pt",)
    assert {each.reason for each in seen.others} == {"it lies too deep to be looked at", "it is a symlink"}


@given(st.lists(st.text("ab01_-./={}é\0\1", min_size=1, max_size=12), max_size=12))
def test_no_names_break_the_search_for_candidates(paths: list[str]) -> None:
    for candidate in candidates(paths):
        assert candidate.paths <= set(paths)
        assert all(candidate.layout.match(path) for path in candidate.paths)
