"""The deep level: tensors enumerated, NaN and Inf counted, in a child process that reads the file once more."""

from collections.abc import Callable

import msgspec

from ckpt_tier.core.findings import Findings
from ckpt_tier.formats.check import Level, OpenFile
from ckpt_tier.formats.child import look

_FORMATS = frozenset({"torch-zip", "torch-legacy", "safetensors"})
_SLOWEST = 20e6
"""Bytes per second: a disk slower than this is taken for a hung one."""
_START_UP = 120.0
"""Seconds, for importing torch on a busy machine."""


def deep_check(reader: OpenFile, findings: Findings, *, stop: Callable[[], None] = lambda: None) -> Findings:
    """`findings` of a file that passed level full, with its tensors counted and level "deep".

    Formats without tensors, known to us, come back as they are, with a note. Raises Rejected where tensors and bytes
    contradict each other, or the child dies or hangs, which is also what a file that shrinks under it looks like:
    the caller compares inode, size and mtime and knows better. Raises whatever `stop` raises.
    """
    if findings.format not in _FORMATS:
        note = f"level deep knows no tensors in format {findings.format}"
        return msgspec.structs.replace(findings, notes=(*findings.notes, note))
    timeout = _START_UP + reader.size / _SLOWEST
    reply = look(findings.format, reader, timeout=timeout, stop=stop)
    return msgspec.structs.replace(
        findings,
        level=str(Level.DEEP),
        tensors=reply.tensors,
        nan=reply.nan,
        inf=reply.inf,
        notes=(*findings.notes, *reply.notes),
    )
