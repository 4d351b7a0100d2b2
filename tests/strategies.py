"""Hypothesis strategies for what `reconcile` decides by."""

from hypothesis import strategies as st

from ckpt_tier.core.nouns import FileStamp, Stamp
from ckpt_tier.core.retention import KeepBest, KeepEvery, KeepFor, KeepLast, Policy
from ckpt_tier.core.states import State
from ckpt_tier.flow.view import Link, Rules, View
from ckpt_tier.hot.scan import HotCopy
from ckpt_tier.inbox import Linked, Ticket
from ckpt_tier.journal.saves import Save, SavedFile
from tests.builders import digest

NOW = 1_000_000.0
GENERATIONS = ["a" * 16, "b" * 16]
STEPS = st.integers(0, 5)
SERIES = st.sampled_from(["0", "1"])
STAMPS = st.builds(Stamp, inode=st.integers(1, 3), size=st.integers(0, 100), mtime_ns=st.just(0))
TIMES = st.integers(0, 1_000_100).map(float)


def path_of(series: str, step: int) -> str:
    return f"model_gpu{series}/model_step_{step}.pt"


def hot_copy(series: str, step: int, stamp: Stamp, *, at: float = 0.0) -> HotCopy:
    path = path_of(series, step)
    return HotCopy(
        path=path,
        series=series,
        step=step,
        rank=None,
        stamp=stamp,
        files=(FileStamp(path, stamp),),
        changed_ns=int(at * 1e9),
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """A hot tier's policy: the newest so many, and sometimes more."""
    more = st.sampled_from([KeepEvery(2), KeepBest("loss", "min", 1), KeepFor(10.0)])
    return Policy((KeepLast(draw(st.integers(1, 3))), *draw(st.lists(more, max_size=2))))


@st.composite
def saves(draw: st.DrawFn, identity: int) -> Save:
    """A row as the program can have written it: with a generation from validation on."""
    series, step, state = draw(SERIES), draw(STEPS), draw(st.sampled_from(State))
    path, stamp = path_of(series, step), draw(STAMPS)
    ticket = draw(st.sampled_from([None, f"ticket-{identity}"]))
    validated = state not in (State.SAVED, State.REJECTED)
    return Save(
        id=identity,
        series=series,
        step=step,
        path=path,
        stamp=stamp,
        files=(
            SavedFile(
                path=path,
                stamp=stamp,
                link=f"{ticket}.0" if ticket else None,
                digest=digest(path) if validated else None,
            ),
        ),
        saved_at=draw(TIMES),
        ticket=ticket,
        state=state,
        reason="why" if state in (State.REJECTED, State.STALLED, State.LOST) else "",
        retry_at=draw(st.sampled_from([0.0, NOW + 50])) if state is State.STALLED else 0.0,
        generation=draw(st.sampled_from(GENERATIONS)) if validated else None,
        metrics=draw(st.sampled_from([{}, {"loss": 0.5}, {"loss": 1.0}])),
    )


@st.composite
def views(draw: st.DrawFn) -> View:
    """Any view: rows and files that match, almost match, or have nothing to do with each other."""
    rows = [draw(saves(identity)) for identity in range(1, draw(st.integers(0, 6)) + 1)]
    rows = list({(row.path, row.stamp): row for row in rows}.values())
    hot: dict[str, HotCopy] = {}
    for row in rows:
        if draw(st.booleans()):
            hot[row.path] = hot_copy(row.series, row.step, row.stamp, at=draw(TIMES))
    for _ in range(draw(st.integers(0, 3))):
        series, step = draw(SERIES), draw(STEPS)
        hot[path_of(series, step)] = hot_copy(series, step, draw(STAMPS), at=draw(TIMES))
    links = {
        link: Link(stamp=row.stamp, links=1 + (row.path in hot), linked_at=0.0)
        for row in rows
        for link in row.links
        if draw(st.booleans())
    }
    links |= {
        f"spare-{n}.0": Link(draw(STAMPS), draw(st.integers(1, 2)), draw(TIMES)) for n in range(draw(st.integers(0, 1)))
    }
    tickets = [_ticket(row) for row in rows if row.ticket and draw(st.booleans())]
    for number in range(draw(st.integers(0, 2))):
        series, step = draw(SERIES), draw(STEPS)
        path = path_of(series, step)
        copy = hot.get(path)
        stamp = copy.stamp if copy and draw(st.booleans()) else draw(STAMPS)
        tickets.append(
            Ticket(
                id=f"new-{number}",
                step=step,
                series=series,
                path=path,
                files=(Linked(path=path, stamp=stamp, link=None),),
                saved_at=draw(TIMES),
            )
        )
    return View(
        now=NOW,
        rules=Rules(
            retention=draw(policies()),
            settle=draw(st.sampled_from([0.0, 10.0])),
            min_free=draw(st.sampled_from([0, 150, 10_000])),
            newest_first=draw(st.booleans()),
            set_aside=draw(st.booleans()),
        ),
        free=draw(st.integers(0, 200)),
        hot=hot,
        tickets=tuple(tickets),
        links=links,
        saves=tuple(rows),
        committed=draw(
            st.frozensets(
                st.sampled_from([(row.series, row.step, row.generation or "") for row in rows] or [("0", 0, "x")])
            )
        ),
        protected=draw(st.dictionaries(st.tuples(SERIES, STEPS), st.just("pinned"), max_size=1)),
        tracked=draw(st.frozensets(st.sampled_from(sorted(hot)), max_size=1)) if hot else frozenset(),
        postponed=draw(st.dictionaries(st.sampled_from(sorted(hot)), st.just(NOW + 1), max_size=1)) if hot else {},
        tombstones=draw(
            st.dictionaries(
                st.sampled_from([(row.series, row.step, row.generation or "") for row in rows] or [("0", 0, "x")]),
                TIMES,
                max_size=2,
            )
        ),
        busy=frozenset(draw(st.sets(st.sampled_from([row.id for row in rows]), max_size=2))) if rows else frozenset(),
    )


def _ticket(row: Save) -> Ticket:
    return Ticket(
        id=row.ticket or "",
        step=row.step,
        series=row.series,
        path=row.path,
        files=tuple(Linked(path=file.path, stamp=file.stamp, link=file.link) for file in row.files),
        saved_at=row.saved_at,
    )
