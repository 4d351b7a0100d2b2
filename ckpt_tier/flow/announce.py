"""What a look has to say to whoever watches: how much was found, and each trouble once."""

from ckpt_tier.core.events import Emit, Found, Warned
from ckpt_tier.core.units import format_size
from ckpt_tier.flow.actions import Action, Kind
from ckpt_tier.flow.view import View

_CROWDED = "crowded"


class Announcer:
    """Says what is new since the last look.

    Attributes:
        is_crowded: whether the disk is filling up, and nothing can be evicted now.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._said: set[str] = set()
        self._found: Found | None = None
        self.is_crowded = False

    def announce(self, actions: list[Action], view: View, under_way: int) -> None:
        """What the look came to; `under_way` counts the deliveries."""
        uploading = [a for a in actions if a.kind is Kind.UPLOAD]
        found = Found(
            checkpoints=len(view.hot),
            to_validate=sum(a.kind is Kind.VALIDATE for a in actions),
            to_upload=len(uploading) + under_way,
            upload_bytes=sum(a.size for a in uploading),
        )
        if found != self._found:
            self._found = found
            self._emit(found)
        self._watch_space(actions, view)

    def once(self, text: str, fix: str = "", *, subject: str = "") -> None:
        """Warns, unless that was said before; a `subject` is what it is known by, where the text has numbers in it."""
        if (subject or text) not in self._said:
            self._said.add(subject or text)
            self._emit(Warned(text=text, fix=fix))

    def _watch_space(self, actions: list[Action], view: View) -> None:
        evictions = [a for a in actions if a.kind is Kind.EVICT]
        self.is_crowded = view.free < view.rules.min_free and all(a.after for a in evictions)
        if not self.is_crowded:
            self._said.discard(_CROWDED)
            return
        later = sum(a.size for a in evictions)
        self.once(
            f"only {format_size(view.free)} are free on the hot tier, less than min_free "
            f"({format_size(view.rules.min_free)}); "
            + (f"{format_size(later)} can be evicted once committed" if later else "nothing more can be evicted"),
            "free space by hand, lower keep_last, or make the cold tier faster to reach",
            subject=_CROWDED,
        )
