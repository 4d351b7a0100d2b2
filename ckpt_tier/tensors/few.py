"""The values of a tensor that has few, without torch, whose import takes longer than reading 83 scalars."""

import struct

MOST = 64
"""Elements: for more, torch is worth its import."""
_FORMS = {
    "float16": "e", "float32": "f", "float64": "d", "int8": "b", "uint8": "B", "int16": "h", "uint16": "H",
    "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q",
}  # fmt: skip


def is_known(dtype: str) -> bool:
    """Whether `values` takes it; else it is for torch."""
    return dtype in _FORMS or dtype == "bfloat16"


def values(data: bytes, dtype: str) -> list[float]:
    """The numbers in `data`, in the order of their bytes."""
    if dtype == "bfloat16":  # the upper half of a float32
        data, dtype = b"".join(b"\0\0" + data[i : i + 2] for i in range(0, len(data), 2)), "float32"
    form = _FORMS[dtype]
    return [float(value) for value in struct.unpack(f"<{len(data) // struct.calcsize(form)}{form}", data)]
