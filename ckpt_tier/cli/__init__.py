"""The command line: parses, calls, prints. One file per command, loaded when it is called."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Runs the command line of this process and exits with its code."""
    from ckpt_tier.cli.group import run

    sys.exit(run(sys.argv[1:]))


__all__ = ["main"]
