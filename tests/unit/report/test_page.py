"""The page: whole HTML, nothing that runs or loads, and nothing from elsewhere that is more than text."""

import re
from collections import Counter
from html.parser import HTMLParser

import msgspec
import pytest

from ckpt_tier.flow.disk import SeriesDisk, Staying
from ckpt_tier.flow.status import ColdStatus, Queue, WorkerStatus
from ckpt_tier.hot.usage import Lying
from ckpt_tier.report.data import Report
from ckpt_tier.report.page import GENERATOR, page
from tests.unit.report.reports import attention, disk, report, row, series_status, status

HOSTILE = "\"><script>alert(1)</script>' onload=x \u202e\x1b[2J\n"
VOID = {"meta", "link"}


class Reading(HTMLParser):
    """What a browser would make of the page: elements that are open, all tags and attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attributes
        self.ids += [value or "" for name, value in attributes if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def full() -> Report:
    """A report with something in every section."""
    rows = [
        *(row(step, lag=step / 2 + 1, metrics={"loss": 1 / (step + 1)}) for step in range(0, 500, 10)),
        row(500, hot=True, pin="paper"),
        row(510, abandoned=True),
        row(520, lag=None),
        *(row(530 + i, lag=None, state=state) for i, state in enumerate(("rejected", "stalled", "lost"))),
    ]
    troubles = tuple(attention(state, step=530 + i) for i, state in enumerate(("rejected", "stalled", "lost")))
    return report(rows, status(attention=troubles, queue=Queue(count=1, bytes=1000, eta_seconds=3)))


def test_the_page_is_whole_html_and_every_id_is_there_once() -> None:
    seen = Reading(page(full()))
    assert seen.open == []
    assert max(Counter(seen.ids).values()) == 1
    named = [value for name, value in seen.attributes if name == "aria-labelledby" and value]
    assert len(named) == 6
    assert {part for value in named for part in value.split()} <= set(seen.ids)
    assert {value for name, value in seen.attributes if name == "href" and value != "data:,"} <= {
        f"#{each}" for each in seen.ids
    }


def test_the_page_says_first_what_would_be_lost_and_what_needs_a_person() -> None:
    text = Reading(page(full())).text
    loss = "If this machine died now, everything saved after step 5000 (3 min 20 s ago) would be lost."
    assert text.index(loss) < text.index("3 checkpoints need a person.") < text.index("Newest committed")
    assert "1 rejected, 1 stalled, 1 lost" in text
    assert "`" not in text


def test_the_page_has_no_script_and_nothing_that_is_loaded() -> None:
    seen = Reading(page(full()))
    assert not {"script", "img", "iframe", "object", "embed", "form", "base", "a"} & set(seen.tags)
    assert not [name for name, _ in seen.attributes if name.startswith("on") or name == "src"]
    assert [value for name, value in seen.attributes if value and re.match(r"\w+://|//", value)] == []
    assert "default-src 'none'" in str(seen.attributes)
    assert "url(" not in page(full())
    assert "@import" not in page(full())


def saying(word: str) -> str:
    """A page with `word` everywhere that a name, reason or address can stand."""
    now = status(
        run=word,
        hot_path=word,
        cold=ColdStatus(url=word, error=word),
        worker=WorkerStatus(running=True, pid=1, host=word, what=word),
        series=(series_status(word, None), series_status("1")),
        attention=(attention(path=word, reason=word, series=word),),
        warnings=(word,),
    )
    rows = [row(1, series=word, pin=word, metrics={word: 1.0}), row(2, series="1", metrics={word: 1.0})]
    staying = Staying(reason=word, count=1, bytes=1)
    lying = Lying(place="other", count=1, bytes=1, largest=word, largest_bytes=1)
    series = SeriesDisk(
        name=word,
        count=1,
        bytes=1,
        newest_step=1,
        newest_saved_at="2020-01-01T00:00:00Z",
        deletable_count=0,
        deletable_bytes=0,
        staying=(staying,),
    )
    told = dict.fromkeys(("run", "series", "config", "version", "cold_error"), word)
    return page(report(rows, now, disk=disk(series=(series,), others=(lying,)), notes=(word,), **told))


def test_hostile_names_reasons_and_metrics_are_text_and_nothing_else() -> None:
    hostile, harmless = saying(HOSTILE), saying("!x")
    assert harmless.count(">!x<") > 4
    assert Reading(hostile).tags == Reading(harmless).tags
    assert [name for name, _ in Reading(hostile).attributes] == [name for name, _ in Reading(harmless).attributes]
    assert "\x1b" not in hostile
    assert "\u202e" not in hostile
    assert "<script" not in hostile


def test_a_cold_tier_that_is_away_is_said_at_the_top() -> None:
    away = report([row(1)], status(cold=ColdStatus(url="s3://b", error="no route")), cold_error="no route")
    text = Reading(page(away)).text
    assert text.index("The cold tier is away") < text.index("no route") < text.index("Newest committed")
    assert "Nobody can tell what would be lost" in text


def test_an_empty_run_has_a_page() -> None:
    empty = report([], status(series=()))
    seen = Reading(page(empty))
    assert seen.open == []
    assert "There are no checkpoints yet" in seen.text
    assert "Tracked numbers" not in seen.text


def test_a_run_without_a_cold_tier_has_a_page() -> None:
    alone = report([row(1, lag=None)], status(cold=ColdStatus(url="")))
    assert "everything would be lost: there is no cold tier" in Reading(page(alone)).text


def test_ten_thousand_checkpoints_are_bars_and_what_stands_out_keeps_its_mark() -> None:
    rows = [row(step, saved=10_000.0 - step, lag=step % 97, metrics={"loss": float(step % 89)}) for step in range(9990)]
    rows += [row(20_000 + i, lag=None, state="rejected") for i in range(10)]
    rows += [row(30_000, lag=None), row(40_000, pin="pinned: paper")]
    html = page(report(rows))
    assert "There are too many for a mark each" in html
    assert html.count('href="#m-cross"') == 11  # ten marks and the legend
    assert html.count('href="#m-waiting"') == html.count('href="#m-pin"') == 2
    assert len(html) < 700_000


def test_few_checkpoints_have_a_mark_each() -> None:
    html = page(report([row(step, hot=True) for step in range(5)]))
    assert html.count('href="#m-cold"') == html.count('href="#m-hot"') == 6  # five marks and the legend
    assert "too many" not in html


def test_a_page_stays_small_whatever_there_is() -> None:
    long = "x" * 5000
    rows = [
        row(i, saved=float(i), series=f"s{i % 200:03}", state="rejected", lag=None, metrics={f"m{i % 50}": float(i)})
        for i in range(8000)
    ]
    troubles = tuple(attention(step=i, reason=long, path=long) for i in range(8000))
    html = page(report(rows, status(attention=troubles, warnings=(long,) * 500)))
    assert len(html) < 2_000_000
    assert "and 7,800 more" in html
    assert "The first 24 of 200 series are drawn" in html
    assert "and 38 more" in html


def test_the_marker_by_which_a_report_is_known_is_at_its_head() -> None:
    assert GENERATOR in page(full())[:1024]
    assert "ckpt-tier 1.2.3" in page(full())[:1024]


@pytest.mark.parametrize("values", [[1e308, -1e308], [0.0], [5e-324, 0.0], [1.0, 1.0, 1.0], [1e17, 1e17]])
def test_any_numbers_have_a_curve(values: list[float]) -> None:
    html = page(report([row(i, metrics={"x": value}) for i, value in enumerate(values)]))
    assert "nan" not in html
    assert "inf" not in html.replace("min_free", "")


def test_what_the_page_shows_survives_json() -> None:
    made = full()
    assert msgspec.json.decode(msgspec.json.encode(made), type=Report) == made


def test_the_disk_is_one_bar_with_the_limit() -> None:
    html = page(report([row(1)], disk=disk(free_bytes=2000)))
    assert 'x1="90.00%"' in html  # min_free is 1,000 of 10,000 bytes
    assert 'width="20.000%"' in html
    assert 'width="80.000%"' in html
