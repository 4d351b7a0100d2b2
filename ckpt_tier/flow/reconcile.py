"""The one decision: from a look at both tiers to the list of what to do, each action with its reason.

Pure. `sync` carries the list out, ``--dry-run`` prints it, and both see the same. An action with an `after` is what
will follow once something else has happened; it is printed, not carried out, and decided anew by then.

What holds whatever the view: an uncommitted file is never the object of EVICT; RELEASE only takes a link whose bytes
are committed or have another name; LET_GO, the one exception, only takes what the trainer itself has deleted, below
`min_free`, and reports it as lost.

`onward` says what comes next for each save, `evictions` which hot copies stay; here every file, link and ticket is
given the save that it belongs to, and the actions their order.
"""

from collections.abc import Iterable, Iterator

from ckpt_tier.core.states import State
from ckpt_tier.flow.actions import Action, Kind, act
from ckpt_tier.flow.evictions import freed, let_go, retain
from ckpt_tier.flow.onward import next_for
from ckpt_tier.flow.standing import has_hot_copy, is_committed, is_damaged, links_of, pruned
from ckpt_tier.flow.view import View, row_of, row_of_ticket
from ckpt_tier.journal.saves import Save

ORPHAN_AGE = 60.0
"""Seconds after which a link without a ticket is not the hook's work in progress any more."""

_ORDER = {kind: rank for rank, kind in enumerate(Kind)}
_BULK = {Kind.VALIDATE, Kind.UPLOAD}


def reconcile(view: View) -> list[Action]:
    """Every action and its reason, in the order of carrying out: what is cheap, then evictions, then validation and
    upload together, newest first (below `min_free`: first what eviction waits for)."""
    saves, merged = _gather(view)
    actions = [*merged, *_orphans(view, saves)]
    for save in saves:
        if save.id not in view.busy:
            actions += next_for(save, saves, view)
    evictions = retain(saves, view)
    actions += evictions
    actions += let_go(saves, evictions, view)
    return _ordered(actions, evictions, view)


def _gather(view: View) -> tuple[list[Save], list[Action]]:
    """The journal's rows, and a new one (id 0) for each ticket and hot file that none of them stands for."""
    saves = list(view.saves)
    known = {(save.path, save.stamp): save for save in saves}
    merged = []
    for ticket in view.tickets:
        row = known.get((ticket.path, ticket.stamp))
        if row is None:
            known[ticket.path, ticket.stamp] = row = row_of_ticket(ticket)
            saves.append(row)
        elif row.ticket is None and row.state is not State.COMMITTED:
            if row.id not in view.busy:
                reason = "the hook handed over what scanning had found"
                merged.append(act(Kind.ATTACH, row, reason, ticket=ticket, links=ticket.links))
        elif row.ticket != ticket.id and row.state not in (State.REJECTED, State.LOST, State.COMMITTED):
            continue  # handed over twice: it ends as the first does
        elif row.state in (State.REJECTED, State.LOST) or (row.state is State.COMMITTED and _is_settled(row, view)):
            reason = f"{row.state}: the hook's ticket and link are not needed any more"
            mine = links_of(row, view) if row.state is State.COMMITTED else ()
            links = mine if row.ticket == ticket.id else ticket.links
            merged.append(act(Kind.RELEASE, row, reason, ticket=ticket, links=links))
    saves += [row_of(copy, view.rules.ranks) for copy in view.hot.values() if (copy.path, copy.stamp) not in known]
    return saves, merged


def _is_settled(row: Save, view: View) -> bool:
    if is_damaged(row, view):
        return False
    return is_committed(row, view) or (bool(pruned(row, view)) and has_hot_copy(row, view))


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


def _ordered(actions: list[Action], evictions: list[Action], view: View) -> list[Action]:
    crowded = view.free + freed(evictions) < max(view.rules.min_free, view.rules.room)
    awaited = {action.path for action in evictions if action.kind is Kind.EVICT and action.after} if crowded else set()

    def place(action: Action) -> tuple[int, bool, float, int, int]:
        rank = _ORDER[Kind.VALIDATE] if action.kind in _BULK else _ORDER[action.kind]
        saved_at = action.save.saved_at if action.save else 0.0
        sign = -1 if view.rules.newest_first else 1
        return (rank, action.path not in awaited, sign * saved_at, sign * action.step, _ORDER[action.kind])

    return sorted(actions, key=place)
