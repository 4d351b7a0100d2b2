"""How one save stands in a look: whether its bytes are on disk, and what the cold tier says of it. Pure."""

from ckpt_tier.cold.tombstones import was_saved_again
from ckpt_tier.core.units import format_time
from ckpt_tier.flow.view import View
from ckpt_tier.journal.saves import Save


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
