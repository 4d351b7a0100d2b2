import msgspec
import pytest

from ckpt_tier.cold.documents import decode, encode
from ckpt_tier.errors import IntegrityError


class Document(msgspec.Struct, frozen=True):
    name: str
    count: int = 0
    metrics: dict[str, float] = {}


def test_the_same_structure_always_gives_the_same_bytes() -> None:
    one = Document("a", 1, {"z": 1.0, "a": 2.5})
    assert encode(one) == b'{"count":1,"metrics":{"a":2.5,"z":1.0},"name":"a"}\n'
    assert encode(Document("a", 1, {"a": 2.5, "z": 1.0})) == encode(one)
    assert decode(encode(one), Document, "it") == one


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_json_has_no_number_for_is_never_written(value: float) -> None:
    with pytest.raises(ValueError, match="can't be written"):
        encode(Document("a", metrics={"loss": value}))


HOSTILE = {
    "a duplicate key": b'{"name": "a", "name": "b"}',
    "a duplicate key further down": b'{"name": "a", "metrics": {"x": 1, "x": 2}}',
    "NaN": b'{"name": "a", "metrics": {"x": NaN}}',
    "Infinity": b'{"name": "a", "metrics": {"x": -Infinity}}',
    "a number beyond all floats": b'{"name": "a", "metrics": {"x": 1e999}}',
    "a number of a million digits": b'{"name": "a", "count": ' + b"1" * 10**6 + b"}",
    "a fraction for a count": b'{"name": "a", "count": 1.5}',
    "text for a count": b'{"name": "a", "count": "1"}',
    "a missing field": b'{"count": 1}',
    "a list": b"[]",
    "nothing": b"",
    "half of it": b'{"name": "a"',
    "two of them": b'{"name": "a"}{"name": "b"}',
    "no UTF-8": b'{"name": "\xff\xfe"}',
    "half a surrogate pair": b'{"name": "\\ud800"}',
    "deep nesting": b'{"name": ' + b"[" * 100_000,
    "deep nesting that closes": b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_document_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="the-document"):
        decode(data, Document, "the-document")
