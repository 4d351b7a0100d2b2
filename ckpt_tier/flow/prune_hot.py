"""What `prune --tier hot` deletes: what `sync` would evict, and rejected files.

Both by the same steps (`flow.evict`: renamed, looked at once more, unlinked; a crash in between gives the file its name
back), and each with its own proof:

- what reconcile would evict now: the cold tier provably holds it. A copy whose generation was pruned from the cold tier
  is the only one: it stays, and says so;
- with `--rejected`, a file that failed validation, where a good checkpoint of its series was saved later and is
  committed. It is corrupt; nothing that could be restored is lost.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from ckpt_tier.core.states import State
from ckpt_tier.core.units import format_time
from ckpt_tier.flow import evict
from ckpt_tier.flow.actions import Action, Kind
from ckpt_tier.flow.parts import HotParts, Parts
from ckpt_tier.flow.prune import Ruling
from ckpt_tier.inbox import HIDDEN
from ckpt_tier.journal.saves import Save


def rule_on_copies(actions: Iterable[Action]) -> list[tuple[Ruling, Action]]:
    """A ruling for each hot copy that retention decides on, by series and step. Pure."""
    rulings = []
    for action in actions:
        if action.kind not in (Kind.KEEP, Kind.EVICT) or action.save is None:
            continue
        kept = action.kind is Kind.KEEP or bool(action.after)
        reasons = [action.reason]
        if action.after:
            reasons.append(f"waits for {action.after}")
        rulings.append((ruling_of(action, kept=kept, reasons=tuple(reasons)), action))
    return by_series_and_step(rulings)


def rule_on_rejected(
    actions: Iterable[Action], newest: Mapping[str, tuple[float, int]], proof: str = "committed"
) -> list[tuple[Ruling, Action]]:
    """A ruling for each rejected file. `newest`: for each series the (saved_at, step) of the good checkpoint that was
    saved last; `proof` says what shows that it is good. Pure."""
    rulings = []
    for action in actions:
        save = action.save
        if action.kind not in (Kind.REPORT, Kind.SET_ASIDE) or save is None or save.state is not State.REJECTED:
            continue
        last = newest.get(save.series)
        good = last is not None and last[0] > save.saved_at
        since = f"step {last[1]}, saved {format_time(last[0])[:16]}Z, is {proof}" if last and good else ""
        reasons = (f"rejected: {save.reason}", since if good else f"no later good checkpoint of its series is {proof}")
        rulings.append((ruling_of(action, kept=not good, reasons=reasons), action))
    return by_series_and_step(rulings)


def delete(parts: Parts, action: Action) -> bool:
    """Deletes one hot copy that a ruling removes. False if it was called off at its last look.

    Raises IntegrityError when what should be proven can't be, UnavailableError.
    """
    save = action.save
    if save is None:
        return False
    if save.state is State.REJECTED:
        return delete_rejected(parts, save)
    return evict.evict(parts, save, action.reason)


def delete_rejected(parts: HotParts, save: Save) -> bool:
    """Deletes a rejected file with all that the hook kept for it. False if it was called off."""
    if save.path.startswith(f"{HIDDEN}/"):
        _delete_aside(parts.hot / save.path)
    elif (parts.hot / save.path).exists() and not evict.discard(parts, save, f"rejected: {save.reason}"):
        return False
    for link in save.links:
        parts.inbox.release(link)
    parts.journal.forget(save.id)
    if save.ticket:
        parts.inbox.dismiss(save.ticket)
    return True


def _delete_aside(path: Path) -> None:
    """Deletes what was set aside: no trainer writes there, or looks."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def ruling_of(action: Action, *, kept: bool, reasons: tuple[str, ...]) -> Ruling:
    """The ruling on what an action is about."""
    generation = action.save.generation if action.save else None
    return Ruling(
        series=action.series,
        step=action.step,
        generation=generation,
        kept=kept,
        reasons=reasons,
        size_bytes=action.size,
        rank=action.save.rank if action.save else None,
    )


def by_series_and_step(rulings: Iterable[tuple[Ruling, Action]]) -> list[tuple[Ruling, Action]]:
    """In the order of showing."""
    return sorted(rulings, key=lambda pair: (pair[0].series, pair[0].step, pair[1].path))
