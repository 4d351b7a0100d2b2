import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ckpt_tier.core.pieces import MIN_PIECE
from ckpt_tier.errors import CancelledError, ConfigError, SourceChangedError
from ckpt_tier.formats.check import Level, Rejected
from ckpt_tier.formats.validate import glance, validate
from ckpt_tier.system.digests import crc64nvme, to_hex
from tests.unit.formats.samples import training_state

CRC64_CHECK = (b"123456789", "ae8b14860a799888")
"""https://reveng.sourceforge.io/crc-catalogue/all.htm, CRC-64/NVME."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    torch.save({"a": torch.randn(1_000_000), "b": torch.ones(10)}, path)
    return path


def test_the_checksums_are_those_of_the_file(model: Path) -> None:
    found = validate(model, level=Level.FULL)
    data, status = model.read_bytes(), model.stat()
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert found.crc64nvme == to_hex(crc64nvme(data))
    assert (found.size, found.mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert found.mode == status.st_mode & 0o7777
    assert (found.stamp.inode, found.stamp.size) == (status.st_ino, status.st_size)
    assert found.pieces.piece_size == MIN_PIECE
    assert found.pieces.crcs == (crc64nvme(data),)


def test_the_crc_is_the_catalogued_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(CRC64_CHECK[0])
    assert validate(tmp_path / "a.txt", level=Level.FULL).crc64nvme == CRC64_CHECK[1]


def test_a_normal_training_state_is_good(tmp_path: Path) -> None:
    torch.save(training_state(), tmp_path / "model.pt")
    assert validate(tmp_path / "model.pt", level=Level.FULL).findings.level == "full"


@pytest.mark.parametrize("level", [Level.FAST, Level.FULL])
def test_the_file_is_read_once(model: Path, level: Level) -> None:
    validate(model, level=level)
    before = _bytes_read()
    validate(model, level=level)
    count = _bytes_read() - before
    assert model.stat().st_size <= count < model.stat().st_size + 64 * 1024


def _bytes_read() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/thread-self/io").read_text().splitlines())
    return int(fields["rchar"])


def test_a_file_that_is_gone_is_a_change_not_a_rejection(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path / "none" / "model.pt"):
        with pytest.raises(SourceChangedError):
            validate(path, level=Level.FULL)


def _truncate(path: Path) -> None:
    os.truncate(path, 1000)


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _replace(path: Path) -> None:
    path.with_suffix(".new").write_bytes(b"other")
    path.with_suffix(".new").replace(path)


def _overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(2_000_000)
        file.write(b"\xff" * 5000)


@pytest.mark.parametrize("change", [_truncate, _append, _replace, _overwrite, Path.unlink, os.utime])
def test_a_file_that_changes_while_it_is_read_is_neither_good_nor_rejected(model: Path, change: object) -> None:
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            change(model)  # type: ignore[operator]

    with pytest.raises(SourceChangedError):
        validate(model, level=Level.FULL, stop=stop)
    assert calls >= 2


def test_a_stop_request_ends_it(model: Path) -> None:
    def stop() -> None:
        raise CancelledError("stopped")

    with pytest.raises(CancelledError):
        validate(model, level=Level.FULL, stop=stop)


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path, model: Path) -> None:
    (tmp_path / "link.pt").symlink_to(model)
    (tmp_path / "folder.pt").mkdir()
    os.mkfifo(tmp_path / "pipe.pt")
    for name, reason in (("link.pt", "symbolic link"), ("folder.pt", "folder"), ("pipe.pt", "pipe")):
        with pytest.raises(Rejected, match=reason):
            validate(tmp_path / name, level=Level.FULL)


def test_no_descriptor_stays_open(model: Path) -> None:
    validate(model, level=Level.FULL)
    before = len(list(Path("/proc/self/fd").iterdir()))
    _truncate(model)
    with pytest.raises(Rejected):
        validate(model, level=Level.FULL)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_files_may_be_validated_from_several_threads(model: Path) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(validate(model, level=Level.FULL).sha256)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [hashlib.sha256(model.read_bytes()).hexdigest()] * 4


def test_a_glance_finds_what_is_cut_short_and_reads_next_to_nothing(model: Path) -> None:
    glance(model)
    before = _bytes_read()
    assert glance(model).format == "torch-zip"
    assert _bytes_read() - before < 64 * 1024
    _truncate(model)
    with pytest.raises(Rejected, match="truncated"):
        glance(model)


def test_validating_does_not_import_torch(model: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ckpt_tier.formats.validate import validate;"
        "from ckpt_tier.formats.check import Level; validate(Path(sys.argv[1]), level=Level.FULL);"
        "sys.exit('torch' in sys.modules)"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code, str(model)], check=True, cwd=root)


VALIDATORS = """
def good(path): assert path.exists()
def yes(path): return True
def no(path): return False
def reason(path): return "loss is too high"
def error(path): raise ValueError("no optimizer in it")
def broken(path): return {}["a"]
def odd(path): return 3
thing = 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "my_validators.py").write_text(VALIDATORS)
    yield tmp_path
    sys.modules.pop("my_validators", None)


def judge(model: Path, folder: Path, name: str) -> None:
    validate(model, level=Level.FAST, custom=name, custom_folder=folder)


@pytest.mark.parametrize("name", ["good", "yes"])
def test_a_users_validator_may_say_yes(model: Path, folder: Path, name: str) -> None:
    judge(model, folder, f"my_validators:{name}")
    assert str(folder) not in sys.path


@pytest.mark.parametrize(
    ("name", "reason"), [("no", "says no"), ("reason", "loss is too high"), ("error", "no optimizer in it")]
)
def test_a_users_validator_may_reject_with_a_reason(model: Path, folder: Path, name: str, reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        judge(model, folder, f"my_validators:{name}")


@pytest.mark.parametrize(
    "spec", ["my_validators:broken", "my_validators:odd", "my_validators:thing", "my_validators:none", "nowhere:f", "x"]
)
def test_a_validator_that_breaks_is_an_error_of_the_configuration(model: Path, folder: Path, spec: str) -> None:
    with pytest.raises(ConfigError) as caught:
        judge(model, folder, spec)
    assert spec in str(caught.value)
