"""Which hot copies stay and which go: by retention, by what is stronger, and by what a full disk adds. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from ckpt_tier.core.branches import branch_of
from ckpt_tier.core.retention import Checkpoint, Verdict, newest
from ckpt_tier.core.states import QUEUED, VALID, State
from ckpt_tier.core.units import format_size
from ckpt_tier.flow.actions import Action, Kind, act
from ckpt_tier.flow.standing import has_hot_copy, has_link, is_committed, is_damaged, pruned
from ckpt_tier.flow.view import View
from ckpt_tier.journal.saves import Save


def retain(saves: list[Save], view: View) -> list[Action]:
    """KEEP or EVICT for every hot copy that is valid or may turn out to be."""
    by_series: dict[str, list[Save]] = defaultdict(list)
    for save in saves:
        if has_hot_copy(save, view) and (save.state in VALID or save.state is State.SAVED):
            by_series[save.series].append(save)
    actions = [action for copies in by_series.values() for action in _ruled(copies, view)]
    return _evict_early(actions, by_series, view)


class _Together(msgspec.Struct, frozen=True):
    """The hot copies of one step: one, or the shares of several ranks."""

    saves: tuple[Save, ...]
    is_valid: bool
    """What retention may count: shares are a checkpoint only together, which their manifest proves, or without a cold
    tier the look itself."""
    abandoned: bool
    metrics: Mapping[str, float]

    @property
    def checkpoint(self) -> Checkpoint:
        """As retention sees it."""
        first = self.saves[0]
        return Checkpoint(
            series=first.series,
            step=first.step,
            saved_at=max(save.saved_at for save in self.saves),
            generation=first.generation or "",
            metrics=self.metrics,
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
            is_valid=all(save.state in VALID and _is_whole(save, view) for save in saves),
            abandoned=any(branch_of(view.branches, save.series, save.step, save.saved_at) for save in saves),
            metrics=_metrics(saves, view),
        )
        for saves in by_step.values()
    ]


def _is_whole(save: Save, view: View) -> bool:
    return not save.is_share or is_committed(save, view) or save.path in view.whole


def _metrics(saves: Iterable[Save], view: View) -> dict[str, float]:
    """Of the hot copies of one step: of several ranks the lowest, and before all what was noted later."""
    metrics: dict[str, float] = {}
    for save in sorted(saves, key=lambda save: save.rank or 0, reverse=True):
        metrics |= save.metrics
    for save in saves:
        metrics |= view.metrics.get((save.series, save.step, save.generation or ""), {})
    return metrics


def _ruled(copies: list[Save], view: View) -> Iterator[Action]:
    every = _together(copies, view)
    verdicts = _judge([each for each in every if each.is_valid], view)
    hoped = _judge(every, view)
    for each in every:
        verdict = verdicts.get(each.checkpoint.step, hoped[each.checkpoint.step])
        why = ", ".join(verdict.reasons)
        for save in each.saves:
            if wanted_by := _wanted_by(save, view):
                yield act(Kind.KEEP, save, wanted_by)
            elif save.state is State.SAVED:
                if not verdict.kept:
                    yield act(Kind.EVICT, save, why, after="validation and commit")
            elif verdict.kept:
                yield act(Kind.KEEP, save, why)
            elif reason := pruned(save, view):
                yield act(Kind.KEEP, save, reason)
            elif each.is_valid and _may_go(save, view):
                yield act(Kind.EVICT, save, f"committed, and {why}")
            else:
                yield act(Kind.EVICT, save, why, after="commit")


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
    """Below `min_free`, or what a training asks for, committed copies that retention would keep go too, oldest first;
    the newest valid stays."""
    wanted = max(view.rules.min_free, view.rules.room)
    why = f"min_free ({format_size(wanted)})" if wanted == view.rules.min_free else "what the next save asks for"
    missing = wanted - view.free - freed(actions)
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
            reason=f"committed, and free space is below {why}",
        )
        missing -= action.size
    return [early.get(action.path, action) if action.kind is Kind.KEEP else action for action in actions]


def let_go(saves: list[Save], evictions: list[Action], view: View) -> Iterator[Action]:
    """The hook's last copies of what the trainer has deleted, oldest first, while nothing else can be evicted."""
    missing = view.rules.min_free - view.free
    if missing <= 0 or freed(evictions) > 0:
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
            yield act(Kind.LET_GO, save, "deleted by the trainer, not committed yet, and the disk is nearly full")
            missing -= save.size


def freed(actions: Iterable[Action]) -> int:
    """Bytes that the evictions among them free now."""
    return sum(action.size for action in actions if action.kind is Kind.EVICT and not action.after)
