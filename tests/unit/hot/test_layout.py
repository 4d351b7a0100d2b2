import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ckpt_tier.core.nouns import MAX_STEP
from ckpt_tier.errors import ConfigError, UsageError
from ckpt_tier.hot.layout import Layout, Place

SEED = Layout.parse("model_gpu{series}/model_step_{step}.pt")


@pytest.mark.parametrize(
    ("pattern", "path", "checkpoint"),
    [
        (SEED.pattern, "model_gpu3/model_step_740000.pt", Place("3", 740_000)),
        (SEED.pattern, "model_gpu3/model_step_000740000.pt", Place("3", 740_000)),
        (SEED.pattern, "model_gpu3/model_step_0.pt", Place("3", 0)),
        (SEED.pattern, "model_gpu3/model_step_000.pt", Place("3", 0)),
        (SEED.pattern, f"model_gpu3/model_step_{MAX_STEP}.pt", Place("3", MAX_STEP)),
        (SEED.pattern, f"model_gpu3/model_step_{MAX_STEP + 1}.pt", None),
        (SEED.pattern, "model_gpu3/model_step_.pt", None),
        (SEED.pattern, "model_gpu3/model_step_-5.pt", None),
        (SEED.pattern, "model_gpu3/model_step_٣.pt", None),
        (SEED.pattern, "model_gpu3/model_step_5.pt.tmp", None),
        (SEED.pattern, "model_gpu3/model_step_5_pt", None),
        (SEED.pattern, "model_gpu3/model_step_5.pt\n", None),
        (SEED.pattern, "x/model_gpu3/model_step_5.pt", None),
        (SEED.pattern, "model_gpuA/model_step_5.pt", None),
        (SEED.pattern, "model_gpu/model_step_5.pt", None),
        (SEED.pattern, f"model_gpu{'a' * 64}/model_step_5.pt", Place("a" * 64, 5)),
        (SEED.pattern, f"model_gpu{'a' * 65}/model_step_5.pt", None),
        ("step_{step}.pt", "step_5.pt", Place("main", 5)),
        ("{series}_{step}.pt", "run_1_5.pt", Place("run_1", 5)),
        ("{step}/model_{step:09d}.pt", "5/model_000000005.pt", Place("main", 5)),
        ("{step}/model_{step:09d}.pt", "5/model_000000006.pt", None),
        ("{series}/{series}-{step}.pt", "a/a-5.pt", Place("a", 5)),
        ("{series}/{series}-{step}.pt", "a/b-5.pt", None),
        ("{series}/step+{step}.pt", "a/step+5.pt", Place("a", 5)),
        ("{series}/step+{step}.pt", "a/stepp5.pt", None),
        (".{series}/{step}.pt", ".ckpt-tier/5.pt", None),
    ],
)
def test_a_path_is_matched_by_what_the_pattern_says(
    pattern: str, path: str, checkpoint: tuple[str, int] | None
) -> None:
    assert Layout.parse(pattern).match(path) == checkpoint


def test_leading_zeros_are_written_where_the_pattern_asks_for_them() -> None:
    assert Layout.parse("ckpt-{step:09d}.pt").format("main", 740_000) == "ckpt-000740000.pt"
    assert Layout.parse("ckpt-{step:03d}.pt").format("main", 740_000) == "ckpt-740000.pt"
    assert SEED.format("0", 5) == "model_gpu0/model_step_5.pt"


def test_a_series_or_step_without_a_place_is_refused() -> None:
    with pytest.raises(UsageError, match="no place for the series 'b'"):
        Layout.parse("step_{step}.pt").format("b", 5)
    with pytest.raises(UsageError, match="not a series name"):
        SEED.format("../x", 5)
    with pytest.raises(UsageError, match="not a step"):
        SEED.format("a", MAX_STEP + 1)
    with pytest.raises(UsageError, match="can't hold the series 'ckpt-tier'"):
        Layout.parse(".{series}/{step}.pt").format("ckpt-tier", 5)


@pytest.mark.parametrize(
    ("pattern", "why", "fix"),
    [
        ("model_*.pt", "it is not a shell pattern: * and ? have no meaning in it", "use {step} and {series}"),
        ("model_{step}.p?", "it is not a shell pattern: * and ? have no meaning in it", "use {step} and {series}"),
        ("model.pt", "it has no {step}", 'write [hot] layout like "model_gpu{series}/model_step_{step}.pt"'),
        ("", "it has an empty name, . or .. on its path", None),
        ("../{step}.pt", "it has an empty name, . or .. on its path", None),
        ("a//{step}.pt", "it has an empty name, . or .. on its path", None),
        ("{step}//", "it has an empty name, . or .. on its path", None),
        ("/a/{step}.pt", "it is absolute", "[hot] path says where the folder is, layout what is below it"),
        ("a\\{step}.pt", "it holds a backslash or a control character", "separate folders by /"),
        (".ckpt-tier/{step}.pt", ".ckpt-tier/ holds files of ckpt-tier itself", None),
        ("{rank}.pt", "it has no {step}", None),
        ("{epoch}.pt", "{epoch} is unknown", "there are {step}, {series} and {rank}"),
        ("{}.pt", "{} is unknown", "there are {step}, {series} and {rank}"),
        ("{step:9d}.pt", "{step:9d} is unknown", "leading zeros are written like {step:09d}"),
        ("{step:099d}.pt", "{step:099d} is unknown", "leading zeros are written like {step:09d}"),
        ("{step.pt", "a { without its }, or the other way round", None),
        ("{step}}.pt", "a { without its }, or the other way round", None),
        ("{{step}}.pt", "a { without its }, or the other way round", None),
        (
            "{series}{step}.pt",
            "in '{series}{step}.pt' nobody can tell where one value ends and the next begins",
            "put something other than digits between them, such as _",
        ),
        (
            "{series}0{step}.pt",
            "in '{series}0{step}.pt' nobody can tell where one value ends and the next begins",
            "put something other than digits between them, such as _",
        ),
    ],
)
def test_a_bad_pattern_is_refused_with_its_reason(pattern: str, why: str, fix: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        Layout.parse(pattern)
    assert caught.value.what == f"the layout {pattern!r} can't be used"
    assert caught.value.why == why
    assert caught.value.fix
    if fix:
        assert caught.value.fix == fix


literals = st.text("ab0._-+$^()[]|é {}", max_size=4).filter(lambda text: not set(text) & set("{}"))
marks = st.sampled_from(["{step}", "{step:04d}", "{step:012d}", "{series}"])
segments = st.lists(literals | marks, min_size=1, max_size=5).map("".join)
patterns = st.lists(segments, min_size=1, max_size=3).map("/".join)
series_names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True)
steps = st.integers(0, 200) | st.integers(0, MAX_STEP)


def parsed(pattern: str) -> Layout | None:
    try:
        return Layout.parse(pattern)
    except ConfigError:
        return None


@given(patterns, series_names, steps)
def test_what_format_writes_match_reads_back(pattern: str, series: str, step: int) -> None:
    layout = parsed(pattern)
    assume(layout is not None)
    assert layout is not None
    name = series if layout.has_series else "main"
    path = layout.format(name, step)
    assert layout.match(path) == Place(name, step)
    names = path.split("/")
    assert len(names) == len(layout.segments)
    assert all(segment.fullmatch(name) for segment, name in zip(layout.segments, names, strict=True))


@given(patterns, st.text("ab01._-+/", max_size=20))
def test_what_match_reads_format_writes_but_for_leading_zeros(pattern: str, path: str) -> None:
    layout = parsed(pattern)
    found = layout.match(path) if layout else None
    if layout and found:
        again = layout.format(found.series, found.step, found.rank)
        assert layout.match(again) == found
        assert again.replace("0", "") == path.replace("0", "")
