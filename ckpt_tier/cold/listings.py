"""Listings of a run's series side by side: a page is a way to the store and back, and the next of the same listing
can't be asked for before it has come. So the series are asked about at the same time, and a long listing is cut into as
many as it had pages the last time.
"""

from collections.abc import Iterator, Sequence

import msgspec

from ckpt_tier.cold.cache import ManifestCache
from ckpt_tier.store.protocol import Store
from ckpt_tier.system.asking import answers

AT_ONCE = 8
"""Listings that are under way at the same time."""


class Span(msgspec.Struct, frozen=True):
    """A stretch of a series' keys: those that start with `prefix` and sort after `after` (a whole key), up to `last`
    and with it, if there is one."""

    series: str
    prefix: str
    after: str = ""
    last: str | None = None


class Named(msgspec.Struct, frozen=True):
    """An object by its key without the prefix; `modified` in seconds since the epoch by the store's clock."""

    series: str
    name: str
    modified: float


def listed(store: Store, spans: Sequence[Span]) -> Iterator[Named]:
    """What there is in the spans, one after the other; they are asked for at the same time. Raises what a listing
    does."""
    if len(spans) == 1:
        yield from _listed(store, spans[0])
        return
    for found in answers(lambda span: list(_listed(store, span)), spans, AT_ONCE):
        yield from found


def listed_by_pages(store: Store, spans: Sequence[Span], cache: ManifestCache) -> list[Named]:
    """The same, of one span for each series. One from the first key on is cut where the pages of its listing ended the
    last time, and where they do now is noted."""
    page = store.listing_page
    if page is None:
        return list(listed(store, spans))
    known = {span: cache.page_ends(_place(store, span)) for span in spans if not span.after}
    found = list(listed(store, [part for span in spans for part in cut(span, known.get(span, []))]))
    names: dict[str, list[str]] = {}
    for each in found:
        names.setdefault(each.series, []).append(each.name)
    for span, ends in known.items():
        now = [span.prefix + name for name in names.get(span.series, [])[page - 1 :: page]]
        if now != ends:
            cache.note_page_ends(_place(store, span), now)
    return found


def _place(store: Store, span: Span) -> str:
    return f"{store.url}\n{span.prefix}"


def _listed(store: Store, span: Span) -> Iterator[Named]:
    for stat in store.list(span.prefix, span.after):
        if span.last is not None and stat.key > span.last:
            return
        yield Named(span.series, stat.key.removeprefix(span.prefix), stat.modified)
        if stat.key == span.last:
            return


def cut(span: Span, ends: Sequence[str]) -> list[Span]:
    """The same stretch in several, which together have the same keys, whatever the sorted keys `ends` in it are."""
    bounds = zip([span.after, *ends], [*ends, span.last], strict=True)
    return [Span(span.series, span.prefix, after, last) for after, last in bounds]
