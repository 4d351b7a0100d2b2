"""The command line: parses, calls, prints. One file per command, loaded when it is called."""

import sys
import warnings
from typing import NoReturn


def main() -> NoReturn:
    """Runs the command line of this process and exits with its code."""
    from ckpt_tier.cli.group import run

    # torch says so where NumPy is not installed; nothing here needs it.
    warnings.filterwarnings("ignore", "Failed to initialize NumPy", UserWarning)
    sys.exit(run(sys.argv[1:]))


__all__ = ["main"]
