from pathlib import Path

from ckpt_tier.hot.holds import held, hold


def test_a_hold_counts_until_it_runs_out_and_is_removed_then(tmp_path: Path) -> None:
    assert held(tmp_path, 0.0) == {}
    hold(tmp_path, "a.b", 5, 100.0)
    hold(tmp_path, "a.b", 6, 200.0)
    assert held(tmp_path, 99.0) == {("a.b", 5): 100.0, ("a.b", 6): 200.0}
    assert held(tmp_path, 150.0) == {("a.b", 6): 200.0}
    assert [path.name for path in (tmp_path / ".ckpt-tier" / "holds").iterdir()] == ["a.b.6.hold"]


def test_a_later_hold_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    hold(tmp_path, "0", 5, 100.0)
    hold(tmp_path, "0", 5, 300.0)
    assert held(tmp_path, 200.0) == {("0", 5): 300.0}


def test_a_hold_that_cannot_be_read_counts_as_one_without_end(tmp_path: Path) -> None:
    hold(tmp_path, "0", 5, 100.0)
    (tmp_path / ".ckpt-tier" / "holds" / "0.5.hold").write_text("soon")
    (tmp_path / ".ckpt-tier" / "holds" / "README").write_text("what is this")
    assert held(tmp_path, 1e12) == {("0", 5): float("inf")}
