"""What an earlier, killed upload left in the store: asked of the store itself, so that nothing need be remembered."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ckpt_tier.errors import AccessDeniedError
from ckpt_tier.store.s3_errors import UnsupportedError, UploadGoneError
from ckpt_tier.store.s3_requests import Requests
from ckpt_tier.system.digests import to_base64


class Piece(msgspec.Struct, frozen=True):
    """One piece of a file to be sent; `number` counts from 1, `offset` and `length` are bytes."""

    number: int
    offset: int
    length: int
    crc: int


class Done(msgspec.Struct, frozen=True):
    """A piece that the store has."""

    number: int
    etag: str
    crc: int


def unfinished(
    requests: Requests, key: str, cut: Sequence[Piece], *, need_checksums: bool
) -> tuple[str, list[Done]] | None:
    """The newest unfinished upload of this key that is cut as ours, with those of its parts that are right."""
    try:
        uploads = [
            upload
            for page in pages(requests, "list_multipart_uploads", "KeyMarker", "UploadIdMarker", Prefix=key)
            for upload in page.get("Uploads", [])
            if upload["Key"] == key
        ]
        for upload in sorted(uploads, key=lambda one: one["Initiated"], reverse=True):
            with contextlib.suppress(UploadGoneError):
                done = _parts_that_fit(requests, key, upload["UploadId"], cut, need_checksums)
                if done is not None:
                    return str(upload["UploadId"]), done
    except (AccessDeniedError, UnsupportedError):
        return None  # resuming saves work; without the permission for it everything is sent again
    return None


def _parts_that_fit(
    requests: Requests, key: str, upload_id: str, cut: Sequence[Piece], need_checksums: bool
) -> list[Done] | None:
    by_number = {piece.number: piece for piece in cut}
    done = []
    for page in pages(requests, "list_parts", "PartNumberMarker", key=key, UploadId=upload_id):
        if need_checksums and page.get("ChecksumAlgorithm", "CRC64NVME") != "CRC64NVME":
            return None
        for part in page.get("Parts", []):
            piece = by_number.get(part["PartNumber"])
            if piece is None or part["Size"] != piece.length:
                return None
            # A part without a checksum is taken by its size: the whole is read back before it counts.
            if part.get("ChecksumCRC64NVME") in (None, to_base64(piece.crc)):
                done.append(Done(piece.number, part["ETag"], piece.crc))
    return done


def pages(requests: Requests, operation: str, *markers: str, key: str = "", **parameters: Any) -> Iterator[Any]:
    """The answers to a listing, one page after the other; `markers` are the parameters that say where it goes on."""
    while True:
        page = requests.send(operation, key, **parameters)
        yield page
        if not page.get("IsTruncated"):
            return
        parameters |= {marker: page[f"Next{marker}"] for marker in markers}
