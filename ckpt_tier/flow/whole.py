"""Which checkpoints of the hot folder are whole where there is no cold tier whose manifest would say so. Pure.

One that a single process saved is whole once it was validated. One of several ranks is if the number of ranks is known,
each of them has exactly one copy of the step here and no other copy claims the step, every one was validated, and
`core.sets` puts them together: by the save id, else by the time and the passes of the training.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ckpt_tier.core.nouns import Pass, generation_id
from ckpt_tier.core.sets import Waiting, say_ranks, set_of
from ckpt_tier.core.states import VALID, State
from ckpt_tier.core.units import format_duration
from ckpt_tier.flow.standing import has_hot_copy
from ckpt_tier.flow.view import View, row_of, row_of_ticket
from ckpt_tier.inbox import HIDDEN
from ckpt_tier.journal.saves import Save

NO_NUMBER = "how many ranks make a checkpoint is not known: set [hot] ranks"


class Whole(msgspec.Struct, frozen=True):
    """A checkpoint that passed validation and lies under its own name, by rank: what is counted."""

    saves: tuple[Save, ...]

    @property
    def series(self) -> str:
        return self.saves[0].series

    @property
    def step(self) -> int:
        return self.saves[0].step

    @property
    def begun_at(self) -> float:
        """When its first share was saved, seconds since the epoch."""
        return min(save.saved_at for save in self.saves)

    @property
    def saved_at(self) -> float:
        """When its last share was saved, seconds since the epoch."""
        return max(save.saved_at for save in self.saves)

    @property
    def generation(self) -> str:
        """The id that a commit would give it."""
        return generation_id(save.member for save in self.saves if save.member)


class HotSets(msgspec.Struct, frozen=True):
    """The checkpoints of several ranks, by (series, step): the whole ones, and what the others lack, as a clause."""

    whole: Mapping[tuple[str, int], Whole]
    lacking: Mapping[tuple[str, int], str]


class _Share(msgspec.Struct, frozen=True):
    """A save as `core.sets` asks for it."""

    save: Save
    rank: int
    world_size: int

    @property
    def save_id(self) -> str | None:
        return self.save.save_id

    @property
    def saved(self) -> float:
        return self.save.saved_at

    @property
    def during(self) -> Pass | None:
        return self.save.during

    @property
    def member_id(self) -> str:
        return self.save.path


def all_whole(view: View) -> list[Whole]:
    """Every checkpoint that counts, whoever saved it."""
    single = [save for save in view.saves if save.state in VALID and not save.is_share and has_hot_copy(save, view)]
    return [*(Whole((save,)) for save in single), *hot_sets(view).whole.values()]


def hot_sets(view: View) -> HotSets:
    """What the hot folder holds of checkpoints of several ranks."""
    by_step: defaultdict[tuple[str, int], list[Save]] = defaultdict(list)
    for save in _lying(view):
        by_step[save.series, save.step].append(save)
    whole: dict[tuple[str, int], Whole] = {}
    lacking: dict[tuple[str, int], str] = {}
    for key, saves in by_step.items():
        shares = [
            _Share(save, save.rank, _world_size(save, view) or 0)
            for save in sorted(saves, key=lambda save: save.rank or 0)
            if save.rank is not None
        ]
        if not shares:
            continue
        if len(shares) < len(saves):
            lacking[key] = "the step is there as one whole checkpoint as well: remove what is not wanted"
        elif why := _lacks(shares, view) or _unlike(shares, view):
            lacking[key] = why
        else:
            whole[key] = Whole(tuple(share.save for share in shares))
    return HotSets(whole, lacking)


def _lying(view: View) -> Iterator[Save]:
    """The journal's row of each hot copy, or what a new one would say; not of what was set aside."""
    rows = {(save.path, save.stamp): save for save in view.saves}
    told = {(ticket.path, ticket.stamp): ticket for ticket in view.tickets}
    for copy in view.hot.values():
        if copy.path.startswith(f"{HIDDEN}/"):
            continue
        row, ticket = rows.get((copy.path, copy.stamp)), told.get((copy.path, copy.stamp))
        if row is not None:
            yield row
        elif ticket is not None:
            yield row_of_ticket(ticket)
        else:
            yield row_of(copy, view.rules.ranks)


def _world_size(save: Save, view: View) -> int | None:
    """Of what was found by scanning, the row says what [hot] ranks was then; it may have been corrected since."""
    by_hook = save.ticket is not None or save.during is not None
    return save.world_size if by_hook else view.rules.ranks or save.world_size


def _lacks(shares: Sequence[_Share], view: View) -> str:
    """What the ranks that are here can't be, or have not got; empty if each of them is here once and is good."""
    first = shares[0]
    if any(share.world_size == 0 for share in shares):
        return NO_NUMBER
    if len({share.world_size for share in shares}) > 1:
        return "its shares do not agree on the number of ranks: save the step again"
    ranks = [share.rank for share in shares]
    if beyond := [rank for rank in ranks if rank >= first.world_size]:
        return f"{say_ranks(beyond)} there, and only {first.world_size} are said to be: correct [hot] ranks"
    if (first.save.series, first.save.step) in view.ambiguous or len(set(ranks)) < len(ranks):
        return "a rank has more than one file or folder of this step: keep the right one"
    if missing := sorted({*range(first.world_size)} - {*ranks}):
        return f"lacks {say_ranks(missing)} of {first.world_size}: bring what is missing here, or correct [hot] ranks"
    if bad := [share.rank for share in shares if share.save.state is State.REJECTED]:
        return f"{say_ranks(bad)} rejected: save the step again, or delete it yourself"
    if unread := [share.rank for share in shares if share.save.state not in VALID or not share.save.member]:
        return f"{say_ranks(unread)} not validated"
    return ""


def _unlike(shares: Sequence[_Share], view: View) -> str:
    """Why shares of all ranks are not of one save, as far as that can be told; empty if they are."""
    if len({share.save_id for share in shares}) > 1:
        return "its shares have different save ids: save the step again"
    times = [share.saved for share in shares]
    apart = max(times) - min(times)
    window = view.rules.set_window
    if shares[0].save_id is None and apart > window:
        return f"its shares were saved {format_duration(apart)} apart: [hot] set_window is {format_duration(window)}"
    found = set_of(max(shares, key=lambda share: share.saved), shares, window=window, now=view.now)
    if isinstance(found, Waiting):
        return f"{found.why}: save the step again" if found.ambiguous else found.why
    committed = {share.save.generation for share in shares} - {None}
    if committed - {Whole(tuple(share.save for share in shares)).generation}:
        return "its shares were committed as parts of different saves: save the step again"
    return ""
