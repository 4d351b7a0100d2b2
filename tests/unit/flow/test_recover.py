"""What a bucket says about a run, and how far it is believed."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_tier.cold import keys
from ckpt_tier.cold.configs import MAX_CONFIG_BYTES, config_id
from ckpt_tier.cold.manifest import Manifest
from ckpt_tier.config import KEYS
from ckpt_tier.core.events import Committed, Warned
from ckpt_tier.errors import UnavailableError
from ckpt_tier.flow.listing import by_step
from ckpt_tier.flow.recover import Listing, configuration, fitting_layout, remember, summarise
from ckpt_tier.hot.layout import Layout
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.store.protocol import Stat, Store
from tests.builders import LAYOUT, TwoTiers, checkpoint, digest, manifest
from tests.kills import killed_at
from tests.stores import folder_store

COLD: dict[str, object] = {"url": "s3://bucket/prefix", "endpoint_url": None, "addressing": "auto"}


def read(folder: FolderStore, text: bytes) -> tuple[dict[str, dict[str, object]], str]:
    """What is taken of one copy, and the warnings."""
    folder.put(keys.config_key("run", config_id(text)), text)
    tree, warnings = configuration(folder, "run", COLD)
    return tree, "\n".join(warnings)


@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    return folder_store(tmp_path / "cold")


# The listing


def test_a_listing_tells_what_a_run_holds(tiers: TwoTiers) -> None:
    for series in ("0", "1"):
        for step in (1, 2):
            tiers.write(step, series=series)
    tiers.sync()
    store = FolderStore(tiers.cold)
    [late] = (tiers.cold / keys.manifests_prefix("run", "1")).glob("*01.*.json")
    os.utime(late, (4_000_000_000, 4_000_000_000))
    found = summarise("run", store.list("run/"))
    assert (found.series, found.checkpoints) == (2, 4)
    assert {(entry.series, entry.step) for entry in found.newest} >= {("0", 2), ("1", 1), ("1", 2)}
    assert found.size == sum(len(body) for key, body in tiers.objects().items() if "/data/" in key)


def test_a_run_without_a_checkpoint_has_none() -> None:
    begun = [Stat("run/run.json", 80, None, 5.0), Stat("run/_configs/0123456789abcdef.toml", 80, None, 6.0)]
    assert summarise("run", begun) == Listing(series=0, checkpoints=0, size=0, newest=())


# The copy of the configuration


def test_the_keys_of_a_copy_are_taken(folder: FolderStore) -> None:
    text = (
        b'run = "x"\nrun_id = "0123456789abcdef"\n[hot]\npath = "/old"\nkeep_last = 7\n[upload]\nbandwidth = "1MB/s"\n'
    )
    assert read(folder, text) == ({"hot": {"keep_last": 7}, "upload": {"bandwidth": "1MB/s"}}, "")


HOSTILE = {
    "code": (b'[validate]\ncustom = "os:system"\nlevel = "deep"', "names code"),
    "another bucket": (b'[validate]\nlevel = "deep"\n[cold]\nurl = "s3://evil/x"', "is said by you"),
    "another server": (b'[validate]\nlevel = "deep"\n[cold]\nendpoint_url = "http://evil"', "is said by you"),
    "another key": (b'[validate]\nlevel = "deep"\n[cold]\nsse_kms_key_id = "arn:evil"', "is said by you"),
    "an unknown key": (b'[validate]\nlevel = "deep"\nexec = "rm -rf /"', "does not know it"),
    "an unknown section": (b'[hooks]\nrun = "rm"\n[validate]\nlevel = "deep"', "does not know it"),
    "a layout that climbs": (b'[validate]\nlevel = "deep"\n[hot]\nlayout = "../{step}.pt"', ".. on its path"),
    "an absolute layout": (b'[validate]\nlevel = "deep"\n[hot]\nlayout = "/etc/{step}.pt"', "it is absolute"),
    "our own folder": (
        b'[validate]\nlevel = "deep"\n[hot]\nlayout = ".ckpt-tier/{step}.pt"',
        "files of ckpt-tier itself",
    ),
    "an endless layout": (b'[validate]\nlevel = "deep"\n[hot]\nlayout = "' + b"a" * 2000 + b'{step}"', "longer"),
    "a wrong kind": (b'[validate]\nlevel = "deep"\n[hot]\nkeep_last = "many"', "it is text"),
    "a table for a value": (b'[validate]\nlevel = "deep"\n[hot.keep_last]\nx = 1', "not a single value"),
    "a section that is none": (b'hot = 5\n[validate]\nlevel = "deep"', "does not know it"),
}


@pytest.mark.parametrize(("text", "why"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_key_is_dropped_and_said_and_the_others_are_taken(folder: FolderStore, text: bytes, why: str) -> None:
    tree, warnings = read(folder, text)
    assert {section: keys for section, keys in tree.items() if keys} == {"validate": {"level": "deep"}}
    assert warnings.count("was not taken") == 1
    assert why in warnings


UNREADABLE = {
    "no TOML": b"{not toml",
    "duplicate tables": b"[hot]\nkeep_last = 1\n[hot]\nkeep_last = 2\n",
    "no UTF-8": b'run = "\xff"',
    "nested too deeply": b"x = " + b"[" * 20_000,
    "a number without end": b"x = " + b"9" * 20_000,
    "10 MB": b"#" * (10 * 2**20),
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_unreadable_copy_is_passed_over_and_the_defaults_hold(folder: FolderStore, text: bytes) -> None:
    tree, warnings = read(folder, text)
    assert tree == {}
    assert "was passed over" in warnings
    assert "the defaults hold" in warnings


def test_behind_an_unreadable_copy_the_one_before_it_counts(folder: FolderStore) -> None:
    good, bad = b"[hot]\nkeep_last = 9\n", b"not toml"
    for text, seconds in ((good, 1000), (bad, 2000)):
        key = keys.config_key("run", config_id(text))
        folder.put(key, text)
        os.utime(Path(folder.url) / key, (seconds, seconds))
    tree, warnings = configuration(folder, "run", COLD)
    assert tree == {"hot": {"keep_last": 9}}
    assert len(warnings) == 1


def test_a_secret_under_a_key_that_nobody_knows_is_never_shown(folder: FolderStore) -> None:
    _, warnings = read(folder, b'[cold]\naws_secret_access_key = "hunter2"\n')
    assert "aws_secret_access_key" in warnings
    assert "hunter2" not in warnings


def test_a_hostile_name_moves_no_cursor(folder: FolderStore) -> None:
    _, warnings = read(folder, b'"\\u001b[2J" = 1\n[hot]\nlayout = "\\u001b[2J"\n')
    assert "\x1b" not in warnings


@given(st.binary(max_size=400) | st.text(max_size=400).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_bytes_whatever_stop_a_recovery(text: bytes) -> None:
    class OneCopy:
        def list(self, _: str) -> Iterator[Stat]:
            yield Stat(keys.config_key("run", config_id(text)), len(text), None, 1.0)

        def get(self, _: str, limit: int) -> bytes:
            assert limit == MAX_CONFIG_BYTES
            return text

    configuration(OneCopy(), "run", COLD)  # type: ignore[arg-type]


def test_every_key_that_names_code_is_marked() -> None:
    assert {key.written for key in KEYS if key.runs_code} == {"[validate] custom"}


# The layout


def of(path: str, step: int, series: str, layout: str = "auto") -> Manifest:
    return manifest(step, (digest(path),), series, layout=layout)


def test_the_configured_layout_is_kept_where_it_fits() -> None:
    known = [of("model_gpu0/model_step_5.pt", 5, "0"), of("model_gpu1/model_step_9.pt", 9, "1")]
    assert fitting_layout(LAYOUT, known) == (LAYOUT, True)


def test_a_manifests_layout_stands_in_for_one_that_does_not_fit() -> None:
    known = [of("model_gpu0/model_step_5.pt", 5, "0", LAYOUT)]
    assert fitting_layout("other_{step}.pt", known) == (LAYOUT, True)


@pytest.mark.parametrize(
    ("known", "pattern"),
    [
        ([of("model_gpu0/model_step_5.pt", 5, "0"), of("model_gpu1/model_step_10.pt", 10, "1")], LAYOUT),
        ([of("step_000500.pt", 500, "main")], "step_{step}.pt"),
        ([of("run5/step_5.pt", 5, "main"), of("run5/step_10.pt", 10, "main")], "run5/step_{step}.pt"),
        ([of("a/step_5/a_5.pt", 5, "a"), of("b/step_6/b_6.pt", 6, "b")], "{series}/step_{step}/{series}_{step}.pt"),
    ],
)
def test_without_one_a_layout_is_made_from_the_paths(known: list[Manifest], pattern: str) -> None:
    made, fits = fitting_layout("auto", known)
    assert fits
    assert made == pattern or all(
        Layout.parse(made).match(each.files[0].path) == (each.series, each.step) for each in known
    )


@pytest.mark.parametrize("path", ["model.pt", "{step}/x.pt", "x/{series}.pt"])
def test_where_nothing_fits_it_is_said(path: str) -> None:
    assert fitting_layout(None, [of(path, 5, "0")]) == ("auto", False)
    assert fitting_layout("x_{step}.pt", [of(path, 5, "0")]) == ("x_{step}.pt", False)
    assert fitting_layout(None, []) == ("auto", False)


# The journal


def remembered(tiers: TwoTiers, step: int) -> list[str]:
    wiring = tiers.wiring()
    with wiring.working(tiers.events.append, "test") as parts:
        return remember(parts, wiring.layout, by_step(wiring.cold.manifests, "0", step, None))


@pytest.fixture
def back(tiers: TwoTiers) -> TwoTiers:
    """Steps 0 to 3 committed; the hot tier and journal are gone, and step 3 is back."""
    for step in range(4):
        tiers.write(step)
    tiers.sync()
    for path in tiers.hot.rglob("*.pt"):
        path.unlink()
    tiers.lose_journal()
    tiers.events.clear()
    tiers.restored(step=3)
    return tiers


def test_what_came_back_is_noted_and_the_next_sync_has_nothing_to_do(back: TwoTiers) -> None:
    assert remembered(back, 3) == []
    assert back.states() == {3: "committed"}
    [row] = back.saves()
    assert row.files[0].pieces is not None
    before = back.objects()
    back.events.clear()
    back.sync()
    assert back.objects() == before
    assert back.happened(Committed) == []
    assert back.states() == {3: "committed"}
    assert remembered(back, 3) == []
    assert len(back.saves()) == 1


def test_a_file_with_other_bytes_is_never_noted_as_committed(back: TwoTiers) -> None:
    path = back.path(3)
    status = path.stat()
    path.write_bytes(back.write(4, seed=1).read_bytes())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert remembered(back, 3) == ["model_gpu0/model_step_3.pt"]
    assert back.states() == {3: "validated"}
    back.sync()
    assert back.cold_steps() == [0, 1, 2, 3, 3, 4]


def test_a_file_that_is_gone_or_cut_short_is_left_to_the_next_sync(back: TwoTiers) -> None:
    os.truncate(back.path(3), 100)
    assert remembered(back, 3) == ["model_gpu0/model_step_3.pt"]
    assert back.states() == {3: "rejected"}
    back.path(3).unlink()
    assert remembered(back, 3) == ["model_gpu0/model_step_3.pt"]


def test_killed_between_validation_and_note_it_is_finished_by_the_next(
    back: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("ckpt_tier.flow.recover.note_committed", kill)
        with pytest.raises(Killed):
            remembered(back, 3)
    assert back.states() == {3: "validated"}
    assert remembered(back, 3) == []
    assert back.states() == {3: "committed"}
    assert len(back.saves()) == 1


def test_killed_at_any_touch_of_the_world_a_recovery_is_finished_by_the_next(back: TwoTiers) -> None:
    kills = 0
    while True:
        back.path(3).unlink(missing_ok=True)
        back.lose_journal()
        with killed_at(kills) as countdown:
            back.restored(step=3)
            remembered(back, 3)
        assert not back.path(3).exists() or back.path(3).read_bytes() == checkpoint(3)
        back.restored(step=3)
        assert remembered(back, 3) == []
        assert back.states() == {3: "committed"}
        if countdown.left >= 0:
            break
        kills += 1
    assert kills > 10
    before = back.objects()
    back.sync()
    assert back.objects() == before


# The copy that a sync keeps


def copies(tiers: TwoTiers) -> list[Path]:
    return sorted((tiers.cold / "run" / "_configs").glob("*.toml"))


class Asked(FolderStore):
    """Notes each question."""

    def __init__(self, root: Path, refuse: bool = False) -> None:
        super().__init__(root)
        self.asked: list[str] = []
        self._refuse = refuse

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        self.asked.append(f"put {key}")
        if self._refuse and "/_configs/" in key:
            raise UnavailableError("refused by the test")
        super().put(key, data, if_absent=if_absent)

    def get(self, key: str, limit: int) -> bytes:
        self.asked.append(f"get {key}")
        return super().get(key, limit)

    def list(self, prefix: str, after: str = "") -> Iterator[Stat]:
        self.asked.append(f"list {prefix}")
        return super().list(prefix, after)

    def stat(self, key: str) -> Stat:
        self.asked.append(f"stat {key}")
        return super().stat(key)


def test_a_copy_is_kept_once_per_content_and_an_idle_sync_asks_nothing_for_it(tiers: TwoTiers) -> None:
    tiers.write(1)
    tiers.sync()
    [first] = copies(tiers)
    idle = Asked(tiers.cold)
    tiers.sync(idle)
    assert [asked for asked in idle.asked if "configs" in asked] == []
    tiers.set(hot={"keep_last": 5})
    tiers.sync()
    assert first in copies(tiers)
    assert len(copies(tiers)) == 2
    tiers.lose_journal()
    again = Asked(tiers.cold)
    tiers.sync(again)
    assert [asked.split()[0] for asked in again.asked if "/_configs/" in asked] == ["stat"]
    assert len(copies(tiers)) == 2


def test_the_copy_has_no_state_folder_and_reads_back(tiers: TwoTiers) -> None:
    tiers.set(hot={"keep_last": 5})
    tiers.sync()
    [copy] = copies(tiers)
    assert "state_dir" not in copy.read_text()
    tree, warnings = configuration(FolderStore(tiers.cold), "run", msgspec.structs.asdict(tiers.config.cold))
    assert warnings == []
    assert tree["hot"]["keep_last"] == 5


def test_an_emptied_bucket_gets_its_copy_again(tiers: TwoTiers) -> None:
    import shutil

    tiers.sync()
    shutil.rmtree(tiers.cold / "run")
    tiers.sync()
    assert len(copies(tiers)) == 1


def test_a_copy_that_is_refused_is_said_stops_nothing_and_is_tried_again(tiers: TwoTiers) -> None:
    tiers.write(1)
    refusing: Store = Asked(tiers.cold, refuse=True)
    tiers.sync(refusing)
    assert tiers.states() == {1: "committed"}
    [warned] = tiers.happened(Warned)
    assert "was not copied" in warned.text  # type: ignore[attr-defined]
    tiers.sync()
    assert len(copies(tiers)) == 1
