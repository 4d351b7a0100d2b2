"""A pickle read as data: the same things as Python finds in it, and nothing for a hostile one."""

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.errors import IntegrityError
from ckpt_tier.tensors import arguments, opcodes, tree
from ckpt_tier.tensors.catalogue import catalogue
from ckpt_tier.tensors.nodes import Node
from ckpt_tier.tensors.opcodes import read_pickle
from ckpt_tier.tensors.ranges import Cost, Ranges
from tests.unit.tensors.test_catalogue import ranges

PROTO = b"\x80\x02"
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4)
    ),
    max_leaves=20,
)


def plain(value: Any) -> Any:
    """What the tree stands for."""
    if isinstance(value, Node):
        assert value.kind == "dict"
        return {key: plain(each) for key, each in value.pairs}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    return value


@given(values, st.integers(2, 5))
def test_plain_data_are_what_python_reads(value: Any, protocol: int) -> None:
    data = pickle.dumps([value, value], protocol)
    read = read_pickle(ranges(data), 0, len(data))
    assert plain(read.root) == [value, value]
    assert read.end == len(data)


@given(st.binary(max_size=80))
def test_any_bytes_give_a_list_or_an_error_of_ours(data: bytes) -> None:
    try:
        catalogue(ranges(PROTO + data), "a.pkl")
    except IntegrityError as error:
        told = str(error)
        assert told.isprintable()


def laughs() -> bytes:
    """A list of ten lists of ten lists …, thirty levels deep, in 1 kB."""
    level = b"(K\1" + b"K\1" * 9 + b"l"
    for index in range(30):
        get = b"h" + bytes([index])
        level += b"q" + bytes([index]) + b"0(" + get * 10 + b"l"
    return level


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"]" * 100_000 + b"a" * 99_999, "nested more than 64 levels deep"),
        (b"]q\0h\0a", "holds itself"),
        (laughs(), "too many to list"),
        (b"K\1r\xff\xff\xff\x3f", ""),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", "ends too early"),
        (b"\x8b\xff\xff\xff\x7f", "too long"),
        (b"\x82\1", "not used"),
        (b"(", "damaged"),
        (b"cos\nsystem\nX\2\0\0\0lsR", "no tuple"),
        (b"}" + b"X\xff\x04\0\0" + b"k" * 0x4FF + b"K\1s", "1,024 characters"),
    ],
    ids=["deep", "cycle", "laughs", "memo", "string", "number", "extension", "mark", "call", "name"],
)
def test_a_hostile_pickle_ends_soon_in_a_clear_error(body: bytes, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MOST_NAMES", 20_000)
    if why:
        with pytest.raises(IntegrityError, match=why):
            catalogue(ranges(PROTO + body + b"."), "a.pkl")
    else:
        catalogue(ranges(PROTO + body + b"."), "a.pkl")


def test_a_key_nested_so_deep_that_its_hash_would_end_the_process_is_no_danger() -> None:
    body = b"}" + b"K\1" + b"\x85" * 200_000 + b"K\2s"
    [entry] = catalogue(ranges(PROTO + body + b"."), "a.pkl").entries
    assert (entry.name, entry.value) == ("tuple", "2")


def test_a_pickle_of_more_things_than_can_be_listed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opcodes, "MOST_OPCODES", 10_000)
    data = pickle.dumps(list(range(10_000)), 2)
    with pytest.raises(IntegrityError, match="more than 10,000 opcodes"):
        catalogue(ranges(data), "a.pkl")


def test_text_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arguments, "MOST_TEXT", 1000)
    data = pickle.dumps([str(i) * 200 for i in range(20)], 2)
    with pytest.raises(IntegrityError, match="of text"):
        catalogue(ranges(data), "a.pkl")


def test_a_long_string_is_passed_over_unread() -> None:
    data = pickle.dumps({"blob": bytes(30_000_000), "after": 3}, 4)
    read = []

    def fetch(offset: int, length: int) -> bytes:
        read.append(length)
        return data[offset : offset + length]

    found = catalogue(Ranges(len(data), fetch, Cost()), "a.pkl")
    assert [(entry.name, entry.value) for entry in found.entries] == [("blob", "30000000 bytes"), ("after", "3")]
    assert sum(read) < 10_000_000
