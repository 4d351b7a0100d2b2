import io
import pickle
from pathlib import Path
from typing import Any

import pytest

from ckpt_tier.formats.check import Rejected
from ckpt_tier.formats.inert import MALFORMED, InertUnpickler, Inventory
from ckpt_tier.formats.memory import limited_memory
from tests.unit.formats.samples import Outer, SixTuple, training_state


def survey(data: bytes) -> Inventory:
    inventory = Inventory()
    InertUnpickler(io.BytesIO(data), inventory).load()
    return inventory


@pytest.mark.parametrize("protocol", range(6))
def test_everything_that_pickle_can_write_is_read_in_every_protocol(protocol: int) -> None:
    state = training_state()
    for name in ("whole", "sparse", "meta", "fp8", "u16"):
        del state[name]
    if protocol < 2:
        # Older protocols have no way to write __slots__.
        state["odd"] = state["odd"][1:]
    found = survey(pickle.dumps([state, Outer.Inner(), SixTuple()], protocol))
    assert "argparse.Namespace" in found.globals


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_no_code_runs(tmp_path: Path) -> None:
    data = pickle.dumps(Touch(tmp_path / "was-here"))
    pickle.loads(data)
    assert (tmp_path / "was-here").exists()
    (tmp_path / "was-here").unlink()
    survey(data)
    assert not (tmp_path / "was-here").exists()


def test_extension_codes_are_refused() -> None:
    with pytest.raises(MALFORMED):
        survey(b"\x80\2\x82\1.")


@pytest.mark.parametrize(
    "storage",
    [
        b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0aX\3\0\0\0cpuJ\xff\xff\xff\xfft",
        b"(X\7\0\0\0storagecos\nsystem\nX\1\0\0\0aX\3\0\0\0cpuK\1t",
        b"(X\7\0\0\0storaget",
    ],
)
def test_a_storage_announced_in_no_known_form_is_refused(storage: bytes) -> None:
    with pytest.raises(pickle.UnpicklingError):
        survey(b"\x80\2" + storage + b"Q.")


def test_a_pickle_that_asks_for_gigabytes_gets_none() -> None:
    with pytest.raises(Rejected, match="asks for more than 64 MiB of memory"), limited_memory(64 * 2**20):
        survey(b"\x80\2K\1r\xff\xff\xff\x3f.")
