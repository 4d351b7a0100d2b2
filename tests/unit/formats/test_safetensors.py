import json

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.formats.check import Rejected
from tests.examples import examples
from tests.unit.formats.samples import check_bytes

TENSORS = {
    "a": torch.ones(3, 4),
    "b": torch.zeros(2, dtype=torch.bfloat16),
    "c": torch.ones(5).to(torch.float8_e4m3fn),
    "empty": torch.empty(0),
    "scalar": torch.tensor(1),
}
GOOD = safetensors.torch.save(TENSORS, {"format": "pt"})


def made(header: object, body: bytes = b"", *, raw: bytes | None = None) -> bytes:
    text = json.dumps(header).encode() if raw is None else raw
    return len(text).to_bytes(8, "little") + text + body


def check(data: bytes) -> None:
    check_bytes(data, name="model.safetensors")


@pytest.mark.parametrize("name", ["model.safetensors", "model.bin", "model"])
def test_a_good_file_is_good_under_any_name(name: str) -> None:
    found = check_bytes(GOOD, name=name)
    assert found.format == "safetensors"
    assert "no checksums" in found.notes[0]


@given(st.integers(0, len(GOOD) - 1))
def test_any_truncation_is_rejected(length: int) -> None:
    with pytest.raises(Rejected):
        check(GOOD[:length])


def test_a_truncated_file_says_how_much_is_missing() -> None:
    with pytest.raises(Rejected, match=r"^truncated: 3 bytes of the tensors are missing$"):
        check(GOOD[:-3])


def test_appended_bytes_are_rejected() -> None:
    with pytest.raises(Rejected, match=r"^4 bytes follow the last tensor$"):
        check(GOOD + b"more")


def entry(begin: int, end: int, dtype: str = "U8", shape: list[int] | None = None) -> dict[str, object]:
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ({"a": entry(0, 4), "b": entry(5, 8)}, 8),
        ({"a": entry(0, 4), "b": entry(3, 8)}, 8),
        ({"a": entry(1, 4)}, 4),
        ({"a": entry(4, 0, shape=[4])}, 4),
        ({"a": entry(0, 4, shape=[5])}, 4),
        ({"a": entry(0, 4, "F32", [2])}, 4),
        ({"a": entry(0, 4, shape=[2**62] * 9)}, 4),
        ({"a": entry(0, 4, shape=[-4])}, 4),
        ({"a": {**entry(0, 4), "extra": 1}}, 4),
        ({"a": [1, 2]}, 4),
        ({"__metadata__": {"a": 1}}, 0),
        ([], 0),
    ],
)
def test_a_hostile_header_is_rejected(header: object, body: int) -> None:
    with pytest.raises(Rejected, match=r"header"):
        check(made(header, bytes(body)))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
        b'{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
    ],
)
def test_a_key_that_appears_twice_is_rejected(raw: bytes) -> None:
    with pytest.raises(Rejected, match="a key appears twice"):
        check(made(None, raw=raw))


@pytest.mark.parametrize("raw", [b'{"a":' + b"[" * 100_000, b'{"a":\xff}', b"{}x", b'{"a":NaN}'])
def test_a_header_that_is_no_json_is_rejected(raw: bytes) -> None:
    with pytest.raises(Rejected, match="header is damaged"):
        check(made(None, raw=raw))


def test_a_header_longer_than_the_limit_is_refused_unread() -> None:
    with pytest.raises(Rejected, match="not a possible length"):
        check((2**40).to_bytes(8, "little") + b"{}")


def test_an_unknown_dtype_is_a_note() -> None:
    found = check_bytes(made({"a": entry(0, 4, "F99", [1])}, bytes(4)), name="a.safetensors")
    assert "F99" in found.notes[1]


@examples(200)
@given(st.integers(0, 400), st.integers(1, 255))
def test_a_scribbled_header_raises_nothing_but_rejected(offset: int, change: int) -> None:
    damaged = bytearray(GOOD)
    damaged[offset % len(damaged)] ^= change
    try:
        check(bytes(damaged))
    except Rejected:
        return
