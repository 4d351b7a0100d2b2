"""What is under way at the same time, and what has to wait."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckpt_tier.core.nouns import Stamp
from ckpt_tier.core.pieces import PieceChecksums
from ckpt_tier.core.states import State
from ckpt_tier.flow.line import JOBS, Line
from ckpt_tier.flow.meter import Bandwidth, Pace
from ckpt_tier.journal.journal import Journal
from ckpt_tier.journal.saves import Save, SavedFile
from tests.builders import SteppedClock

SIZE = 1000


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with contextlib.closing(Journal.open(tmp_path / "state")) as journal:
        yield journal


@pytest.fixture
def line(journal: Journal) -> Iterator[Line]:
    line = Line(journal, Bandwidth(None, SteppedClock()))
    yield line
    line.close()


def save(journal: Journal, step: int, pieces: int) -> Save:
    stamp = Stamp(inode=step, size=SIZE, mtime_ns=step)
    file = SavedFile(path=f"{step}.pt", stamp=stamp, pieces=PieceChecksums(SIZE // pieces, (0,) * pieces))
    return journal.put(
        Save(series="0", step=step, path=file.path, stamp=stamp, files=(file,), saved_at=1.0, state=State.VALIDATED)
    )


def test_a_large_checkpoint_leaves_the_line_when_its_bytes_have_gone_and_is_committed_beside_the_next(
    journal: Journal, line: Line
) -> None:
    large, other = save(journal, 1, JOBS), save(journal, 2, JOBS)
    send, commit = threading.Event(), threading.Event()

    def deliver(pace: Pace) -> Save:
        send.wait(20)
        pace.take(SIZE)
        commit.wait(20)
        return large

    assert line.has_place_for(large)
    line.begin(large, deliver)
    assert not line.has_place_for(other)
    assert not line.has_place_for(save(journal, 3, 1))
    send.set()
    begun = time.monotonic()
    line.wait(20)
    assert time.monotonic() - begun < 10
    assert line.has_place_for(other)
    assert not line.has_ended
    assert line.rows == (large.id,)
    commit.set()
    line.wait(20)
    assert line.has_ended
    assert list(line.ended()) == [large]
    assert line.rows == ()


def test_so_many_small_ones_are_sent_at_a_time(journal: Journal, line: Line) -> None:
    saves = [save(journal, step, 1) for step in range(JOBS + 1)]
    go_on = threading.Event()
    for each in saves[:JOBS]:
        assert line.has_place_for(each)
        line.begin(each, lambda _: go_on.wait(20) and None)
    assert not line.has_place_for(saves[JOBS])
    go_on.set()
    while line.rows:
        line.wait(20)
        list(line.ended())
    assert line.has_place_for(saves[JOBS])


def test_an_error_of_a_delivery_is_raised_where_its_end_is_taken_note_of(journal: Journal, line: Line) -> None:
    def deliver(_: Pace) -> Save:
        raise ZeroDivisionError

    line.begin(save(journal, 1, 1), deliver)
    while not line.has_ended:
        line.wait(20)
    with pytest.raises(ZeroDivisionError):
        list(line.ended())
    assert line.has_place_for(save(journal, 2, JOBS))
