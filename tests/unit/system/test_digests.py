import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.core.pieces import MIN_PIECE
from ckpt_tier.system import digests
from ckpt_tier.system.digests import FileHasher, combine, crc64nvme, from_base64, to_base64, to_hex


def test_the_checksum_is_the_nvme_polynomials() -> None:
    # The check value of CRC-64/NVME: https://reveng.sourceforge.io/crc-catalogue/17plus.htm#crc.cat.crc-64-nvme
    assert to_hex(crc64nvme(b"123456789")) == "ae8b14860a799888"


@given(st.lists(st.binary(max_size=50)))
def test_checksums_of_neighbours_combine_into_that_of_the_whole(parts: list[bytes]) -> None:
    assert combine([(crc64nvme(part), len(part)) for part in parts]) == crc64nvme(b"".join(parts))


@given(st.integers(0, 2**64 - 1))
def test_the_form_in_headers_reads_back(crc: int) -> None:
    assert from_base64(to_base64(crc)) == crc
    assert int(to_hex(crc), 16) == crc
    assert len(to_hex(crc)) == 16


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!", "AAAAAAAAAAAAAAAA"])
def test_what_is_no_checksum_in_a_header_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_base64(text)


@given(st.binary(max_size=200), st.lists(st.integers(1, 40), min_size=1), st.integers(1, 64))
def test_a_file_fed_in_any_blocks_gives_the_same_checksums(data: bytes, blocks: list[int], piece: int) -> None:
    hasher = FileHasher(len(data))
    hasher._piece_size = piece
    view = memoryview(data)
    index = 0
    while len(view):
        size = blocks[index % len(blocks)]
        hasher.update(view[:size])
        view = view[size:]
        index += 1
    whole, found = hasher.finish()
    assert hasher.sha256() == hashlib.sha256(data).hexdigest()
    assert whole == crc64nvme(data)
    cut = [data[at : at + piece] for at in range(0, len(data), piece)] or [b""]
    assert list(found.crcs) == [crc64nvme(each) for each in cut]


def test_a_file_of_exactly_one_piece_has_one() -> None:
    hasher = FileHasher(MIN_PIECE)
    hasher.update(memoryview(bytes(MIN_PIECE)))
    whole, found = hasher.finish()
    assert found.crcs == (whole,)
    assert found.piece_size == digests.piece_size(MIN_PIECE)
