"""Which check a file needs: by its content, helped by its name."""

from collections.abc import Callable
from pathlib import PurePath

from ckpt_tier.formats.check import Check, Level, Reader, Rejected
from ckpt_tier.formats.safetensors import SafetensorsCheck, looks_like_safetensors
from ckpt_tier.formats.simple import PickleCheck, PlainCheck
from ckpt_tier.formats.torch_legacy import LegacyCheck, looks_legacy
from ckpt_tier.formats.torch_zip import ZipCheck
from ckpt_tier.formats.zip_directory import END, LOCAL, has_directory

TORCH_SUFFIXES = frozenset({".pt", ".pth", ".ckpt", ".bin"})
_ONLY_TORCH = frozenset({".pt", ".pth"})
_PICKLE_SUFFIXES = frozenset({".pkl", ".pickle"})
_HEAD = 64


def check_for(path_name: str, reader: Reader, level: Level, stop: Callable[[], None] = lambda: None) -> Check:
    """The check of a file named `path_name`; raises Rejected at once for what its head and end already give away.

    At level deep this is the check of level full; the tensors are `formats.deep`'s. `stop` may raise to end what
    takes long before the first byte is fed (the pickles of the old torch format).
    """
    if reader.size == 0:
        raise Rejected("empty file")
    suffix = PurePath(path_name).suffix.lower()
    head = reader.read_at(0, min(_HEAD, reader.size))
    if suffix == ".distcp":
        # torch.distributed.checkpoint puts whole torch archives one behind the other into one file.
        return PlainCheck(reader, note="files of torch.distributed.checkpoint are not looked into")
    if suffix == ".safetensors":
        return SafetensorsCheck(reader)
    if suffix in TORCH_SUFFIXES and LOCAL.startswith(head):
        raise Rejected(f"truncated: {reader.size} bytes")
    if suffix in TORCH_SUFFIXES and not head.strip(b"\0"):
        raise Rejected("the first bytes are all zero")
    if head.startswith((LOCAL, END)) or (suffix in TORCH_SUFFIXES and has_directory(reader)):
        return ZipCheck(reader, level, must_be_torch=suffix in _ONLY_TORCH)
    if looks_legacy(head):
        return LegacyCheck(reader, stop)
    if looks_like_safetensors(reader.size, head):
        return SafetensorsCheck(reader)
    if _looks_like_a_pickle(head, suffix):
        return PickleCheck(reader)
    if suffix in _ONLY_TORCH:
        raise Rejected(f"not a torch file: it begins with {head[:4].hex(' ')}, neither a zip nor a pickle")
    return PlainCheck(reader)


def _looks_like_a_pickle(head: bytes, suffix: str) -> bool:
    """Two bytes prove little: protocols 2 and 3 have no more, so there the name must agree."""
    if head[:1] != b"\x80" or head[1:2] not in (b"\2", b"\3", b"\4", b"\5"):
        return False
    return head[2:3] == b"\x95" or suffix in TORCH_SUFFIXES | _PICKLE_SUFFIXES
