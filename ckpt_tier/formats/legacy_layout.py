"""The layout of torch.save's old format: five pickles, then each storage as its element count and its bytes.

Runs in the child of `formats.deep`, since it unpickles.
"""

import io

from ckpt_tier.formats.check import Reader, Rejected
from ckpt_tier.formats.dtypes import ITEM_SIZE
from ckpt_tier.formats.inert import InertUnpickler, Inventory
from ckpt_tier.formats.window import Window

MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
"""torch.serialization.MAGIC_NUMBER, pickled with protocol 2."""


def read_layout(reader: Reader) -> tuple[Inventory, dict[str, int]]:
    """The inventory, and the offset of each storage's bytes; raises Rejected, or what unpickling raises."""
    inventory = Inventory()
    window = Window(reader, 0, reader.size)
    with io.BufferedReader(window) as file:
        for _ in range(4):
            InertUnpickler(file, inventory).load()
        keys = InertUnpickler(file, Inventory()).load()
        position = file.tell()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Rejected("the pickles are damaged: they don't end with the list of storages")
    if set(keys) != inventory.storages.keys() or len(keys) != len(inventory.storages):
        raise Rejected("the pickles are damaged: the list of storages does not match the tensors")
    offsets = {}
    for key in keys:
        storage = inventory.storages[key]
        if position + 8 > reader.size:
            raise Rejected(f"truncated: the file ends before storage {_shown(key)}")
        count = int.from_bytes(reader.read_at(position, 8), "little", signed=True)
        if count != storage.count:
            raise Rejected(f"storage {_shown(key)} is damaged: {count} elements, its pickle says {storage.count}")
        offsets[key] = position + 8
        position += 8 + count * ITEM_SIZE[storage.dtype]
    if position > reader.size:
        raise Rejected(f"truncated: {position - reader.size} bytes of the storages are missing")
    if position < reader.size:
        raise Rejected(f"{reader.size - position} bytes follow the last storage")
    return inventory, offsets


def _shown(key: str) -> str:
    return ascii(key[:40])[1:-1]
