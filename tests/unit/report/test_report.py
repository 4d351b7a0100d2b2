"""What the page of `report` tells, and that nothing in a checkpoint can do more than be shown."""

import html
import json
from html.parser import HTMLParser

import msgspec
import pytest

from ckpt_tier.core.units import format_time
from ckpt_tier.flow.listing import Listed
from ckpt_tier.flow.status import (
    Attention,
    ColdStatus,
    Disk,
    Newest,
    Queue,
    SeriesStatus,
    Status,
    Uplink,
    WorkerStatus,
)
from ckpt_tier.report.data import Report, Where, report, sentence
from ckpt_tier.report.page import page
from ckpt_tier.report.pictures import MOST_MARKS, MOST_POINTS, thinned

DAY = 1_800_000_000.0
HOUR = 3600.0


def series(name: str = "main", age: int | None = 60) -> SeriesStatus:
    newest = None if age is None else Newest(step=5, generation="0" * 16, saved_at=format_time(DAY), age_seconds=age)
    return SeriesStatus(
        name=name, newest_committed=newest, newest_hot_step=5, hot_count=1, hot_bytes=10, cold_count=1, cold_bytes=10
    )


def status(*attention: Attention, **other: object) -> Status:
    now = Status(
        schema="ckpt-tier/status/1",
        at=format_time(DAY),
        run="swelu",
        hot_path="/hot",
        cold=ColdStatus(url="s3://bucket/prod"),
        worker=WorkerStatus(running=False),
        series=(series(),),
        queue=Queue(count=0, bytes=0, eta_seconds=0),
        uplink=Uplink(saved_bytes_per_second=None, uploaded_bytes_per_second=None, keeps_up=None),
        disk=Disk(total_bytes=100, free_bytes=50, min_free_bytes=10, full_in_seconds=None),
        attention=attention,
        warnings=(),
    )
    return msgspec.structs.replace(now, **other)


def row(step: int, at: float, lag: float | None = 30.0, name: str = "main", **other: object) -> Listed:
    made = Listed(
        series=name,
        step=step,
        generation=f"{step:016x}",
        state="committed" if lag is not None else "saved",
        hot=lag is None,
        saved_at=format_time(at),
        committed_at=None if lag is None else format_time(at + lag),
        size_bytes=1000,
    )
    return msgspec.structs.replace(made, **other)


def told(*rows: Listed, now: Status | None = None) -> Report:
    return report(rows, now or status(), None, version="1")


def test_a_checkpoint_is_where_its_copies_are() -> None:
    rows = [row(1, DAY), row(2, DAY, hot=True), row(3, DAY, lag=None), row(4, DAY, lag=None, state="rejected")]
    assert [each.where for each in told(*rows).checkpoints] == [Where.COLD, Where.BOTH, Where.HOT, Where.TROUBLE]


def test_a_committed_one_that_is_damaged_is_trouble() -> None:
    damaged = Attention(state="damaged", series="main", step=1, path="a.pt", reason="gone", since=None)
    assert told(row(1, DAY), now=status(damaged)).checkpoints[0].where is Where.TROUBLE


def test_a_sound_generation_of_a_step_that_was_rejected_when_saved_again_is_no_trouble() -> None:
    rejected = Attention(state="rejected", series="main", step=1, path="a.pt", reason="cut", since=None)
    rows = [row(1, DAY), row(1, DAY + 1, lag=None, state="rejected", generation=None)]
    assert [each.where for each in told(*rows, now=status(rejected)).checkpoints] == [Where.COLD, Where.TROUBLE]


def test_the_lag_is_from_saving_to_committing() -> None:
    found = told(row(1, DAY, 10), row(2, DAY + 1, 20), row(3, DAY + 2, 300), row(4, DAY + 3, lag=None)).lag
    assert found is not None
    assert (found.count, found.median_seconds, found.worst_seconds, found.worst_step) == (3, 20, 300, 3)


def test_throughput_is_what_was_committed_in_each_stretch() -> None:
    found = told(*(row(number, DAY + number * HOUR / 2) for number in range(20))).throughput
    assert found is not None
    assert found.bin_seconds == 900
    assert sum(each.bytes for each in found.bins) == 20_000
    assert max(each.count for each in found.bins) == 1
    assert len(found.bins) <= 48


def test_metrics_become_curves_without_the_branch_that_was_left() -> None:
    rows = [
        row(1, DAY, metrics={"loss": 3.0}),
        row(2, DAY + 1, metrics={"loss": 9.0}, abandoned=True),
        row(2, DAY + 2, metrics={"loss": 2.0}),
        row(2, DAY + 3, metrics={"loss": 1.5}),
    ]
    [curve] = told(*rows).curves
    assert (curve.name, curve.series, curve.points) == ("loss", "main", ((1, 3.0), (2, 1.5)))


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (status(), "Nothing needs a person. If this machine died now, what was saved in the last 1 min would be lost."),
        (status(series=(series(), series("b", 7200))), "last 2 h would be lost"),
        (status(series=(series(), series("b", None))), "all of series b would be lost"),
        (status(series=()), "There are no checkpoints yet."),
        (status(cold=ColdStatus(url="")), "There is no cold tier"),
        (status(cold=ColdStatus(url="s3://b", error="timed out")), "The cold tier is away."),
        (status(disk=Disk(total_bytes=100, free_bytes=5, min_free_bytes=10, full_in_seconds=None)), "The disk is fil"),
        (
            status(Attention(state="lost", series="a", step=1, path="a", reason="", since=None)),
            "1 checkpoint needs a person.",
        ),
    ],
)
def test_the_first_sentence_says_what_would_be_lost_and_who_is_needed(now: Status, said: str) -> None:
    assert said in sentence(now)


class Balanced(HTMLParser):
    """Raises where a tag is not closed, and keeps the text and what is asked for from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.asked_for: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.asked_for += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href", "action", "srcset")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(text: str) -> Balanced:
    parser = Balanced()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


HOSTILE = "<script>alert(1)</script>\"&'<img src=x>"


def test_what_a_checkpoint_brings_is_shown_and_nothing_else() -> None:
    bad = Attention(state="rejected", series=HOSTILE, step=4, path=HOSTILE, reason=HOSTILE, since=None)
    now = status(bad, run=HOSTILE, hot_path=HOSTILE, warnings=(HOSTILE,), series=(series(HOSTILE),))
    rows = [row(1, DAY, name=HOSTILE, metrics={HOSTILE: 1.0}), row(2, DAY + 5, name=HOSTILE, metrics={HOSTILE: 2.0})]
    text = page(report(rows, now, None, version="1", notes=[HOSTILE]))
    assert "<script" not in text
    assert "<img" not in text
    found = read(text)
    assert HOSTILE in found.text
    assert found.asked_for == []
    assert html.escape(HOSTILE) in text


def test_the_page_is_not_allowed_to_ask_for_anything() -> None:
    assert "default-src 'none'" in page(told(row(1, DAY)))


def test_a_run_without_checkpoints_has_a_page() -> None:
    assert "There are no checkpoints yet." in read(page(told(now=status(series=())))).text


def test_one_checkpoint_alone_has_a_place_on_every_axis() -> None:
    read(page(told(row(1, DAY, lag=0, metrics={"loss": 0.0}))))


def test_more_checkpoints_than_marks_share_them_and_the_page_stays_small() -> None:
    rows = [row(step, DAY + step * 60, name=str(step % 6)) for step in range(10 * MOST_MARKS)]
    text = page(told(*rows))
    assert "those that lie side by side share a mark" in text
    assert len(text) < 500_000
    assert read(text).text.count("20,000") == 1


def test_thinning_loses_no_peak() -> None:
    points = [(float(x), 1000.0 if x == 3_333 else x % 7.0) for x in range(10_000)]
    few = thinned(points)
    assert len(few) <= MOST_POINTS
    assert max(few, key=lambda point: point[1]) == (3333.0, 1000.0)
    assert few == sorted(few)


def test_the_document_is_read_back_as_it_was() -> None:
    made = told(row(1, DAY, metrics={"loss": 1.0}), row(2, DAY, lag=None))
    assert msgspec.json.decode(msgspec.json.encode(made), type=Report) == made
    assert json.loads(msgspec.json.encode(made))["schema"] == "ckpt-tier/report/1"
