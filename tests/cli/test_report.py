"""`ckpt-tier report`, as a process, over a hot and a cold folder."""

import json
import os
import re
from pathlib import Path

import pytest

from tests.cli.ground import EPOCH, Ground
from tests.cli.test_documents_fit_their_schemas import fits

MINUTE_LATER = 90


@pytest.fixture
def trained(ground: Ground) -> Ground:
    """Two series of four checkpoints, each committed 90 seconds after it was saved; the newest of series 1 is cut
    short, and one more of series 0 waits."""
    for series in "01":
        for step in (0, 5000, 10_000, 15_000):
            ground.save(step, series)
    broken = ground.hot / "model_gpu1/model_step_15000.safetensors"
    os.truncate(broken, 2000)
    os.utime(broken, (EPOCH + 15_000, EPOCH + 15_000))
    ground.run("sync", "--quiet", code=9)
    for path in ground.cold.glob("swelu/*/manifests/*.json"):
        committed = EPOCH + int(path.name.partition(".")[0]) + MINUTE_LATER
        os.utime(path, (committed, committed))
    for series, step in (("0", 15_000), ("1", 5000)):
        ground.run("annotate", str(step), f"loss={20_000 / step:.3f}", "--series", series)
    ground.run("pin", "0", "--series", "0", "--reason", "paper")
    ground.save(20_000)
    return ground


def test_the_document(trained: Ground) -> None:
    document = trained.run("report", "--json").document
    assert fits(document, "report")
    kinds = {(c["series"], c["step"]): c["kind"] for c in document["checkpoints"]}
    assert kinds["0", 0] == "cold"
    assert kinds["0", 15_000] == "both"
    assert kinds["1", 15_000] == "rejected"
    assert kinds["0", 20_000] == "waiting"
    assert document["lag"]["median_seconds"] == document["lag"]["worst_seconds"] == MINUTE_LATER
    text = json.dumps(document, indent=1, separators=(",", ":")) + "\n"
    text = re.sub(r'"(oldest_waiting_seconds|eta_seconds)":\d+', r'"\1":<n>', text)
    text = re.sub(r'"version":"[^"]*"', '"version":"<v>"', text)
    trained.matches_golden("report.json", re.sub(r"\d+ d( \d+ h)? ago", "<age> ago", text))


def test_what_the_command_says(trained: Ground) -> None:
    out = re.sub(r"\d+ d( \d+ h)? ago", "<age> ago", trained.run("report", "report.html").out)
    trained.matches_golden("report.txt", re.sub(r"[\d.]+ kB", "<n> kB", out))
    assert trained.run("report", "report.html", "--quiet").out == ""


def test_the_page_says_what_status_says(trained: Ground) -> None:
    trained.run("report", "report.html", "--json")
    page = (trained.root / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    for told in ("1 checkpoint needs a person.", "series 1, step 15000", "truncated", "paper", "loss", "1 min 30 s"):
        assert told in page


def test_only_one_series(trained: Ground) -> None:
    document = trained.run("report", "--series", "1", "--json").document
    assert {c["series"] for c in document["checkpoints"]} == {"1"}
    assert [each["name"] for each in document["status"]["series"]] == ["1"]
    assert {curve["series"] for curve in document["curves"]} == {"1"}
    assert document["series"] == "1"


def test_the_page_on_stdout(trained: Ground) -> None:
    out = trained.run("report", "-").out
    assert out.startswith("<!doctype html>")
    assert out.endswith("</html>\n")


def test_stdout_does_not_take_two_things(ground: Ground) -> None:
    refused = ground.run("report", "-", "--json", code=2).error
    assert "not both" in refused["error"]
    assert refused["hint"] == "name a file, or leave one out"


def test_a_report_is_replaced_and_nothing_else_is(trained: Ground) -> None:
    page, other = trained.root / "report.html", trained.root / "index.html"
    other.write_text("<html>mine</html>")
    trained.run("report", "report.html")
    before = page.stat().st_ino
    trained.run("report", "report.html")
    assert page.stat().st_ino != before
    refused = trained.run("report", "index.html", code=8)
    assert "is no report of ckpt-tier" in refused.err
    assert "--force" in refused.err
    assert other.read_text() == "<html>mine</html>"
    trained.run("report", "index.html", "--force")
    assert other.read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in trained.root.glob("*.html")) == ["index.html", "report.html"]
    assert list(trained.root.glob(".*.tmp")) == []


def test_a_link_is_written_through_and_what_is_no_file_stays(trained: Ground) -> None:
    (trained.root / "link.html").symlink_to("real.html")
    trained.run("report", "link.html")
    assert (trained.root / "link.html").is_symlink()
    assert (trained.root / "real.html").read_text().startswith("<!doctype html>")
    os.mkfifo(trained.root / "pipe")
    assert "- writes to stdout" in trained.run("report", "pipe", "--force", code=2).err
    assert (trained.root / "pipe").is_fifo()


def test_with_the_cold_tier_away_the_page_shows_what_is_known_and_says_so(trained: Ground) -> None:
    before = trained.run("report", "--json").document
    trained.cold.rename(trained.root / "elsewhere")
    result = trained.run("report", "report.html", "--json", code=6)
    after = result.document
    assert after["cold_error"] != ""
    assert "the cold tier is away" in after["summary"]
    assert [(c["series"], c["step"], c["committed_at"]) for c in after["checkpoints"]] == [
        (c["series"], c["step"], c["committed_at"]) for c in before["checkpoints"]
    ]
    assert "The cold tier is away" in (trained.root / "report.html").read_text()


def test_without_a_cold_tier_there_is_a_page(ground: Ground) -> None:
    ground.config.write_text(ground.config.read_text().partition("[cold]")[0])
    ground.save(5000)
    ground.run("report", "report.html")
    assert "there is no cold tier" in (ground.root / "report.html").read_text()


def test_before_the_first_checkpoint_there_is_a_page(ground: Ground) -> None:
    ground.run("report", "report.html")
    assert "There are no checkpoints yet" in (ground.root / "report.html").read_text()


def test_tracked_parameters_are_curves_too_and_what_can_not_be_read_is_a_note(ground: Ground) -> None:
    for step in (0, 5000):
        ground.save(step)
    ground.run("sync")
    document = ground.run("report", "--json", "--track", "w").document
    [curve] = document["curves"]
    assert (curve["name"], curve["series"], len(curve["points"])) == ("w (mean)", "0", 2)
    document = ground.run("report", "report.html", "--json", "--track", "no.such").document
    assert document["curves"] == []
    assert "nothing was tracked in series 0" in document["notes"][0]
    assert "nothing was tracked in series 0" in (ground.root / "report.html").read_text()


def test_it_changes_nothing_but_the_page(trained: Ground) -> None:
    trained.run("report", "report.html")
    before = {path: path.stat().st_mtime_ns for path in trained.root.rglob("*") if path.is_file()}
    trained.run("report", "report.html")
    after = {path: path.stat().st_mtime_ns for path in trained.root.rglob("*") if path.is_file()}
    assert {path for path in after if after[path] != before.get(path)} == {trained.root / "report.html"}
    assert set(after) == set(before)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((), 2, "there is no file to write the page to"),
        (("nowhere/report.html",), 2, "is not there"),
        (("hot",), 2, "no file that can be replaced"),
        (("report.html", "--series", "7"), 4, "there is no series '7': there are 0"),
    ],
)
def test_bad_input_is_an_error_that_says_what_to_do(
    ground: Ground, arguments: tuple[str, ...], code: int, told: str
) -> None:
    ground.save(5000)
    result = ground.run("report", *arguments, code=code)
    assert told in result.err.replace("\n", " ")
    assert "hint: " in result.err
    assert "Traceback" not in result.err
    assert not Path(ground.root / "report.html").exists()
