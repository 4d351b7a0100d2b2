import math
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from ckpt_tier.core.findings import Findings
from ckpt_tier.errors import CancelledError
from ckpt_tier.formats.check import Level, Rejected
from ckpt_tier.formats.child import look
from ckpt_tier.formats.reader import FileReader
from ckpt_tier.formats.validate import validate
from tests.unit.formats.samples import training_state

LOG_MASK = torch.tensor([0.0, -math.inf, -math.inf])


def values() -> dict[str, torch.Tensor]:
    """Six NaN and four Inf among ten tensors of nine storages."""
    big = torch.zeros(3_000_000)
    big[2_999_999] = math.nan
    base = torch.tensor([1.0, math.nan, 2.0, math.inf])
    return {
        "big": big,
        "base": base,
        "view": base[1:3],
        "mask": LOG_MASK,
        "bf16": torch.tensor([math.nan, 1.0], dtype=torch.bfloat16),
        "fp8": torch.tensor([math.nan, 1.0, 2.0]).to(torch.float8_e4m3fn),
        "complex": torch.tensor([complex(math.nan, math.inf), 1j]),
        "double": torch.tensor([math.nan], dtype=torch.float64),
        "int": torch.tensor([-1, 2**63 - 1]),
        "empty": torch.empty(0),
    }


def deep(path: Path) -> Findings:
    return validate(path, level=Level.DEEP).findings


@pytest.mark.slow
@pytest.mark.parametrize("new", [True, False])
def test_tensors_nan_and_inf_are_counted_each_value_once(tmp_path: Path, new: bool) -> None:
    torch.save(values(), tmp_path / "a.pt", _use_new_zipfile_serialization=new)
    found = deep(tmp_path / "a.pt")
    assert (found.level, found.tensors, found.nan, found.inf) == ("deep", 10, 6, 4)
    assert not any("weights_only" in note for note in found.notes)


@pytest.mark.slow
def test_safetensors_are_counted(tmp_path: Path) -> None:
    tensors = values()
    del tensors["view"]
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    found = deep(tmp_path / "a.safetensors")
    assert (found.level, found.tensors, found.nan, found.inf) == ("deep", 9, 6, 4)


@pytest.mark.slow
@pytest.mark.parametrize("new", [True, False])
def test_a_normal_training_state_is_good_and_not_loadable_safely_is_a_note(tmp_path: Path, new: bool) -> None:
    torch.save(training_state(), tmp_path / "a.pt", _use_new_zipfile_serialization=new)
    found = deep(tmp_path / "a.pt")
    assert found.tensors is not None
    assert found.tensors > 30
    assert found.nan == found.inf == 0
    assert "not loadable with weights_only=True: uses argparse.Namespace" in found.notes[-1]


def test_other_formats_have_no_tensors(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"hello")
    found = deep(tmp_path / "a.txt")
    assert found.tensors is None
    assert "knows no tensors" in found.notes[-1]


def archive(path: Path, data_pkl: bytes, **records: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", data_pkl)
        for name, body in records.items():
            file.writestr(f"archive/data/{name}", body)
    return path


STORAGE = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0aX\3\0\0\0cpuK\4tQ"


@pytest.mark.parametrize(
    ("data_pkl", "records", "reason"),
    [
        (b"\x80\2K\1r\xff\xff\xff\x7f.", {}, "memory"),
        (b"\x80\2K\1.K\1.", {}, "bytes follow its pickle"),
        (b"hello.", {}, "damaged"),
        (b"\x80\2" + STORAGE + b".", {}, "no record for storage a"),
        (b"\x80\2" + STORAGE + b".", {"a": bytes(15)}, "15 bytes, its pickle says 16"),
        (
            b"\x80\2ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\1K\4\x85K\1\x85tR.",
            {"a": bytes(16)},
            "reaches beyond storage a",
        ),
    ],
)
def test_a_hostile_archive_is_rejected(tmp_path: Path, data_pkl: bytes, records: dict[str, bytes], reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        deep(archive(tmp_path / "a.pt", data_pkl, **records))


@pytest.mark.slow
def test_non_finite_values_reject_only_where_asked(tmp_path: Path) -> None:
    torch.save({"mask": LOG_MASK}, tmp_path / "a.pt")
    assert deep(tmp_path / "a.pt").inf == 2
    with pytest.raises(Rejected, match="0 NaN and 2 Inf"):
        validate(tmp_path / "a.pt", level=Level.DEEP, non_finite="reject")


def test_a_child_that_takes_too_long_is_ended_and_the_file_rejected(tmp_path: Path) -> None:
    with (archive(tmp_path / "a.pt", pickle.dumps(1, 2))).open("rb") as file:
        reader = FileReader(file.fileno(), os.fstat(file.fileno()).st_size)
        with pytest.raises(Rejected, match="took longer"):
            look("torch-zip", reader, timeout=0.0, stop=lambda: None)


def test_a_stop_request_ends_the_child(tmp_path: Path) -> None:
    def stop() -> None:
        raise CancelledError("stopped")

    with (archive(tmp_path / "a.pt", pickle.dumps(1, 2))).open("rb") as file:
        reader = FileReader(file.fileno(), os.fstat(file.fileno()).st_size)
        with pytest.raises(CancelledError):
            look("torch-zip", reader, timeout=60, stop=stop)


@pytest.mark.slow
def test_a_torch_module_in_the_current_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "torch.py").write_text("raise SystemExit(3)")
    (tmp_path / "msgspec.py").write_text("raise SystemExit(3)")
    torch.save(values(), tmp_path / "a.pt")
    assert deep(tmp_path / "a.pt").tensors == 10
