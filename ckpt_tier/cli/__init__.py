"""The command line: parses, calls, prints. One file per command, loaded when it is called."""

import gc
import os
import sys
import warnings
from typing import NoReturn

_LOOK_FOR_GARBAGE_EVERY = 150_000
"""Objects more than before. What a command imports and reads at its start is there to stay, and Python's usual 700 make
looking for garbage in it a tenth of the time of a short command."""


def main() -> NoReturn:
    """Runs the command line of this process and exits with its code."""
    gc.set_threshold(_LOOK_FOR_GARBAGE_EVERY, 20, 20)
    from ckpt_tier.cli.failure import INTERRUPTED
    from ckpt_tier.cli.group import run

    # torch says so where NumPy is not installed; nothing here needs it.
    warnings.filterwarnings("ignore", "Failed to initialize NumPy", UserWarning)
    code = run(sys.argv[1:])
    if code == INTERRUPTED:
        # What only reads may still wait for a store that has gone silent, and Python would wait for it.
        os._exit(code)
    gc.freeze()  # Python looks through everything once more as it ends, and a short command has no garbage worth that.
    sys.exit(code)


__all__ = ["main"]
