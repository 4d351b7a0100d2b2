"""The one decision: from a look at both tiers to the list of what to do, each action with its reason.

Pure. `sync` carries the list out, ``--dry-run`` prints it, and both see the same. An action with an `after` is what
will follow once something else has happened; it is printed, not carried out, and decided anew by then.

What holds whatever the view: an uncommitted file is never the object of EVICT; RELEASE only takes a link whose bytes
are committed or have another name; LET_GO, the one exception, only takes what the trainer itself has deleted, below
`min_free`, and reports it as lost.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from enum import StrEnum
from fnmatch import fnmatch

import msgspec

from ckpt_tier.cold.tombstones import was_saved_again
from ckpt_tier.core.branches import branch_of
from ckpt_tier.core.retention import Checkpoint, Verdict, newest
from ckpt_tier.core.states import QUEUED, VALID, State
from ckpt_tier.core.units import format_duration, format_size, format_time
from ckpt_tier.flow.view import View, row_of
from ckpt_tier.inbox import HIDDEN, Ticket
from ckpt_tier.journal.saves import Save, SavedFile

ORPHAN_AGE = 60.0
"""Seconds after which a link without a ticket is not the hook's work in progress any more."""


class Kind(StrEnum):
    """What an action does."""

    ATTACH = "attach"
    """Join the hook's ticket to a save that scanning had found first."""
    ADOPT = "adopt"
    """Note that the cold tier holds this generation already."""
    ASSEMBLE = "assemble"
    """Commit a checkpoint of several shares, once all of them are there."""
    RETIRE = "retire"
    """Note that this generation was pruned from the cold tier: it is not uploaded again."""
    LOSE = "lose"
    """Report a save that is gone from disk before it was committed."""
    FORGET = "forget"
    """Drop a journal row that stands for nothing any more."""
    RELEASE = "release"
    """Unlink the hook's hard link: its bytes are committed, or have another name."""
    LET_GO = "let-go"
    """Unlink the last copy of a save that the trainer has deleted: the disk is nearly full."""
    SET_ASIDE = "set-aside"
    """Move a rejected file out of the trainer's way."""
    EVICT = "evict"
    VALIDATE = "validate"
    UPLOAD = "upload"
    WAIT = "wait"
    KEEP = "keep"
    REPORT = "report"
    """A person is needed: rejected, stalled, lost."""


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do and why. `after` names what must happen first; empty means now. `pruned`: the copy stays only
    until somebody runs `prune --tier hot`."""

    kind: Kind
    reason: str
    series: str
    step: int
    path: str
    size: int = 0
    after: str = ""
    save: Save | None = None
    ticket: Ticket | None = None
    links: tuple[str, ...] = ()


_ORDER = {kind: rank for rank, kind in enumerate(Kind)}
_BULK = {Kind.VALIDATE, Kind.UPLOAD}


def reconcile(view: View) -> list[Action]:
    """Every action and its reason, in the order of carrying out: what is cheap, then evictions, then validation and
    upload together, newest first (below `min_free`: first what eviction waits for)."""
    saves, merged = _gather(view)
    actions = [*merged, *_orphans(view, saves)]
    for save in saves:
        if save.id not in view.busy:
            actions += _next_for(save, saves, view)
    evictions = _retention(saves, view)
    actions += evictions
    actions += _let_go(saves, evictions, view)
    return _ordered(actions, evictions, view)


def has_hot_copy(save: Save, view: View) -> bool:
    """Whether the save's bytes lie under their own name."""
    copy = view.hot.get(save.path)
    return copy is not None and copy.stamp == save.stamp


def links_of(save: Save, view: View) -> tuple[str, ...]:
    """The hook's hard links that still have the save's bytes."""
    return tuple(
        file.link
        for file in save.files
        if file.link and (link := view.links.get(file.link)) is not None and link.stamp == file.stamp
    )


def has_link(save: Save, view: View) -> bool:
    """Whether the hook's hard links alone still have all of the save's bytes."""
    return len(links_of(save, view)) == len(save.files)


def is_on_disk(save: Save, view: View) -> bool:
    """Whether every byte of the save is there, be it under its own name or by a link of the hook's."""
    if has_hot_copy(save, view) or has_link(save, view):
        return True
    linked = set(links_of(save, view))
    copy = view.hot.get(save.path)
    there = {(file.path, file.stamp) for file in copy.files} if copy else set()
    return all((file.path, file.stamp) in there or file.link in linked for file in save.files)


def is_committed(save: Save, view: View) -> bool:
    """Whether the cold tier holds the save's generation."""
    return save.generation is not None and (save.series, save.step, save.generation) in view.committed


def pruned(save: Save, view: View) -> str:
    """The reason why a save is neither uploaded nor evicted: its generation was pruned from the cold tier. Empty if it
    was not, or if it was saved again since then."""
    at = view.tombstones.get((save.series, save.step, save.generation or ""))
    if at is None or is_committed(save, view) or was_saved_again(save.saved_at, at):
        return ""
    return f"pruned from the cold tier on {format_time(at)[:10]}: the only copy; delete it yourself if nobody wants it"


def is_damaged(save: Save, view: View) -> bool:
    """Whether the cold tier's copy of the save was found missing or damaged: then no copy on this side may go."""
    return (save.series, save.step, save.generation) in view.damaged


def _act(kind: Kind, save: Save, reason: str, after: str = "") -> Action:
    return Action(
        kind=kind,
        reason=reason,
        series=save.series,
        step=save.step,
        path=save.path,
        size=save.size,
        after=after,
        save=save,
    )


def _gather(view: View) -> tuple[list[Save], list[Action]]:
    """The journal's rows, and a new one (id 0) for each ticket and hot file that none of them stands for."""
    saves = list(view.saves)
    known = {(save.path, save.stamp): save for save in saves}
    merged = []
    for ticket in view.tickets:
        row = known.get((ticket.path, ticket.stamp))
        if row is None:
            row = Save(
                series=ticket.series,
                step=ticket.step,
                path=ticket.path,
                stamp=ticket.stamp,
                files=tuple(SavedFile(path=file.path, stamp=file.stamp, link=file.link) for file in ticket.files),
                saved_at=ticket.saved_at,
                rank=ticket.rank,
                world_size=ticket.world_size,
                ticket=ticket.id,
                save_id=ticket.save_id,
                during=ticket.during,
                metrics=ticket.metrics,
            )
            known[ticket.path, ticket.stamp] = row
            saves.append(row)
        elif row.ticket is None and row.state is not State.COMMITTED:
            if row.id not in view.busy:
                merged.append(_attach(row, ticket))
        elif row.ticket != ticket.id and row.state not in (State.REJECTED, State.LOST, State.COMMITTED):
            continue  # handed over twice: it ends as the first does
        elif row.state in (State.REJECTED, State.LOST) or (row.state is State.COMMITTED and _is_settled(row, view)):
            reason = f"{row.state}: the hook's ticket and link are not needed any more"
            mine = links_of(row, view) if row.state is State.COMMITTED else ()
            links = mine if row.ticket == ticket.id else ticket.links
            merged.append(msgspec.structs.replace(_act(Kind.RELEASE, row, reason), ticket=ticket, links=links))
    saves += [row_of(copy, view.rules.ranks) for copy in view.hot.values() if (copy.path, copy.stamp) not in known]
    return saves, merged


def _is_settled(row: Save, view: View) -> bool:
    if is_damaged(row, view):
        return False
    return is_committed(row, view) or (bool(pruned(row, view)) and has_hot_copy(row, view))


def _attach(row: Save, ticket: Ticket) -> Action:
    return msgspec.structs.replace(
        _act(Kind.ATTACH, row, "the hook handed over what scanning had found"), ticket=ticket, links=ticket.links
    )


def _orphans(view: View, saves: Iterable[Save]) -> Iterator[Action]:
    owned = {link for save in saves for link in links_of(save, view)}
    owned |= {link for ticket in view.tickets for link in ticket.links}
    # What was written in place, under the file's other name, is nobody's save any more: it goes while it has that name.
    spoiled = {link for save in saves for link in save.links} - owned
    for name, link in view.links.items():
        if name in owned or (name not in spoiled and view.now - link.linked_at < ORPHAN_AGE):
            continue
        alone = link.links == 1
        yield Action(
            kind=Kind.REPORT if alone else Kind.RELEASE,
            reason="the last copy of a file that no save stands for" if alone else "a link that no save stands for",
            series="",
            step=0,
            path=f".ckpt-tier/unsent/{name}",
            size=link.stamp.size,
            links=(name,),
        )


def _next_for(save: Save, saves: list[Save], view: View) -> Iterator[Action]:
    on_disk = is_on_disk(save, view)
    match save.state:
        case State.COMMITTED:
            yield from _next_for_committed(save, view, on_disk=on_disk)
        case State.REJECTED:
            yield from _next_for_rejected(save, view, on_disk=on_disk)
        case State.LOST:
            mended = any(
                other.state is State.COMMITTED
                and (other.series, other.step, other.rank) == (save.series, save.step, save.rank)
                and (other.saved_at >= save.saved_at or other.generation == save.generation)
                for other in saves
            )
            if mended:
                yield _act(Kind.FORGET, save, "the step was saved again and committed")
            elif on_disk:
                yield from _take_up(save, view)  # it is there again
            else:
                yield _act(Kind.REPORT, save, f"lost: {save.reason}")
        case _ if not on_disk:
            yield from _gone(save, view)
        case State.SAVED:
            yield from _take_up(save, view)
        case _:
            yield from _deliver(save, view)


def _next_for_committed(save: Save, view: View, *, on_disk: bool) -> Iterator[Action]:
    if not on_disk:
        yield _act(Kind.FORGET, save, "committed, and no hot copy is left")
    elif (reason := pruned(save, view)) and not has_hot_copy(save, view):
        yield _act(Kind.KEEP, save, reason)
    elif not reason and not is_committed(save, view):
        yield _act(Kind.UPLOAD, save, "its manifest is gone from the cold tier")
    elif (links := links_of(save, view)) and not is_damaged(save, view):
        yield msgspec.structs.replace(
            _act(Kind.RELEASE, save, "committed: the hook's link is not needed any more"), links=links
        )


def _next_for_rejected(save: Save, view: View, *, on_disk: bool) -> Iterator[Action]:
    if not on_disk:
        yield _act(Kind.FORGET, save, "the rejected file is gone or was replaced")
        return
    if has_hot_copy(save, view) and (links := links_of(save, view)):
        yield msgspec.structs.replace(_act(Kind.RELEASE, save, "rejected: the file itself is still there"), links=links)
    elif has_hot_copy(save, view) and view.rules.set_aside and not save.path.startswith(f"{HIDDEN}/"):
        yield _act(Kind.SET_ASIDE, save, f"rejected: {save.reason}")
        return
    yield _act(Kind.REPORT, save, f"rejected: {save.reason}")


def _gone(save: Save, view: View) -> Iterator[Action]:
    if save.is_share and save.state is State.UPLOADED and save.dismissed:
        yield _act(Kind.FORGET, save, "given up, and gone from disk")
        return
    if save.is_share and save.state is State.UPLOADED:
        # Its objects and its receipt are in the cold tier: it is not lost, whatever becomes of the others.
        yield from _deliver(save, view)
        return
    if save.ticket is None and save.state is State.SAVED:
        if save.id:
            yield _act(Kind.FORGET, save, "gone or changed before it was looked at")
        return
    if is_committed(save, view):
        yield _act(Kind.ADOPT, save, "gone from disk, and the cold tier holds this generation")
        return
    if pruned(save, view):
        yield _act(Kind.RETIRE, save, "gone from disk, and pruned from the cold tier")
        return
    how = "overwritten" if save.path in view.hot else "deleted"
    yield _act(Kind.LOSE, save, f"{how} on disk before it was committed")


def _take_up(save: Save, view: View) -> Iterator[Action]:
    copy = view.hot.get(save.path)
    postponed = view.postponed.get(save.path, 0.0) - view.now
    unsettled = 0.0
    if save.ticket is None and copy is not None:
        age = view.now - copy.changed_ns / 1e9
        # A time far in the future says nothing: somebody's clock is wrong, and waiting for it might take for ever.
        unsettled = view.rules.settle - age if age >= -view.rules.settle else 0.0
    if save.retry_at > view.now:
        yield _act(Kind.REPORT, save, save.reason)
    elif postponed > 0:
        yield _act(Kind.WAIT, save, "open for writing", after="it is closed")
    elif unsettled > 0:
        wait = min(unsettled, view.rules.settle)
        yield _act(Kind.WAIT, save, "changed just now", after=f"{format_duration(wait)} without a change")
    elif save.ticket is None and not _is_complete(save, view):
        yield _act(Kind.WAIT, save, "not complete", after=f"a file {view.rules.complete_when} is in it")
    elif save.is_share and save.world_size is None:
        yield _act(Kind.REPORT, save, "how many ranks make a checkpoint is not known: set [hot] ranks")
    else:
        yield _act(Kind.VALIDATE, save, "handed over by the hook" if save.ticket else "found in the hot folder")
        yield _act(Kind.UPLOAD, save, "not in the cold tier", after="validation")


def _is_complete(save: Save, view: View) -> bool:
    """Whether a folder has the file that says so; a checkpoint that is one file always is."""
    wanted = view.rules.complete_when
    if wanted is None or [file.path for file in save.files] == [save.path]:
        return True
    return any(fnmatch(file.path.rpartition("/")[2], wanted) for file in save.files)


def _deliver(save: Save, view: View) -> Iterator[Action]:
    if save.is_share and save.state is State.UPLOADED and save.generation is None:
        yield _act(Kind.ASSEMBLE, save, save.reason or "uploaded: waits for the other ranks")
        return
    if is_committed(save, view):
        yield _act(Kind.ADOPT, save, "the cold tier holds this generation")
    elif reason := pruned(save, view):
        yield _act(Kind.RETIRE, save, reason)
    elif save.retry_at > view.now:
        wait = format_duration(save.retry_at - view.now)
        yield _act(Kind.REPORT, save, f"stalled: {save.reason}; tried again in {wait}")
    else:
        yield _act(Kind.UPLOAD, save, "validated, not in the cold tier")


def _retention(saves: list[Save], view: View) -> list[Action]:
    """KEEP or EVICT for every hot copy that is valid or may turn out to be."""
    by_series: dict[str, list[Save]] = defaultdict(list)
    for save in saves:
        if has_hot_copy(save, view) and (save.state in VALID or save.state is State.SAVED):
            by_series[save.series].append(save)
    actions = [action for copies in by_series.values() for action in _retain(copies, view)]
    return _evict_early(actions, by_series, view)


class _Together(msgspec.Struct, frozen=True):
    """The hot copies of one step: one, or the shares of several ranks."""

    saves: tuple[Save, ...]
    is_valid: bool
    """What retention may count: shares are a checkpoint only together, which their manifest proves."""
    abandoned: bool

    @property
    def checkpoint(self) -> Checkpoint:
        """As retention sees it."""
        first = self.saves[0]
        return Checkpoint(
            series=first.series,
            step=first.step,
            saved_at=max(save.saved_at for save in self.saves),
            generation=first.generation or "",
            metrics={name: value for save in reversed(self.saves) for name, value in save.metrics.items()},
            abandoned=self.abandoned,
        )


def _together(copies: Iterable[Save], view: View) -> list[_Together]:
    """The hot copies of one series, by step."""
    by_step: dict[int, list[Save]] = defaultdict(list)
    for save in copies:
        by_step[save.step].append(save)
    return [
        _Together(
            saves=tuple(sorted(saves, key=lambda save: save.rank or 0)),
            is_valid=all(save.state in VALID and (not save.is_share or is_committed(save, view)) for save in saves),
            abandoned=any(branch_of(view.branches, save.series, save.step, save.saved_at) for save in saves),
        )
        for saves in by_step.values()
    ]


def _retain(copies: list[Save], view: View) -> Iterator[Action]:
    every = _together(copies, view)
    verdicts = _judge([each for each in every if each.is_valid], view)
    hoped = _judge(every, view)
    for each in every:
        verdict = verdicts.get(each.checkpoint.step, hoped[each.checkpoint.step])
        why = ", ".join(verdict.reasons)
        for save in each.saves:
            if wanted_by := _wanted_by(save, view):
                yield _act(Kind.KEEP, save, wanted_by)
            elif save.state is State.SAVED:
                if not verdict.kept:
                    yield _act(Kind.EVICT, save, why, after="validation and commit")
            elif verdict.kept:
                yield _act(Kind.KEEP, save, why)
            elif reason := pruned(save, view):
                yield _act(Kind.KEEP, save, reason)
            elif each.is_valid and _may_go(save, view):
                yield _act(Kind.EVICT, save, f"committed, and {why}")
            else:
                yield _act(Kind.EVICT, save, why, after="commit")


def _may_go(save: Save, view: View) -> bool:
    return save.state is State.COMMITTED and is_committed(save, view) and save.id not in view.busy


def _judge(every: list[_Together], view: View) -> dict[int, Verdict]:
    """What the policy says of one series' hot copies, by step."""
    verdicts = view.rules.retention.judge([each.checkpoint for each in every], view.now)
    return {verdict.checkpoint.step: verdict for verdict in verdicts}


def _wanted_by(save: Save, view: View) -> str:
    """What is stronger than retention and than a full disk; empty if nothing."""
    if save.path in view.tracked or not view.tracked.isdisjoint(file.path for file in save.files):
        return "a link or tracker file of the trainer points to it"
    if is_damaged(save, view):
        return "the cold tier's copy was found damaged"
    return view.protected.get((save.series, save.step), "")


def _newest_valid(copies: Iterable[Save], view: View) -> Iterator[Save]:
    """Of one series: what must stay whatever the disk looks like."""
    every = [each for each in _together(copies, view) if each.is_valid]
    valid = {each.checkpoint.step: each for each in [e for e in every if not e.abandoned] or every}
    for checkpoint in newest([each.checkpoint for each in valid.values()], 1):
        yield from valid[checkpoint.step].saves


def _evict_early(actions: list[Action], by_series: dict[str, list[Save]], view: View) -> list[Action]:
    """Below `min_free`, committed copies that retention would keep go too, oldest first; the newest valid stays."""
    missing = view.rules.min_free - view.free - _freed(actions)
    if missing <= 0:
        return actions
    last = [save for copies in by_series.values() for save in _newest_valid(copies, view)]
    expendable = [
        action
        for action in actions
        if action.kind is Kind.KEEP
        and action.save is not None
        and not _wanted_by(action.save, view)
        and action.save not in last
        and _may_go(action.save, view)
    ]
    early = {}
    for action in sorted(expendable, key=lambda a: a.save.saved_at if a.save else 0.0):
        if missing <= 0:
            break
        early[action.path] = msgspec.structs.replace(
            action,
            kind=Kind.EVICT,
            reason=f"committed, and free space is below min_free ({format_size(view.rules.min_free)})",
        )
        missing -= action.size
    return [early.get(action.path, action) if action.kind is Kind.KEEP else action for action in actions]


def _let_go(saves: list[Save], evictions: list[Action], view: View) -> Iterator[Action]:
    """The hook's last copies of what the trainer has deleted, oldest first, while nothing else can be evicted."""
    missing = view.rules.min_free - view.free
    if missing <= 0 or _freed(evictions) > 0:
        return
    by_series: dict[str, list[Save]] = defaultdict(list)
    for save in saves:
        if save.state not in (State.REJECTED, State.LOST):
            by_series[save.series].append(save)
    last = [save for members in by_series.values() for save in newest(members, 1)]
    for save in sorted(saves, key=lambda s: s.saved_at):
        only_linked = has_link(save, view) and not has_hot_copy(save, view)
        waiting = save.state in QUEUED or save.state in (State.SAVED, State.REJECTED)
        waiting &= not (save.is_share and save.state is State.UPLOADED)  # it may be committed yet
        if missing > 0 and only_linked and waiting and save not in last and save.id not in view.busy:
            yield _act(Kind.LET_GO, save, "deleted by the trainer, not committed yet, and the disk is nearly full")
            missing -= save.size


def _freed(actions: Iterable[Action]) -> int:
    return sum(action.size for action in actions if action.kind is Kind.EVICT and not action.after)


def _ordered(actions: list[Action], evictions: list[Action], view: View) -> list[Action]:
    crowded = view.free + _freed(evictions) < view.rules.min_free
    awaited = {action.path for action in evictions if action.kind is Kind.EVICT and action.after} if crowded else set()

    def place(action: Action) -> tuple[int, bool, float, int, int]:
        rank = _ORDER[Kind.VALIDATE] if action.kind in _BULK else _ORDER[action.kind]
        saved_at = action.save.saved_at if action.save else 0.0
        sign = -1 if view.rules.newest_first else 1
        return (rank, action.path not in awaited, sign * saved_at, sign * action.step, _ORDER[action.kind])

    return sorted(actions, key=place)
