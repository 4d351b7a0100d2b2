"""The benchmark itself: what it measures, how it judges, what it writes."""

import contextlib
import random
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from benchmarks.compare.__main__ import main
from benchmarks.compare.errors import BenchmarkError, FailedError
from benchmarks.compare.files import check_same, save_zeros
from benchmarks.compare.goals import GOALS, Verdict, verdicts
from benchmarks.compare.measure import Command, measure
from benchmarks.compare.plots import Bar, Panel, chart
from benchmarks.compare.report import page_of
from benchmarks.compare.results import (
    TIER,
    TRANSFER,
    WHOLE,
    Figure,
    Item,
    Machine,
    NotRun,
    Profile,
    Results,
    Row,
    Sample,
    read,
    write,
)
from benchmarks.compare.rounds import Runner, interleave, without_hope
from benchmarks.compare.workloads import FULL_SIZE, WORK, Plan, clear_unless_shared, measured

MACHINE = Machine("a processor", 2, 2**34, "6.1", "3.11", "ext4")
UPLOAD_WALL = "upload, wall, 1.2 GB: validation and checksums included"
UPLOAD_CPU = "upload, client CPU of the transfer, http, 1.2 GB"


def sample(wall: float, cpu: float = 1.0, transfer: float | None = None, memory: int = 2**20) -> Sample:
    return Sample(wall_seconds=wall, cpu_seconds=cpu, peak_anonymous_bytes=memory, transfer_cpu_seconds=transfer)


def row(peer: str, settings: str, *samples: Sample, failure: str | None = None) -> Row:
    return Row(peer=peer, settings=settings, how="somehow", samples=samples, failure=failure)


def an_item(*rows: Row, name: str = "upload-one", full: bool = True, **more: object) -> Item:
    settings: dict[str, object] = {
        "title": "Upload of one file",
        "began_at": "2026-01-02T03:04:05Z",
        "took_seconds": 1.0,
        "commit": "abc",
        "machine": MACHINE,
        "versions": {"boto3": "1"},
        "rounds": 5,
        "seed": 5,
        **more,
    }
    return Item(name=name, full=full, rows=rows, **settings)  # type: ignore[arg-type]


def results_of(*items: Item) -> Results:
    return Results(items=items)


def verdict_on(what: str, item: Item) -> Verdict:
    [found] = [verdict for verdict in verdicts(results_of(item)) if verdict.goal.what == what]
    return found


def python(code: str, folder: Path) -> Command:
    return Command([sys.executable, "-c", code], folder, {})


# Measuring


@pytest.mark.slow
def test_cpu_of_a_grandchild_that_outlives_its_parent_is_counted(tmp_path: Path) -> None:
    burn = "import time; b = time.process_time()\nwhile time.process_time() - b < 0.4: pass"
    orphaning = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {burn!r}]); time.sleep(0.2)"
    # In a process of its own: the measuring process adopts orphans, and pytest shall not.
    code = (
        "import sys; from pathlib import Path; from benchmarks.compare.measure import Command, measure;"
        f"print(measure(Command([sys.executable, '-c', {orphaning!r}], Path('.'), {{}})).cpu_seconds)"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    found = measure(Command([sys.executable, "-c", code], tmp_path, environment))

    assert float(found.output) > 0.4


@pytest.mark.slow
def test_the_peak_is_anonymous_memory_of_the_whole_tree_and_not_of_mapped_files(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(200 * 2**20))
    hold = "import time; held = bytearray(b'x') * (60 << 20); time.sleep(0.4)"
    found = measure(
        python(
            "import mmap, subprocess, sys\n"
            "with open('large', 'rb') as file: mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)\n"
            "sum(mapped[at] for at in range(0, len(mapped), 4096))\n"
            "held = bytearray(b'x') * (60 << 20)\n"
            f"subprocess.run([sys.executable, '-c', {hold!r}])",
            tmp_path,
        )
    )

    assert 120 < found.peak_anonymous_bytes / 2**20 < 180


def test_a_command_that_fails_is_no_measurement_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(FailedError, match="exit code 3: no such bucket"):
        measure(python("import sys; print('no such bucket', file=sys.stderr); sys.exit(3)", tmp_path))


def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(FailedError):
        measure(python("import time; time.sleep(60)", tmp_path), longest=0.2)


def test_every_round_has_everybody_once_in_an_order_that_the_seed_decides(tmp_path: Path) -> None:
    turns: list[str] = []

    def runner(name: str) -> Runner:
        @contextlib.contextmanager
        def turn() -> Iterator[Command]:
            turns.append(name)
            yield python("pass", tmp_path)

        return Runner(name, "defaults", "", turn)

    names = ["a", "b", "c", "d"]
    rows = interleave([runner(name) for name in names], 3, seed=5)

    rounds = [turns[start : start + 4] for start in range(0, 12, 4)]
    assert [sorted(each) for each in rounds] == [names] * 3
    assert rounds[0] != rounds[1] or rounds[1] != rounds[2]
    chance = random.Random(5)
    for each in rounds:
        expected = names.copy()
        order = list(range(4))
        chance.shuffle(order)
        assert each == [expected[index] for index in order]
    assert [len(row.samples) for row in rows] == [3] * 4


def test_what_fails_its_check_is_shown_as_failed_and_left_out_from_then_on(tmp_path: Path) -> None:
    turns = 0

    @contextlib.contextmanager
    def turn() -> Iterator[Command]:
        nonlocal turns
        turns += 1
        yield python("pass", tmp_path)
        raise FailedError("a.pt came with other bytes")

    [failed] = interleave([Runner("peer", "defaults", "", turn)], 3, seed=1)

    assert (failed.failure, failed.samples, turns) == ("a.pt came with other bytes", (), 1)


def test_whoever_can_be_neither_the_fastest_nor_the_most_frugal_is_left_out() -> None:
    rows = [
        row("fast", "defaults", sample(1.0, cpu=3.0)),
        row("frugal", "defaults", sample(3.0, cpu=1.0)),
        row("between", "defaults", sample(1.4, cpu=3.0)),
        row("hopeless", "defaults", sample(1.6, cpu=1.6)),
        row("failed", "defaults", failure="it broke"),
        row(TIER, WHOLE, sample(9.0, cpu=9.0)),
    ]

    assert [each.peer for each in without_hope(rows) if each.hopeless] == ["hopeless"]


@pytest.mark.slow
def test_nobody_is_left_out_before_the_rounds_that_were_asked_for(tmp_path: Path) -> None:
    def runner(name: str, seconds: float) -> Runner:
        @contextlib.contextmanager
        def turn() -> Iterator[Command]:
            burn = f"import time\nwhile time.process_time() < {seconds}: pass"
            yield python(burn, tmp_path)

        return Runner(name, "defaults", "", turn)

    rows = interleave([runner("quick", 0.05), runner("slow", 0.6)], 3, seed=1, drop_after=2)

    assert [(each.peer, len(each.samples), each.hopeless) for each in rows] == [("quick", 3, False), ("slow", 2, True)]


def test_figures_that_a_child_tells_go_into_the_sample(tmp_path: Path) -> None:
    told = '{"transfer_cpu": 0.25, "transfer_wall": 0.5, "check_cpu": 2.0}'

    @contextlib.contextmanager
    def turn() -> Iterator[Command]:
        yield python(f"print('some other line'); print('{told}')", tmp_path)

    [row] = interleave([Runner("peer", "defaults", "", turn)], 1, seed=1)

    [found] = row.samples
    assert (found.transfer_cpu_seconds, found.transfer_wall_seconds) == (0.25, 0.5)
    assert found.stages == {"check_cpu": 2.0}


def test_a_copy_with_one_other_byte_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(5_000_000))
    (tmp_path / "b").write_bytes(bytes(4_999_999) + b"\1")

    check_same(tmp_path / "a", tmp_path / "a")
    with pytest.raises(FailedError, match="other bytes"):
        check_same(tmp_path / "b", tmp_path / "a")


def test_a_file_of_zeros_is_a_real_torch_file_that_takes_no_room(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "step_1.pt"
    save_zeros(path, 40_000_000)

    assert torch.equal(torch.load(path, weights_only=True)["weights"], torch.zeros(10_000_000))
    assert path.stat().st_blocks * 512 < 1_000_000 < 40_000_000 <= path.stat().st_size


def test_everything_that_a_goal_names_is_scaled_with_the_one_size() -> None:
    plan = Plan(FULL_SIZE // 100, 5, 1, (TIER,), Path(), False)

    assert plan.scaled(10_000) == 100
    assert plan.scaled(3, least=2) == 2
    assert not plan.is_full
    assert msgspec.structs.replace(plan, size=FULL_SIZE).is_full
    assert not msgspec.structs.replace(plan, size=FULL_SIZE, rounds=4).is_full


def test_what_the_disk_has_no_room_for_is_not_run_and_says_so(tmp_path: Path) -> None:
    found = measured(Plan(FULL_SIZE * 10**6, 5, 1, (TIER,), tmp_path, False), "growth")

    [not_run] = found.not_run
    assert "GB of disk" in not_run.why
    assert not found.figures


def test_files_stay_for_the_next_item_only_if_it_is_about_the_same(tmp_path: Path) -> None:
    plan = Plan(FULL_SIZE, 5, 1, (TIER,), tmp_path, False)
    (tmp_path / "series").mkdir()
    (tmp_path / "series.ready").touch()

    clear_unless_shared(plan, "upload-one", "restore-one")
    assert len(list(tmp_path.iterdir())) == 2
    clear_unless_shared(plan, "restore-one", "upload-ten")
    assert list(tmp_path.iterdir()) == []


# Judging


def test_every_goal_belongs_to_a_work_item() -> None:
    assert {goal.item for goal in GOALS} <= set(WORK)
    assert len({goal.what for goal in GOALS}) == len(GOALS)


@pytest.mark.parametrize(("ours", "outcome"), [(1.7, "reached"), (1.9, "missed")])
def test_the_yardstick_is_the_median_of_the_fastest_peer_at_any_settings(ours: float, outcome: str) -> None:
    item = an_item(
        row("boto3", "defaults", sample(5.0), sample(5.0), sample(5.0)),
        row("boto3", "tuned", sample(2.0), sample(2.0), sample(0.5)),
        row(TIER, WHOLE, sample(ours), sample(ours), sample(9.0)),
        row(TIER, TRANSFER, sample(0.1), sample(0.1), sample(0.1)),
    )

    found = verdict_on(UPLOAD_WALL, item)

    assert found.outcome == outcome
    assert found.reading is not None
    assert found.reading.value == pytest.approx(ours / 2.0)
    assert "boto3, tuned" in found.reading.detail


def test_a_command_is_compared_by_its_whole_process_where_the_transfer_is_not_known() -> None:
    item = an_item(
        row("boto3", "tuned", sample(2.0, cpu=3.0, transfer=2.5)),
        row("mc", "defaults", sample(2.0, cpu=2.0)),
        row(TIER, TRANSFER, sample(2.0, cpu=9.0, transfer=0.5)),
    )

    found = verdict_on(UPLOAD_CPU, item)

    assert (found.outcome, found.reading and found.reading.value) == ("reached", 0.25)


def test_a_peer_that_failed_is_no_yardstick() -> None:
    item = an_item(
        row("mc", "defaults", sample(0.1), failure="exit code 1"),
        row("boto3", "defaults", sample(2.0)),
        row(TIER, WHOLE, sample(1.0)),
    )

    assert verdict_on(UPLOAD_WALL, item).outcome == "reached"


def test_our_own_failure_and_a_missing_item_are_not_run_and_never_reached() -> None:
    item = an_item(row("boto3", "defaults", sample(2.0)), row(TIER, WHOLE, failure="exit code 1"))

    assert verdict_on(UPLOAD_WALL, item).outcome == "not run"
    assert {verdict.outcome for verdict in verdicts(results_of())} == {"not run"}


def test_a_small_run_reaches_nothing() -> None:
    item = an_item(row("boto3", "defaults", sample(2.0)), row(TIER, WHOLE, sample(0.1)), full=False)

    assert verdict_on(UPLOAD_WALL, item).outcome == "small run"


def test_memory_is_judged_by_the_largest_round() -> None:
    item = an_item(row(TIER, WHOLE, sample(1.0, memory=100 * 2**20), sample(1.0, memory=129 * 2**20)))

    assert verdict_on("memory, anonymous, upload-one", item).outcome == "missed"


@pytest.mark.parametrize(("last", "outcome"), [(101.0, "reached"), (140.0, "missed")])
def test_growth_is_judged_by_what_each_further_byte_costs(last: float, outcome: str) -> None:
    walls = {1: 2.0, 10: 11.0, 100: last}
    figures = tuple(Figure(name=f"upload {size} GB: wall", value=seconds, unit="s") for size, seconds in walls.items())

    item = an_item(name="growth", figures=figures)

    assert verdict_on("growth, time per byte, 10 to 100 GB", item).outcome == outcome


# Results and the page


def test_results_survive_the_file(tmp_path: Path) -> None:
    results = results_of(
        an_item(row("boto3", "defaults", sample(2.0)), profiles={"sync": Profile(1.0, (("a > b", 0.5),))})
    )

    write(results, tmp_path / "results.json")

    assert read(tmp_path / "results.json") == results


def test_a_file_that_is_no_results_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"schema": "something/1"}')

    with pytest.raises(BenchmarkError, match=r"other\.json has the schema 'something/1'"):
        read(tmp_path / "other.json")


def test_an_item_that_is_measured_anew_takes_the_place_of_the_earlier_one() -> None:
    upload, restore = an_item(), an_item(name="restore-one")
    anew = an_item(commit="def")

    assert results_of(upload, restore).with_item(anew).items == (restore, anew)


def test_items_of_different_machines_are_told_apart_on_the_page() -> None:
    elsewhere = msgspec.structs.replace(MACHINE, processor="another processor", cores=64)
    page = page_of(results_of(an_item(), an_item(name="restore-one", machine=elsewhere, versions={"boto3": "2"})))

    about = page.partition("## Goals")[0]
    assert "figures of different items must not be compared" in about
    assert "upload-one.\na processor, 2 cores" in about
    assert "restore-one.\nanother processor, 64 cores" in about
    assert "boto3 2." in about


def test_the_page_says_what_was_missed_with_its_profile_and_what_was_not_run_with_its_reason() -> None:
    item = an_item(
        row("boto3", "defaults", sample(1.0)),
        row("s3fs", "tuned", failure="exit code 1: |no|\nbucket"),
        row(TIER, WHOLE, sample(2.0)),
        not_run=(NotRun("rsync", "there is no `rsync` on PATH"),),
        profiles={"sync": Profile(1.5, (("flow/fetch.py:_write_all:127 > pwrite", 0.6),))},
    )

    page = page_of(results_of(item))

    missed = page.partition("## Missed goals, and why")[2].partition("\n## ")[0]
    assert UPLOAD_WALL in missed
    assert "| 0.600 | `flow/fetch.py:_write_all:127 > pwrite` |" in missed
    not_run = page.partition("## What was not run")[2].partition("\n## ")[0]
    assert "| upload-one | rsync | there is no `rsync` on PATH |" in not_run
    assert "| restore-one | all of it | not part of this run |" in not_run
    assert r"failed: exit code 1: \|no\| bucket" in page


def test_beside_a_missed_wall_time_stands_what_the_processors_had_to_do() -> None:
    busy = [
        msgspec.structs.replace(sample(wall, cpu), server_cpu_seconds=3.0) for wall, cpu in ((3.0, 2.0), (2.5, 1.0))
    ]
    item = an_item(row(TIER, WHOLE, busy[0]), row("fast", "tuned", busy[1]), row("slow", "tuned", sample(9.0)))
    page = page_of(Results(items=(item,)))
    assert "| ckpt-tier, whole command | 2.00 | 3.00 | 2.50 | 3.00 |" in page
    assert "| fast, tuned | 1.00 | 3.00 | 2.00 | 2.50 |" in page
    assert "| slow, tuned | 1.00" not in page


def test_the_page_of_a_small_run_says_so_above_everything() -> None:
    page = page_of(results_of(an_item(row(TIER, WHOLE, sample(2.0)), full=False)))

    assert "**A small run: upload-one." in page.partition("## Goals")[0]
    assert "**missed**" not in page


def test_the_page_is_made_again_from_the_file_alone(tmp_path: Path) -> None:
    results = results_of(an_item(row("boto3", "defaults", sample(1.0)), row(TIER, WHOLE, sample(2.0))))
    write(results, tmp_path / "results.json")
    page = tmp_path / "docs" / "benchmarks.md"
    page.parent.mkdir()

    assert main(["--from", str(tmp_path / "results.json"), "--report", str(page)]) == 0

    assert page.read_text() == page_of(results)
    pictures = {path.name for path in (page.parent / "pictures").iterdir()}
    assert pictures == {"benchmark-upload-one.svg"}
    assert all(f"(pictures/{name})" in page.read_text() for name in pictures)


def test_a_chart_is_whole_xml_with_the_shortest_bar_first() -> None:
    bars = [Bar("slow <&>", 4.0, 3.0, 5.0, ours=False), Bar("fast", 1.0, 1.0, 1.0, ours=True)]

    root = ET.fromstring(chart("Upload & more", [Panel("wall time", "s", bars)]))  # noqa: S314 (our own)

    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["Upload & more", "wall time, s", "fast", "1", "slow <&>", "4"]
    widths = [float(element.attrib["width"]) for element in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert widths[1] == pytest.approx(4 * widths[0], rel=0.01)


def test_an_unknown_work_item_or_peer_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--work", "upload-all"]) == 1
    assert "there is no 'upload-all'" in capsys.readouterr().err
    assert main(["--peers", "scp"]) == 1
    assert "there is no 'scp'" in capsys.readouterr().err
