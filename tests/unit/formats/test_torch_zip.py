import io
import struct
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from ckpt_tier.formats.check import Level, Rejected
from tests.examples import examples
from tests.unit.formats.samples import check_bytes, saved, small_state, training_state

GOOD = saved(small_state())
RECORDS = {info.filename: info for info in zipfile.ZipFile(io.BytesIO(GOOD)).infolist()}


def data_range(name: str) -> range:
    info = RECORDS[name]
    names, extra = struct.unpack_from("<2H", GOOD, info.header_offset + 26)
    begin = info.header_offset + 30 + names + extra
    return range(begin, begin + info.file_size)


END = len(GOOD) - 22
DIRECTORY = struct.unpack_from("<I", GOOD, END + 16)[0]
DATA_BYTES = [offset for name in RECORDS for offset in data_range(name)]


@pytest.fixture
def without_crc() -> Iterator[None]:
    torch.serialization.set_crc32_options(False)
    yield
    torch.serialization.set_crc32_options(True)


def test_a_normal_training_state_is_good() -> None:
    found = check_bytes(saved(training_state()), block=4096)
    assert (found.format, found.level, found.notes) == ("torch-zip", "full", ())
    assert found.checksums > 20


def test_every_record_is_checked_that_the_zipfile_module_sees() -> None:
    assert check_bytes(GOOD).checksums == len(RECORDS)
    assert check_bytes(GOOD, Level.FAST).checksums == 0


@pytest.mark.parametrize("block", [1, 2, 63, 1000, 10**6])
def test_the_size_of_the_blocks_makes_no_difference(block: int) -> None:
    assert check_bytes(GOOD, block=block) == check_bytes(GOOD)


@given(st.sampled_from(DATA_BYTES), st.integers(1, 255))
def test_any_changed_byte_in_a_record_is_rejected(offset: int, change: int) -> None:
    damaged = bytearray(GOOD)
    damaged[offset] ^= change
    with pytest.raises(Rejected, match=r"does not match its CRC32|STOP"):
        check_bytes(bytes(damaged))


def test_a_changed_byte_is_found_under_the_name_of_its_record() -> None:
    damaged = bytearray(GOOD)
    damaged[data_range("archive/data/0")[5]] ^= 4
    with pytest.raises(Rejected, match="record archive/data/0 does not match its CRC32"):
        check_bytes(bytes(damaged))


@examples(400)
@example(DIRECTORY + 38, 0x10)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_what_passes_with_a_changed_byte_loads_as_it_was(offset: int, change: int) -> None:
    damaged = bytearray(GOOD)
    damaged[offset] ^= change
    try:
        check_bytes(bytes(damaged))
    except Rejected:
        return
    loaded, good = torch.load(io.BytesIO(bytes(damaged))), small_state()
    assert all(torch.equal(loaded[key], good[key]) for key in ("weight", "bias", "half"))
    assert loaded["step"] == good["step"]


@given(st.integers(0, len(GOOD) - 1), st.sampled_from(list(Level)))
@example(1, Level.FAST)
@example(3, Level.FAST)
@example(len(GOOD) - 1, Level.FAST)
def test_any_truncation_is_rejected(length: int, level: Level) -> None:
    for name in ("a.pt", "a.ckpt"):
        with pytest.raises(Rejected):
            check_bytes(GOOD[:length], level, name)


def test_a_truncated_file_is_rejected_with_its_reason() -> None:
    with pytest.raises(Rejected, match=r"^truncated: no zip directory at the end of the file$"):
        check_bytes(GOOD[: len(GOOD) // 2])


@given(st.binary(min_size=1, max_size=70_000))
def test_appended_garbage_is_rejected(garbage: bytes) -> None:
    with pytest.raises(Rejected):
        check_bytes(GOOD + garbage, Level.FAST, block=10**6)


def test_appended_garbage_is_named() -> None:
    with pytest.raises(Rejected, match=r"^5 bytes follow the end of the zip directory$"):
        check_bytes(GOOD + b"hello")


def test_swapped_blocks_are_rejected() -> None:
    data = saved({"weight": torch.randn(64, 64)})
    begin = data.find(b"data/0") + 200
    swapped = data[:begin] + data[begin + 512 : begin + 1024] + data[begin : begin + 512] + data[begin + 1024 :]
    assert len(swapped) == len(data)
    with pytest.raises(Rejected, match="data/0 does not match its CRC32"):
        check_bytes(swapped)


def test_a_hole_of_zeros_is_rejected() -> None:
    data = bytearray(saved({"weight": torch.randn(64, 64)}))
    data[4096:8192] = bytes(4096)
    with pytest.raises(Rejected, match="data/0"):
        check_bytes(bytes(data))


@pytest.mark.usefixtures("without_crc")
def test_a_file_without_record_checksums_is_checked_by_structure_and_says_so() -> None:
    found = check_bytes(saved(small_state()))
    assert (found.level, found.checksums) == ("fast", 0)
    assert "structure only" in found.notes[0]


@pytest.mark.usefixtures("without_crc")
def test_a_truncated_file_without_record_checksums_is_rejected() -> None:
    with pytest.raises(Rejected, match="truncated"):
        check_bytes(saved(small_state())[:-1])


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
def test_torchscript_with_its_deflated_sources_is_good_and_its_damage_is_found() -> None:
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(4, 4), torch.ones(1, 4)), file)
    data = file.getvalue()
    infos = zipfile.ZipFile(file).infolist()
    assert check_bytes(data).checksums == len(infos)
    deflated = next(info for info in infos if info.compress_type == zipfile.ZIP_DEFLATED)
    for offset in range(deflated.compress_size):
        damaged = bytearray(data)
        names, extra = struct.unpack_from("<2H", data, deflated.header_offset + 26)
        damaged[deflated.header_offset + 30 + names + extra + offset] ^= 1
        with pytest.raises(Rejected, match=deflated.filename):
            check_bytes(bytes(damaged))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_other_zip_files_are_checked_as_zip(method: int) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("a.txt", b"hello" * 1000)
        archive.writestr("folder/", b"")
    found = check_bytes(file.getvalue(), name="data.zip")
    assert found.format == "zip"
    assert found.checksums == (0 if method == zipfile.ZIP_LZMA else 2)


def test_npz_files_are_checked_by_their_checksums() -> None:
    file = io.BytesIO()
    np.savez(file, a=np.arange(100.0))
    data = bytearray(file.getvalue())
    assert check_bytes(bytes(data), name="a.npz").format == "zip"
    data[500] ^= 1
    with pytest.raises(Rejected, match=r"a\.npy does not match its CRC32"):
        check_bytes(bytes(data), name="a.npz")


def test_a_zip_without_a_pickle_is_no_torch_file() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", b"hello")
    with pytest.raises(Rejected, match=r"no data\.pkl"):
        check_bytes(file.getvalue(), name="model.pt")


def test_a_torch_archive_that_lost_its_pickle_is_rejected() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(GOOD)) as good, zipfile.ZipFile(file, "w") as archive:
        for info in good.infolist():
            if not info.filename.endswith("data.pkl"):
                archive.writestr(info.filename, good.read(info))
    with pytest.raises(Rejected, match=r"no data\.pkl record"):
        check_bytes(file.getvalue(), name="model.ckpt")


def test_a_torch_archive_packed_again_by_another_program_is_good() -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(GOOD)) as good, zipfile.ZipFile(file, "w", method) as archive:
            for info in good.infolist():
                archive.writestr(info.filename, good.read(info))
        assert check_bytes(file.getvalue()).checksums == len(RECORDS)


def archive_of(body: bytes, size: int, method: int) -> bytes:
    """One deflated or stored record, with whatever size the directory claims."""
    crc = 1
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, method, 0, 0, crc, len(body), size, 1, 0) + b"a"
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, method, 0, 0, crc, len(body), size, 1, 0, 0, 0, 0, 0, 0)
    start = len(local) + len(body)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(entry) + 1, start, 0)
    return local + body + entry + b"a" + end


def test_a_decompression_bomb_is_refused_before_it_unfolds() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    bomb = piece * 2**8 + packer.flush()
    with pytest.raises(Rejected, match="decompresses to more than its size"):
        check_bytes(archive_of(bomb, 1000, 8), name="a.zip", block=2**20)
    with pytest.raises(Rejected, match="end early"):
        check_bytes(archive_of(bomb[:1000], 2**28, 8), name="a.zip", block=2**20)


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (END + 10, b"\xff\xff"),
        (END + 10, b"\x01\x00"),
        (END + 12, b"\xfe\xff\xff\xff"),
        (END + 16, b"\xfe\xff\xff\xff"),
        (END + 20, b"\x01\x00"),
        (END - 20 + 8, b"\xff" * 8),
        (END - 76 + 4, b"\xff" * 8),
        (END - 76 + 24, b"\xff" * 16),
        (END - 76 + 40, b"\xff" * 8),
        (END - 76 + 48, b"\xff" * 8),
        (DIRECTORY + 20, b"\xff" * 8),
        (DIRECTORY + 28, b"\xff\xff"),
        (DIRECTORY + 30, b"\xff\xff"),
        (DIRECTORY + 42, b"\xff\xff\xff\xff"),
        (DIRECTORY + 42, b"\xfe\xff\xff\x7f"),
    ],
)
def test_a_hostile_directory_is_rejected(offset: int, value: bytes) -> None:
    damaged = bytearray(GOOD)
    damaged[offset : offset + len(value)] = value
    if offset == END + 10 and value == b"\xff\xff":
        # Saturated: then the zip64 record counts, and there is nothing wrong.
        assert check_bytes(bytes(damaged)).checksums == len(RECORDS)
        return
    with pytest.raises(Rejected):
        check_bytes(bytes(damaged), Level.FAST)


def test_two_records_over_the_same_bytes_are_rejected() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", b"x" * 100)
        archive.writestr("b", b"x" * 100)
    data = bytearray(file.getvalue())
    second = data.rfind(b"PK\1\2")
    data[second + 42 : second + 46] = bytes(4)
    with pytest.raises(Rejected, match="overlaps"):
        check_bytes(bytes(data), name="a.zip")


@examples(300)
@given(st.integers(DIRECTORY, len(GOOD) - 1), st.binary(min_size=1, max_size=12))
def test_a_scribbled_directory_raises_nothing_but_rejected(offset: int, scribble: bytes) -> None:
    damaged = bytearray(GOOD)
    damaged[offset : offset + len(scribble)] = scribble
    try:
        check_bytes(bytes(damaged))
    except Rejected:
        return
