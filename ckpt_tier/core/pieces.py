"""How a file is cut for a multipart upload. (S3 calls a piece a *part*.)"""

import msgspec

MIB = 2**20
MIN_PIECE = 64 * MIB
MAX_PIECES = 9_000
"""Below S3's limit of 10,000 parts: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""


class PieceChecksums(msgspec.Struct, frozen=True):
    """The CRC-64/NVME of each `piece_size` bytes of a file; the last piece may be shorter."""

    piece_size: int
    crcs: tuple[int, ...]


def piece_size(size: int) -> int:
    """Bytes per piece of a file of `size` bytes: max(64 MiB, size / 9,000) rounded up to a MiB."""
    share = -(-size // MAX_PIECES)
    return max(MIN_PIECE, -(-share // MIB) * MIB)


def pieces(size: int, step: int) -> list[tuple[int, int]]:
    """(offset, length) of each piece of `step` bytes; one empty piece for an empty file."""
    return [(offset, min(step, size - offset)) for offset in range(0, size, step)] or [(0, 0)]
