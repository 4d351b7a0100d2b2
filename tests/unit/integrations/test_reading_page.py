"""docs/reading.md: its examples run."""

import re
from pathlib import Path

import fsspec
import msgspec
import pytest
import torch

from ckpt_tier.integrations.filesystem import CkptFileSystem
from tests.builders import TwoTiers

PAGE = Path(__file__).parents[3] / "docs/reading.md"


def training_state() -> dict[str, object]:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(4)).sum().backward()
    optimizer.step()
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("ckpt", CkptFileSystem, clobber=True)
    tiers = TwoTiers(tmp_path)
    tiers.config = msgspec.structs.replace(tiers.config, run="swelu")
    state, path = training_state(), tiers.path(740_000)
    path.parent.mkdir()
    torch.save(state, path)
    tiers.touch(path)
    tiers.sync()
    path.unlink()
    (tmp_path / "ckpt-tier.toml").write_text(
        f'run = "swelu"\nstate_dir = "state"\n[hot]\npath = "hot"\nlayout = "{tiers.config.hot.layout}"\n'
        '[cold]\nurl = "cold"\nsame_device = true\n'
    )
    monkeypatch.chdir(tmp_path)
    seen: dict[str, object] = {}
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for example in examples:
        exec(example, seen)  # noqa: S102
    assert len(examples) == 3
    assert torch.equal(seen["weight"], state["model"]["1.weight"])  # type: ignore[arg-type, index]
    assert torch.equal(seen["state"]["model"]["1.weight"], state["model"]["1.weight"])  # type: ignore[index]
    assert (tmp_path / "copy.pt").stat().st_size > 0
    CkptFileSystem.clear_instance_cache()
