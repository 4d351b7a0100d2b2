"""Listings side by side, and one long listing in as many parts as it has pages."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.cold.cache import ManifestCache
from ckpt_tier.cold.listings import Span, cut, listed, listed_by_pages
from ckpt_tier.errors import UnavailableError
from ckpt_tier.store.protocol import Stat

PAGE = 3


class Bucket:
    """Of a store, what a listing needs: keys by pages, and how many pages were asked for."""

    url = "s3://bucket"
    listing_page = PAGE

    def __init__(self, *names: str) -> None:
        self.keys = [f"p/{name}" for name in names]
        self.pages = 0
        self.lock = threading.Lock()

    def list(self, prefix: str, after: str = "") -> Iterator[Stat]:
        there = sorted(key for key in self.keys if key.startswith(prefix) and key > after)
        for begin in range(0, max(len(there), 1), PAGE):
            with self.lock:
                self.pages += 1
            yield from (Stat(key, 1, None, 5.0) for key in there[begin : begin + PAGE])


def names(bucket: Bucket, cache: ManifestCache) -> list[str]:
    store: Any = bucket
    return [each.name for each in listed_by_pages(store, [Span("main", "p/")], cache)]


@pytest.fixture
def cache(tmp_path: Path) -> ManifestCache:
    return ManifestCache(tmp_path / "manifests.sqlite")


def test_the_series_are_asked_about_at_the_same_time() -> None:
    together = threading.Barrier(6, timeout=30)

    class Waiting(Bucket):
        def list(self, prefix: str, after: str = "") -> Iterator[Stat]:
            together.wait()  # until all six are there
            return super().list(prefix, after)

    store: Any = Waiting("a/1", "c/2", "f/3", "f/4")
    found = list(listed(store, [Span(series, f"p/{series}/") for series in "abcdef"]))
    assert [(each.series, each.name) for each in found] == [("a", "1"), ("c", "2"), ("f", "3"), ("f", "4")]


def test_a_listing_that_fails_is_not_taken_for_an_empty_one() -> None:
    class Away(Bucket):
        def list(self, prefix: str, after: str = "") -> Iterator[Stat]:
            if prefix == "p/b/":
                raise UnavailableError("no answer")
            return super().list(prefix, after)

    store: Any = Away("a/1")
    with pytest.raises(UnavailableError):
        list(listed(store, [Span(series, f"p/{series}/") for series in "abc"]))


def test_a_long_listing_is_asked_for_in_its_pages_of_the_last_time_and_by_no_more_requests(
    cache: ManifestCache,
) -> None:
    bucket = Bucket(*"abcdefgh")
    assert names(bucket, cache) == list("abcdefgh")
    assert bucket.pages == 3
    assert cache.page_ends("s3://bucket\np/") == ["p/c", "p/f"]
    afters = []

    def noted(prefix: str, after: str = "") -> Iterator[Stat]:
        afters.append(after)
        return Bucket.list(bucket, prefix, after)

    bucket.list = noted  # type: ignore[method-assign]
    assert names(bucket, cache) == list("abcdefgh")
    assert bucket.pages == 6
    assert sorted(afters) == ["", "p/c", "p/f"]


def test_what_came_and_went_meanwhile_is_in_the_next_listing_and_its_pages_are_noted_anew(cache: ManifestCache) -> None:
    bucket = Bucket(*"bdfhjl")
    names(bucket, cache)
    bucket.keys = [f"p/{name}" for name in "acdefgjlmn"]  # the last of a page gone, and more than a page in its place
    assert names(bucket, cache) == list("acdefgjlmn")
    assert cache.page_ends("s3://bucket\np/") == ["p/d", "p/g", "p/m"]
    bucket.keys = []
    assert names(bucket, cache) == []
    assert cache.page_ends("s3://bucket\np/") == []


def test_a_store_without_pages_is_looked_through_once_and_nothing_is_noted(cache: ManifestCache) -> None:
    bucket = Bucket(*"abcdefgh")
    bucket.listing_page = None  # type: ignore[assignment]
    assert names(bucket, cache) == list("abcdefgh")
    assert cache.page_ends("s3://bucket\np/") == []


@given(there=st.sets(st.sampled_from("abcdefghijkl")), ends=st.sets(st.sampled_from("abcdefghijklm")))
def test_wherever_a_listing_is_cut_every_key_is_in_one_part(there: set[str], ends: set[str]) -> None:
    store: Any = Bucket(*there)
    parts = cut(Span("main", "p/"), [f"p/{end}" for end in sorted(ends)])
    assert [each.name for each in listed(store, parts)] == sorted(there)
