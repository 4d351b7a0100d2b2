"""What a checkpoint file holds, from its directory and its pickle or header alone. No tensor is read, no code is run.

Of a torch archive the first and the last part are read: its pickle is the first record, its directory the last.
"""

import math
from zlib import crc32

import msgspec

from ckpt_tier.errors import IntegrityError
from ckpt_tier.formats.check import Reader, Rejected
from ckpt_tier.formats.detect import Kind, kind_of
from ckpt_tier.formats.dtypes import DTYPE_OF_SAFETENSORS, ITEM_SIZE
from ckpt_tier.formats.rebuild import Storage as Announced
from ckpt_tier.formats.rebuild import Tensor as View
from ckpt_tier.formats.safetensors import read_header
from ckpt_tier.formats.torch_zip import torch_root
from ckpt_tier.formats.zip_directory import LOCAL_LENGTH, STORED, Directory, Record, read_directory
from ckpt_tier.formats.zip_records import parse_local
from ckpt_tier.tensors.alike import Alike
from ckpt_tier.tensors.foretelling import LONGEST, Foretelling, Text
from ckpt_tier.tensors.legacy import read_legacy
from ckpt_tier.tensors.model import PICKLE, Model
from ckpt_tier.tensors.nodes import Node, Opaque, Pickled
from ckpt_tier.tensors.nouns import Catalogue, Storage, Tensor, row_major
from ckpt_tier.tensors.opcodes import read_pickle
from ckpt_tier.tensors.outline import outline_of
from ckpt_tier.tensors.ranges import Cost, Ranges
from ckpt_tier.tensors.safety import not_safely_loadable
from ckpt_tier.tensors.tree import Entry, printable, walk

BYTE_ORDER = b"byteorder"


def catalogue(reader: Reader, path: str, alike: Alike | None = None) -> Catalogue:
    """What the file holds; the end of `path` helps to tell its format, and `alike` what files like it have told.

    Raises IntegrityError where it is damaged, or too large or nested too deep to be listed.
    """
    try:
        kind = Kind.ZIP if alike is not None and alike.is_zip(reader, path) else kind_of(path, reader)
        match kind:
            case Kind.SAFETENSORS:
                return _safetensors(reader, path)
            case Kind.ZIP:
                return _zip(reader, path, alike or Alike())
            case Kind.LEGACY:
                return _torch(reader, path, "torch-legacy", *read_legacy(reader))
            case Kind.PICKLE:
                return _torch(reader, path, "pickle", read_pickle(reader, 0, reader.size), {}, ())
            case Kind.DISTRIBUTED | Kind.PLAIN:
                note = f"{kind} files are not looked into"
                return Catalogue(path=path, format=str(kind), size_bytes=reader.size, notes=(note,))
    except Rejected as error:
        raise IntegrityError(
            f"what {printable(path)} holds can't be listed",
            str(error),
            "`ckpt-tier verify --step N --read` proves the cold tier's copy; a local file may have been cut short",
        ) from error


def _safetensors(reader: Reader, path: str) -> Catalogue:
    header = read_header(reader)
    tensors, storages = [], {}
    for name, entry in header.tensors:
        begin, end = entry.data_offsets
        shown = printable(name)
        tensors.append(
            Tensor(
                name=shown,
                dtype=DTYPE_OF_SAFETENSORS.get(entry.dtype, printable(entry.dtype)),
                shape=entry.shape,
                stride=row_major(entry.shape),
                size_bytes=end - begin,
                storage=shown,
                end_bytes=end - begin,
            )
        )
        start = header.start + begin
        storages[shown] = Storage(key=shown, size_bytes=end - begin, offset=start, limit=start + end - begin)
    metadata = Node("dict")
    metadata.pairs += header.metadata.items()
    return Catalogue(
        path=path,
        format="safetensors",
        size_bytes=reader.size,
        tensors=tuple(tensors),
        entries=tuple(entry for _, entry in walk(metadata) if isinstance(entry, Entry) and header.metadata),
        storages=storages,
        head_bytes=header.start,
    )


def _zip(reader: Reader, path: str, alike: Alike) -> Catalogue:
    known = alike.known(reader, path)
    if known is not None:
        return known
    directory = read_directory(reader)
    root = torch_root(directory)
    if root is None:
        note = "a zip file, but not one of torch: it is not looked into"
        return Catalogue(path=path, format="zip", size_bytes=reader.size, notes=(note,))
    records = {record.name: record for record in directory.records}
    pickle = records[root + PICKLE]
    if pickle.method != STORED or pickle.is_encrypted:
        raise Rejected("its pickle is compressed, which torch never does")
    pickled = alike.pickled(pickle)
    text = None
    limit = min((each.offset for each in directory.records if each.offset > pickle.offset), default=directory.start)
    if pickled is None:
        pickled, text = _read_pickle(reader, pickle, limit, alike.foretelling)
        alike.keep(pickle, pickled)
    order = records.get(root + BYTE_ORDER)
    foreign = order is not None and not alike.is_little(order) and _begins_with_big(reader, order)
    notes = ["written on a big-endian machine: its tensors can't be read here"] if foreign else []
    notes += ["constants.pkl, of TorchScript, is not listed"] if root + b"constants.pkl" in records else []
    storages = _storages_of(directory, root + b"data/", readable=not foreign)
    held = _torch(reader, path, "torch-zip", pickled, storages, notes)
    proven = bool(pickle.crc32) and pickle.size <= LONGEST
    held = msgspec.structs.replace(held, tail_bytes=reader.size - directory.start, is_proven=proven)
    if proven:
        form = alike.forms.learn(text, held.entries) if text is not None else None
        tail = reader.read_at(directory.start, held.tail_bytes)
        outline = outline_of(tail, directory.start, directory.records, root, BYTE_ORDER)
        if outline is not None and outline.has(held.storages):
            alike.keep_model(Model(outline, pickle, limit, form, held))
    return held


def _read_pickle(reader: Reader, pickle: Record, limit: int, foretelling: Foretelling) -> tuple[Pickled, bytes | None]:
    """What is in it, and its bytes, unless they are many."""
    text = foretelling.text(reader, pickle, limit)
    if text is None and limit - pickle.offset <= LONGEST:
        raw = reader.read_at(pickle.offset, limit - pickle.offset)
        begin = _data_offset(reader, pickle) - pickle.offset
        text = raw[begin : begin + pickle.size]
        foretelling.learn(Text(text, len(raw) - begin - pickle.size))
    if text is not None:
        if pickle.crc32 and crc32(text) != pickle.crc32:  # 0 is what files without checksums have
            raise Rejected("its pickle does not match its CRC32: it changed after it was saved")
        source: Reader = Ranges(len(text), lambda offset, length: text[offset : offset + length], Cost())
        start = 0
    else:
        source, start = reader, _data_offset(reader, pickle)
    pickled = read_pickle(source, start, pickle.size)
    if pickled.end != start + pickle.size:
        raise Rejected("its pickle is damaged: bytes follow its end")
    return pickled, text


def _begins_with_big(reader: Reader, order: Record) -> bool:
    return reader.read_at(_data_offset(reader, order), min(3, order.size)) == b"big"


def _data_offset(reader: Reader, record: Record) -> int:
    local = parse_local(record, reader.read_at(record.offset, LOCAL_LENGTH))
    return record.offset + LOCAL_LENGTH + local.name_length + local.extra_length


def _storages_of(directory: Directory, folder: bytes, *, readable: bool) -> dict[str, Storage]:
    has_checksums = any(record.crc32 for record in directory.records)
    limits = [*(record.offset for record in directory.records), directory.start][1:]
    found = {}
    for record, limit in zip(directory.records, limits, strict=True):
        if record.name.startswith(folder):
            key = record.name[len(folder) :].decode("utf-8", "replace")
            found[key] = Storage(
                key=key,
                size_bytes=record.size,
                offset=record.offset,
                in_record=True,
                limit=limit,
                crc32=record.crc32 if has_checksums else None,
                readable=readable and record.method == STORED and not record.is_encrypted,
            )
    return found


def _torch(
    reader: Reader,
    path: str,
    kind: str,
    pickled: Pickled,
    there: dict[str, Storage],
    notes: list[str] | tuple[str, ...],
) -> Catalogue:
    tensors: list[Tensor] = []
    entries: list[Entry] = []
    used: dict[str, Storage] = {}
    for name, thing in walk(pickled.root):
        if isinstance(thing, Entry):
            entries.append(thing)
        elif isinstance(thing, Opaque):
            tensors.append(Tensor(name=name, dtype="opaque", shape=(), stride=None, size_bytes=0, storage=None))
        else:
            key = thing.storage.key
            used[key] = _proven(thing.storage, there.get(key))
            tensors.append(_tensor(name, thing))
    return Catalogue(
        path=path,
        format=kind,
        size_bytes=reader.size,
        tensors=tuple(tensors),
        entries=tuple(entries),
        storages=used,
        notes=(*notes, *not_safely_loadable(pickled.names)),
    )


def _proven(announced: Announced, there: Storage | None) -> Storage:
    """The storage in the file, if it is what the pickle says."""
    shown = printable(announced.key[:40])
    if there is None:
        raise Rejected(f"there is no record for storage {shown}")
    expected = announced.count * ITEM_SIZE[announced.dtype]
    if there.size_bytes != expected:
        raise Rejected(f"storage {shown} is damaged: {there.size_bytes} bytes, its pickle says {expected}")
    return there


def _tensor(name: str, view: View) -> Tensor:
    item = ITEM_SIZE.get(view.dtype)
    if item is None:
        raise Rejected(f"tensor {name} has the unknown dtype {printable(view.dtype)}")
    steps = zip(view.shape, view.stride, strict=True)
    last = view.offset + sum((extent - 1) * step for extent, step in steps)
    begin, end = (view.offset * item, (last + 1) * item) if all(view.shape) else (0, 0)
    if end > view.storage.count * ITEM_SIZE[view.storage.dtype]:
        raise Rejected(f"tensor {name} reaches beyond its storage")
    return Tensor(
        name=name,
        dtype=view.dtype,
        shape=view.shape,
        stride=view.stride,
        size_bytes=math.prod(view.shape) * item,
        storage=view.storage.key,
        begin_bytes=begin,
        end_bytes=end,
    )
