"""Dropping multipart uploads that nobody will finish: their parts cost money and show in no listing of objects.

For each of them, and what a crash leaves between every two lines:

1. the store lists it, begun long ago                      → nothing
2. the store lists its parts, none of them sent of late    → nothing
3. it is dropped                                           → nothing, or the upload is gone with its parts

A part that arrives between 2 and 3 is refused afterwards (NoSuchUpload), and its sender begins a new upload. An object
is never touched: what was completed is no upload any more.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from ckpt_tier.errors import AccessDeniedError, MissingKeyError
from ckpt_tier.store.protocol import Leftovers
from ckpt_tier.store.s3_errors import UnsupportedError, UploadGoneError
from ckpt_tier.store.s3_requests import Requests
from ckpt_tier.store.s3_resume import pages

_MOST_PAGES = 20
"""Of 1,000 uploads each. What is beyond waits for the next day."""


def drop_leftovers(
    requests: Requests, root: str, prefixes: Sequence[str], older_than: float, keep: Collection[str]
) -> Leftovers:
    """See `ckpt_tier.store.protocol.Store.clean_up`; `root` is the store's prefix in the bucket."""
    whole = tuple(root + prefix for prefix in prefixes)
    kept = {root + key for key in keep}
    count = size = 0
    try:
        uploads = list(_unfinished(requests, whole))
    except (AccessDeniedError, UnsupportedError):
        return Leftovers()
    for upload, now in uploads:
        if upload["Key"] in kept or (now - upload["Initiated"]).total_seconds() < older_than:
            continue
        freed = _drop_if_idle(requests, upload["Key"], upload["UploadId"], now, older_than)
        if freed is not None:
            count, size = count + 1, size + freed
    return Leftovers(count, size)


def _unfinished(requests: Requests, prefixes: tuple[str, ...]) -> Iterator[tuple[Any, datetime]]:
    """Each unfinished upload below the prefixes, and the store's time when it said so."""
    found = [each for prefix in prefixes for each in _listed(requests, prefix)]
    # MinIO answers with nothing to any prefix but a whole key, or none at all.
    for upload, now in found or _listed(requests, ""):
        if upload["Key"].startswith(prefixes):
            yield upload, now


def _listed(requests: Requests, prefix: str) -> Iterator[tuple[Any, datetime]]:
    listing = pages(requests, "list_multipart_uploads", "KeyMarker", "UploadIdMarker", Prefix=prefix)
    for _, page in zip(range(_MOST_PAGES), listing, strict=False):
        now = _time_there(page)
        if now is not None:
            yield from ((upload, now) for upload in page.get("Uploads", []))


def _time_there(answer: Any) -> datetime | None:
    """When the store gave the answer, by its own clock; None if it does not say: then nothing is known to be old."""
    try:
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, TypeError, ValueError):
        return None


def _drop_if_idle(requests: Requests, key: str, upload_id: str, now: datetime, older_than: float) -> int | None:
    """The bytes of its parts; None if the upload stays, or is gone already."""
    try:
        parts = [
            part
            for page in pages(requests, "list_parts", "PartNumberMarker", key=key, UploadId=upload_id)
            for part in page.get("Parts", [])
        ]
        if any((now - part["LastModified"]).total_seconds() < older_than for part in parts):
            return None
        requests.send("abort_multipart_upload", key, UploadId=upload_id)
    except (UploadGoneError, MissingKeyError):
        return None
    return sum(int(part["Size"]) for part in parts)
