"""What is noted of checkpoints later: in keys, which anybody who can write to the bucket may have made."""

import math
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ckpt_tier.cold.cache import ManifestCache
from ckpt_tier.cold.keys import metric_key, parse_metric_name
from ckpt_tier.cold.manifests import Manifests
from ckpt_tier.cold.notes import list_notes, write_metric
from ckpt_tier.core.branches import Branch
from ckpt_tier.core.metrics import check_metric
from ckpt_tier.core.nouns import MAX_STEP
from ckpt_tier.errors import UsageError
from ckpt_tier.store.protocol import check_key
from tests.stores import folder_store

GENERATION, OTHER = "a" * 16, "b" * 16
AT = 2_000_000_000_000_000
NAMES = st.text(min_size=1, max_size=50)


@given(
    st.integers(0, MAX_STEP),
    st.integers(0, 10**16 - 1),
    NAMES,
    st.floats(allow_nan=False, allow_infinity=False),
)
@example(5, AT, "val/loss", 1e300)
@example(5, AT, "f1@0.5=x!", -5e-324)
@example(5, AT, "ü~ %", -0.0)
def test_a_key_says_it_all_and_is_fit_for_every_store(step: int, at: int, name: str, value: float) -> None:
    try:
        check_metric(name)
    except UsageError:
        return
    key = metric_key("run", "0", step, GENERATION, at, name, value)
    assert check_key(key) == key
    last = key.rpartition("/")[2]
    assert len(last) <= 255
    assert last.isascii()
    assert not set(last) & set("%+& /\\'\"")
    assert parse_metric_name(last) == (step, GENERATION, at, name, value)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "loss=1.json",
        f"metric.000000000005.{GENERATION}.{AT}.loss=nan.json",
        f"metric.000000000005.{GENERATION}.{AT}.loss=1e999.json",
        f"metric.000000000005.{GENERATION}.{AT}.loss=1.0",
        f"metric.000000000005.{GENERATION}.{AT}.loss=01.0.json",
        f"metric.000000000005.{GENERATION}.{AT}.loss=1.00.json",
        f"metric.000000000005.{GENERATION}.{AT}.=1.0.json",
        f"metric.000000000005.{GENERATION}.{AT}.!1b[31mloss=1.0.json",
        f"metric.000000000005.{GENERATION}.{AT}.!1B=1.0.json",
        f"metric.000000000005.{GENERATION}.{AT}.!ff=1.0.json",
        f"metric.000000000005.{GENERATION}.{AT}.!6closs=1.0.json",
        f"metric.5.{GENERATION}.{AT}.loss=1.0.json",
        f"metric.000000000005.{GENERATION.upper()}.{AT}.loss=1.0.json",
        f"metric.000000000005.{GENERATION}.{AT}.{'x' * 200}=1.0.json",
    ],
)
def test_a_name_that_is_not_written_so_by_us_is_no_note(name: str) -> None:
    assert parse_metric_name(name) is None


@given(st.text(st.sampled_from("metric.0123456789abcdef!=-+e_~%\u0663"), max_size=120))
def test_whatever_stands_in_a_name_it_is_ours_or_nothing(text: str) -> None:
    found = parse_metric_name(f"metric.000000000005.{GENERATION}.{AT}.{text}.json")
    assert found is None or (math.isfinite(found[4]) and found[3].isprintable())


def test_the_last_word_on_each_metric_counts_and_branches_are_listed_along(tmp_path: Path) -> None:
    store = folder_store(tmp_path / "cold")
    manifests = Manifests(store, "run", ManifestCache(tmp_path / "cache"))
    first, second = ("0", 5, GENERATION), ("0", 5, OTHER)
    write_metric(manifests, first, AT, "loss", 10.0)
    write_metric(manifests, first, AT + 1, "loss", 2.0)
    write_metric(manifests, first, AT, "val/loss", 3.0)
    write_metric(manifests, second, AT, "loss", 1.0)
    store.put("run/0/notes/abandoned.000000000005.2000000000000000.json", b"")
    store.put("run/0/notes/what-somebody-put-there.json", b"{}")
    store.put("run/1/notes/x.json", b"{}")
    notes = list_notes(manifests, ["0", "1", "2"])
    assert notes.metrics == {first: {"loss": 2.0, "val/loss": 3.0}, second: {"loss": 1.0}}
    assert notes.latest == {first: AT + 1, second: AT}
    assert notes.branches == (Branch("0", 5, 2e9),)


def test_a_note_says_in_words_what_its_key_says(tmp_path: Path) -> None:
    store = folder_store(tmp_path / "cold")
    write_metric(Manifests(store, "run", ManifestCache(tmp_path / "cache")), ("0", 5, GENERATION), AT, "val/loss", 3.0)
    [stat] = store.list("run/0/notes/")
    assert stat.key == f"run/0/notes/metric.000000000005.{GENERATION}.{AT}.val!2Floss=3.0.json"
    assert store.get(stat.key, 1000) == (
        b'{"format":1,"generation":"aaaaaaaaaaaaaaaa","metric":"val/loss","noted_at":"2033-05-18T03:33:20.000000Z",'
        b'"series":"0","step":5,"value":3.0}\n'
    )
