"""The files that are moved: real torch checkpoints of random numbers, made once for all work items of a run."""

import io
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.compare.errors import FailedError
from benchmarks.compare.tier import STEP, Saved

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SERIES_LAYOUT = "model_gpu{series}/model_step_{step}.pt"
FOLDER_LAYOUT = "checkpoint-{step}/"
_BLOCK = 2**22
_TENSORS = 8


def series_files(folder: Path, count: int, size: int) -> Saved:
    """`count` series with one file of about `size` bytes each."""
    hot = folder / f"series-{count}x{size}"
    for number in range(count):
        path = hot / f"model_gpu{number}" / f"model_step_{STEP}.pt"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            save_torch(path, size, seed=number)
    return Saved(hot, SERIES_LAYOUT, tuple(str(number) for number in range(count)))


def folder_of_files(folder: Path, count: int, size: int) -> Saved:
    """One checkpoint that is a folder of `count` files of about `size` bytes."""
    hot = folder / f"folder-{count}x{size}"
    ready = hot.with_suffix(".ready")
    if not ready.exists():
        below = hot / f"checkpoint-{STEP}"
        below.mkdir(parents=True, exist_ok=True)
        whole = _torch_bytes(size)
        for number in range(count):
            (below / f"part_{number:05d}.pt").write_bytes(whole(number))
        ready.touch()
    return Saved(hot, FOLDER_LAYOUT, ("main",))


def names_of(saved: Saved) -> tuple[str, ...]:
    """Relative to the hot folder, without ckpt-tier's own folder in it."""
    found = sorted(path.relative_to(saved.hot) for path in saved.hot.rglob("*.pt"))
    return tuple(path.as_posix() for path in found if not path.parts[0].startswith("."))


def save_torch(path: Path, size: int, *, seed: int) -> None:
    """`torch.save` of a few tensors of random numbers."""
    import torch

    torch.manual_seed(seed)
    each = max(1, size // _TENSORS // 4)
    torch.save({f"layer{index}": torch.randn(each) for index in range(_TENSORS)}, path)


def _torch_bytes(size: int) -> Callable[[int], bytes]:
    """A function that gives a small torch file for each number."""
    import torch

    def made(number: int) -> bytes:
        torch.manual_seed(number)
        file = io.BytesIO()
        torch.save({"weights": torch.randn(max(1, size // 4))}, file)
        return file.getvalue()

    return made


def save_zeros(path: Path, size: int) -> None:
    """A real torch file of one tensor of `size` bytes, all zero; on the disk it is holes."""
    import torch

    holes = path.with_suffix(".holes")
    with holes.open("wb") as file:
        file.truncate(size)
    weights = torch.from_file(str(holes), shared=True, size=size // 4)
    with path.open("wb") as file:
        torch.save({"weights": weights}, Sparse(file))  # type: ignore[arg-type]
        file.truncate(file.tell())
    del weights
    holes.unlink()


class Sparse(io.RawIOBase):
    """Writes into a file, and leaves holes where there would be blocks of zeros."""

    _ZEROS = bytes(_BLOCK)

    def __init__(self, file: io.BufferedWriter) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: "ReadableBuffer") -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _BLOCK):
            block = view[start : start + _BLOCK]
            if block == self._ZEROS[: len(block)]:
                self._file.seek(len(block), os.SEEK_CUR)
            else:
                self._file.write(block)
        return len(view)


def warm(paths: Iterable[Path]) -> None:
    """Reads files once, so that each contender finds them in the page cache as far as they fit there."""
    buffer = bytearray(_BLOCK)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def check_same(got: Path, wanted: Path) -> None:
    """Raises FailedError unless two files have the same bytes."""
    if not got.exists():
        raise FailedError(f"{got.name} did not come")
    if got.stat().st_size != wanted.stat().st_size:
        raise FailedError(f"{got.name} came with {got.stat().st_size} bytes, not {wanted.stat().st_size}")
    with got.open("rb", buffering=0) as one, wanted.open("rb", buffering=0) as other:
        while block := one.read(_BLOCK):
            if block != other.read(len(block)):
                raise FailedError(f"{got.name} came with other bytes")


def forget_tier(saved: Saved) -> None:
    """Removes what ckpt-tier keeps in the hot folder."""
    shutil.rmtree(saved.hot / ".ckpt-tier", ignore_errors=True)
