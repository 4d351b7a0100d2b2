"""Zip files: those of torch.save and TorchScript, and any other (npz).

Every record of torch.save carries a CRC32, which torch.load never looks at. Records lie one behind the other without
gaps, stored, aligned to 64 bytes by an extra field in their local headers; TorchScript deflates its source code.
What this check can't see, because nothing reads it: a flip in alignment padding, in the file attributes (but for the
folder bit, which torch.load obeys) or in the creator version of the directory.
"""

from ckpt_tier.core.findings import Findings
from ckpt_tier.formats.check import Level, Reader, Rejected
from ckpt_tier.formats.pump import Pump, Walk, into, skip, take
from ckpt_tier.formats.zip_directory import HAS_DESCRIPTOR, LOCAL_LENGTH, STORED, Directory, Record, read_directory
from ckpt_tier.formats.zip_records import Tail, check_descriptor, compare, parse_local, sink_for

STOP = 0x2E
"""The last opcode of every pickle."""

_DESCRIPTOR_LENGTHS = (12, 16, 20, 24)
_INFLATE_ALLOWANCE = 2**30
_MARKS = (b"version", b".data/serialization_id", b"byteorder", b".format_version")


def torch_root(directory: Directory) -> bytes | None:
    """The folder that holds a torch archive's records, with its slash; None if this is no torch archive.

    Raises Rejected when it is one without a ``data.pkl``.
    """
    names = {record.name for record in directory.records}
    for name in names:
        if name.endswith(b"/data.pkl") and name.count(b"/") == 1:
            return name[: -len(b"data.pkl")]
    roots = {name.partition(b"/")[0] + b"/" for name in names if b"/" in name}
    for root in sorted(roots):
        # A program of torch.export is the same container without a data.pkl, and says so by this record.
        is_export = root + b"archive_format" in names
        if not is_export and sum(root + mark in names for mark in _MARKS) > 1:
            raise Rejected("there is no data.pkl record: the archive is not whole")
    return None


class ZipCheck:
    """Structure by the directory when it is made; records as they are fed. A `Check`."""

    def __init__(self, reader: Reader, level: Level, *, must_be_torch: bool) -> None:
        self.directory = read_directory(reader)
        self._size = reader.size
        self._root = torch_root(self.directory)
        if self._root is None and must_be_torch and not self._is_export():
            raise Rejected("there is no data.pkl record: a zip file, but not one of torch")
        self._notes: list[str] = []
        self._checked = 0
        self._unchecked = 0
        self._by_checksum = level is not Level.FAST and self._has_checksums()
        self._pump = Pump(self._walk())

    @property
    def format(self) -> str:
        return "zip" if self._root is None else "torch-zip"

    def feed(self, offset: int, data: memoryview) -> None:
        del offset
        self._pump.feed(data)

    def finish(self) -> Findings:
        self._pump.finish()
        if self._unchecked:
            self._notes.append(f"{self._unchecked} records are compressed or encrypted in ways not checked here")
        return Findings(
            format=self.format,
            level=str(Level.FULL if self._by_checksum else Level.FAST),
            checksums=self._checked,
            notes=tuple(self._notes),
        )

    def _is_export(self) -> bool:
        return any(record.name.endswith(b"/archive_format") for record in self.directory.records)

    def _has_checksums(self) -> bool:
        records = self.directory.records
        if self._root and any(record.size for record in records) and not any(record.crc32 for record in records):
            self._notes.append("written without record checksums (set_crc32_options(False)): structure only")
            return False
        inflated = sum(record.size for record in records if record.method != STORED)
        if inflated > 16 * self._size + _INFLATE_ALLOWANCE:
            self._notes.append(f"decompresses to {inflated} bytes, too many to check: structure only")
            return False
        return True

    def _walk(self) -> Walk:
        records, start = self.directory.records, self.directory.start
        strict = self._root is not None
        if strict:
            self._refuse_duplicates()
        position = 0
        for record, bound in zip(records, [*(r.offset for r in records), start][1:], strict=True):
            if strict and record.offset != position:
                raise Rejected(f"{record.offset - position} bytes lie before record {record.label}")
            yield skip(record.offset - position)
            local = parse_local(record, (yield take(LOCAL_LENGTH)))
            names = yield take(local.name_length + local.extra_length)
            compare(record, local, names[: local.name_length], names[local.name_length :], strict=strict)
            end = record.offset + LOCAL_LENGTH + len(names) + record.stored_size
            if end > bound:
                raise Rejected(f"record {record.label} is damaged: it overlaps what follows it")
            yield from self._data(record)
            gap = bound - end
            if gap in _DESCRIPTOR_LENGTHS and local.flags & HAS_DESCRIPTOR:
                check_descriptor(record, (yield take(gap)))
            elif strict and (gap or local.flags & HAS_DESCRIPTOR):
                raise Rejected(f"record {record.label} is damaged: {gap} bytes follow its data")
            else:
                yield skip(gap)
            position = bound
        yield skip(self._size - position)

    def _data(self, record: Record) -> Walk:
        checked = sink_for(record) if self._by_checksum else None
        if checked is None:
            self._unchecked += self._by_checksum
            tail = Tail()
            yield into(record.stored_size, tail.update)
            is_plain = record.method == STORED and not record.is_encrypted
        else:
            yield into(record.stored_size, checked.update)
            checked.close(record)
            self._checked += 1
            tail, is_plain = checked, True
        if is_plain and record.method == STORED and record.size != record.stored_size:
            raise Rejected(f"record {record.label} is damaged: it is stored, yet has two sizes")
        if is_plain and self._is_pickle(record) and tail.last != STOP:
            raise Rejected(f"record {record.label} is damaged: its pickle does not end with STOP")

    def _is_pickle(self, record: Record) -> bool:
        return self._root is not None and record.name == self._root + b"data.pkl"

    def _refuse_duplicates(self) -> None:
        seen: set[bytes] = set()
        for record in self.directory.records:
            if record.name in seen:
                raise Rejected(f"the zip directory is damaged: it names record {record.label} twice")
            seen.add(record.name)
