"""Which check a file needs: by its content, helped by its name."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import PurePath

from ckpt_tier.formats.check import Check, Level, OpenFile, Reader, Rejected
from ckpt_tier.formats.safetensors import SafetensorsCheck, looks_like_safetensors
from ckpt_tier.formats.simple import PickleCheck, PlainCheck
from ckpt_tier.formats.torch_legacy import LegacyCheck, looks_legacy
from ckpt_tier.formats.torch_zip import ZipCheck
from ckpt_tier.formats.zip_directory import END, LOCAL, has_directory

TORCH_SUFFIXES = frozenset({".pt", ".pth", ".ckpt", ".bin"})
_ONLY_TORCH = frozenset({".pt", ".pth"})
_PICKLE_SUFFIXES = frozenset({".pkl", ".pickle"})
_HEAD = 64


class Kind(StrEnum):
    """What a file is by its first look; a `ZIP` may be torch's or any other."""

    SAFETENSORS = "safetensors"
    ZIP = "zip"
    LEGACY = "torch-legacy"
    PICKLE = "pickle"
    DISTRIBUTED = "distcp"
    PLAIN = "plain"


def kind_of(path_name: str, reader: Reader) -> Kind:
    """What a file named `path_name` is; raises Rejected for what its head and end already give away."""
    if reader.size == 0:
        raise Rejected("empty file")
    suffix = PurePath(path_name).suffix.lower()
    head = reader.read_at(0, min(_HEAD, reader.size))
    if suffix == ".distcp":
        # torch.distributed.checkpoint puts whole torch archives one behind the other into one file.
        return Kind.DISTRIBUTED
    if suffix == ".safetensors":
        return Kind.SAFETENSORS
    if suffix in TORCH_SUFFIXES and LOCAL.startswith(head):
        raise Rejected(f"truncated: {reader.size} bytes")
    if suffix in TORCH_SUFFIXES and not head.strip(b"\0"):
        raise Rejected("the first bytes are all zero")
    if head.startswith((LOCAL, END)) or (suffix in TORCH_SUFFIXES and has_directory(reader)):
        return Kind.ZIP
    if looks_legacy(head):
        return Kind.LEGACY
    if looks_like_safetensors(reader.size, head):
        return Kind.SAFETENSORS
    if _looks_like_a_pickle(head, suffix):
        return Kind.PICKLE
    if suffix in _ONLY_TORCH:
        raise Rejected(f"not a torch file: it begins with {head[:4].hex(' ')}, neither a zip nor a pickle")
    return Kind.PLAIN


def check_for(path_name: str, reader: OpenFile, level: Level, stop: Callable[[], None] = lambda: None) -> Check:
    """The check of a file named `path_name`; raises Rejected at once for what its head and end already give away.

    At level deep this is the check of level full; the tensors are `formats.deep`'s. `stop` may raise to end what
    takes long before the first byte is fed (the pickles of the old torch format).
    """
    match kind_of(path_name, reader):
        case Kind.SAFETENSORS:
            return SafetensorsCheck(reader)
        case Kind.ZIP:
            return ZipCheck(reader, level, must_be_torch=PurePath(path_name).suffix.lower() in _ONLY_TORCH)
        case Kind.LEGACY:
            return LegacyCheck(reader, stop)
        case Kind.PICKLE:
            return PickleCheck(reader)
        case Kind.DISTRIBUTED:
            return PlainCheck(reader, note="files of torch.distributed.checkpoint are not looked into")
        case Kind.PLAIN:
            return PlainCheck(reader)


def _looks_like_a_pickle(head: bytes, suffix: str) -> bool:
    """Two bytes prove little: protocols 2 and 3 have no more, so there the name must agree."""
    if head[:1] != b"\x80" or head[1:2] not in (b"\2", b"\3", b"\4", b"\5"):
        return False
    return head[2:3] == b"\x95" or suffix in TORCH_SUFFIXES | _PICKLE_SUFFIXES
