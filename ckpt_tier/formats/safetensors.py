"""safetensors: an 8-byte header length, a JSON header, and the tensors' bytes without gaps.

https://github.com/huggingface/safetensors#format
"""

import json
from typing import Annotated

import msgspec

from ckpt_tier.core.findings import Findings
from ckpt_tier.formats.check import Level, Reader, Rejected

PREFIX = 8
MAX_HEADER = 100_000_000
"""Bytes: the limit of the reference implementation."""

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E5M2FNUZ": 8, "F8_E4M3FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""Bits per element of the dtypes that the format has."""

_MAX_SHOWN = 80
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One entry of the header; offsets in bytes from the header's end."""

    dtype: str
    shape: tuple[_Count, ...]
    data_offsets: tuple[_Count, _Count]


class Header(msgspec.Struct, frozen=True):
    """The tensors in the order of their bytes; `start` is where the first one begins in the file; `metadata` is what
    the writer has noted."""

    tensors: tuple[tuple[str, Tensor], ...]
    start: int
    metadata: dict[str, str] = {}


def looks_like_safetensors(size: int, head: bytes) -> bool:
    """Whether a file of `size` bytes that begins with `head` (9 bytes or more) may be one."""
    length = int.from_bytes(head[:PREFIX], "little")
    return len(head) > PREFIX and head[PREFIX : PREFIX + 1] == b"{" and 2 <= length <= min(MAX_HEADER, size - PREFIX)


def read_header(reader: Reader) -> Header:
    """The header, with every rule of the format checked; raises Rejected."""
    if reader.size < PREFIX:
        raise Rejected("truncated: the file is shorter than a safetensors header" if reader.size else "empty file")
    length = int.from_bytes(reader.read_at(0, PREFIX), "little")
    if not 2 <= length <= MAX_HEADER:
        raise Rejected(f"the safetensors header is damaged: {length} is not a possible length")
    if length > reader.size - PREFIX:
        raise Rejected("truncated: the file ends within its safetensors header")
    tensors, metadata = _parse(reader.read_at(PREFIX, length))
    start = PREFIX + length
    position = 0
    for name, tensor in tensors:
        begin, end = tensor.data_offsets
        if begin != position or end < begin:
            raise Rejected(f"the safetensors header is damaged: tensor {_shown(name)} leaves a gap or overlaps")
        _check_size(name, tensor)
        position = end
    if start + position > reader.size:
        raise Rejected(f"truncated: {start + position - reader.size} bytes of the tensors are missing")
    if start + position < reader.size:
        raise Rejected(f"{reader.size - start - position} bytes follow the last tensor")
    return Header(tensors, start, metadata)


def _parse(raw: bytes) -> tuple[tuple[tuple[str, Tensor], ...], dict[str, str]]:
    if not raw.startswith(b"{"):
        raise Rejected("the safetensors header is damaged: it does not begin with {")
    try:
        # Typed first: a hostile header fails here before it costs memory. Duplicate keys only the second sees.
        entries = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        json.loads(raw, object_pairs_hook=_without_duplicates)
        metadata = msgspec.json.decode(entries.pop("__metadata__", msgspec.Raw(b"{}")), type=dict[str, str])
        tensors = {name: msgspec.json.decode(entry, type=Tensor) for name, entry in entries.items()}
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Rejected(f"the safetensors header is damaged: {_shown(str(error))}") from error
    return tuple(sorted(tensors.items(), key=lambda item: item[1].data_offsets)), metadata


def _without_duplicates(pairs: list[tuple[str, object]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key appears twice")


def _check_size(name: str, tensor: Tensor) -> None:
    bits = BITS.get(tensor.dtype)
    if bits is None:
        return
    for extent in tensor.shape:
        bits *= extent
        if bits >= 2**66:
            raise Rejected(f"the safetensors header is damaged: the shape of {_shown(name)} is impossible")
    begin, end = tensor.data_offsets
    if bits != 8 * (end - begin):
        raise Rejected(f"the safetensors header is damaged: {_shown(name)} has {end - begin} bytes, not {bits / 8:g}")


def _shown(text: str) -> str:
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[: _MAX_SHOWN - 1]}…"


class SafetensorsCheck:
    """All is checked when it is made: the format has no checksums. A `Check`."""

    format = "safetensors"

    def __init__(self, reader: Reader) -> None:
        tensors = read_header(reader).tensors
        unknown = sorted({tensor.dtype for _, tensor in tensors} - BITS.keys())
        self._notes = ["safetensors have no checksums: structure only"]
        self._notes += [f"unknown dtypes, their sizes unchecked: {_shown(', '.join(unknown))}"] if unknown else []

    def feed(self, offset: int, data: memoryview) -> None:
        """Nothing in these bytes can be checked."""

    def finish(self) -> Findings:
        return Findings(format=self.format, level=str(Level.FAST), notes=tuple(self._notes))
