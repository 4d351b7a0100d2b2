import pickle

import pytest
import torch

from ckpt_tier.formats.check import Level, Rejected
from tests.unit.formats.samples import check_bytes, saved, small_state, training_state

GOOD = saved(small_state(), _use_new_zipfile_serialization=False)


def test_a_normal_training_state_is_good() -> None:
    state = training_state()
    found = check_bytes(saved(state, _use_new_zipfile_serialization=False), block=10**6)
    assert (found.format, found.level, found.checksums) == ("torch-legacy", "fast", 0)
    assert "no checksums" in found.notes[0]


@pytest.mark.parametrize("length", [14, 15, 100, len(GOOD) // 2, len(GOOD) - 300, len(GOOD) - 1])
def test_a_truncated_file_is_rejected(length: int) -> None:
    with pytest.raises(Rejected):
        check_bytes(GOOD[:length], Level.FAST)


def test_a_truncated_storage_says_how_much_is_missing() -> None:
    with pytest.raises(Rejected, match=r"^truncated: 1 bytes of the storages are missing$"):
        check_bytes(GOOD[:-1])


def test_appended_bytes_are_rejected() -> None:
    with pytest.raises(Rejected, match=r"^5 bytes follow the last storage$"):
        check_bytes(GOOD + b"hello")


def test_a_wrong_element_count_is_rejected() -> None:
    data = saved({"a": torch.ones(3)}, _use_new_zipfile_serialization=False)
    with pytest.raises(Rejected, match="4 elements, its pickle says 3"):
        check_bytes(data[:-20] + b"\4" + data[-19:])


@pytest.mark.parametrize(
    "hostile",
    [
        b"\x80\2" + b"r\xff\xff\xff\x7f".join([b"K\1"] * 2) + b".",
        b"\x80\4\x8e" + b"\xff" * 7 + b"\x7f.",
        b"\x80\4\x95" + b"\xff" * 8 + b".",
        b"(" * 1000 + b"t" * 1001 + b".",
        b"cos\nsystem\n(S'touch /tmp/ckpt-tier-was-here'\ntR.",
        b"\x82\1.",
        b"I" + b"9" * 100_000 + b"\n.",
    ],
)
def test_a_hostile_pickle_is_rejected_and_hurts_nobody(hostile: bytes) -> None:
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    with pytest.raises(Rejected):
        check_bytes(magic + hostile * 4)
