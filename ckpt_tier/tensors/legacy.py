"""torch.save's old format: five pickles in a row, then each storage as its element count and its bytes."""

from ckpt_tier.formats.check import Reader, Rejected
from ckpt_tier.formats.dtypes import ITEM_SIZE
from ckpt_tier.tensors.nodes import Pickled
from ckpt_tier.tensors.nouns import Storage
from ckpt_tier.tensors.opcodes import read_pickle

COUNT = 8
"""Bytes of the element count before each storage."""


def read_legacy(reader: Reader) -> tuple[Pickled, dict[str, Storage], tuple[str, ...]]:
    """What the file holds, its storages by key, and no notes. The counts between the storages are not read: that all
    storages together fill the file proves more than enough for a list. Raises Rejected."""
    position, pickles = 0, []
    for _ in range(5):
        pickles.append(read_pickle(reader, position, reader.size - position))
        position = pickles[-1].end
    keys, announced = pickles[4].root, pickles[3].storages
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Rejected("the pickles are damaged: they don't end with the list of storages")
    if set(keys) != announced.keys() or len(keys) != len(announced):
        raise Rejected("the pickles are damaged: the list of storages does not match the tensors")
    storages = {}
    for key in keys:
        size = announced[key].count * ITEM_SIZE[announced[key].dtype]
        position += COUNT
        storages[key] = Storage(key=key, size_bytes=size, offset=position, limit=position + size)
        position += size
    if position != reader.size:
        raise Rejected(f"truncated: {position} bytes are needed for its storages, the file has {reader.size}")
    return pickles[3], storages, ()
