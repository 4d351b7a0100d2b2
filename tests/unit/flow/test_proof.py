from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ckpt_tier.errors import IntegrityError, UnavailableError
from ckpt_tier.flow.proof import covers, prove_arrived, prove_present, verdict_on_reading
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


def test_what_a_listing_does_not_show_as_it_should_be_is_asked_for_by_itself(tmp_path: Path) -> None:
    class Forgetful(FolderStore):
        """Its listings lag behind."""

        def list(self, prefix: str, after: str = "") -> Iterator[Stat]:
            return iter([each for each in super().list(prefix, after) if not each.key.endswith("f3")])

    folder_store(tmp_path / "cold")
    store = Forgetful(tmp_path / "cold")
    files = manifest(5, tuple(digest(f"f{number}") for number in range(9))).files
    prefix = files[0].key.removesuffix("f0")
    for file in files:
        store.put(file.key, b"abc")
    prove_arrived(store, prefix, files)
    store.delete(files[3].key)
    with pytest.raises(IntegrityError, match=f"{files[3].key} is missing"):
        prove_arrived(store, prefix, files)
    store.put(files[3].key, b"abc")
    store.delete(files[7].key)
    with pytest.raises(IntegrityError, match=f"{files[7].key} is missing"):
        prove_arrived(store, prefix, files)
    store.put(files[7].key, b"ab")
    with pytest.raises(IntegrityError, match="has 2 bytes, the manifest says 3"):
        prove_arrived(store, prefix, files)


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
