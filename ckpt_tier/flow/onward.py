"""What comes next for one save on its way to the cold tier, by its state and by what a look says of it. Pure."""

from collections.abc import Iterator
from fnmatch import fnmatch

from ckpt_tier.core.states import State
from ckpt_tier.core.units import format_duration
from ckpt_tier.flow.actions import Action, Kind, act
from ckpt_tier.flow.standing import has_hot_copy, is_committed, is_damaged, is_on_disk, links_of, pruned
from ckpt_tier.flow.view import View
from ckpt_tier.inbox import HIDDEN
from ckpt_tier.journal.saves import Save


def next_for(save: Save, saves: list[Save], view: View) -> Iterator[Action]:
    """What is due for one of all `saves`, and what follows from it; whether its hot copy stays is not asked here."""
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
                yield act(Kind.FORGET, save, "the step was saved again and committed")
            elif on_disk:
                yield from _take_up(save, view)  # it is there again
            else:
                yield act(Kind.REPORT, save, f"lost: {save.reason}")
        case _ if not on_disk:
            yield from _gone(save, view)
        case State.SAVED:
            yield from _take_up(save, view)
        case _:
            yield from _deliver(save, view)


def _next_for_committed(save: Save, view: View, *, on_disk: bool) -> Iterator[Action]:
    if not on_disk:
        yield act(Kind.FORGET, save, "committed, and no hot copy is left")
    elif (reason := pruned(save, view)) and not has_hot_copy(save, view):
        yield act(Kind.KEEP, save, reason)
    elif not reason and not is_committed(save, view):
        yield act(Kind.UPLOAD, save, "its manifest is gone from the cold tier")
    elif (links := links_of(save, view)) and not is_damaged(save, view):
        yield act(Kind.RELEASE, save, "committed: the hook's link is not needed any more", links=links)


def _next_for_rejected(save: Save, view: View, *, on_disk: bool) -> Iterator[Action]:
    if not on_disk:
        yield act(Kind.FORGET, save, "the rejected file is gone or was replaced")
        return
    if has_hot_copy(save, view) and (links := links_of(save, view)):
        yield act(Kind.RELEASE, save, "rejected: the file itself is still there", links=links)
    elif has_hot_copy(save, view) and view.rules.set_aside and not save.path.startswith(f"{HIDDEN}/"):
        yield act(Kind.SET_ASIDE, save, f"rejected: {save.reason}")
        return
    yield act(Kind.REPORT, save, f"rejected: {save.reason}")


def _gone(save: Save, view: View) -> Iterator[Action]:
    if save.is_share and save.state is State.UPLOADED and save.dismissed:
        yield act(Kind.FORGET, save, "given up, and gone from disk")
        return
    if save.is_share and save.state is State.UPLOADED:
        # Its objects and its receipt are in the cold tier: it is not lost, whatever becomes of the others.
        yield from _deliver(save, view)
        return
    if save.ticket is None and save.state is State.SAVED:
        if save.id:
            yield act(Kind.FORGET, save, "gone or changed before it was looked at")
        return
    if is_committed(save, view):
        yield act(Kind.ADOPT, save, "gone from disk, and the cold tier holds this generation")
        return
    if pruned(save, view):
        yield act(Kind.RETIRE, save, "gone from disk, and pruned from the cold tier")
        return
    how = "overwritten" if save.path in view.hot else "deleted"
    yield act(Kind.LOSE, save, f"{how} on disk before it was committed")


def _take_up(save: Save, view: View) -> Iterator[Action]:
    copy = view.hot.get(save.path)
    postponed = view.postponed.get(save.path, 0.0) - view.now
    unsettled = 0.0
    if save.ticket is None and copy is not None:
        age = view.now - copy.changed_ns / 1e9
        # A time far in the future says nothing: somebody's clock is wrong, and waiting for it might take for ever.
        unsettled = view.rules.settle - age if age >= -view.rules.settle else 0.0
    if save.retry_at > view.now:
        yield act(Kind.REPORT, save, save.reason)
    elif postponed > 0:
        yield act(Kind.WAIT, save, "open for writing", after="it is closed")
    elif unsettled > 0:
        wait = min(unsettled, view.rules.settle)
        yield act(Kind.WAIT, save, "changed just now", after=f"{format_duration(wait)} without a change")
    elif save.ticket is None and not _is_complete(save, view):
        yield act(Kind.WAIT, save, "not complete", after=f"a file {view.rules.complete_when} is in it")
    elif save.is_share and save.world_size is None:
        yield act(Kind.REPORT, save, "how many ranks make a checkpoint is not known: set [hot] ranks")
    else:
        yield act(Kind.VALIDATE, save, "handed over by the hook" if save.ticket else "found in the hot folder")
        yield act(Kind.UPLOAD, save, "not in the cold tier", after="validation")


def _is_complete(save: Save, view: View) -> bool:
    """Whether a folder has the file that says so; a checkpoint that is one file always is."""
    wanted = view.rules.complete_when
    if wanted is None or [file.path for file in save.files] == [save.path]:
        return True
    return any(fnmatch(file.path.rpartition("/")[2], wanted) for file in save.files)


def _deliver(save: Save, view: View) -> Iterator[Action]:
    if save.is_share and save.state is State.UPLOADED and save.generation is None:
        yield act(Kind.ASSEMBLE, save, save.reason or "uploaded: waits for the other ranks")
        return
    if is_committed(save, view):
        yield act(Kind.ADOPT, save, "the cold tier holds this generation")
    elif reason := pruned(save, view):
        yield act(Kind.RETIRE, save, reason)
    elif save.retry_at > view.now:
        wait = format_duration(save.retry_at - view.now)
        yield act(Kind.REPORT, save, f"stalled: {save.reason}; tried again in {wait}")
    else:
        yield act(Kind.UPLOAD, save, "validated, not in the cold tier")
