import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier import config
from ckpt_tier.config import (
    KEYS,
    ColdConfig,
    Config,
    FreeSpace,
    HotConfig,
    UploadConfig,
    ValidateConfig,
    WatchConfig,
    default_state_dir,
    from_mapping,
    load,
    render,
)
from ckpt_tier.config.values import Place
from ckpt_tier.core.metrics import Best
from ckpt_tier.core.retention import KeepBest, KeepEvery, KeepFor, KeepLast, Policy
from ckpt_tier.core.saving import Gap, SaveRules
from ckpt_tier.errors import ConfigError, UsageError

ENV = {"HOME": "/home/someone"}
MINIMAL = 'run = "swelu"\n[cold]\nurl = "s3://bucket/prefix"\n'


def written(folder: Path, text: str) -> Path:
    file = folder / "ckpt-tier.toml"
    file.write_text(text, encoding="utf-8")
    return file


def loaded(folder: Path, text: str, **env: str) -> Config:
    written(folder, text)
    return load(env=ENV | env, cwd=folder)


def refused(folder: Path, text: str, **env: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, **env)
    return caught.value


def section(name: str, line: str) -> str:
    """MINIMAL with one more line in a section."""
    if name == "":
        return f"{line}\n{MINIMAL}"
    return f"{MINIMAL}{line}\n" if name == "cold" else f"{MINIMAL}[{name}]\n{line}\n"


# What is read


def test_the_smallest_file_has_the_documented_defaults(tmp_path: Path) -> None:
    hot = tmp_path / "checkpoints"
    assert loaded(tmp_path, MINIMAL) == Config(
        file=tmp_path / "ckpt-tier.toml",
        run="swelu",
        run_id=None,
        state_dir=default_state_dir(hot, ENV),
        hot=HotConfig(path=hot),
        cold=ColdConfig(url="s3://bucket/prefix"),
        validate=ValidateConfig(),
        upload=UploadConfig(),
        watch=WatchConfig(),
    )


def test_every_key_is_read_into_what_it_means(tmp_path: Path) -> None:
    got = loaded(
        tmp_path,
        """
        run = "swelu"
        run_id = "3f9c41aa03b7d5e1"
        state_dir = "~/state"
        [hot]
        path = "../elsewhere"
        layout = "model_gpu{series}/model_step_{step}.pt"
        keep_last = 2
        keep_best = {metric = "loss", mode = "min"}
        min_free = "50GiB"
        settle = "1m"
        hold = "7d"
        [validate]
        level = "deep"
        on_rejected = "aside"
        non_finite = "reject"
        custom = "my.module:check"
        [cold]
        url = "s3://bucket/prefix/"
        endpoint_url = "http://127.0.0.1:9000/"
        region = "eu-central-1"
        profile = "training"
        addressing = "path"
        ca_bundle = "ca.pem"
        sse = "aws:kms"
        sse_kms_key_id = "alias/checkpoints"
        same_device = true
        keep_last = 10
        keep_every = 50_000
        keep_best = {metric = "accuracy", mode = "max", count = 3}
        keep_for = "30d"
        grace = "14d"
        [upload]
        order = "oldest"
        bandwidth = "200MB/s"
        attempts = 3
        [save]
        every = 5_000
        interval = "30m"
        best = "accuracy, max"
        min_gap = "500 steps"
        [watch]
        verify = "content"
        verify_every = "12h"
        """,
    )
    assert got == Config(
        file=tmp_path / "ckpt-tier.toml",
        run="swelu",
        run_id="3f9c41aa03b7d5e1",
        state_dir=Path("/home/someone/state"),
        hot=HotConfig(
            path=tmp_path.parent.resolve() / "elsewhere",
            layout="model_gpu{series}/model_step_{step}.pt",
            keep_last=2,
            keep_best=KeepBest("loss", "min", 1),
            min_free=FreeSpace(size=50 * 2**30),
            settle=60.0,
            hold=7 * 86_400.0,
        ),
        cold=ColdConfig(
            url="s3://bucket/prefix",
            endpoint_url="http://127.0.0.1:9000",
            region="eu-central-1",
            profile="training",
            addressing="path",
            ca_bundle=str(tmp_path / "ca.pem"),
            sse="aws:kms",
            sse_kms_key_id="alias/checkpoints",
            same_device=True,
            keep_last=10,
            keep_every=50_000,
            keep_best=KeepBest("accuracy", "max", 3),
            keep_for=30 * 86_400.0,
            grace=14 * 86_400.0,
        ),
        validate=ValidateConfig(level="deep", on_rejected="aside", non_finite="reject", custom="my.module:check"),
        upload=UploadConfig(order="oldest", bandwidth=200_000_000, attempts=3),
        save=SaveRules(every=5000, interval=1800.0, best=Best("accuracy", "max"), min_gap=Gap(steps=500)),
        watch=WatchConfig(verify="content", verify_every=43_200.0),
    )


STRUCTS: dict[str, type[msgspec.Struct]] = {
    "": Config,
    "hot": HotConfig,
    "validate": ValidateConfig,
    "cold": ColdConfig,
    "upload": UploadConfig,
    "save": SaveRules,
    "watch": WatchConfig,
}


def test_the_table_of_keys_and_the_structs_name_the_same_keys() -> None:
    for name, struct in STRUCTS.items():
        fields = {field.name for field in msgspec.structs.fields(struct)} - {"file", *STRUCTS}
        assert {key.name for key in KEYS if key.section == name} == fields


def test_defaults_of_the_table_are_those_of_the_structs() -> None:
    for key in KEYS:
        field = next(f for f in msgspec.structs.fields(STRUCTS[key.section]) if f.name == key.name)
        if key.written == "[hot] path" or key.section == "":
            continue
        default = None if field.default in (msgspec.NODEFAULT, "") else field.default
        read = key.default and key.read(tomllib.loads(f"v = {key.default}")["v"], Place(Path("/"), Path("/")))
        assert read == default, key.written


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.variable)
def test_the_example_of_every_key_is_accepted(key: config.Key, tmp_path: Path) -> None:
    document: dict[str, Any] = tomllib.loads(MINIMAL)
    if key.name == "sse_kms_key_id":
        document["cold"]["sse"] = "aws:kms"
    example = tomllib.loads(f"v = {key.example}")["v"]
    if key.section:
        document.setdefault(key.section, {})[key.name] = example
    else:
        document[key.name] = example
    from_mapping(document, env=ENV, cwd=tmp_path)


@pytest.mark.parametrize(
    ("line", "env", "meaning"),
    [
        ("", {}, None),
        ('ranks = "auto"', {}, None),
        ("ranks = 6", {}, 6),
        ("ranks = 6", {"CKPT_TIER_HOT__RANKS": "auto"}, None),
        ("ranks = 6", {"CKPT_TIER_HOT__RANKS": '"auto"'}, None),
        ('ranks = "auto"', {"CKPT_TIER_HOT__RANKS": "8"}, 8),
    ],
)
def test_ranks_are_a_number_or_auto_which_is_the_same_as_leaving_it_out(
    line: str, env: dict[str, str], meaning: int | None, tmp_path: Path
) -> None:
    assert loaded(tmp_path, section("hot", line), **env).hot.ranks == meaning


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("every = 0", "it is less than 1"),
        ('interval = "0s"', "it is less than a second"),
        ('best = "loss, least"', "does not say min or max"),
        ('best = ", min"', "names no metric"),
        ('min_gap = "500"', "is no gap"),
        ("min_gap = 500", "it is a number without quotes"),
        ('min_gap = "101w 5h"', "is no gap"),
        ('min_gap = "6000w"', "it is longer than 100 years"),
    ],
)
def test_a_rule_for_saving_that_can_not_be_is_refused_with_an_example(line: str, reason: str, tmp_path: Path) -> None:
    error = refused(tmp_path, MINIMAL + f"[save]\n{line}\n")
    assert reason in str(error)
    assert "for example" in error.fix


@pytest.mark.parametrize(
    ("url", "meaning"),
    [
        ("cold", "{file}/cold"),
        ("./cold/", "{file}/cold"),
        ("~/cold", "/home/someone/cold"),
        ("/mnt/nas/ckpt/", "/mnt/nas/ckpt"),
        ("file:///mnt/nas/ckpt", "file:///mnt/nas/ckpt"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/a/b//", "s3://bucket/a/b"),
        ("gcs://bucket/x", "gcs://bucket/x"),
        ("memory://", "memory://"),
    ],
)
def test_a_cold_url_is_kept_and_a_folder_made_absolute(url: str, meaning: str, tmp_path: Path) -> None:
    got = loaded(tmp_path, f'run = "a"\n[cold]\nurl = "{url}"\n')
    assert got.cold.url == meaning.format(file=tmp_path)


def test_the_state_folder_is_one_for_each_hot_folder_however_it_is_reached(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    direct = default_state_dir(tmp_path / "real", ENV)
    assert default_state_dir(tmp_path / "link", ENV) == direct
    assert default_state_dir(tmp_path / "other", ENV) != direct
    assert direct.parent == Path("/home/someone/.local/state/ckpt-tier")
    assert len(direct.name) == 16
    assert default_state_dir(tmp_path / "real", ENV | {"XDG_STATE_HOME": "/xdg"}).parent == Path("/xdg/ckpt-tier")
    assert default_state_dir(tmp_path / "real", ENV | {"XDG_STATE_HOME": "relative"}) == direct


def test_free_space_is_a_share_or_a_size() -> None:
    assert FreeSpace.parse("10%").bytes_of(1000) == 100
    assert FreeSpace.parse("0%").bytes_of(1000) == 0
    assert FreeSpace.parse("50GiB").bytes_of(1000) == 50 * 2**30
    with pytest.raises(UsageError):
        FreeSpace.parse("101%")


# Where it is found


def test_the_nearest_file_upward_is_found(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    written(tmp_path, MINIMAL)
    assert load(env=ENV, cwd=below).file == tmp_path / "ckpt-tier.toml"
    written(tmp_path / "a", MINIMAL)
    got = load(env=ENV, cwd=below)
    assert got.file == tmp_path / "a" / "ckpt-tier.toml"
    assert got.hot.path == tmp_path / "a" / "checkpoints"


def test_a_path_counts_before_the_variable_and_that_before_the_search(tmp_path: Path) -> None:
    written(tmp_path, MINIMAL)
    for name in ("by_path.toml", "by_variable.toml"):
        (tmp_path / name).write_text(MINIMAL)
    env = ENV | {"CKPT_TIER_CONFIG": "by_variable.toml"}
    assert load(env=env, cwd=tmp_path).file == tmp_path / "by_variable.toml"
    assert load(Path("by_path.toml"), env=env, cwd=tmp_path).file == tmp_path / "by_path.toml"


def test_no_file_at_all_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(env=ENV, cwd=tmp_path)
    assert str(caught.value) == f"there is no ckpt-tier.toml in {tmp_path} or in a folder above it"
    assert caught.value.fix == "run: ckpt-tier init checkpoints/ s3://bucket/prefix"
    assert caught.value.exit_code == 3


def test_a_named_file_that_is_missing_says_who_named_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no configuration file .*/gone\.toml \(from CKPT_TIER_CONFIG\)"):
        load(env=ENV | {"CKPT_TIER_CONFIG": "gone.toml"}, cwd=tmp_path)
    with pytest.raises(ConfigError, match=r"no configuration file .*/gone\.toml$"):
        load(Path("gone.toml"), env=ENV, cwd=tmp_path)


def test_the_environment_alone_is_enough(tmp_path: Path) -> None:
    env = {"CKPT_TIER_RUN": "swelu", "CKPT_TIER_COLD__URL": "cold", "CKPT_TIER_HOT__PATH": "hot"}
    got = load(env=ENV | env, cwd=tmp_path)
    assert (got.file, got.hot.path, got.cold.url) == (None, tmp_path / "hot", f"{tmp_path}/cold")


def test_arguments_count_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    written(tmp_path, MINIMAL)
    env = ENV | {"CKPT_TIER_RUN": "by-env", "CKPT_TIER_COLD__URL": "s3://by-env"}
    assert load(env=env, cwd=tmp_path).run == "by-env"
    got = load(env=env, cwd=tmp_path, arguments={"run": "by-call", "cold.url": None})
    assert (got.run, got.cold.url) == ("by-call", "s3://by-env")
    with pytest.raises(ConfigError, match='the argument run = "No!"'):
        load(env=env, cwd=tmp_path, arguments={"run": "No!"})


# The environment


def test_variables_are_text_where_the_key_takes_text_and_toml_elsewhere(tmp_path: Path) -> None:
    got = loaded(
        tmp_path,
        MINIMAL,
        CKPT_TIER_RUN="2024",
        CKPT_TIER_HOT__KEEP_LAST="5",
        CKPT_TIER_HOT__SETTLE="'30s'",
        CKPT_TIER_COLD__SAME_DEVICE="true",
        CKPT_TIER_UPLOAD__BANDWIDTH="1MB/s",
        CKPT_TIER_COLD__ENDPOINT_URL="",
        CKPT_TIER_SAVE_ID="x",
        CKPT_TIER_TEST_S3__URL="x",
        UNRELATED__KEY="x",
    )
    assert (got.run, got.hot.keep_last, got.hot.settle) == ("2024", 5, 30.0)
    assert (got.cold.same_device, got.upload.bandwidth, got.cold.endpoint_url) == (True, 1_000_000, None)


@pytest.mark.parametrize(
    ("variable", "value", "message", "fix"),
    [
        (
            "CKPT_TIER_HOT__KEEP_LAST",
            "many",
            'CKPT_TIER_HOT__KEEP_LAST = "many": it is text',
            "it must be a whole number, 1 or more, for example CKPT_TIER_HOT__KEEP_LAST=5",
        ),
        (
            "CKPT_TIER_HOT__KEEP_LAST",
            "5\nx = 1",
            'CKPT_TIER_HOT__KEEP_LAST = "5\\nx = 1": it is text',
            "it must be a whole number, 1 or more, for example CKPT_TIER_HOT__KEEP_LAST=5",
        ),
        (
            "CKPT_TIER_HOT__RANKS",
            "AUTO",
            'CKPT_TIER_HOT__RANKS = "AUTO": it is text, and not "auto"',
            'it must be a whole number, 1 or more, or "auto", for example CKPT_TIER_HOT__RANKS=6',
        ),
        (
            "CKPT_TIER_HOT__KEEPLAST",
            "5",
            "the environment variable CKPT_TIER_HOT__KEEPLAST is unknown",
            "did you mean CKPT_TIER_HOT__KEEP_LAST?",
        ),
    ],
)
def test_mistakes_in_the_environment_name_the_variable(
    variable: str, value: str, message: str, fix: str, tmp_path: Path
) -> None:
    error = refused(tmp_path, MINIMAL, **{variable: value})
    assert (str(error), error.fix) == (message, fix)


# What is refused: the commonest mistakes, word for word ({file} is the file)

WHOLE = "it must be a whole number, 1 or more, for example keep_last = 5"
RANKS = 'it must be a whole number, 1 or more, or "auto", for example ranks = 6'
SPACE = 'it must be a share of the disk such as "10%", or a size such as "50GiB", for example min_free = "50GiB"'
BEST = (
    "it must be a table of metric, mode (min or max) and count, for example "
    'keep_best = {metric = "loss", mode = "min", count = 3}'
)
SETTLE = 'it must be a duration such as "10s", "2m", "12h" or "7d", for example settle = "30s"'
URL = (
    'it must be a URL such as "s3://bucket/prefix" or "file:///mnt/nas/ckpt", or a folder, '
    'for example url = "s3://checkpoints/prod"'
)
RUN = 'it must be a name: a letter or digit, then at most 63 of a-z 0-9 . _ -, for example run = "swelu"'


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        (section("hot", "keep_last = 0"), "{file}: [hot] keep_last = 0: it is less than 1", WHOLE),
        (section("hot", 'keep_last = "3"'), '{file}: [hot] keep_last = "3": it is text', WHOLE),
        (section("hot", "keep_last = true"), "{file}: [hot] keep_last = true: it is a truth value", WHOLE),
        (section("hot", "keep_last = 3.5"), "{file}: [hot] keep_last = 3.5: it is the wrong kind of number", WHOLE),
        (section("hot", "keep_last = [3]"), "{file}: [hot] keep_last = …: it is not a single value", WHOLE),
        (section("hot", "keeplast = 3"), "{file}: [hot] keeplast is unknown", "did you mean keep_last?"),
        (section("upload", "keep_last = 3"), "{file}: [upload] keep_last is unknown", "did you mean [hot] keep_last?"),
        (
            section("hot", 'min_free = "5 parsecs"'),
            "{file}: [hot] min_free = \"5 parsecs\": '5 parsecs' is not an amount of space",
            SPACE,
        ),
        (
            section("hot", 'min_free = "120%"'),
            "{file}: [hot] min_free = \"120%\": '120%' is more than the whole disk",
            SPACE,
        ),
        (section("hot", "settle = 10"), "{file}: [hot] settle = 10: it is a number without quotes", SETTLE),
        (section("hot", 'settle = "-1s"'), "{file}: [hot] settle = \"-1s\": '-1s' is not a duration", SETTLE),
        (section("hot", 'settle = "6000w"'), '{file}: [hot] settle = "6000w"', None),
        (section("hot", "settle = 2024-01-01"), "{file}: [hot] settle = 2024-01-01: it is a date or time", SETTLE),
        (
            section("hot", 'path = ""'),
            '{file}: [hot] path = "": it is empty',
            'it must be a folder, for example path = "checkpoints"',
        ),
        (
            section("hot", 'path = "a\\u0000b"'),
            '{file}: [hot] path = "a\\u0000b": it holds a control character',
            'it must be a folder, for example path = "checkpoints"',
        ),
        (
            section("hot", 'complete_when = "a/b"'),
            '{file}: [hot] complete_when = "a/b": it is a path, and the name of a file is wanted',
            None,
        ),
        (section("hot", "ranks = 0"), "{file}: [hot] ranks = 0: it is less than 1", RANKS),
        (section("hot", 'ranks = "all"'), '{file}: [hot] ranks = "all": it is text, and not "auto"', RANKS),
        (section("hot", 'ranks = "6"'), '{file}: [hot] ranks = "6": it is text, and not "auto"', RANKS),
        (section("hot", "ranks = true"), "{file}: [hot] ranks = true: it is a truth value", RANKS),
        (section("hot", "ranks = 6.5"), "{file}: [hot] ranks = 6.5: it is the wrong kind of number", RANKS),
        (section("cold", "keep_every = 0"), "{file}: [cold] keep_every = 0: it is less than 1", None),
        (
            section("cold", "keep_last = 2"),
            "{file}: [cold] keep_last = 2: the cold tier would keep fewer than the hot one, whose keep_last is 3",
            "raise it, or add another rule under [cold], such as keep_every",
        ),
        (section("cold", 'grace = "59m"'), '{file}: [cold] grace = "59m"', None),
        (section("cold", "keep_best = 3"), "{file}: [cold] keep_best = 3: it is not a table", BEST),
        (section("cold", 'keep_best = "loss"'), '{file}: [cold] keep_best = "loss": it is text', BEST),
        (section("cold", "keep_best = [{}]"), "{file}: [cold] keep_best = …: it is not a table", BEST),
        (section("cold", 'keep_best = {mode = "min"}'), "{file}: [cold] keep_best = …: it names no metric", BEST),
        (
            section("cold", 'keep_best = {metric = "loss"}'),
            '{file}: [cold] keep_best = …: its mode is neither "min" nor "max"',
            BEST,
        ),
        (
            section("hot", 'keep_best = {metric = "loss", mode = "min", count = true}'),
            "{file}: [hot] keep_best = …: its count is not 1 or more",
            BEST,
        ),
        (
            section("hot", 'keep_best = {metric = "loss", mode = "min", keep = 1}'),
            "{file}: [hot] keep_best = …: it has no keep",
            BEST,
        ),
        (
            section("watch", 'verify_every = "100ms"'),
            '{file}: [watch] verify_every = "100ms": it is less than a second',
            (
                'it must be a duration such as "10s", "2m", "12h" or "7d", at least a second, '
                'for example verify_every = "30d"'
            ),
        ),
        (section("colt", "x = 1"), "{file}: [colt] is unknown", "did you mean [cold]?"),
        (section("", "hot = 3"), "{file}: hot is a section, not a key", "write [hot]"),
        (section("", 'name = "x"'), "{file}: name is unknown", "remove it; there are: run, run_id, state_dir"),
        (MINIMAL.replace("swelu", "Swelu"), "{file}: run = \"Swelu\": 'Swelu' is not a run name", RUN),
        (MINIMAL.replace('"swelu"', "7"), "{file}: run = 7: it is a number without quotes", RUN),
        (
            '[cold]\nurl = "s3://b"\n',
            "{file} does not say run",
            'add run = "swelu" at the top, or set CKPT_TIER_RUN',
        ),
        (
            'run = "a"\n[cold]\nregion = "eu-central-1"\n',
            "{file} does not say [cold] url",
            'add url = "s3://checkpoints/prod" under [cold], or set CKPT_TIER_COLD__URL',
        ),
        (section("", 'run_id = "1"'), '{file}: run_id = "1": it is not an id of a run', None),
        (
            section("upload", 'bandwidth = "0MB/s"'),
            '{file}: [upload] bandwidth = "0MB/s": nothing could ever be uploaded',
            'it must be a rate such as "200MB/s", for example bandwidth = "200MB/s"',
        ),
        (
            section("upload", 'bandwidth = "200MB"'),
            "{file}: [upload] bandwidth = \"200MB\": '200MB' is not a bandwidth",
            'it must be a rate such as "200MB/s", for example bandwidth = "200MB/s"',
        ),
        (
            section("validate", 'level = "thorough"'),
            '{file}: [validate] level = "thorough": there is no such choice',
            'it must be "fast", "full" or "deep", for example level = "deep"',
        ),
        (section("validate", 'custom = "rm -rf"'), '{file}: [validate] custom = "rm -rf"', None),
        (
            section("cold", 'sse_kms_key_id = "k"'),
            "{file}: [cold] sse_kms_key_id is set: it means nothing without KMS",
            'set sse = "aws:kms" under [cold], or remove sse_kms_key_id',
        ),
        (
            section("cold", 'endpoint_url = "127.0.0.1:9000"'),
            '{file}: [cold] endpoint_url = "127.0.0.1:9000": it is not the URL of a server',
            None,
        ),
        (MINIMAL.replace("s3://", "s3:/"), '{file}: [cold] url = "s3:/bucket/prefix"', URL),
        (MINIMAL.replace("s3://", "s3//"), '{file}: [cold] url = "s3//bucket/prefix"', URL),
        (MINIMAL.replace("s3://", "S3://"), '{file}: [cold] url = "S3://bucket/prefix"', URL),
        (MINIMAL.replace("s3://", "s3:///"), '{file}: [cold] url = "s3:///bucket/prefix": it names no bucket', URL),
        (MINIMAL.replace("s3://", "file://"), '{file}: [cold] url = "file://bucket/prefix"', URL),
        (
            MINIMAL.replace("s3://", "http://"),
            '{file}: [cold] url = "http://bucket/prefix": a server goes into endpoint_url, its bucket into url',
            URL,
        ),
    ],
)
def test_common_mistakes_are_explained(text: str, message: str, fix: str | None, tmp_path: Path) -> None:
    error = refused(tmp_path, text)
    wanted = message.replace("{file}", str(tmp_path / "ckpt-tier.toml"))
    if fix is None or fix is URL:
        assert str(error).startswith(wanted)
        assert error.fix.startswith("it must be ")
    else:
        assert str(error) == wanted
    if fix is not None:
        assert error.fix == fix


def test_a_cold_folder_in_the_hot_folder_is_refused(tmp_path: Path) -> None:
    for url in ("checkpoints/cold", f"file://{tmp_path}/checkpoints"):
        error = refused(tmp_path, f'run = "a"\n[cold]\nurl = "{url}"\n')
        assert "it lies in the hot folder" in str(error)
    assert loaded(tmp_path, 'run = "a"\n[cold]\nurl = "checkpoints-cold"\n')


def test_a_syntax_error_names_the_file_and_the_line(tmp_path: Path) -> None:
    error = refused(tmp_path, 'run = "a"\n[cold]\nurl = s3://bucket\n')
    assert str(error) == f"{tmp_path}/ckpt-tier.toml is not TOML: Invalid value (at line 3, column 7)"
    assert error.fix == 'look at that line; text stands in quotes: run = "swelu"'


def test_files_that_are_no_text_or_nested_without_end_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "ckpt-tier.toml"
    file.write_bytes(b'run = "\xff"\n')
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load(env=ENV, cwd=tmp_path)
    file.write_text("a = " + "[" * 100_000)
    with pytest.raises(ConfigError, match=r"nested too deeply|is not TOML"):
        load(env=ENV, cwd=tmp_path)


@pytest.mark.parametrize(
    ("text", "env"),
    [
        (section("cold", 'access_key = "SECRET"'), {}),
        (section("cold", 'aws_secret_access_key = "SECRET"'), {}),
        (section("cold", 'session_token = "SECRET"'), {}),
        (section("", 'password = "SECRET"'), {}),
        (section("cold", 'endpoint_url = "http://user:SECRET@host:9000"'), {}),
        ('run = "a"\n[cold]\nurl = "sftp://user:SECRET@host/folder"\n', {}),
        (MINIMAL, {"CKPT_TIER_COLD__SECRET_KEY": "SECRET"}),
        (MINIMAL, {"CKPT_TIER_COLD__URL": "s3://key:SECRET@bucket"}),
    ],
)
def test_credentials_are_refused_without_repeating_them(text: str, env: dict[str, str], tmp_path: Path) -> None:
    error = refused(tmp_path, text, **env)
    assert "a configuration holds no secrets" in str(error)
    assert "AWS_ACCESS_KEY_ID" in error.fix
    assert "SECRET" not in str(error).replace("CKPT_TIER_COLD__SECRET_KEY", "")


def test_a_secret_in_a_wrong_place_is_not_shown_either(tmp_path: Path) -> None:
    for line in ('cold = "s3://user:SECRET@host"', 'nonsense = "SECRET"'):
        assert "SECRET" not in str(refused(tmp_path, f'run = "a"\n{line}\n'))


# What is written

names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True)
folder_names = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=20
).filter(lambda name: name not in (".", "..") and name.strip())
paths = st.lists(folder_names, min_size=1, max_size=3).map(lambda parts: Path("/", *parts))
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)
no_password = texts.filter(lambda text: "://" not in text)
seconds = st.integers(0, 10**8).map(float) | st.floats(0, 10**8).filter(lambda x: x == 0 or x > 1e-9)
space_sizes = st.integers(0, 2**52).map(lambda size: FreeSpace(size=size))
space_shares = st.floats(0, 100).filter(lambda x: x == 0 or x > 1e-9).map(lambda share: FreeSpace(percent=share))


metric_names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
best = st.builds(KeepBest, metric_names, st.sampled_from(["min", "max"]), st.integers(1, 10**6))


@st.composite
def configs(draw: st.DrawFn) -> Config:
    file = draw(paths) / "ckpt-tier.toml"
    below = draw(st.booleans())
    hot = (file.parent if below else Path("/hot")) / draw(folder_names)
    sse: Any = draw(st.sampled_from([None, "AES256", "aws:kms"]))
    return Config(
        file=file,
        run=draw(names),
        run_id=draw(st.none() | st.from_regex(r"[0-9a-f]{16}", fullmatch=True)),
        state_dir=draw(st.just(default_state_dir(hot, ENV)) | paths),
        hot=HotConfig(
            path=hot,
            layout=draw(st.just("auto") | no_password.filter(lambda text: "{rank}" not in text)),
            keep_last=draw(st.integers(1, 10**9)),
            keep_every=draw(st.none() | st.integers(1, 10**9)),
            keep_best=draw(st.none() | best),
            keep_for=draw(st.none() | seconds),
            min_free=draw(space_sizes | space_shares),
            settle=draw(seconds),
            hold=draw(seconds),
            ranks=draw(st.none() | st.integers(1, 10**6)),
        ),
        validate=ValidateConfig(
            level=draw(st.sampled_from(["fast", "full", "deep"])),
            on_rejected=draw(st.sampled_from(["keep", "aside"])),
            non_finite=draw(st.sampled_from(["record", "reject"])),
            custom=draw(st.sampled_from([None, "a.b:c"])),
        ),
        cold=ColdConfig(
            url=draw(st.sampled_from(["s3://bucket/a", "file:///mnt/x", "/mnt/nas/ckpt x"])),
            endpoint_url=draw(st.sampled_from([None, "https://host:9000"])),
            region=draw(st.none() | no_password),
            profile=draw(st.none() | no_password),
            addressing=draw(st.sampled_from(["auto", "path", "virtual"])),
            ca_bundle=draw(st.none() | paths.map(str)),
            sse=sse,
            sse_kms_key_id=draw(st.none() | no_password) if sse == "aws:kms" else None,
            same_device=draw(st.booleans()),
            keep_last=draw(st.none() | st.just(10**9)),
            keep_every=draw(st.none() | st.integers(1, 10**9)),
            keep_best=draw(st.none() | best),
            keep_for=draw(st.none() | seconds),
            grace=draw(st.integers(3600, 10**8).map(float)),
        ),
        upload=UploadConfig(
            order=draw(st.sampled_from(["newest", "oldest"])),
            bandwidth=draw(st.none() | st.integers(1, 2**52)),
            attempts=draw(st.integers(1, 10**6)),
        ),
        save=SaveRules(
            every=draw(st.none() | st.integers(1, 10**9)),
            interval=draw(st.none() | st.floats(1, 10**8)),
            best=draw(st.none() | st.builds(Best, metric_names, st.sampled_from(["min", "max"]))),
            min_gap=draw(st.none() | st.builds(Gap, st.integers(0, 10**9)) | st.builds(Gap, st.none(), seconds)),
        ),
    )


@given(configs())
def test_what_render_writes_is_read_back_as_the_same_configuration(given_config: Config) -> None:
    document = tomllib.loads(render(given_config, env=ENV))
    assert given_config.file is not None
    got = from_mapping(document, env=ENV, cwd=given_config.file.parent)
    assert msgspec.structs.replace(got, file=given_config.file) == given_config


def test_a_rendered_file_is_what_a_person_would_write(tmp_path: Path) -> None:
    text = """\
# Every key is explained in docs/configuration.md.

run = "swelu"
run_id = "3f9c41aa03b7d5e1"

[hot]
path = "checkpoints"
layout = "model_gpu{series}/model_step_{step}.pt"
keep_last = 3
min_free = "10%"

[validate]
level = "full"

[cold]
url = "s3://bucket/prefix"
# endpoint_url = "http://127.0.0.1:9000"

[upload]
# bandwidth = "200MB/s"
"""
    got = loaded(tmp_path, text)
    assert render(got, env=ENV) == text


def test_a_path_that_is_no_utf8_can_not_be_written(tmp_path: Path) -> None:
    base = loaded(tmp_path, MINIMAL)
    odd = msgspec.structs.replace(base, hot=HotConfig(path=Path("/bad\udcff")))
    with pytest.raises(ConfigError, match="it is not UTF-8"):
        render(odd, env=ENV)


def test_importing_the_configuration_pulls_in_nothing_heavy() -> None:
    heavy = "{'boto3', 'torch', 'fsspec', 'rich', 'awscrt', 'click', 'tenacity'}"
    code = f"import sys, ckpt_tier.config; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# Retention


def test_the_retention_keys_of_both_tiers_make_a_policy_and_none_in_the_cold_one_keeps_everything(
    tmp_path: Path,
) -> None:
    got = loaded(tmp_path, MINIMAL)
    assert (got.hot.retention, got.cold.retention) == (Policy((KeepLast(3),)), Policy())
    got = loaded(tmp_path, MINIMAL + 'keep_every = 10\nkeep_for = "1h"\n[hot.keep_best]\nmetric = "a"\nmode = "max"\n')
    assert got.hot.retention == Policy((KeepLast(3), KeepBest("a", "max", 1)))
    assert got.cold.retention == Policy((KeepEvery(10), KeepFor(3600.0)))


def test_the_best_can_be_set_by_the_environment(tmp_path: Path) -> None:
    got = loaded(tmp_path, MINIMAL, CKPT_TIER_COLD__KEEP_BEST='{metric = "loss", mode = "min", count = 2}')
    assert got.cold.keep_best == KeepBest("loss", "min", 2)
