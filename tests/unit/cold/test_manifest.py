import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ckpt_tier.cold.documents import decode, encode
from ckpt_tier.cold.manifest import Manifest, check, is_safe_path, same_objects, sums
from ckpt_tier.core.findings import Findings
from ckpt_tier.core.nouns import FileDigest
from ckpt_tier.errors import IntegrityError
from tests.builders import digest, manifest

GOLDEN = Path(__file__).parent / "golden" / "manifest.json"


def golden_manifest() -> Manifest:
    """Every field used, and the bytes of its JSON fixed for ever."""
    files = (
        FileDigest(
            path="model_gpu0/model_step_740000.pt",
            size=1_200_000_000,
            mode=0o640,
            mtime_ns=1_700_000_000_123_456_789,
            sha256=hashlib.sha256(b"golden").hexdigest(),
            crc64nvme="9a6c9329ac4bc9b5",
        ),
    )
    made = manifest(740_000, files, save_id="pass-2", metrics={"loss": 1.83, "accuracy": 0.5})
    findings = Findings(
        format="torch-zip", level="deep", checksums=12, tensors=10, nan=0, inf=2, notes=("not loadable safely",)
    )
    [member] = made.members
    return msgspec.structs.replace(made, members=(msgspec.structs.replace(member, findings=findings),))


def test_the_bytes_of_a_manifest_are_fixed_for_ever() -> None:
    assert encode(golden_manifest()) == GOLDEN.read_bytes()


def test_a_manifest_of_this_format_stays_readable() -> None:
    key = golden_manifest().key
    assert check(decode(GOLDEN.read_bytes(), Manifest, key), key) == golden_manifest()


def test_a_manifest_knows_its_size_time_and_what_is_not_finite() -> None:
    golden = golden_manifest()
    assert golden.size == 1_200_000_000
    assert golden.saved == pytest.approx(1_700_000_000.123456)
    assert (golden.nan, golden.non_finite) == (0, 2)
    assert (manifest().nan, manifest().non_finite) == (0, None)


def tampered(change: dict[str, Any], member: dict[str, Any] | None = None, file: dict[str, Any] | None = None) -> bytes:
    tree = json.loads(encode(manifest()))
    tree |= change
    if member:
        tree["members"][0] |= member
    if file:
        tree["members"][0]["files"][0] |= file
    return json.dumps(tree).encode()


KEY = manifest().key
PREFIX = manifest().files[0].key.removesuffix(manifest().files[0].path)


def at(path: str) -> dict[str, Any]:
    return {"path": path, "key": PREFIX + path}


HOSTILE = {
    "another format": tampered({"format": 2}),
    "an unknown field": tampered({"command": "rm -rf /"}),
    "another run": tampered({"run": "other"}),
    "a run that climbs": tampered({"run": ".."}),
    "a series that climbs": tampered({"series": "../.."}),
    "another series": tampered({"series": "1"}),
    "another step": tampered({"step": 6}),
    "a step below zero": tampered({"step": -1}),
    "a step beyond all": tampered({"step": 10**12}),
    "a step that is a flag": tampered({"step": True}),
    "another generation": tampered({"generation": "f" * 16}),
    "a time without a zone": tampered({"saved_at": "2026-11-24T01:50:22"}),
    "no time": tampered({"saved_at": "yesterday"}),
    "a time before all": tampered({"saved_at": "0001-01-01T00:00:00+23:59"}),
    "a time after all": tampered({"saved_at": "9999-12-31T23:59:59-23:59"}),
    "no member": tampered({"members": []}),
    "no file": tampered({}, {"files": []}),
    "a wrong member id": tampered({}, {"id": "0" * 16}),
    "a member id that climbs": tampered({}, {"id": "../../../etc"}),
    "a path that climbs": tampered({}, file=at("../../etc/passwd")),
    "a path that climbs in the middle": tampered({}, file=at("a/../../b")),
    "an absolute path": tampered({}, file=at("/etc/passwd")),
    "a backslash": tampered({}, file=at("..\\..\\etc")),
    "an empty path": tampered({}, file=at("")),
    "a dot": tampered({}, file=at(".")),
    "a double slash": tampered({}, file=at("a//b")),
    "our own folder": tampered({}, file=at(".ckpt-tier/inbox/x.json")),
    "a control character": tampered({}, file=at("a\x1b[2Jb")),
    "a NUL": tampered({}, file=at("a\0b")),
    "a newline": tampered({}, file=at("a\nb")),
    "a very long path": tampered({}, file=at("a/" * 600 + "b")),
    "the key of another object": tampered({}, file={"key": "other/run.json"}),
    "a size below zero": tampered({}, file={"size": -1}),
    "a size beyond all": tampered({}, file={"size": 2**63}),
    "an mtime beyond all": tampered({}, file={"mtime_ns": -(2**63)}),
    "a mode with more bits": tampered({}, file={"mode": 0o100644}),
    "a short checksum": tampered({}, file={"sha256": "ab"}),
    "a checksum in capitals": tampered({}, file={"sha256": "AB" * 32}),
    "a CRC with text": tampered({}, file={"crc64nvme": "zzzzzzzzzzzzzzzz"}),
    "other bytes": tampered({}, file={"sha256": "cd" * 32}),
    "another size": tampered({}, file={"size": 4}),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_manifest_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"000000000005"):
        check(decode(data, Manifest, KEY), KEY)


def test_the_untampered_one_passes() -> None:
    assert check(decode(tampered({}), Manifest, KEY), KEY) == manifest()


def test_a_sound_manifest_under_another_name_is_refused() -> None:
    with pytest.raises(IntegrityError, match="another name"):
        check(manifest(), KEY.replace("run/", "other/", 1))


def test_two_files_under_one_path_are_refused() -> None:
    two = manifest(5, (digest("a.pt"), digest("a.pt", size=4)))
    with pytest.raises(IntegrityError, match="one path"):
        check(two, two.key)


@pytest.mark.parametrize("path", ["a", "a/b/c.pt", ".hidden/a", "a b", "é", "..a/b", "model-00001-of-00002.pt"])
def test_an_ordinary_path_is_safe(path: str) -> None:
    assert is_safe_path(path)


def test_the_checksum_list_is_read_by_sha256sum(tmp_path: Path) -> None:
    names = ["a.pt", "with space", "back\\slash", "new\nline"]
    files = []
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
        files.append(digest(name, len(name.encode()), hashlib.sha256(name.encode()).hexdigest()))
    (tmp_path / "SUMS").write_bytes(sums(manifest(5, tuple(files)).members[0]))
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SUMS"], cwd=tmp_path, check=True)
    (tmp_path / "new\nline").write_bytes(b"other")
    assert subprocess.run(["sha256sum", "-c", "--status", "SUMS"], cwd=tmp_path, check=False).returncode == 1


def test_the_same_objects_saved_at_other_times_are_the_same_generation() -> None:
    one = manifest()
    assert same_objects(one, msgspec.structs.replace(one, saved_at="2024-01-01T00:00:00Z", metrics={}))
    assert not same_objects(one, manifest(5, (digest(sha256="cd" * 32),)))
