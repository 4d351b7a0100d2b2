"""The manifest: the JSON that commits a generation, and everything needed to bring it back.

Every field is fixed by `FORMAT`; old versions stay readable. A manifest that was read is hostile until `check` has
passed it: ids must follow from contents, keys must lie below the member's own prefix, paths must be relative and stay
below the destination.
"""

import re
from pathlib import PurePosixPath

import msgspec

from ckpt_tier.cold import keys
from ckpt_tier.core.findings import Findings
from ckpt_tier.core.nouns import MAX_STEP, NAME_PATTERN, FileDigest, generation_id, member_id
from ckpt_tier.core.units import format_time, parse_time
from ckpt_tier.errors import IntegrityError

FORMAT = 1
_HEX = {16: re.compile(r"[0-9a-f]{16}"), 64: re.compile(r"[0-9a-f]{64}")}
_NAME = re.compile(NAME_PATTERN)
MAX_PATH_BYTES = 900
_MOST = 2**63 - 1
"""The largest size and time, in bytes and nanoseconds, that a file system call takes."""


class ManifestFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file: `path` relative to the hot folder, `key` relative to the store's root."""

    path: str
    key: str
    size: int
    mode: int
    mtime_ns: int
    sha256: str
    crc64nvme: str


class Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The files that one contributor saved. `rank` is None where the checkpoint has one member."""

    id: str
    rank: int | None
    host: str
    files: tuple[ManifestFile, ...]
    findings: Findings


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One committed generation of one step. `saved_at` is RFC 3339 in UTC; `versions` name → version."""

    format: int
    run: str
    run_id: str
    series: str
    step: int
    saved_at: str
    generation: str
    save_id: str | None
    layout: str
    members: tuple[Member, ...]
    metrics: dict[str, float]
    versions: dict[str, str]

    @property
    def files(self) -> tuple[ManifestFile, ...]:
        """The files of all members."""
        return tuple(file for member in self.members for file in member.files)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def saved(self) -> float:
        """`saved_at` in seconds since the epoch."""
        return parse_time(self.saved_at)

    @property
    def non_finite(self) -> int | None:
        """NaN and Inf values found, or None if nobody looked."""
        counts = [m.findings.nan + (m.findings.inf or 0) for m in self.members if m.findings.nan is not None]
        return sum(counts) if counts else None

    @property
    def nan(self) -> int:
        """NaN values known of; 0 if nobody looked."""
        return sum(member.findings.nan or 0 for member in self.members)

    @property
    def key(self) -> str:
        return keys.manifest_key(self.run, self.series, self.step, self.generation)


def place(run: str, series: str, step: int, files: tuple[FileDigest, ...]) -> tuple[str, tuple[ManifestFile, ...]]:
    """The member id of `files` and where each goes in the cold tier."""
    identity = member_id(files)
    prefix = keys.member_prefix(run, series, step, identity)
    placed = tuple(
        ManifestFile(
            path=f.path,
            key=prefix + f.path,
            size=f.size,
            mode=f.mode,
            mtime_ns=f.mtime_ns,
            sha256=f.sha256,
            crc64nvme=f.crc64nvme,
        )
        for f in files
    )
    return identity, placed


def sums(member: Member) -> bytes:
    """The member's files in the form of ``sha256sum -c``, which escapes a backslash or newline in a name."""
    lines = []
    for file in sorted(member.files, key=lambda f: f.path):
        escaped = file.path.replace("\\", "\\\\").replace("\n", "\\n")
        mark = "\\" if escaped != file.path else ""
        lines.append(f"{mark}{file.sha256}  {escaped}\n")
    return "".join(lines).encode()


def same_objects(one: Manifest, other: Manifest) -> bool:
    """Whether both commit the same generation over the same objects (times and hosts may differ)."""

    def objects(manifest: Manifest) -> set[tuple[str, int, str, str]]:
        return {(f.key, f.size, f.sha256, f.crc64nvme) for f in manifest.files}

    return one.generation == other.generation and objects(one) == objects(other)


def check(manifest: Manifest, key: str) -> Manifest:
    """`manifest`, if it is sound and stands under the right `key`; raises IntegrityError."""

    def require(condition: bool, why: str) -> None:
        if not condition:
            raise IntegrityError(
                f"the manifest {key} is not sound", why, "nothing was taken from it; look who wrote it to the bucket"
            )

    require(manifest.format == FORMAT, f"its format is {manifest.format}, this version reads {FORMAT}")
    require(_NAME.fullmatch(manifest.run) is not None, "its run is not a run name")
    require(_NAME.fullmatch(manifest.series) is not None, "its series is not a series name")
    require(0 <= manifest.step <= MAX_STEP, "its step is out of range")
    require(manifest.key == key, "it stands under another name than its contents give")
    try:
        format_time(parse_time(manifest.saved_at))
    except (ValueError, OverflowError, OSError) as error:
        require(False, f"its saved_at: {error}")
    require(bool(manifest.members), "it has no member")
    for member in manifest.members:
        prefix = keys.member_prefix(manifest.run, manifest.series, manifest.step, member.id)
        require(bool(member.files), f"member {member.id} has no file")
        for file in member.files:
            require(is_safe_path(file.path), f"its path {file.path!r} leads outside the destination")
            require(file.key == prefix + file.path, f"its key {file.key!r} is not that of its path")
            require(
                0 <= file.size <= _MOST and 0 <= file.mode <= 0o7777 and abs(file.mtime_ns) <= _MOST,
                f"the size, mode or mtime of {file.path!r} is impossible",
            )
            require(
                _HEX[64].fullmatch(file.sha256) is not None and _HEX[16].fullmatch(file.crc64nvme) is not None,
                f"a checksum of {file.path!r} is malformed",
            )
        digests = [FileDigest(f.path, f.size, f.mode, f.mtime_ns, f.sha256, f.crc64nvme) for f in member.files]
        require(member_id(digests) == member.id, f"the id of member {member.id} does not follow from its files")
    ids = [member.id for member in manifest.members]
    require(generation_id(ids) == manifest.generation, "its generation does not follow from its members")
    for member in manifest.members:
        paths = [file.path for file in member.files]
        require(len(set(paths)) == len(paths), f"two files of member {member.id} have one path")
    if len(ids) > 1:
        require(
            [member.rank for member in manifest.members] == list(range(len(ids))), "its ranks are not 0 to the last"
        )
    return manifest


def is_safe_path(path: str) -> bool:
    """Whether a path from a manifest stays below the folder that it is joined to."""
    parts = PurePosixPath(path).parts
    return (
        bool(parts)
        and not path.startswith("/")
        and "\\" not in path
        and path.isprintable()
        and len(path.encode()) <= MAX_PATH_BYTES
        and path == "/".join(parts)
        and ".." not in parts
        and parts[0] != ".ckpt-tier"
    )
