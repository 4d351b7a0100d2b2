"""One look at everything that `reconcile` decides by."""

from collections.abc import Iterable, Mapping

import msgspec

from ckpt_tier.cold.manifests import Manifests
from ckpt_tier.cold.notes import list_notes
from ckpt_tier.cold.pins import list_pins
from ckpt_tier.cold.tombstones import list_tombstones
from ckpt_tier.config import Config
from ckpt_tier.core.branches import Branch
from ckpt_tier.core.nouns import DEFAULT_SERIES, Stamp
from ckpt_tier.core.units import format_time
from ckpt_tier.flow.view import Link, Rules, View
from ckpt_tier.hot.holds import held
from ckpt_tier.hot.layout import Layout, Place
from ckpt_tier.hot.room import requested
from ckpt_tier.hot.scan import HotCopy, Scan, look_at, scan, tracked
from ckpt_tier.hot.space import space
from ckpt_tier.inbox import Inbox, Ticket
from ckpt_tier.journal.saves import Save


class Marks(msgspec.Struct, frozen=True):
    """What people and prunes have said of checkpoints in the cold tier: small objects beside the manifests.

    Attributes:
        pins: (series, step).
        tombstones: (series, step, generation), and the second at which the store took each.
        branches: those that training has left.
        metrics: (series, step, generation), and the metrics that were noted after it was committed.
    """

    pins: frozenset[tuple[str, int]] = frozenset()
    tombstones: Mapping[tuple[str, int, str], float] = {}
    branches: tuple[Branch, ...] = ()
    metrics: Mapping[tuple[str, int, str], Mapping[str, float]] = {}


def list_marks(manifests: Manifests, oldest: Mapping[str, int]) -> Marks:
    """The marks of these series, tombstones from the given steps on. To be listed after the manifests: a prune writes
    the tombstone before it deletes the manifest."""
    notes = list_notes(manifests, oldest)
    return Marks(
        pins=frozenset(list_pins(manifests, oldest)),
        tombstones=list_tombstones(manifests, oldest),
        branches=notes.branches,
        metrics=notes.metrics,
    )


def observe(
    config: Config,
    layout: Layout,
    inbox: Inbox,
    saves: Iterable[Save],
    committed: Iterable[tuple[str, int, str]],
    *,
    now: float,
    marks: Marks | None = None,
    postponed: Mapping[str, float] | None = None,
    busy: Iterable[int] = (),
    damaged: Iterable[tuple[str, int, str]] = (),
) -> tuple[View, Scan]:
    """The view, and the scan with what could not be told. Changes nothing. Raises ConfigError (no hot folder)."""
    hot = config.hot.path
    disk = space(hot)
    # Tickets and rows before the scan: a file that both bring is then at least as new in the scan.
    tickets = waiting(inbox, layout)
    rows = tuple(saves)
    found = scan(hot, layout)
    copies = {copy.path: copy for copy in found.copies}
    named = {ticket.path: Place(ticket.series, ticket.step, ticket.rank) for ticket in tickets}
    named |= {save.path: Place(save.series, save.step, save.rank) for save in rows}
    for path, place in named.items():
        if path not in copies and (copy := look_at(hot, path, place)) is not None:
            copies[path] = copy
    protected = {key: f"restored, and held until {format_time(until)[:16]}Z" for key, until in held(hot, now).items()}
    marks = marks or Marks()
    protected |= dict.fromkeys(marks.pins, "pinned")
    view = View(
        now=now,
        rules=Rules(
            retention=config.hot.retention,
            settle=config.hot.settle,
            min_free=config.hot.min_free.bytes_of(disk.total),
            newest_first=config.upload.order == "newest",
            set_aside=config.validate.on_rejected == "aside",
            room=requested(hot, now),
            complete_when=config.hot.complete_when,
            ranks=config.hot.ranks,
            set_window=config.hot.set_window,
        ),
        free=disk.free,
        hot=copies,
        tickets=tickets,
        links=_links(inbox),
        saves=rows,
        committed=frozenset(committed),
        protected=protected,
        tracked=frozenset(tracked(hot, layout)),
        postponed=postponed or {},
        busy=frozenset(busy),
        tombstones=marks.tombstones,
        damaged=frozenset(damaged),
        branches=marks.branches,
        metrics=marks.metrics,
        ambiguous=frozenset((each.series, each.step) for each in found.ambiguous),
    )
    return view, found


def waiting(inbox: Inbox, layout: Layout) -> tuple[Ticket, ...]:
    """The hook's tickets, each with its series."""
    return tuple(ticket if ticket.series else _with_series(ticket, layout) for ticket in inbox.tickets())


def oldest_steps(copies: Iterable[HotCopy], saves: Iterable[Save], tickets: Iterable[Ticket]) -> dict[str, int]:
    """For each series on the hot tier, in the journal or in the inbox: the oldest step there is."""
    oldest: dict[str, int] = {}
    found = [(copy.series, copy.step) for copy in copies]
    found += [(save.series, save.step) for save in saves]
    found += [(ticket.series, ticket.step) for ticket in tickets]
    for series, step in found:
        oldest[series] = min(step, oldest.get(series, step))
    return oldest


def list_committed(manifests: Manifests, oldest: Mapping[str, int]) -> set[tuple[str, int, str]]:
    """(series, step, generation) of every manifest from the oldest hot steps on."""
    return {(entry.series, entry.step, entry.generation) for entry in manifests.entries_from(oldest)}


def _with_series(ticket: Ticket, layout: Layout) -> Ticket:
    matched = layout.match(ticket.path)
    return msgspec.structs.replace(ticket, series=matched.series if matched else DEFAULT_SERIES)


def _links(inbox: Inbox) -> dict[str, Link]:
    return {
        name: Link(
            stamp=Stamp(status.st_ino, status.st_size, status.st_mtime_ns),
            links=status.st_nlink,
            linked_at=status.st_ctime,
        )
        for name, status in inbox.links().items()
    }
