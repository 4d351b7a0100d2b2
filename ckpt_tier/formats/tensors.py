"""What a file's tensors are and where their bytes lie: the deep level, in the child process."""

import io
from collections import defaultdict

from ckpt_tier.formats.check import OpenFile, Reader, Rejected
from ckpt_tier.formats.child import Reply
from ckpt_tier.formats.dtypes import DTYPE_OF_SAFETENSORS, FLOATING, ITEM_SIZE
from ckpt_tier.formats.inert import InertUnpickler, Inventory
from ckpt_tier.formats.legacy_layout import read_layout
from ckpt_tier.formats.memory import limited_memory
from ckpt_tier.formats.rebuild import Tensor
from ckpt_tier.formats.safetensors import read_header
from ckpt_tier.formats.torch_zip import torch_root
from ckpt_tier.formats.values import Range, count_non_finite, unknown_dtypes
from ckpt_tier.formats.window import Window
from ckpt_tier.formats.zip_directory import LOCAL_LENGTH, STORED, Record, read_directory
from ckpt_tier.formats.zip_records import parse_local

_MAX_SHOWN = 5


def examine(kind: str, reader: OpenFile) -> Reply:
    """Counts tensors, NaN and Inf; raises Rejected where tensors and bytes contradict each other."""
    if kind == "safetensors":
        return _safetensors(reader)
    if kind == "torch-legacy":
        with limited_memory():
            inventory, offsets = read_layout(reader)
        return _reply(reader, inventory, offsets)
    return _torch_zip(reader)


def _safetensors(reader: OpenFile) -> Reply:
    header = read_header(reader)
    ranges = [
        Range(DTYPE_OF_SAFETENSORS[t.dtype], header.start + t.data_offsets[0], t.data_offsets[1] - t.data_offsets[0])
        for _, t in header.tensors
        if DTYPE_OF_SAFETENSORS.get(t.dtype) in FLOATING
    ]
    nan, inf, notes = _count(reader, ranges)
    return Reply(tensors=len(header.tensors), nan=nan, inf=inf, notes=tuple(notes))


def _torch_zip(reader: OpenFile) -> Reply:
    directory = read_directory(reader)
    root = torch_root(directory)
    if root is None:
        raise Rejected("there is no data.pkl record")
    records = {record.name: record for record in directory.records}
    order = records.get(root + b"byteorder")
    is_foreign = order is not None and reader.read_at(_data_offset(reader, order), min(3, order.size)) == b"big"
    parts = [Reply(notes=("written on a big-endian machine: values are not counted",))] if is_foreign else []
    for name, folder in ((b"data.pkl", b"data/"), (b"constants.pkl", b"constants/")):
        record = records.get(root + name)
        if record is None:
            continue
        if record.method != STORED:
            parts.append(Reply(notes=(f"{record.label} is compressed: its tensors are not counted",)))
            continue
        inventory = _unpickle(reader, record)
        offsets = _storage_offsets(reader, inventory, records, root + folder)
        parts.append(_reply(reader, inventory, {} if is_foreign else offsets))
    return Reply(
        tensors=sum(part.tensors for part in parts),
        nan=sum(part.nan for part in parts),
        inf=sum(part.inf for part in parts),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def _unpickle(reader: Reader, record: Record) -> Inventory:
    inventory = Inventory()
    with limited_memory(), io.BufferedReader(Window(reader, _data_offset(reader, record), record.size)) as file:
        InertUnpickler(file, inventory).load()
        if file.read(1):
            raise Rejected(f"record {record.label} is damaged: bytes follow its pickle")
    return inventory


def _data_offset(reader: Reader, record: Record) -> int:
    local = parse_local(record, reader.read_at(record.offset, LOCAL_LENGTH))
    return record.offset + LOCAL_LENGTH + local.name_length + local.extra_length


def _storage_offsets(
    reader: Reader, inventory: Inventory, records: dict[bytes, Record], folder: bytes
) -> dict[str, int]:
    offsets = {}
    for key, storage in inventory.storages.items():
        record = records.get(folder + key.encode("utf-8", "replace"))
        shown = ascii(key[:40])[1:-1]
        if record is None:
            raise Rejected(f"there is no record for storage {shown}")
        expected = storage.count * ITEM_SIZE[storage.dtype]
        if record.size != expected:
            raise Rejected(f"record {record.label} is damaged: {record.size} bytes, its pickle says {expected}")
        if record.method == STORED:
            offsets[key] = _data_offset(reader, record)
    return offsets


def _reply(reader: OpenFile, inventory: Inventory, offsets: dict[str, int]) -> Reply:
    nan, inf, notes = _count(reader, _ranges(inventory.tensors, offsets))
    return Reply(
        tensors=len(inventory.tensors) + inventory.opaque_tensors,
        nan=nan,
        inf=inf,
        notes=(*notes, *_not_safely_loadable(inventory.globals)),
    )


def _count(reader: OpenFile, ranges: list[Range]) -> tuple[int, int, list[str]]:
    unknown = unknown_dtypes(ranges)
    notes = [f"values not counted, this torch lacks their dtype: {', '.join(unknown)}"] if unknown else []
    nan, inf = count_non_finite(reader, [part for part in ranges if part.dtype not in unknown])
    return nan, inf, notes


def _ranges(tensors: list[Tensor], offsets: dict[str, int]) -> list[Range]:
    """The bytes that tensors with a NaN in their dtype cover, each once however many tensors share them.

    A tensor with gaps (a column of a matrix) counts with what lies between; raises Rejected where one reaches
    beyond its storage.
    """
    extents: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for tensor in tensors:
        item = ITEM_SIZE.get(tensor.dtype)
        if item is None or not all(tensor.shape):
            continue
        last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride, strict=True))
        storage = tensor.storage
        if (last + 1) * item > storage.count * ITEM_SIZE[storage.dtype]:
            raise Rejected(f"a tensor reaches beyond storage {ascii(storage.key[:40])[1:-1]}")
        if tensor.dtype in FLOATING and storage.key in offsets:
            extents[storage.key, tensor.dtype].append((tensor.offset * item, (last + 1) * item))
    return [
        Range(dtype, offsets[key] + begin, end - begin)
        for (key, dtype), pairs in extents.items()
        for begin, end in _merged(pairs)
    ]


def _merged(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(pairs):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def _not_safely_loadable(names: set[str]) -> list[str]:
    """A note on the globals that torch.load(weights_only=True) refuses; nothing where torch does not tell."""
    try:
        from torch._weights_only_unpickler import _get_allowed_globals
    except ImportError:
        return []
    foreign = sorted(names - _get_allowed_globals().keys())
    if not foreign:
        return []
    shown = [ascii(name[:80])[1:-1] for name in foreign[:_MAX_SHOWN]]
    more = f" and {len(foreign) - _MAX_SHOWN} more" if len(foreign) > _MAX_SHOWN else ""
    return [f"not loadable with weights_only=True: uses {', '.join(shown)}{more}"]
