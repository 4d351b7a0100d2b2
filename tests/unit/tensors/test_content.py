"""One tensor's bytes: which are read, and what proves them."""

import json

import pytest
import torch

from ckpt_tier.errors import IntegrityError, UsageError
from ckpt_tier.tensors.catalogue import catalogue
from ckpt_tier.tensors.content import read_tensor
from ckpt_tier.tensors.ranges import Cost
from tests.unit.formats.samples import saved
from tests.unit.tensors.test_catalogue import listed, ranges


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    whole = torch.randn(1000, 500)
    return {"first": torch.randn(300_000), "whole": whole, "row": whole[7], "part": whole[10:12, 3:5]}


def test_a_whole_storage_is_proven_by_its_crc_and_a_part_of_one_is_not() -> None:
    reader, found = listed(state())
    assert read_tensor(reader, found, found.by_name["whole"]).verified
    row = read_tensor(reader, found, found.by_name["row"])
    assert torch.equal(row.tensor, state()["row"])
    assert not row.verified


def test_only_the_tensors_own_bytes_are_read() -> None:
    cost = Cost()
    reader = ranges(saved(state()), cost)
    found = catalogue(reader, "a.pt")
    before = cost.read_bytes
    assert torch.equal(read_tensor(reader, found, found.by_name["part"]).tensor, state()["part"])
    assert cost.read_bytes - before < 300_000
    before, requests = cost.read_bytes, cost.requests
    read_tensor(reader, found, found.by_name["whole"])
    assert cost.read_bytes - before < 2_000_000 + 1000
    assert cost.requests == requests + 1


def test_a_flipped_byte_is_seen() -> None:
    data = bytearray(saved(state()))
    needle = state()["first"].numpy().tobytes()
    data[bytes(data).index(needle) + 100] ^= 1
    reader = ranges(bytes(data))
    found = catalogue(reader, "a.pt")
    with pytest.raises(IntegrityError, match=r"tensor first of a\.pt is damaged.*CRC32"):
        read_tensor(reader, found, found.by_name["first"])


def test_without_checksums_in_the_file_nothing_is_called_verified() -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        reader, found = listed({"a": torch.ones(3)})
    finally:
        torch.serialization.set_crc32_options(before)
    content = read_tensor(reader, found, found.tensors[0])
    assert torch.equal(content.tensor, torch.ones(3))
    assert not content.verified


@pytest.mark.filterwarnings("ignore")
def test_a_quantised_or_sparse_tensor_is_a_clear_error() -> None:
    quantised = torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)
    reader, found = listed({"q": quantised, "s": torch.eye(3).to_sparse()})
    with pytest.raises(UsageError, match="dtype is qint8"):
        read_tensor(reader, found, found.by_name["q"])
    with pytest.raises(UsageError, match="no plain view"):
        read_tensor(reader, found, found.by_name["s"])


def test_a_dtype_without_whole_bytes_is_a_clear_error() -> None:
    header = json.dumps({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
    reader = ranges(len(header).to_bytes(8, "little") + header + b"\0")
    found = catalogue(reader, "a.safetensors")
    with pytest.raises(UsageError, match="dtype is F4"):
        read_tensor(reader, found, found.tensors[0])
