"""Which file, and which name, of two checkpoints belong together."""

import pytest

from ckpt_tier.tensors.matching import file_names, match, match_files


@pytest.mark.parametrize(
    ("layout", "paths", "names"),
    [
        ("gpu{series}/step_{step}.pt", ["gpu0/step_5000.pt"], [""]),
        ("r{rank}/{step}.pt", ["r0/5000.pt", "r12/5000.pt"], ["rank 0", "rank 12"]),
        ("run/checkpoint-{step}/", ["run/checkpoint-5000/a/b.pt", "run/checkpoint-5000/c"], ["a/b.pt", "c"]),
        ("c-{step}/", ["c-5000/global_step5000/x.pt", "c-5000/x-00001"], ["global_step{step}/x.pt", "x-00001"]),
        ("c-{step}/r{rank}/", ["c-5000/r1/x.pt"], ["rank 1/x.pt"]),
        ("auto", ["a/c-5000/x.pt", "a/c-5000/y/x_5000.pt"], ["x.pt", "y/x_{step}.pt"]),
    ],
)
def test_names_of_files_are_without_step_and_series(layout: str, paths: list[str], names: list[str]) -> None:
    assert file_names(paths, 5000, layout) == names


def test_a_small_step_is_not_taken_for_the_number_of_a_shard() -> None:
    assert file_names(["c-1/x-1-of-2"], 1, "c-{step}/") == ["x-1-of-2"]
    assert file_names(["x-15000", "y"], 5000, "auto") == ["x-15000", "y"]


def test_single_files_belong_together_whatever_they_are_called() -> None:
    assert match_files(["model.pt"], ["other.safetensors"]) == [(0, 0)]
    assert match_files(["a", "b"], ["b", "c"]) == [(1, 0)]


def test_tensors_belong_together_by_their_names() -> None:
    found = match([{"a": 1, "b": 2}], [{"b": 3, "c": 4}], [(0, 0)])
    assert [(was.thing, now.thing) for was, now in found.both] == [(2, 3)]
    assert [each.name for each in found.removed] == ["a"]
    assert [each.name for each in found.added] == ["c"]


def test_a_tensor_that_went_to_another_shard_is_still_the_same_one() -> None:
    found = match([{"a": 1}, {"b": 2, "c": 3}], [{"a": 1, "b": 2}, {"c": 3}], [(0, 0), (1, 1)])
    assert len(found.both) == 3
    assert (found.added, found.removed) == ((), ())


def test_equal_names_on_several_ranks_are_never_mixed() -> None:
    found = match([{"w": 0}, {"w": 1}, {"w": 2}], [{"w": 10}, {"w": 11}, {"w": 13}], [(0, 0), (1, 1)])
    assert [(was.thing, now.thing) for was, now in found.both] == [(0, 10), (1, 11)]
    assert [each.thing for each in found.removed] == [2]
    assert [each.thing for each in found.added] == [13]
