"""Pickles that say the same but for a few numbers: these are filled in, and whatever else may differ is no form's."""

import io
import pickle
from typing import Any

import pytest
import torch

from ckpt_tier.formats.check import Rejected
from ckpt_tier.tensors.form import Forms, make_form
from ckpt_tier.tensors.opcodes import MOST_OPCODES, read_pickle, read_with_blanks
from ckpt_tier.tensors.ranges import Cost, Ranges
from ckpt_tier.tensors.tree import Entry, walk


def text_of(value: Any) -> bytes:
    return pickle.dumps(value, protocol=2)


def entries_of(text: bytes) -> tuple[Entry, ...]:
    reader = Ranges(len(text), lambda offset, length: text[offset : offset + length], Cost())
    found = walk(read_pickle(reader, 0, len(text)).root)
    return tuple(thing for _, thing in found if isinstance(thing, Entry))


def state(step: int, rate: float, **more: Any) -> dict[str, Any]:
    return {"step": step, "lr": rate, "betas": (0.9, 0.999), "name": "swelu", "layers": {"0": 1, "1": 2}, **more}


def test_the_numbers_that_differ_are_filled_in_and_all_else_is_known() -> None:
    forms = Forms()
    assert forms.learn(text_of(state(70_000, 0.5)), entries_of(text_of(state(70_000, 0.5)))) is None
    second = text_of(state(75_000, 0.25))
    form = forms.learn(second, entries_of(second))
    assert form is not None
    for third in (state(400_000, 1e-300), state(70_000, 0.5), state(2**31 - 1, float("nan"))):
        assert form.fill(text_of(third)) == entries_of(text_of(third))


def test_a_number_in_a_list_is_filled_in_too() -> None:
    one, other = (text_of(state(300, 0.1, rates=[rate, 1.0, 2.0])) for rate in (0.1, 0.2))
    forms = Forms()
    forms.learn(one, entries_of(one))
    form = forms.learn(other, entries_of(other))
    assert form is not None
    third = text_of(state(300, 0.1, rates=[0.7, 1.0, 2.0]))
    filled = form.fill(third)
    assert filled == entries_of(third)
    assert any(entry.value == "[0.7, 1.0, 2.0]" for entry in filled or ())


def test_what_differs_elsewhere_does_not_fit_and_is_open_from_then_on_if_it_is_a_number() -> None:
    forms = Forms()
    for step in (300, 301):
        form = forms.learn(text_of(state(step, 0.1)), entries_of(text_of(state(step, 0.1))))
    assert form is not None
    assert form.fill(text_of(state(302, 0.1, name="swelv"))) is None
    other = text_of(state(302, 0.2))
    assert form.fill(other) is None
    wider = forms.learn(other, entries_of(other))
    assert wider is not None
    third = text_of(state(303, 0.3))
    assert wider.fill(third) == entries_of(third)


@pytest.mark.parametrize("change", [{"name": "swelv"}, {"flag": True}, {"layers": {"0": 1, "2": 2}}])
def test_what_is_no_number_is_never_left_open(change: dict[str, Any]) -> None:
    base = text_of(state(300, 0.1, flag=False))
    other = text_of(state(300, 0.1) | {"flag": False} | change)
    form = make_form(base, [i for i, (a, b) in enumerate(zip(base, other, strict=True)) if a != b], entries_of(base))
    assert form is None or form.fill(other) is None


def pickled_tensors(length: int) -> bytes:
    """The pickle of torch.save for a tensor of so many elements."""
    import zipfile

    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(length), "step": 300}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return archive.read("archive/data.pkl")


def test_the_size_of_a_tensor_is_never_left_open() -> None:
    one, other = pickled_tensors(1000), pickled_tensors(1001)
    assert len(one) == len(other)
    differs = [i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    assert make_form(one, differs, entries_of(one)) is None
    for at in differs:
        assert make_form(one, [at], entries_of(one)) is None


def test_a_number_that_is_a_name_is_never_left_open() -> None:
    one, other = text_of({300: "a"}), text_of({301: "a"})
    differs = [i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    assert make_form(one, differs, entries_of(one)) is None
    one, other = text_of({(300, "x"): "a"}), text_of({(301, "x"): "a"})
    assert make_form(one, range(len(one)), entries_of(one)) is None


def test_a_number_deep_in_what_is_told_in_one_line_is_never_left_open() -> None:
    import datetime

    one, other = (text_of({"took": datetime.timedelta(days)}) for days in (300, 301))
    differs = [i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    form = make_form(one, differs, entries_of(one))
    assert form is None or form.fill(other) == entries_of(other)


@pytest.mark.parametrize(
    "text", [b"", b"\x80\x02", b"\x80\x02J\x01", b"garbage", b"\x80\x02(((((.", b"G\0\0\0\0\0\0\0\0R."]
)
def test_hostile_texts_are_refused(text: bytes) -> None:
    with pytest.raises(Rejected):
        read_with_blanks(text, range(len(text)))
    assert make_form(text, range(len(text)), ()) is None


def test_one_that_holds_itself_is_refused() -> None:
    held: list[Any] = [300]
    held.append(held)
    text = text_of(held)
    assert make_form(text, range(len(text)), ()) is None
    assert len(text) < MOST_OPCODES
