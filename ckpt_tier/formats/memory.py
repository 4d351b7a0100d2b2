"""A memory limit for as long as a pickle is read: a few bytes of one can ask for any amount."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ckpt_tier.formats.check import Rejected
from ckpt_tier.formats.inert import MALFORMED

_MEMORY = 2 * 2**30
"""Bytes for unpickling beyond what the process has; twenty million Python objects fit."""


@contextmanager
def limited_memory(limit: int = _MEMORY) -> Iterator[None]:
    """Within it, a pickle that asks for more than `limit` bytes is Rejected, as is one that is none."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    hard = before[1]
    wanted = pages * resource.getpagesize() + limit
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    try:
        yield
    except MemoryError as error:
        raise Rejected(f"its pickle asks for more than {limit >> 20} MiB of memory") from error
    except MALFORMED as error:
        raise Rejected(f"its pickle is damaged: {ascii(str(error)[:120])[1:-1]}") from error
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
