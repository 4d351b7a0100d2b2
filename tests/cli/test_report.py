"""`ckpt-tier report`, as a process."""

import re

from tests.cli.ground import Ground
from tests.cli.test_documents_fit_their_schemas import fits


def test_the_page_is_written_and_its_sentence_said(ground: Ground) -> None:
    for step in (0, 5000):
        ground.save(step)
    ground.run("sync")
    out = ground.run("report", "out.html").out
    ground.matches_golden("report.txt", re.sub(r"(last|html,) [^\n]*?( would|\n)", r"\1 <n>\2", out))
    page = (ground.root / "out.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "step 5000, committed, on both tiers" in page
    ground.run("report", "out.html")  # its own page is made anew


def test_the_document_fits_its_schema_and_needs_no_file(ground: Ground) -> None:
    ground.save(0)
    ground.save(5000).write_bytes(b"cut")
    ground.run("sync", code=9)
    ground.run("annotate", "0", "loss=1.5")
    document = ground.run("report", "--json").document
    assert fits(document, "report")
    assert [(each["step"], each["where"]) for each in document["checkpoints"]] == [(0, "both"), (5000, "trouble")]
    assert document["curves"] == [{"name": "loss", "series": "0", "points": [[0, 1.5]]}]
    assert list(ground.root.glob("*.html")) == []


def test_a_file_of_somebody_else_is_not_replaced(ground: Ground) -> None:
    other = ground.root / "index.html"
    other.write_text("<html>mine</html>")
    assert "is no page of this command" in ground.run("report", "index.html", code=8).err
    assert other.read_text() == "<html>mine</html>"
    ground.run("report", "index.html", "--force")
    assert "ckpt-tier" in other.read_text()


def test_what_can_not_be_written_is_said(ground: Ground) -> None:
    assert "say where the page goes" in ground.run("report", code=2).err
    assert "there is no folder" in ground.run("report", "no/such/out.html", code=3).err


def test_with_the_cold_tier_away_the_page_tells_what_is_known_here(ground: Ground) -> None:
    ground.save(0)
    ground.run("sync")
    ground.cold.rename(ground.root / "elsewhere")
    result = ground.run("report", "out.html", code=6)
    assert result.out.startswith("The cold tier is away.")
    assert "on the hot tier only" in (ground.root / "out.html").read_text()


def test_tracked_parameters_are_curves_too_and_what_can_not_be_read_is_a_note(ground: Ground) -> None:
    for step in (0, 5000):
        ground.save(step)
    ground.run("sync")
    document = ground.run("report", "--json", "--track", "w").document
    [curve] = document["curves"]
    assert (curve["name"], curve["series"], len(curve["points"])) == ("w (mean)", "0", 2)
    document = ground.run("report", "--json", "--track", "no.such").document
    assert document["curves"] == []
    assert "nothing was tracked in series 0" in document["notes"][0]
