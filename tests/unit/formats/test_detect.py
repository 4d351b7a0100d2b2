import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.formats.check import Level, Rejected
from tests.examples import examples
from tests.unit.formats.samples import check_bytes, saved

NAMES = ("model.pt", "model.ckpt", "model.bin", "model.safetensors", "model.pkl", "model.dat", "model")


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_file_is_rejected(name: str) -> None:
    with pytest.raises(Rejected, match=r"^empty file$"):
        check_bytes(b"", name=name)


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.ckpt", "pytorch_model.bin", "MODEL.PT"])
def test_a_checkpoint_that_begins_with_zeros_is_rejected(name: str) -> None:
    with pytest.raises(Rejected, match=r"^the first bytes are all zero$"):
        check_bytes(bytes(5000), name=name)


def test_a_torch_file_whose_first_block_was_lost_is_rejected() -> None:
    data = saved({"a": torch.ones(2000)})
    with pytest.raises(Rejected):
        check_bytes(b"\x07" * 512 + data[512:], name="model.ckpt")


def test_a_pt_file_that_is_neither_zip_nor_pickle_is_rejected() -> None:
    with pytest.raises(Rejected, match="neither a zip nor a pickle"):
        check_bytes(b"hello, world", name="model.pt")


def test_other_files_are_plain() -> None:
    found = check_bytes(b"hello, world", name="notes.txt")
    assert (found.format, found.level) == ("plain", "fast")
    assert check_bytes(bytes(100), name="zeros.dat").format == "plain"


def test_a_distributed_checkpoint_of_several_archives_in_one_file_is_not_mistaken_for_a_damaged_one() -> None:
    found = check_bytes(saved({"a": 1}) + saved({"b": 2}), name="__0_0.distcp")
    assert found.format == "plain"
    assert found.notes


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_must_end_with_stop(protocol: int) -> None:
    data = pickle.dumps({"lr": [0.1] * 10}, protocol)
    for name in ("optimizer.pt", "optimizer.pkl"):
        assert check_bytes(data, name=name).format == "pickle"
        with pytest.raises(Rejected, match="STOP"):
            check_bytes(data[:-1], name=name)


@examples(300)
@given(
    st.sampled_from(NAMES),
    st.sampled_from([b"", b"PK\3\4", b"PK\5\6", b"\x80\4\x95", b"\x10\0\0\0\0\0\0\0{"]),
    st.binary(max_size=300),
    st.sampled_from([b"", b"PK\5\6" + bytes(18), b"PK\6\7" + bytes(16) + b"PK\5\6" + b"\xff" * 16 + bytes(2)]),
    st.sampled_from([Level.FAST, Level.FULL]),
)
def test_garbage_raises_nothing_but_rejected(name: str, head: bytes, body: bytes, tail: bytes, level: Level) -> None:
    try:
        found = check_bytes(head + body + tail, level, name)
    except Rejected:
        return
    assert found.format in ("plain", "pickle", "zip", "safetensors")
