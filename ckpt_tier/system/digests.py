"""SHA-256 and CRC-64/NVME in one pass, with the CRC of every piece of an upload.

CRC-64/NVME is the checksum that S3 computes over whole multipart objects (FULL_OBJECT); checksums of neighbouring
pieces combine into that of the whole.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

from awscrt import checksums

from ckpt_tier.core.pieces import PieceChecksums, piece_size

_BLOCK = 2**20


def crc64nvme(data: bytes | bytearray | memoryview, previous: int = 0) -> int:
    """The CRC-64/NVME of `data`, going on from `previous`."""
    return int(checksums.crc64nvme(data, previous))


def combine(crcs: list[tuple[int, int]]) -> int:
    """The CRC-64/NVME of a concatenation, from the (crc, length in bytes) of its parts in order."""
    whole = 0
    for crc, length in crcs:
        whole = int(checksums.combine_crc64nvme(whole, crc, length))
    return whole


def to_hex(crc: int) -> str:
    """16 hex digits, big-endian: the form in manifests."""
    return f"{crc:016x}"


def to_base64(crc: int) -> str:
    """Base64 of the 8 big-endian bytes: the form in S3's headers."""
    return base64.b64encode(crc.to_bytes(8, "big")).decode()


def from_base64(text: str) -> int:
    """The inverse of `to_base64`; raises ValueError."""
    raw = base64.b64decode(text, validate=True)
    if len(raw) != 8:
        raise ValueError(f"{text!r} is not a CRC-64")
    return int.from_bytes(raw, "big")


class FileHasher:
    """Takes a file's bytes in order and ends with its SHA-256 and the CRC-64/NVME of each upload piece.

    Not thread-safe. `size` is the file's size in bytes as expected at the start; it fixes the piece size.
    """

    def __init__(self, size: int) -> None:
        self._sha256 = hashlib.sha256()
        self._piece_size = piece_size(size)
        self._filled = 0
        self._crc = 0
        self._done: list[int] = []

    def update(self, data: memoryview) -> None:
        self._sha256.update(data)
        while len(data):
            room = self._piece_size - self._filled
            head = data[:room]
            self._crc = crc64nvme(head, self._crc)
            self._filled += len(head)
            data = data[room:]
            if self._filled == self._piece_size:
                self._close_piece()

    def _close_piece(self) -> None:
        self._done.append(self._crc)
        self._crc = 0
        self._filled = 0

    def sha256(self) -> str:
        """64 hex digits over everything fed so far."""
        return self._sha256.hexdigest()

    def finish(self) -> tuple[int, PieceChecksums]:
        """The CRC-64/NVME of the whole and of its pieces; call once, after the last update."""
        lengths = [self._piece_size] * len(self._done)
        if self._filled or not self._done:
            lengths.append(self._filled)
            self._close_piece()
        pieces = PieceChecksums(piece_size=self._piece_size, crcs=tuple(self._done))
        return combine(list(zip(self._done, lengths, strict=True))), pieces


def sha256_of(path: Path, tick: Callable[[], None]) -> str:
    """The file's SHA-256 in hex, read once; `tick` is called between blocks and may raise."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            tick()
    return digest.hexdigest()
