from pathlib import Path

import msgspec
import pytest

from ckpt_tier.errors import IntegrityError, UnavailableError
from ckpt_tier.flow.proof import covers, prove_present, verdict_on_reading
from ckpt_tier.store.folder import FolderStore
from ckpt_tier.store.protocol import Stat
from tests.builders import digest, manifest
from tests.stores import folder_store


class Noting(FolderStore):
    """A store that keeps checksums, as S3 does."""

    noted = "0" * 16

    def stat(self, key: str) -> Stat:
        return msgspec.structs.replace(super().stat(key), crc64nvme=self.noted)


def test_presence_is_size_and_where_the_store_keeps_one_the_checksum(tmp_path: Path) -> None:
    plain = folder_store(tmp_path / "cold")
    [file] = manifest().files
    with pytest.raises(IntegrityError, match="is missing"):
        prove_present(plain, [file])
    plain.put(file.key, b"ab")
    with pytest.raises(IntegrityError, match="has 2 bytes, the manifest says 3"):
        prove_present(plain, [file])
    plain.put(file.key, b"abc")
    noting = Noting(tmp_path / "cold")
    prove_present(noting, [file])
    noting.noted = "1" * 16
    with pytest.raises(IntegrityError, match="CRC-64"):
        prove_present(noting, [file])


def test_a_manifest_covers_exactly_its_bytes_under_its_paths() -> None:
    made = manifest()
    [file] = made.files
    assert covers(made, file.path, file.size, file.sha256)
    assert not covers(made, "other.pt", file.size, file.sha256)
    assert not covers(made, file.path, 4, file.sha256)
    assert not covers(made, file.path, file.size, "cd" * 32)


def test_an_object_without_a_readable_neighbour_is_only_unavailable(tmp_path: Path) -> None:
    plain = folder_store(tmp_path / "cold")
    [file] = manifest(5, (digest(),)).files
    error = UnavailableError("SlowDownRead")
    assert verdict_on_reading(plain, file, error) is error
    plain.put(file.key, b"abc")
    assert verdict_on_reading(plain, file, error) is error
    plain.put(file.key.removesuffix(file.path) + "SHA256SUMS.x", b"sums")
    assert isinstance(verdict_on_reading(plain, file, error), IntegrityError)
    (tmp_path / "cold" / ".ckpt-tier-store").unlink()
    assert verdict_on_reading(plain, file, error) is error
