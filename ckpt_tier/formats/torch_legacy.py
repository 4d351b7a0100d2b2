"""torch.save(…, _use_new_zipfile_serialization=False): pickles followed by raw storages."""

from collections.abc import Callable

from ckpt_tier.core.findings import Findings
from ckpt_tier.formats.check import Level, OpenFile
from ckpt_tier.formats.child import look
from ckpt_tier.formats.legacy_layout import MAGIC

_LOOK_TIMEOUT = 300.0
"""Seconds; the pickles of a large model take a few."""


def looks_legacy(head: bytes) -> bool:
    """Whether a file begins with the magic number of torch's old format."""
    return head.startswith(MAGIC)


class LegacyCheck:
    """Structure and the exact length of the file, found in a child process when it is made. A `Check`."""

    format = "torch-legacy"

    def __init__(self, reader: OpenFile, stop: Callable[[], None] = lambda: None) -> None:
        look("legacy-layout", reader, timeout=_LOOK_TIMEOUT, stop=stop)

    def feed(self, offset: int, data: memoryview) -> None:
        """Nothing in these bytes can be checked."""

    def finish(self) -> Findings:
        notes = ("the old torch format has no checksums: structure only",)
        return Findings(format=self.format, level=str(Level.FAST), notes=notes)
