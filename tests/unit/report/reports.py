"""Reports for tests, made of the parts that `gather` finds, with times that stand still."""

import msgspec

from ckpt_tier.core.units import format_time
from ckpt_tier.flow.disk import DiskReport
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
from ckpt_tier.report import figures, words
from ckpt_tier.report.data import Report

NOW = 1_700_000_000.0
"""2023-11-14T22:13:20Z."""


def row(step: int, saved: float | None = None, lag: float | None = 60.0, series: str = "0", **fields: object) -> Listed:
    """A checkpoint, saved `saved` seconds before `NOW`, committed `lag` seconds later."""
    saved_at = NOW - (1000 - step if saved is None else saved)
    made = Listed(
        series=series,
        step=step,
        generation=f"{step:016x}",
        state="saved" if lag is None else "committed",
        hot=lag is None,
        saved_at=format_time(saved_at),
        committed_at=None if lag is None else format_time(saved_at + lag),
        size_bytes=1000,
    )
    return msgspec.structs.replace(made, **fields)


def status(**fields: object) -> Status:
    """All is well: one series with one committed checkpoint."""
    made = Status(
        schema="ckpt-tier/status/1",
        at=format_time(NOW),
        run="swelu",
        hot_path="/data/checkpoints",
        cold=ColdStatus(url="s3://bucket/prod"),
        worker=WorkerStatus(running=True, pid=7, host="node-1", what="ckpt-tier sync --watch"),
        series=(series_status(),),
        queue=Queue(count=0, bytes=0, eta_seconds=None),
        uplink=Uplink(saved_bytes_per_second=10, uploaded_bytes_per_second=20, keeps_up=True),
        disk=Disk(total_bytes=10_000, free_bytes=6000, min_free_bytes=1000, full_in_seconds=None),
        attention=(),
        warnings=(),
    )
    return msgspec.structs.replace(made, **fields)


def series_status(name: str = "0", step: int | None = 5000, age: int = 200) -> SeriesStatus:
    newest = step and Newest(step=step, generation="ab" * 8, saved_at=format_time(NOW - age), age_seconds=age)
    return SeriesStatus(
        name=name,
        newest_committed=newest or None,
        newest_hot_step=step,
        hot_count=1,
        hot_bytes=1000,
        cold_count=1,
        cold_bytes=1000,
    )


def attention(state: str = "rejected", **fields: object) -> Attention:
    made = Attention(state=state, series="0", step=7, path="model_7.pt", reason="truncated", since=format_time(NOW))
    return msgspec.structs.replace(made, **fields)


def disk(**fields: object) -> DiskReport:
    made = DiskReport(
        at=format_time(NOW),
        run="swelu",
        hot_path="/data/checkpoints",
        total_bytes=10_000,
        free_bytes=6000,
        min_free_bytes=1000,
        full_in_seconds=None,
        within_seconds=21_600,
        deletable_bytes=0,
        series=(),
        others=(),
        alert="",
        problems=(),
    )
    return msgspec.structs.replace(made, **fields)


def report(rows: list[Listed], now: Status | None = None, **fields: object) -> Report:
    now = now or status()
    points = figures.checkpoints(rows, {(a.series, a.step): a.state for a in now.attention}, ())
    made = Report(
        at=now.at,
        run="swelu",
        version="1.2.3",
        config="/data/ckpt-tier.toml",
        page=None,
        series=None,
        summary=words.summary(now),
        cold_error="",
        status=now,
        disk=disk(),
        checkpoints=points,
        lag=figures.lag(points, NOW),
        throughput=figures.throughput(points),
        growth=figures.growth(points),
        curves=figures.curves(rows, {}),
    )
    return msgspec.structs.replace(made, **fields)
