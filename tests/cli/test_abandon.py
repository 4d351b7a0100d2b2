"""`abandon`, as a person who rolled back would use it."""

import pytest

from tests.cli.ground import Ground


@pytest.fixture
def rolled_back(ground: Ground) -> Ground:
    for step in (5000, 10_000, 15_000):
        ground.save(step)
    ground.run("sync")
    return ground


def test_latest_and_the_list_follow_the_new_branch_until_it_is_undone(rolled_back: Ground) -> None:
    said = rolled_back.run("abandon", "--after", "5_000").out
    assert said == "✓ series 0: 2 committed checkpoints after step 5000 abandoned, still restorable by step\n"
    assert rolled_back.run("list").out.count("abandoned") == 2
    latest = rolled_back.run("restore", "--latest", "--to", "back", "--json").document
    assert [each["step"] for each in latest["restored"]] == [5000]
    assert [each["reason"] for each in latest["passed_over"]] == ["abandoned: training went back to step 5000"] * 2
    rolled_back.run("restore", "--step", "15000", "--to", "old")
    document = rolled_back.run("abandon", "--after", "5000", "--undo", "--json").document
    assert document["branches"] == [{"series": "0", "after_step": 5000, "checkpoints": 2}]
    assert rolled_back.run("list").out.count("abandoned") == 0


def test_what_can_not_be_abandoned_says_why(rolled_back: Ground) -> None:
    assert "nearest steps" in rolled_back.run("abandon", "--after", "7", code=4).err
    assert "nothing was abandoned" in rolled_back.run("abandon", "--after", "5000", "--undo", code=4).err
    rolled_back.run("abandon", code=2)
    rolled_back.run("abandon", "--after", "many", code=2)
