"""Pruning the hot tier where there is no cold one. What goes here is gone, so nothing goes on a name alone.

Every copy that has settled is read whole by the same validation as before an upload; the journal's word is taken for
one that has not changed since. Only what passed counts: what fails, is still being written or waits in the hook's spool
stays, and says why. So does the share of a rank whose checkpoint `flow.whole` does not find whole; one that it does
goes as one, or stays for the sake of a single share. A copy goes if no retention rule keeps it; then newer whole ones
of its series stay, by the time of saving and by step.

The order of deleting, and what a crash leaves between every two lines of it:

1. what stays of the series is flushed to the disk: validation has read it, perhaps from memory only     → nothing
2. what stays is looked at once more; if one is gone or was changed, nothing of its series goes          → nothing
3. the journal forgets the copy that goes                                               → it is read again next time
4. to 6. it is renamed, compared and unlinked, as in `flow.evict`           → it has its name back at the next start
   or as in `flow.evict_set`                                                → all shares are there after that, or none

Lines 2 to 6 for each checkpoint.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ckpt_tier.core.states import VALID, State
from ckpt_tier.flow import evict, evict_set, ingest
from ckpt_tier.flow.actions import Action, Kind
from ckpt_tier.flow.observe import observe
from ckpt_tier.flow.parts import HotParts
from ckpt_tier.flow.prune import Ruling
from ckpt_tier.flow.prune_hot import by_series_and_step, delete_rejected, ruling_of
from ckpt_tier.flow.reconcile import reconcile
from ckpt_tier.flow.standing import has_hot_copy, links_of
from ckpt_tier.flow.view import View
from ckpt_tier.flow.whole import HotSets, Whole, hot_sets
from ckpt_tier.hot.layout import Layout, Place
from ckpt_tier.hot.scan import Scan, look_at
from ckpt_tier.journal.saves import Save
from ckpt_tier.system.durable import fsync_file, fsync_folder

HANDED_OVER = "handed over by the hook for an upload"
NOT_READ = "not validated"


def look(parts: HotParts, layout: Layout) -> tuple[View, Scan]:
    """One look at the hot folder alone. Raises ConfigError (no hot folder)."""
    return observe(parts.config, layout, parts.inbox, parts.journal.saves(), (), now=parts.clock.now())


def read_all(parts: HotParts, layout: Layout, series: str | None) -> None:
    """Validates every copy that has settled and that the journal has no word for, newest first, every checksum at
    least; and forgets what the trainer has deleted, which no cold tier that is added later shall report as lost."""
    if parts.config.validate.level == "fast":
        full = msgspec.structs.replace(parts.config.validate, level="full")
        parts = dataclasses.replace(parts, config=msgspec.structs.replace(parts.config, validate=full))
    for action in reconcile(look(parts, layout)[0]):
        save = action.save
        if save is None:
            continue
        if action.kind is Kind.VALIDATE and series in (None, action.series):
            parts.clock.sleep(0)
            ingest.take_up(parts, save)
        elif action.kind in (Kind.LOSE, Kind.FORGET) and save.ticket is None:
            parts.journal.forget(save.id)


def rule_on_all(view: View) -> list[tuple[Ruling, Action]]:
    """A ruling for each copy on the hot tier, by series and step: the shares of a whole checkpoint all have the same,
    and the generation that a commit would give it. Pure."""
    sets = hot_sets(view)
    counted = frozenset(save.path for each in sets.whole.values() for save in each.saves)
    view = msgspec.structs.replace(view, whole=counted)
    rulings = {}
    for action in reconcile(view):
        save = action.save
        if save is None or not has_hot_copy(save, view):
            continue
        lacking = sets.lacking.get((save.series, save.step)) if save.is_share else None
        if save.state in VALID and action.kind in (Kind.KEEP, Kind.EVICT):
            why_not = "" if action.kind is Kind.KEEP else _why_not(save, view)
            reasons = (action.reason, why_not) if why_not else (action.reason,)
            kept = action.kind is Kind.KEEP or bool(why_not) or bool(lacking)
            told = (f"not counted: {lacking}",) if lacking else reasons
            rulings[save.path] = (ruling_of(action, kept=kept, reasons=told), action)
        elif save.state in (State.SAVED, State.REJECTED) and action.kind in (Kind.WAIT, Kind.REPORT, Kind.VALIDATE):
            reason = NOT_READ if action.kind is Kind.VALIDATE else action.reason
            rulings[save.path] = (ruling_of(action, kept=True, reasons=(f"not counted: {reason}",)), action)
    return by_series_and_step((rulings | _as_one(rulings, sets)).values())


def _as_one(rulings: Mapping[str, tuple[Ruling, Action]], sets: HotSets) -> dict[str, tuple[Ruling, Action]]:
    """What becomes of each share of a whole set: it stays if any of them does, for that one's reasons."""
    together = {}
    for whole in sets.whole.values():
        paths = [save.path for save in whole.saves]
        known = [rulings[path][0] for path in paths if path in rulings]
        decisive = [each for each in known if each.kept] or known
        kept = len(known) < len(paths) or any(each.kept for each in known)
        reasons = tuple(dict.fromkeys(reason for each in decisive for reason in each.reasons))
        for path in paths:
            if path in rulings:
                ruling, action = rulings[path]
                as_one = msgspec.structs.replace(ruling, kept=kept, reasons=reasons, generation=whole.generation)
                together[path] = (as_one, action)
    return together


def _why_not(save: Save, view: View) -> str:
    """Why a copy stays that no retention rule keeps; empty if it may go."""
    if links_of(save, view) or any(ticket.path == save.path for ticket in view.tickets):
        return HANDED_OVER
    return ""


def removals(copies: Iterable[tuple[Ruling, Action]]) -> list[list[tuple[Ruling, Action]]]:
    """What goes, in the same order: all shares of a whole checkpoint together, and anything else by itself."""
    together: dict[tuple[str, int, str | None], list[tuple[Ruling, Action]]] = {}
    for ruling, action in copies:
        if ruling.kept or action.save is None:
            continue
        as_set = ruling.rank is not None and action.save.state is not State.REJECTED
        name = ruling.generation if as_set else action.path
        together.setdefault((ruling.series, ruling.step, name), []).append((ruling, action))
    return list(together.values())


class Staying:
    """The whole checkpoints that stay while others go: flushed to the disk once, looked at before each deletion."""

    def __init__(self, parts: HotParts, staying: Iterable[Whole]) -> None:
        self._parts = parts
        self._by_series: dict[str, list[Whole]] = {}
        for each in staying:
            self._by_series.setdefault(each.series, []).append(each)
        self._flushed: set[str] = set()

    def why_not(self, going: Whole) -> str:
        """Why they don't make up for the loss of what is `going`; empty if each of its series is as it was validated,
        on the disk, and one of them is newer."""
        staying = self._by_series.get(going.series, [])
        if not any(each.saved_at > going.saved_at or each.step > going.step for each in staying):
            return "no newer whole one of its series stays"
        saves = [save for each in staying for save in each.saves]
        if going.series not in self._flushed:
            try:
                for save in saves:
                    self._flush(save)
            except OSError as error:
                return f"a newer one can't be flushed to the disk: {error.strerror}"
            self._flushed.add(going.series)
        gone = next((save.path for save in saves if not self._is_there(save)), "")
        return f"{gone}, which should stay, is gone or was changed" if gone else ""

    def _is_there(self, save: Save) -> bool:
        copy = look_at(self._parts.hot, save.path, Place(save.series, save.step, save.rank))
        return copy is not None and copy.stamp == save.stamp

    def _flush(self, save: Save) -> None:
        places = [self._parts.hot / file.path for file in save.files]
        for place in places:
            fsync_file(place)
        folders = {folder for place in places for folder in place.parents if folder.is_relative_to(self._parts.hot)}
        for folder in folders:
            fsync_folder(folder)


def delete(parts: HotParts, layout: Layout, together: Sequence[Action], staying: Staying) -> bool:
    """Deletes one copy that a ruling removes, or all shares of a whole checkpoint. False if it was called off at its
    last look."""
    saves = tuple(action.save for action in together if action.save is not None)
    reason = together[0].reason
    if why_not := staying.why_not(Whole(saves)):
        return evict.called_off(parts, saves[0], why_not)
    if saves[0].state is State.REJECTED:
        return delete_rejected(parts, saves[0])
    for save in saves:
        # Before it goes: a row whose file is gone would be reported as lost, were there a cold tier some day.
        parts.journal.forget(save.id)
    if saves[0].is_share:
        return evict_set.discard_set(parts, layout, saves, reason)
    return evict.discard(parts, saves[0], reason)
