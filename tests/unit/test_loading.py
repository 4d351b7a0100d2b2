"""One tensor of any step by its name."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as save_safetensors

import ckpt_tier
from ckpt_tier.core.nouns import FileStamp, Stamp, stamp_of
from ckpt_tier.core.states import State
from ckpt_tier.errors import IntegrityError, NotFoundError, UsageError
from ckpt_tier.inspection import Inspection
from ckpt_tier.journal.journal import Journal
from ckpt_tier.journal.saves import Save, SavedFile
from tests.builders import TwoTiers, checkpoint, flip_a_bit

EVICTED, KEPT = 5, 15


def training_state() -> dict[str, object]:
    """Tied, sliced, strided, of every width, nested and empty: what real states hold."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(2, 8)).sum().backward()
    optimizer.step()
    wide = torch.randn(40, 30)
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "tied": {"in": wide, "out": wide},
        "slice": wide[3:5, 7:9],
        "turned": wide.t(),
        "spread": wide[::2, ::3],
        "bf16": wide.to(torch.bfloat16),
        "fp8": wide.to(torch.float8_e4m3fn),
        "fp8b": wide.to(torch.float8_e5m2),
        "flags": wide > 0,
        "complex": torch.complex(wide, wide),
        "scalar": torch.tensor(7),
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(torch.ones(3)),
        "listed": [torch.zeros(2), torch.ones(2)],
    }


def tensors_of(value: object, name: str = "") -> dict[str, torch.Tensor]:
    """Every tensor of a state, by the name that `inspect` gives it."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found: dict[str, torch.Tensor] = {}
    for key, each in pairs:
        found |= tensors_of(each, f"{name}.{key}" if name else str(key))
    return found


def content(tiers: TwoTiers) -> list[str]:
    """The names of all there is, but for the cache of manifests."""
    return sorted(str(path) for path in tiers.root.rglob("*") if path.name != "manifests.sqlite")


def write(tiers: TwoTiers, name: str, put: Callable[[Path], object]) -> Path:
    path = tiers.hot / name
    path.parent.mkdir(exist_ok=True)
    put(path)
    tiers.touch(path)
    return path


@pytest.fixture
def tiers(tmp_path: Path) -> TwoTiers:
    """Steps 5, 10 and 15; of the first only the cold tier has anything."""
    tiers = TwoTiers(tmp_path)
    for step in (EVICTED, 10, KEPT):
        write(tiers, f"model_gpu0/model_step_{step}.pt", lambda path: torch.save(training_state(), path))
    tiers.sync()
    return tiers


@pytest.mark.parametrize("step", [EVICTED, KEPT, None])
def test_every_tensor_comes_back_as_it_was_from_either_tier(tiers: TwoTiers, step: int | None) -> None:
    wanted = tensors_of(training_state())
    assert len(wanted) > 25
    tier = tiers.tier()
    for name, tensor in wanted.items():
        got = tier.load_tensor(step, name)
        assert (got.dtype, got.shape, got.stride()) == (tensor.dtype, tensor.shape, tensor.stride()), name
        kind = torch.uint8 if "fp8" in name else tensor.dtype
        assert torch.equal(got.view(kind), tensor.detach().view(kind)), name


@pytest.mark.parametrize("old", [False, True], ids=["safetensors", "torch's old format"])
def test_other_formats_too(tiers: TwoTiers, old: bool) -> None:
    state = {"w": torch.randn(20, 30).to(torch.bfloat16), "f8": torch.randn(64).to(torch.float8_e4m3fn)}
    if old:
        name, how = "model_step_20.pt", lambda path: torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        tiers.set(hot={"layout": "model_gpu{series}/model_step_{step}.safetensors"})
        name, how = "model_step_20.safetensors", lambda path: path.write_bytes(save_safetensors(state))
    path = write(tiers, f"model_gpu0/{name}", how)
    tiers.sync()
    for _ in ("hot", "cold"):
        assert torch.equal(tiers.tier().load_tensor(20, "w"), state["w"])
        assert torch.equal(tiers.tier().load_tensor(20, "f8").view(torch.uint8), state["f8"].view(torch.uint8))
        path.unlink(missing_ok=True)


def test_the_module_s_function_finds_the_configuration(tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch) -> None:
    (tiers.root / "ckpt-tier.toml").write_text(
        f'run = "run"\nstate_dir = "{tiers.state_dir}"\n[hot]\npath = "hot"\nlayout = "{tiers.config.hot.layout}"\n'
        '[cold]\nurl = "cold"\nsame_device = true\n'
    )
    monkeypatch.chdir(tiers.hot)
    before = content(tiers)
    assert ckpt_tier.load_tensor(EVICTED, "scalar") == 7
    assert ckpt_tier.load_tensor(None, "scalar", config=tiers.root / "ckpt-tier.toml", series="0") == 7
    assert ckpt_tier.load_tensor(KEPT, "scalar", config=tiers.config) == 7
    assert content(tiers) == before


def test_a_name_that_is_not_there_names_those_near_it(tiers: TwoTiers) -> None:
    with pytest.raises(NotFoundError, match=r"nearest names are .*model\.0\.weight") as error:
        tiers.tier().load_tensor(EVICTED, "model.0.wieght")
    assert error.value.fix == "`ckpt-tier inspect --step 5 --all` lists them"
    with pytest.raises(NotFoundError, match=r"it has \d+ tensors"):
        tiers.tier().load_tensor(EVICTED, "zzzzzzzzzzz")
    with pytest.raises(NotFoundError, match="a value, of type float, and no tensor"):
        tiers.tier().load_tensor(EVICTED, "optimizer.param_groups.0.lr")


def test_a_step_a_series_or_a_generation_that_is_not_there_is_a_clear_error(tiers: TwoTiers) -> None:
    with pytest.raises(NotFoundError, match="nearest steps are 5, 10, 15"):
        tiers.tier().load_tensor(7, "scalar")
    with pytest.raises(UsageError, match="not a step"):
        tiers.tier().load_tensor(-1, "scalar")
    with pytest.raises(NotFoundError, match="no generation"):
        tiers.tier().load_tensor(EVICTED, "scalar", generation="0" * 16)
    with pytest.raises(NotFoundError, match="rank 3"):
        tiers.tier().load_tensor(EVICTED, "scalar", rank=3)


def test_a_tensor_that_is_damaged_in_the_cold_tier_is_refused(tiers: TwoTiers) -> None:
    write(tiers, "model_gpu0/model_step_1.pt", lambda path: path.write_bytes(checkpoint(1)))
    tiers.sync()
    [key] = [key for key in tiers.objects() if "/data/000000000001/" in key and key.endswith(".pt")]
    (tiers.cold / key).chmod(0o600)
    flip_a_bit(tiers.cold / key)
    tiers.path(1).unlink()
    with pytest.raises(IntegrityError, match=r"tensor model\.w .*CRC32"):
        tiers.tier().load_tensor(1, "model.w")


def test_a_hot_copy_that_was_overwritten_is_not_read(tiers: TwoTiers) -> None:
    tiers.path(KEPT).write_bytes(checkpoint(1))
    assert tiers.tier().load_tensor(KEPT, "scalar") == 7


def test_a_hot_copy_that_is_evicted_amid_the_reading_is_read_from_the_cold_tier(
    tiers: TwoTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = Inspection.checkpoint

    def find_and_lose(*arguments: object, **named: object) -> object:
        found = find(*arguments, **named)  # type: ignore[arg-type]
        tiers.path(KEPT).unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Inspection, "checkpoint", find_and_lose)
    assert tiers.tier().load_tensor(KEPT, "scalar") == 7


def test_without_a_cold_tier_the_hot_one_is_read(tiers: TwoTiers) -> None:
    tiers.set(cold={"url": ""})
    for step in (KEPT, None):
        assert tiers.tier().load_tensor(step, "scalar") == 7


def test_where_several_ranks_have_the_name_one_is_to_be_named(tiers: TwoTiers) -> None:
    journal = Journal.open(tiers.state_dir)
    for rank in range(2):
        path = write(
            tiers, f"model_gpu0/share{rank}.pt", lambda path, r=rank: torch.save({"w": torch.ones(2) * r}, path)
        )
        status = path.stat()
        stamp = Stamp(status.st_ino, status.st_size, status.st_mtime_ns)
        name = path.relative_to(tiers.hot).as_posix()
        journal.put(
            Save(
                series="ranked",
                step=7,
                path=name,
                stamp=stamp_of([FileStamp(name, stamp)]),
                files=(SavedFile(path=name, stamp=stamp),),
                saved_at=float(rank),
                rank=rank,
                world_size=2,
                state=State.VALIDATED,
                generation="0" * 16,
            )
        )
    journal.close()
    with pytest.raises(UsageError, match=r"2 files of step 7 .* ranks 0, 1") as error:
        tiers.tier().load_tensor(7, "w", series="ranked")
    assert error.value.fix == "name one of them: rank=0"
    assert torch.equal(tiers.tier().load_tensor(7, "w", series="ranked", rank=1), torch.ones(2))


def test_importing_the_package_loads_neither_torch_nor_fsspec() -> None:
    code = "import sys, ckpt_tier; ckpt_tier.load_tensor; print({'torch', 'fsspec', 's3fs'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
