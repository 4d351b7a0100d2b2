"""Files without a container of their own: plain pickles, and anything else."""

from ckpt_tier.core.findings import Findings
from ckpt_tier.formats.check import Level, Reader, Rejected

_STOP = b"."


class PlainCheck:
    """Anything that is not empty. A `Check`."""

    format = "plain"

    def __init__(self, reader: Reader, *, note: str = "") -> None:
        if reader.size == 0:
            raise Rejected("empty file")
        self._notes = (note,) if note else ()

    def feed(self, offset: int, data: memoryview) -> None:
        """Nothing in these bytes can be checked."""

    def finish(self) -> Findings:
        return Findings(format=self.format, level=str(Level.FAST), notes=self._notes)


class PickleCheck:
    """A pickle, or several in a row: the last byte is a STOP. A `Check`."""

    format = "pickle"

    def __init__(self, reader: Reader) -> None:
        if reader.read_at(reader.size - 1, 1) != _STOP:
            raise Rejected("truncated: the pickle does not end with STOP")

    def feed(self, offset: int, data: memoryview) -> None:
        """Nothing in these bytes can be checked: a pickle has no checksums."""

    def finish(self) -> Findings:
        notes = ("a pickle has no checksums: only its end was checked",)
        return Findings(format=self.format, level=str(Level.FAST), notes=notes)
