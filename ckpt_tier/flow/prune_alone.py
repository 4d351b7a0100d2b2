"""Pruning the hot tier where there is no cold one. What goes here is gone, so nothing goes on a name alone.

Every copy that has settled is read whole by the same validation as before an upload; the journal's word is taken for
one that has not changed since. Only what passed counts: what fails, is still being written, waits in the hook's spool
or is one rank's share stays, and says why. A copy goes if no retention rule keeps it; then newer whole ones of its
series stay, by the time of saving and by step.

The order of deleting, and what a crash leaves between every two lines of it:

1. what stays of the series is flushed to the disk: validation has read it, perhaps from memory only     → nothing
2. what stays is looked at once more; if one is gone or was changed, nothing of its series goes          → nothing
3. the journal forgets the copy that goes                                               → it is read again next time
4. to 6. it is renamed, compared and unlinked, as in `flow.evict`           → it has its name back at the next start

Lines 2 to 6 for each copy.
"""

import dataclasses
from collections.abc import Iterable

import msgspec

from ckpt_tier.core.events import NotEvicted
from ckpt_tier.core.states import VALID, State
from ckpt_tier.flow import evict, ingest
from ckpt_tier.flow.actions import Action, Kind
from ckpt_tier.flow.observe import observe
from ckpt_tier.flow.parts import HotParts
from ckpt_tier.flow.prune import Ruling
from ckpt_tier.flow.prune_hot import by_series_and_step, delete_rejected, ruling_of
from ckpt_tier.flow.reconcile import reconcile
from ckpt_tier.flow.standing import has_hot_copy, links_of
from ckpt_tier.flow.view import View
from ckpt_tier.hot.layout import Layout, Place
from ckpt_tier.hot.scan import Scan, look_at
from ckpt_tier.journal.saves import Save
from ckpt_tier.system.durable import fsync_file, fsync_folder

SHARE = "one rank's share: only a commit in a cold tier shows that a checkpoint of several is whole"
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
    """A ruling for each copy on the hot tier, by series and step. Pure."""
    rulings = {}
    for action in reconcile(view):
        save = action.save
        if save is None or not has_hot_copy(save, view):
            continue
        if save.state in VALID and action.kind in (Kind.KEEP, Kind.EVICT):
            why_not = "" if action.kind is Kind.KEEP else _why_not(save, view)
            reasons = (action.reason, why_not) if why_not else (action.reason,)
            kept = action.kind is Kind.KEEP or bool(why_not)
            rulings[save.path] = (ruling_of(action, kept=kept, reasons=reasons), action)
        elif save.state in (State.SAVED, State.REJECTED) and action.kind in (Kind.WAIT, Kind.REPORT, Kind.VALIDATE):
            reason = NOT_READ if action.kind is Kind.VALIDATE else action.reason
            rulings[save.path] = (ruling_of(action, kept=True, reasons=(f"not counted: {reason}",)), action)
    return by_series_and_step(rulings.values())


def _why_not(save: Save, view: View) -> str:
    """Why a copy stays that no retention rule keeps; empty if it may go."""
    if save.is_share:
        return SHARE
    if links_of(save, view) or any(ticket.path == save.path for ticket in view.tickets):
        return HANDED_OVER
    return ""


def whole(view: View) -> list[Save]:
    """The copies that passed validation and lie under their own name: what is counted. Pure."""
    return [save for save in view.saves if save.state in VALID and not save.is_share and has_hot_copy(save, view)]


class Staying:
    """The whole copies that stay while others go: flushed to the disk once, looked at before each deletion."""

    def __init__(self, parts: HotParts, saves: Iterable[Save]) -> None:
        self._parts = parts
        self._by_series: dict[str, list[Save]] = {}
        for save in saves:
            self._by_series.setdefault(save.series, []).append(save)
        self._flushed: set[str] = set()

    def why_not(self, save: Save) -> str:
        """Why they don't make up for the loss of `save`; empty if each of its series is as it was validated, on the
        disk, and one of them is newer."""
        staying = self._by_series.get(save.series, [])
        if not any(each.saved_at > save.saved_at or each.step > save.step for each in staying):
            return "no newer whole one of its series stays"
        if save.series not in self._flushed:
            try:
                for each in staying:
                    self._flush(each)
            except OSError as error:
                return f"a newer one can't be flushed to the disk: {error.strerror}"
            self._flushed.add(save.series)
        gone = next((each.path for each in staying if not self._is_there(each)), "")
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


def delete(parts: HotParts, action: Action, staying: Staying) -> bool:
    """Deletes one copy that a ruling removes. False if it was called off at its last look."""
    save = action.save
    if save is None:
        return False
    if reason := staying.why_not(save):
        parts.emit(NotEvicted(series=save.series, step=save.step, path=save.path, reason=reason))
        return False
    if save.state is State.REJECTED:
        return delete_rejected(parts, save)
    # Before it goes: a row whose file is gone would be reported as lost, were there a cold tier some day.
    parts.journal.forget(save.id)
    return evict.discard(parts, save, action.reason)
